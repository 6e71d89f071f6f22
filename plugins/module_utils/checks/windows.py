# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""windows.wsl and windows.pillow_simd: what makes pictures black or slow on Windows."""

from __future__ import annotations

import re
from typing import List, Sequence

from .host import NOT_FOUND, Completed, shown
from .result import FAILED, GUEST, NOT_APPLICABLE, PASSED, SKIPPED, Fix, Outcome

PYTHONS = ("where.exe", "python")
SECONDS = 20.0
# Where a Python of WSL shows on Windows' own path.
OF_WSL = re.compile(r"\\\\wsl(?:\$|\.localhost)\\|\\AppData\\Local\\lxss\\|/mnt/[a-z]/|^/usr/", re.IGNORECASE)


def pillow_version(python: str) -> Sequence[str]:
    """The command that prints PIL.__version__."""
    return (python, "-I", "-B", "-c", "import PIL; print(PIL.__version__)")


def _names(answer: Completed) -> List[str]:
    """Distributions; wsl.exe ends with another status where there is none, and then explains that in a sentence."""
    if answer.rc:
        return []
    return [shown(line) for line in answer.out.replace("\0", "").lstrip("\ufeff").splitlines() if line.strip()]


def judge_wsl(distributions: Completed, pythons: Completed) -> Outcome:
    """No Linux beside Windows may offer a Python: the engine would take its PIL."""
    expected = "no distribution of WSL and no Python of WSL on the path"
    names = _names(distributions)
    paths = [shown(line) for line in pythons.out.replace("\0", "").splitlines() if OF_WSL.search(line.strip())]
    why = "a Python of WSL brings another PIL: pictures turn black or change their colours"
    if paths:
        fix = Fix("Take this folder out of PATH (sysdm.cpl, environment variables), for the machine and for the user.")
        return Outcome(FAILED, expected, f"python at {', '.join(paths[:3])}", why, {"pythons": paths[:5]}, fix=fix)
    if names:
        fix = Fix("Save what is needed of it, then remove it.", f'wsl.exe --unregister "{names[0]}"', GUEST)
        return Outcome(FAILED, expected, f"WSL has {', '.join(names[:3])}", why, {"distributions": names[:5]}, fix=fix)
    found = "WSL is not installed" if distributions.rc == NOT_FOUND else "WSL has no distribution"
    return Outcome(PASSED, expected, found)


def judge_pillow(wished: str, answer: Completed) -> Outcome:
    """``wished`` is pyenv_pillow (plain or simd); pillow-simd's versions end with .postN, Pillow's do not."""
    if wished != "simd":
        return Outcome(NOT_APPLICABLE, detail="pillow-simd is not wished for this host (pyenv_pillow is not simd)")
    expected = "PIL.__version__ with .postN, as pillow-simd's has"
    lines = answer.out.strip().splitlines()
    if answer.rc == NOT_FOUND:
        return Outcome(SKIPPED, expected, detail=f"the environment's Python does not start: {answer.last_line()}")
    if answer.rc or not lines:
        return Outcome(FAILED, expected, answer.last_line(), "PIL cannot be imported")
    version = shown(lines[-1])
    if re.match(r"^\d[\d.]*\.post\d+$", version):
        return Outcome(PASSED, expected, f"PIL {version}", evidence={"pillow": version})
    why = "another package has put Pillow over pillow-simd"
    return Outcome(FAILED, expected, f"PIL {version}", why, {"pillow": version})
