# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.packages: are the modules of the model's profile in its environment, and do those with native parts load?"""

from __future__ import annotations

import inspect
import json
from typing import Any, Dict, List, Sequence, Tuple

from . import packages_probe
from .diagnosis import explained
from .host import TIMED_OUT, Completed, shown
from .result import FAILED, NOT_APPLICABLE, PASSED, SKIPPED, Outcome

SECONDS = 60.0
# Imported for real: their compiled parts look for libraries of system and driver. The others are only looked up:
# importing them all takes longer than all other checks together.
NATIVE = ("PIL", "torch")


def command(python: str, modules: Sequence[str]) -> Tuple[str, ...]:
    """The program in a fresh interpreter of the environment; -B because a check writes nothing."""
    native = [name for name in modules if name in NATIVE]
    return (python, "-I", "-B", "-c", inspect.getsource(packages_probe), ",".join(modules), ",".join(native))


def read(answer: Completed) -> Dict[str, Any]:
    """The program's answer is its last line: modules may write while they are imported. Empty where it is none."""
    lines = answer.out.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except (ValueError, RecursionError):
        return {}
    good = isinstance(found, dict) and isinstance(found.get("missing"), list) and isinstance(found.get("broken"), dict)
    if not good:
        return {}
    versions = {key: found.get(key) for key in ("torch", "torch_cuda", "pillow")}
    return {**found, **{key: shown(str(value)) if value else value for key, value in versions.items()}}


def judge(modules: Sequence[str], answer: Completed, check_mode: bool, facts: Dict[str, Any]) -> Outcome:
    """``answer`` is the program's; the first missing or broken module gives the failure its text."""
    if not modules:
        return Outcome(NOT_APPLICABLE, detail="the model's profile names no module besides the engine")
    expected = f"{', '.join(modules)} in the environment"
    found = read(answer)
    if answer.rc == TIMED_OUT:
        return Outcome(FAILED, expected, "no answer", f"the imports did not end within {SECONDS:.0f} s")
    if not found:
        why = f"the interpreter that imports them ended with status {answer.rc}"
        outcome = Outcome(FAILED, expected, answer.last_line(), why, {"stderr": answer.err[-2000:]})
        return explained(outcome, answer.err, facts)
    missing: List[str] = [shown(str(name)) for name in found["missing"]]
    evidence = {key: found.get(key) for key in ("torch", "torch_cuda", "pillow") if found.get(key)}
    if missing and check_mode:
        return Outcome(
            SKIPPED, expected, detail=f"check mode: {', '.join(missing)} not there yet; configure installs it"
        )
    if missing:
        text = "\n".join(f"ModuleNotFoundError: No module named '{name}'" for name in missing)
        why = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed in the environment"
        return explained(Outcome(FAILED, expected, f"no {', '.join(missing)}", why, evidence), text, facts)
    for name, text in found["broken"].items():
        actual = shown(str(text).strip().rpartition("\n")[2])
        why = f"{shown(str(name))} is installed and cannot be imported"
        return explained(Outcome(FAILED, expected, actual, why, evidence), str(text), {**facts, **evidence})
    return Outcome(PASSED, expected, f"all {len(modules)} are there", evidence=evidence)
