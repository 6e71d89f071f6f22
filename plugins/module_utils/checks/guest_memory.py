# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.balloon, guest.swapped and guest.swap: does the VM really have its memory, and does it stay in memory?"""

from __future__ import annotations

import re
from typing import List, Optional

from .host import NOT_FOUND, Completed, shown
from .result import FAILED, NOT_APPLICABLE, PASSED, SKIPPED, Outcome

BALLOON = ("vmware-toolbox-cmd", "stat", "balloon")
SWAPPED = ("vmware-toolbox-cmd", "stat", "swap")
SWAPS = "/proc/swaps"
SECONDS = 5.0


def _judge_tools(answer: Completed, what: str, why: str, key: str) -> Outcome:
    """``vmware-toolbox-cmd stat`` answers '0 MB', and ends with another status where there is no VMware below."""
    expected = f"0 MB {what}"
    if answer.rc == NOT_FOUND:
        return Outcome(SKIPPED, expected, detail="VMware's tools (open-vm-tools) are not installed on this guest")
    match = re.match(r"^(\d{1,9}) Mi?B\s*$", answer.out.strip())
    if answer.rc or not match:
        return Outcome(SKIPPED, expected, detail=f"VMware's tools do not tell: {answer.last_line()}")
    mb = int(match.group(1))
    if mb:
        return Outcome(FAILED, expected, f"{mb} MB {what}", why, {key: mb})
    return Outcome(PASSED, expected, expected, evidence={key: 0})


def judge_balloon(answer: Completed) -> Outcome:
    """What the host has taken from the guest by the balloon driver."""
    why = "the host takes memory from this VM; the model pages, and its service answers 503"
    return _judge_tools(answer, "ballooned", why, "balloon_mb")


def judge_swapped(answer: Completed) -> Outcome:
    """What the host has swapped of the guest's memory, behind the guest's back."""
    return _judge_tools(answer, "swapped by the host", "the host has put memory of this VM on its disk", "swapped_mb")


def swaps(text: str) -> List[str]:
    """The swap areas of /proc/swaps, whose first line is a heading."""
    return [line.split()[0] for line in text.splitlines()[1:] if line.split()]


def judge_swap(wished_off: bool, text: Optional[str], container: str) -> Outcome:
    """The guest's own swap against kernel_tuning_swap_off."""
    if not wished_off:
        return Outcome(NOT_APPLICABLE, detail="swap may be on for this host (kernel_tuning_swap_off is false)")
    if container:
        return Outcome(SKIPPED, "no swap", detail=f"a container ({container}) shows the swap of the machine below it")
    if text is None:
        return Outcome(SKIPPED, "no swap", detail=f"{SWAPS} cannot be read")
    found = swaps(text)
    if found:
        why = "the memory cap would push the model into swap in place of ending it"
        return Outcome(FAILED, "no swap", f"swap on {shown(', '.join(found[:5]))}", why, {"swaps": found[:20]})
    return Outcome(PASSED, "no swap", "no swap")
