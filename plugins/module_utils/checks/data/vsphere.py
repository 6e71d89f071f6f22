# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vCenter's releases and what is demanded of it; each row names its source. Read 2026-11.

Hardware versions and the ESXi that runs them are in vsphere/hardware.py, where fleet reads them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple


@dataclass(frozen=True)
class Release:
    """A release of vCenter: ``version`` and ``build`` as its API tells them, ``date`` as year-month-day."""

    version: str
    build: int
    name: str
    date: str
    source: str


OLDEST_VCENTER = "7.0.3"  # requirement C: 7.0 U3
OLDEST_ESXI = (
    "7.0.0"  # dynamic DirectPath, and the oldest that this vCenter and the VM's hardware versions are used with
)
RECOMMENDED_ESXI = "7.0.2"  # the oldest that runs hardware version 19
# The VM's hardware version where nobody wishes for one: the newest of these that all of its hosts run.
RECOMMENDED_HARDWARE = (20, 19)
# Seconds between vCenter's clock and the control node's: certificates, tokens and the expiry of VMs go by them.
CLOCK_WARNS, CLOCK_FAILS = 30, 300

_KB = (
    "Broadcom KB 326316 (formerly VMware KB 2143838), copied from the script Get-vCenterVersion, which is made from it"
)
_CLOUD = "Oracle Cloud VMware Solution, versions of its software bundles"
_NOTES = "release notes' addresses and dates in a public inventory tool (techdocs.broadcom.com)"

# From old to new. Builds that are not here are no error: a newer one is only not named.
RELEASES: Tuple[Release, ...] = (
    Release("7.0.3", 18700403, "7.0 Update 3", "2021-10-05", _KB),
    Release("7.0.3", 18778458, "7.0 Update 3a", "2021-10-21", _KB),
    Release("7.0.3", 19234570, "7.0 Update 3c", "2022-01-27", _KB),
    Release("7.0.3", 19480866, "7.0 Update 3d", "2022-03-29", _KB),
    Release("7.0.3", 19717403, "7.0 Update 3e", "2022-05-12", _KB),
    Release("7.0.3", 20051473, "7.0 Update 3f", "2022-07-12", _KB),
    Release("7.0.3", 20150588, "7.0 Update 3g", "2022-07-23", _KB),
    Release("7.0.3", 20395099, "7.0 Update 3h", "2022-09-13", _KB),
    Release("7.0.3", 20845200, "7.0 Update 3i", "2022-12-08", _KB),
    Release("7.0.3", 20990077, "7.0 Update 3j", "2022-12-22", _KB),
    Release("7.0.3", 21290409, "7.0 Update 3k", "2023-02-23", _KB),
    Release("7.0.3", 21477706, "7.0 Update 3l", "2023-03-30", _KB),
    Release("7.0.3", 21784236, "7.0 Update 3m", "2023-06-22", _KB),
    Release("7.0.3", 21958406, "7.0 Update 3n", "2023-07-07", _KB),
    Release("7.0.3", 22357613, "7.0 Update 3o", "2023-09-28", _KB),
    Release("7.0.3", 22837322, "7.0 Update 3p", "2023-12-07", _KB),
    Release("7.0.3", 23788036, "7.0 Update 3q", "2024-05-21", _KB),
    Release("7.0.3", 24026615, "7.0 Update 3r", "2024-06-17", _KB),
    Release("7.0.3", 24201990, "7.0 Update 3s", "2024-09-17", _KB),
    Release("7.0.3", 24322018, "7.0 Update 3t", "2024-10-21", _KB),
    Release("8.0.0", 20519528, "8.0", "2022-10-11", _KB),
    Release("8.0.0", 20920323, "8.0a", "2022-12-16", _KB),
    Release("8.0.0", 21216066, "8.0b", "2023-02-14", _KB),
    Release("8.0.0", 21457384, "8.0c", "2023-03-30", _KB),
    Release("8.0.1", 21560480, "8.0 Update 1", "2023-04-18", _KB),
    Release("8.0.1", 21815093, "8.0 Update 1a", "2023-06-01", _KB),
    Release("8.0.1", 21860503, "8.0 Update 1b", "2023-06-22", _KB),
    Release("8.0.1", 22088981, "8.0 Update 1c", "2023-07-27", _KB),
    Release("8.0.1", 22368047, "8.0 Update 1d", "2023-10-24", _KB),
    Release("8.0.2", 22385739, "8.0 Update 2", "2023-09-21", _KB),
    Release("8.0.2", 22617221, "8.0 Update 2a", "2023-10-26", _KB),
    Release("8.0.2", 23319993, "8.0 Update 2b", "2024-03-04", _KB),
    Release("8.0.2", 23504390, "8.0 Update 2c", "2024-03-26", _KB),
    Release("8.0.2", 23929136, "8.0 Update 2d", "2024-06-17", _KB),
    Release("8.0.3", 24022515, "8.0 Update 3", "2024-06-25", _KB),
    Release("8.0.3", 24091160, "8.0 Update 3a", "2024-07-18", _KB),
    Release("8.0.3", 24262322, "8.0 Update 3b", "2024-09-17", _KB),
    Release("8.0.3", 24305161, "8.0 Update 3c", "2024-10-09", _KB),
    Release("8.0.3", 24322831, "8.0 Update 3d", "2024-10-21", _KB),
    Release("8.0.3", 25197330, "8.0 Update 3i", "2026-02-24", _NOTES),
    Release("8.0.3", 25413364, "8.0 Update 3j", "2026-05-27", f"{_NOTES}; {_CLOUD}"),
)
