# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model.import: can the environment import the engine, and which version is it?"""

from __future__ import annotations

from typing import Any, Dict, Tuple

from .diagnosis import explained
from .host import TIMED_OUT, Completed, shown
from .result import FAILED, NOT_APPLICABLE, PASSED, SKIPPED, Outcome

PACKAGE = "nano_banana"
SECONDS = 60.0
# -I keeps the working directory and PYTHON* variables out: only what is installed in the environment counts.
PROGRAM = f"import {PACKAGE}; print({PACKAGE}.__version__); print({PACKAGE}.__file__)"


def command(python: str) -> Tuple[str, ...]:
    """The import in a fresh interpreter of the environment; -B because a check writes nothing."""
    return (python, "-I", "-B", "-c", PROGRAM)


def judge(answer: Completed, engine: bool, check_mode: bool, facts: Dict[str, Any]) -> Outcome:
    """``answer`` is what the import program did: version and file on its last two lines, or a traceback."""
    if not engine:
        return Outcome(NOT_APPLICABLE, detail="the model's profile brings no engine of this repository")
    expected = f"import {PACKAGE} prints a version"
    lines = [shown(line) for line in answer.out.strip("\n").split("\n")[-2:]]
    if answer.rc == 0 and len(lines) == 2 and lines[0]:
        return Outcome(PASSED, expected, f"{PACKAGE} {lines[0]}", evidence={"engine": lines[0], "file": lines[1]})
    if answer.rc == TIMED_OUT:
        return Outcome(FAILED, expected, "no answer", f"the import did not end within {SECONDS:.0f} s")
    found = answer.last_line()
    if check_mode and f"No module named '{PACKAGE}'" in found:
        return Outcome(SKIPPED, expected, detail="check mode: the engine is not there yet, configure would install it")
    why = f"the import ended with status {answer.rc}"
    if answer.rc == 0:
        why, found = "the package has no version", "an empty version"
    outcome = Outcome(FAILED, expected, found, why, {"stderr": answer.err[-2000:]})
    return explained(outcome, answer.err, facts)
