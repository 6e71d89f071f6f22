# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.python: which Python does the virtual environment run, and is it the wanted one?"""

from __future__ import annotations

import re

from .host import NOT_FOUND, Completed, shown
from .result import FAILED, PASSED, SKIPPED, WARNED, Outcome

OLDEST = (3, 8)
SECONDS = 20.0


def judge(wanted: str, python: str, answer: Completed, check_mode: bool) -> Outcome:
    """``wanted`` is a version such as 3.10.12; ``answer`` is what ``PYTHON --version`` did."""
    expected = f"Python {wanted}" if wanted else "Python >= {}.{}".format(*OLDEST)
    if answer.rc == NOT_FOUND:
        if check_mode:
            return Outcome(SKIPPED, expected, detail=f"check mode: {python} is not there yet, configure would make it")
        return Outcome(
            FAILED, expected, f"no {python}", f"the virtual environment cannot be used: {answer.last_line()}"
        )
    match = re.match(r"Python (\d{1,4})\.(\d{1,4})(\S{0,40})", answer.out or answer.err)
    if answer.rc or not match:
        return Outcome(FAILED, expected, answer.last_line(), f"{python} --version ended with status {answer.rc}")
    version = shown("{}.{}{}".format(*match.groups()))
    evidence = {"python": version, "wished": wanted}
    if (int(match.group(1)), int(match.group(2))) < OLDEST:
        return Outcome(FAILED, expected, f"Python {version}", "this Python is too old for the engine", evidence)
    if wanted and version != wanted:
        return Outcome(WARNED, expected, f"Python {version}", f"Python {version} stands in for {wanted}", evidence)
    return Outcome(PASSED, expected, f"Python {version}", evidence=evidence)
