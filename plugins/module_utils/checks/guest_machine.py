# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.machine: is the guest a VM on VMware, as the wish takes for granted?"""

from __future__ import annotations

from .host import NOT_FOUND, Completed, shown
from .result import FAILED, PASSED, SKIPPED, WARNED, Outcome

EXPECTED = "a VM on VMware"
COMMAND = ("systemd-detect-virt",)
SECONDS = 10.0
CONTAINERS = ("podman", "docker", "lxc", "lxc-libvirt", "systemd-nspawn", "rkt", "wsl", "proot", "container-other")


def judge(answer: Completed, allow_stand_in: bool) -> Outcome:
    """``answer`` is what systemd-detect-virt did; it ends with 1 and says 'none' on a bare machine."""
    word = shown(answer.out)
    if answer.rc == NOT_FOUND or not word:
        return Outcome(SKIPPED, EXPECTED, detail=f"the guest cannot say: {answer.last_line()}")
    if word == "vmware":
        return Outcome(PASSED, EXPECTED, EXPECTED, evidence={"machine": word})
    kind = "a container" if word in CONTAINERS else "a bare machine" if word == "none" else "another VM"
    found = kind if word == "none" else f"{kind} ({word})"
    if allow_stand_in:
        return Outcome(WARNED, EXPECTED, found, f"{found} stands in for {EXPECTED}", {"machine": word})
    return Outcome(FAILED, EXPECTED, found, "the guest does not run where the wish says", {"machine": word})


def container(answer: Completed) -> str:
    """Which container the guest is, empty for a whole machine."""
    word = answer.out.strip()
    return word if word in CONTAINERS else ""
