# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu.errors: has the kernel written an Xid, NVIDIA's number for a fault of GPU or driver, since the boot?"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Tuple

from .diagnosis import explained
from .host import Completed, shown
from .result import FAILED, GUEST, PASSED, SKIPPED, WARNED, Fix, Outcome

# dmesg is root's on most systems; the model's user may use sudo without a password.
LOG = ("sh", "-c", "dmesg 2>/dev/null || sudo -n dmesg")
SECONDS = 10.0
XID = re.compile(r"NVRM: Xid \(([^)\n]{1,40})\): (\d{1,3})(?:, ([^\n]{0,300}))?")
# A program's own faults (bad access, its end): the GPU goes on. The others are the GPU's or the driver's.
OF_PROGRAMS = (13, 31, 32, 43, 45, 66, 69)
REBOOT = Fix("Restart the guest; a GPU that does it again needs its host's attention.", "systemctl reboot", GUEST)


def xids(text: str) -> List[Tuple[int, str]]:
    """Number and line of each Xid."""
    return [(int(match.group(2)), shown(match.group(0))) for match in XID.finditer(text)]


def judge(answer: Completed, container: str, facts: Dict[str, Any]) -> Outcome:
    """``answer`` is the kernel's log."""
    expected = "no Xid in the kernel's log"
    if container:
        return Outcome(SKIPPED, expected, detail=f"a container ({container}) shows the log of the machine below it")
    if answer.rc:
        return Outcome(SKIPPED, expected, detail=f"the kernel's log cannot be read: {answer.last_line()}")
    found = xids(answer.out)
    if not found:
        return Outcome(PASSED, expected, "none")
    grave = [each for each in found if each[0] not in OF_PROGRAMS]
    _number, line = (grave or found)[-1]
    evidence = {"xids": sorted({number for number, _line in found}), "count": len(found)}
    if grave:
        why = f"GPU or driver had {len(grave)} faults since the boot"
        return explained(Outcome(FAILED, expected, line, why, evidence, fix=REBOOT), line, facts)
    why = f"programs had {len(found)} faults on the GPU since the boot"
    return explained(Outcome(WARNED, expected, line, why, evidence), line, facts)
