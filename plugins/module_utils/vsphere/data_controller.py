# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SCSI controller of the data disks: its types, and when one that is there may become one of another type. Pure.

The boot disk's controller (bus 0) is nobody's business here: a guest may lack the driver for another one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import (
    DATA_BUS,
    PVSCSI,
    DiskActual,
    VmActual,
    disk_unit,
)

# The wish's word and vSphere's type; the first one is the default.
TYPES = {
    "pvscsi": PVSCSI,
    "lsilogic": "VirtualLsiLogicController",
    "lsilogic_sas": "VirtualLsiLogicSASController",
}
# Units 0 to 15 without the controller's own 7. Both LSI types end there; a paravirtual controller has 64 units from
# hardware version 14 on (terraform-provider-vsphere pull request 2697 and issue 1427), which the wish does not use, so
# that each type carries the disks of each wish.
MAX_DISKS = 15


def word(kind: str) -> str:
    """The wish's word for vSphere's type; types that no wish can name keep theirs."""
    return next((name for name, known in TYPES.items() if known == kind), kind)


def controller_change(name: str, wanted: str, disks: int, actual: VmActual) -> tuple[str, str | None, str, bool] | None:
    """What differs, as (what, before, after, whether the VM has to be off for it); ``disks`` is how many are wished.

    Raises TestbedError (``wrong_controller``) where a controller of another type has to stay.
    """
    found = actual.controllers.get(DATA_BUS)
    if not disks or found == TYPES[wanted]:
        return None
    if found is None:
        return ("data_controller", None, wanted, False)
    there = [disk for disk in actual.disks if disk.bus == DATA_BUS]
    # What has no owner's mark is not ours yet: a template, a deployment that is not finished, a VM that is adopted.
    ours = {disk_unit(index) for index in range(disks)} if actual.owner else set()
    foreign = [disk for disk in there if disk.unit not in ours]
    if foreign:
        raise _stays(name, wanted, found, foreign)
    if there and len(there) == len(actual.disks):
        raise one_problem(
            "wrong_controller",
            f"{name}: SCSI bus {DATA_BUS}",
            "a boot disk on another bus, whose controller keeps its type",
            f"{word(found)} with all disks of the VM",
            f"set vm_tweaks.data_controller to {word(found)}" if found in TYPES.values() else "use another template",
        )
    return ("data_controller", word(found), wanted, True)


def _stays(name: str, wanted: str, found: str, foreign: Sequence[DiskActual]) -> TestbedError:
    units = ", ".join(f"{disk.bus}:{disk.unit}" for disk in foreign)
    keep = f"set vm_tweaks.data_controller to {word(found)}, or " if found in TYPES.values() else ""
    return one_problem(
        "wrong_controller",
        f"{name}: SCSI bus {DATA_BUS}",
        f"a controller of type {wanted}, or one whose disks are all of vm_disks, to change its type",
        f"{word(found)} with other disks ({units})",
        f"{keep}take these disks off that bus in the template or VM",
    )
