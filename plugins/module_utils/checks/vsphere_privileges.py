# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which privileges of playbooks/files/vcenter_role.yml a wish needs, and on which kind of place. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Set, Tuple

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish


@dataclass(frozen=True)
class Use:
    """A wish and what is known of it: ``source`` is template, vm, ovf or empty where nothing is to be made."""

    wish: VmWish
    source: str = ""
    makes_folder: bool = False


@dataclass(frozen=True)
class Privilege:
    """A row of the role: its name in vSphere, the kinds of place it is checked on, and what stops without it."""

    id: str
    where: Tuple[str, ...]
    why: str
    optional: bool = False


def read(rows: Iterable[Mapping[str, Any]]) -> Tuple[Privilege, ...]:
    """The rows of the file, or of the module's option."""
    return tuple(
        Privilege(str(row["id"]), tuple(row["where"]), str(row["why"]), bool(row.get("optional"))) for row in rows
    )


def _static(use: Use) -> bool:
    return any(gpu.mode == "static" for gpu in use.wish.gpu)


def _overrides(use: Use) -> bool:
    return _static(use) or bool(use.wish.placement.drs or use.wish.placement.ha)


def _spec(use: Use) -> bool:
    return use.wish.customization.method == "spec"


def _raises(use: Use) -> bool:
    dynamic = any(gpu.mode == "dynamic" for gpu in use.wish.gpu)
    return dynamic or use.wish.tweaks.hardware.hardware_version is not None


def _suspends(use: Use) -> bool:
    return use.wish.lifecycle.power == "suspended" or use.wish.after_case == "suspend"


def _reverts(use: Use) -> bool:
    return use.wish.after_case == "revert"


def _unasked(_use: Use) -> bool:
    """fleet_snapshot is called by who wants it, and says itself what it lacks."""
    return False


# When an optional row is needed; a test compares the keys with the file. A row that is not here is not asked for.
NEEDED: Mapping[str, Callable[[Use], bool]] = {
    "Folder.Create": lambda use: use.makes_folder,
    "Resource.ColdMigrate": _static,
    "Host.Inventory.EditCluster": _overrides,
    "StorageProfile.View": lambda use: bool(use.wish.placement.storage_policy),
    "VApp.Import": lambda use: use.source == "ovf",
    "ContentLibrary.DownloadSession": lambda use: use.source == "ovf",
    "VirtualMachine.Provisioning.Clone": lambda use: use.source == "vm",
    "VirtualMachine.Provisioning.Customize": _spec,
    "VirtualMachine.Provisioning.ReadCustSpecs": _spec,
    "VirtualMachine.Config.Annotation": lambda use: use.source == "ovf",
    "VirtualMachine.Config.UpgradeVirtualHardware": _raises,
    "VirtualMachine.Interact.Suspend": _suspends,
    "VirtualMachine.State.CreateSnapshot": _unasked,
    "VirtualMachine.State.RevertToSnapshot": _reverts,
    "VirtualMachine.State.RemoveSnapshot": _unasked,
}
# Rows that are not optional in the file and yet follow the source; and those without which fleet warns and goes on.
BY_SOURCE = {"VirtualMachine.Provisioning.DeployTemplate": ("template",)}
SOFT = frozenset({"Host.Inventory.EditCluster"})


def needed(privileges: Iterable[Privilege], use: Use) -> Iterator[Tuple[str, Privilege]]:
    """Kind of place and privilege, for all that this wish needs; what the global root grants no API tells."""
    for row in privileges:
        if row.optional and not (row.id in NEEDED and NEEDED[row.id](use)):
            continue
        if row.id in BY_SOURCE and use.source not in BY_SOURCE[row.id]:
            continue
        for place in row.where:
            if place != "library" and (place != "template" or use.source):
                yield place, row


def by_place(privileges: Iterable[Privilege], uses: Iterable[Use]) -> Dict[str, Set[str]]:
    """Ids by kind of place, for several wishes together; for tests and the reference."""
    found: Dict[str, Set[str]] = {}
    rows = tuple(privileges)
    for use in uses:
        for place, row in needed(rows, use):
            found.setdefault(place, set()).add(row.id)
    return found
