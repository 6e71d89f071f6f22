# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model.import: can the environment import the engine, and which version is it?"""

from __future__ import annotations

from .host import TIMED_OUT, Completed, Host
from .result import FAILED, PASSED, SKIPPED, Outcome

PACKAGE = "nano_banana"
SECONDS = 60.0
# -I keeps the working directory and PYTHON* variables out: only what is installed in the environment counts.
PROGRAM = f"import {PACKAGE}; print({PACKAGE}.__version__); print({PACKAGE}.__file__)"
# Both causes end in the same loader error; NVIDIA's matrix knows the driver, the package index knows the wheel.
CUDNN = "libcudnn"


def judge(answer: Completed, check_mode: bool) -> Outcome:
    """``answer`` is what the import program did: version and file on two lines, or a traceback."""
    expected = f"import {PACKAGE} prints a version"
    lines = answer.out.split("\n")
    if answer.rc == 0 and lines[0]:
        evidence = {"engine": lines[0], "file": lines[1] if len(lines) > 1 else ""}
        return Outcome(PASSED, expected, f"{PACKAGE} {lines[0]}", evidence=evidence)
    if answer.rc == TIMED_OUT:
        return Outcome(FAILED, expected, "no answer", f"the import did not end within {SECONDS:.0f} s")
    found = answer.last_line()
    if check_mode and f"No module named '{PACKAGE}'" in found:
        return Outcome(SKIPPED, expected, detail="check mode: the engine is not there yet, configure would install it")
    if CUDNN in answer.err:
        why = "cuDNN is not found: either its wheel is absent or shadowed, or driver and CUDA do not match"
    elif answer.rc == 0:
        why, found = "the package has no version", "an empty version"
    else:
        why = f"the import ended with status {answer.rc}"
    return Outcome(FAILED, expected, found, why, {"stderr": answer.err[-2000:]})


def probe(host: Host, python: str, check_mode: bool) -> Outcome:
    """Import the engine in a fresh interpreter of the environment; -B because a check writes nothing."""
    return judge(host.run([python, "-I", "-B", "-c", PROGRAM], SECONDS), check_mode)
