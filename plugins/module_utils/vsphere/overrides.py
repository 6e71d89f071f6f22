# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What DRS and HA shall do with single VMs, compared with what their cluster says. Pure; overrides_desk.py reads.

A device of static DirectPath ties its VM to one host: DRS cannot move it and HA cannot restart it elsewhere, so both
are switched off for it unless the wish says otherwise. A vGPU and dynamic DirectPath stay with the cluster: DRS places
such VMs at power-on and does not move them by itself, and HA restarts them where another host has the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import Change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

INHERIT, DISABLED = "inherit", "disabled"
TITLES = {"drs": "DRS", "ha": "HA"}


@dataclass(frozen=True)
class ClusterActual:
    """A cluster's overrides by the ids of its VMs; ``off`` has those of DRS and HA where an override does nothing."""

    moid: str
    name: str
    off: frozenset[str] = frozenset()
    drs: Mapping[str, str] = field(default_factory=dict)
    ha: Mapping[str, str] = field(default_factory=dict)
    # vCenter's own entries by the id of the VM, opaque here: an edit sends back the whole entry that was read.
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False, repr=False)

    def of(self, setting: str, vm: str) -> str:
        """The override of a VM."""
        found: Mapping[str, str] = getattr(self, setting)
        return found.get(vm, INHERIT)


def named(wish: VmWish) -> dict[str, str]:
    """The overrides that the wish names."""
    return {setting: value for setting in TITLES if (value := getattr(wish.placement, setting))}


def wanted(wish: VmWish) -> dict[str, str]:
    """The overrides that the VM shall have: the named ones, else those that its devices need."""
    needed = dict.fromkeys(TITLES, DISABLED) if any(gpu.mode == "static" for gpu in wish.gpu) else {}
    return needed | named(wish)


def changes(wish: VmWish, vm: str, cluster: ClusterActual, *, may: bool = True) -> tuple[Change, ...]:
    """What differs; ``vm`` is the VM's id, empty for one that is to be made.

    Without the privilege (``may``) only what the wish names is left, which vCenter then refuses.
    """
    asked = wanted(wish) if may else named(wish)
    rows = ((setting, cluster.of(setting, vm), value) for setting, value in asked.items() if setting not in cluster.off)
    return tuple(
        Change(f"placement.{setting}", before if vm else None, value, cold=False)
        for setting, before, value in rows
        if before != value
    )


def idle(wish: VmWish, cluster: ClusterActual) -> list[str]:
    """Overrides that the wish names although DRS or HA is off in the cluster."""
    return [setting for setting, value in named(wish).items() if setting in cluster.off and value != INHERIT]


def with_overrides(operations: list[Operation], overrides: tuple[Change, ...]) -> list[Operation]:
    """The plan with the overrides in it: as soon as the VM exists and carries its owner's mark, so before it is on."""
    if not overrides or any(operation.kind == "wait_settled" for operation in operations):
        return operations
    mark = f"extra_config.{vmx.OWNER}"
    marked = (number for number, step in enumerate(operations, 1) if any(item.what == mark for item in step.changes))
    at = next(marked, 0)
    return [*operations[:at], Operation("override", overrides), *operations[at:]]
