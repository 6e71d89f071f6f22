# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which known cause explains a failure's text? Pure; runs on guests with Python >= 3.8."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Optional, Tuple

from .cause import Cause, Rule, anew, word
from .causes_gpu import GPU_RULES
from .causes_model import PICTURE_RULES, PYTHON_RULES, SYSTEM_RULES
from .causes_platform import LAST_RULES, PLATFORM_RULES
from .orders import REINSTALL

__all__ = ["CAUSES", "RULES", "Cause", "diagnose", "for_windows"]

# What failed last stands at the end, and no log may cost more than a moment.
TAIL = 64 * 1024
# The first that fits wins. A full disk explains whatever broke besides it, and what only facts tell comes last.
RULES: Tuple[Rule, ...] = (
    *SYSTEM_RULES,
    *GPU_RULES,
    *PYTHON_RULES,
    *PICTURE_RULES,
    *PLATFORM_RULES,
    *LAST_RULES,
)
CAUSES: Mapping[str, Cause] = {rule.cause.id: rule.cause for rule in RULES}


# The same orders for a guest that speaks PowerShell.
_WINDOWS = {"rm -rf {venv}": "Remove-Item -Recurse -Force '{venv}'", "systemctl reboot": "Restart-Computer -Force"}


def diagnose(text: str, facts: Optional[Mapping[str, Any]] = None) -> Optional[Cause]:
    """The known cause that explains what was written (stdout, stderr, an error's message), None where none does.

    ``facts`` tell apart what looks alike: driver, cuda, torch_cuda, strict, ld_library_path, system_cudnn, balloon_mb,
    swapped_mb, queue ("full"), platform ("linux", "windows"), seconds, limit, first, snapshots, passthrough. A cause's
    fix has words in braces that the caller fills in (Fix.filled).
    """
    known = facts or {}
    tail = text[-TAIL:].lower()
    cause = next((rule.cause for rule in RULES if rule.fits(tail, known)), None)
    return for_windows(cause) if cause and word(known, "platform").lower() == "windows" else cause


def for_windows(cause: Cause) -> Cause:
    """The cause with the orders that a Windows guest knows. What is installed there is not installed again."""
    fix = anew(cause.fix.text) if cause.fix.run == REINSTALL else cause.fix
    return replace(cause, fix=replace(fix, run=_WINDOWS.get(fix.run, fix.run)))
