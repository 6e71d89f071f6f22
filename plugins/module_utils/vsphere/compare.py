# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every setting in which a VM differs from its wish, as plain data. Pure; plan.py says in which order they are made."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import hardware, vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.data_controller import controller_change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_plan import gpu_rows, mmio_keys
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import (
    VM_HOME,
    DiskActual,
    VmActual,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import Disk, VmWish

KB_PER_GB = 1024 * 1024


@dataclass(frozen=True)
class Change:
    """One setting that differs. ``what`` is a path such as ``memory_mb`` or ``disks.data``."""

    what: str
    before: Any
    after: Any
    cold: bool = True  # whether the VM has to be off for it
    secret: bool = False

    def shown(self, value: Any) -> Any:
        """The value as a diff may show it."""
        if not self.secret or not value:
            return value
        digest = hashlib.sha256(str(value).encode()).hexdigest()[:12]
        return f"(not shown, sha256 {digest})"


def guestinfo(wish: VmWish) -> dict[str, str]:
    """The cloud-init keys of the wish.

    The instance id follows the content: the same wish reads back as the same keys, and a changed one counts as
    a new instance for cloud-init at the next boot.
    """
    custom = wish.customization
    if custom.method != "cloud_init":
        return {}
    metadata = dict(custom.metadata) | {"local-hostname": wish.hostname}
    digest = hashlib.sha256(json.dumps([metadata, custom.userdata], sort_keys=True).encode()).hexdigest()[:12]
    metadata["instance-id"] = f"{wish.name}-{digest}"
    keys = {
        "guestinfo.metadata": _base64(json.dumps(metadata, sort_keys=True)),
        "guestinfo.metadata.encoding": "base64",
    }
    if custom.userdata:
        keys |= {"guestinfo.userdata": _base64(custom.userdata), "guestinfo.userdata.encoding": "base64"}
    return keys


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def extra_config(wish: VmWish) -> dict[str, str]:
    """Every VMX key that the wish asks for; what a user names in extra_config wins over the project's value."""
    tweaks = wish.tweaks
    keys = {"disk.EnableUUID": "TRUE"}
    if not tweaks.balloon:
        keys |= {"sched.mem.maxmemctl": "0", "mem.memballoon": "0"}
    if not tweaks.page_sharing:
        keys["sched.mem.pshare.enable"] = "FALSE"
    if not tweaks.accel_3d:
        keys["mks.enable3d"] = "FALSE"
    keys |= mmio_keys(wish.gpu_choice, tweaks.extra_config) | guestinfo(wish) | dict(tweaks.extra_config)
    return keys | {vmx.KEYS: vmx.keys_mark(keys)}


def compare(wish: VmWish, actual: VmActual) -> list[Change]:
    """Every setting in which the VM (or the template a clone will start from) differs from the wish."""
    changes = [
        Change(what, before, after)
        for what, before, after in (
            ("cpus", actual.cpus, wish.cpus),
            ("memory_mb", actual.memory_mb, wish.memory_mb),
        )
        if before != after
    ]
    changes += [Change(*row) for row in hardware.changes(wish.name, wish.tweaks.hardware, actual.hardware)]
    changes += _memory_changes(wish, actual)
    if not wish.tweaks.accel_3d and actual.video_3d:
        changes.append(Change("video_3d", True, False))
    if change := policy_change(wish.placement.storage_policy, actual):
        changes.append(change)
    return (
        changes
        + _key_changes(extra_config(wish), actual.extra_config)
        + [Change(*row) for row in gpu_rows(wish, actual)]
        + _disk_changes(wish, actual)
        + _network_changes(wish, actual)
    )


def policy_change(wanted: str, actual: VmActual) -> Change | None:
    """One storage policy for the VM's own files and all of its disks."""
    found = {actual.policies.get(key, "") for key in (VM_HOME, *(disk.key for disk in actual.disks))}
    if not wanted or found == {wanted}:
        return None
    return Change("storage_policy", ", ".join(sorted(name or "none" for name in found)), wanted, cold=False)


def _key_changes(wanted: Mapping[str, str], actual: Mapping[str, str]) -> list[Change]:
    """VMX keys to write, and those to remove because an earlier wish had them."""
    settled = vmx.redacted(wanted, actual)
    rows: list[tuple[str, str | None]] = [
        (key, value)
        for key, value in wanted.items()
        if not vmx.same(key, value, actual.get(key)) and key not in settled and not (vmx.rewritten(key) and actual)
    ]
    rows += [(key, None) for key in vmx.forgotten(wanted, actual)]
    return [
        Change(f"extra_config.{key}", actual.get(key), value, vmx.needs_power_cycle(key), vmx.is_secret(key))
        for key, value in rows
    ]


def _memory_changes(wish: VmWish, actual: VmActual) -> list[Change]:
    if not wish.tweaks.reserve_memory:
        return _memory_release(actual)
    changes = []
    if not actual.memory_locked:
        changes.append(Change("memory_locked", False, True, cold=False))
    if actual.memory_reservation_mb != wish.memory_mb:
        changes.append(Change("memory_reservation_mb", actual.memory_reservation_mb, wish.memory_mb, cold=False))
    return changes


def _memory_release(actual: VmActual) -> list[Change]:
    """Take back a full reservation; a partial one is somebody's own and stays."""
    reserved = actual.memory_reservation_mb
    changes = [Change("memory_locked", True, False, cold=False)] if actual.memory_locked else []
    if reserved and (actual.memory_locked or reserved >= actual.memory_mb):
        changes.append(Change("memory_reservation_mb", reserved, 0, cold=False))
    return changes


def _disk_changes(wish: VmWish, actual: VmActual) -> list[Change]:
    row = controller_change(wish.name, wish.tweaks.data_controller, len(wish.disks), actual)
    changes = [Change(*row)] if row else []
    for index, disk in enumerate(wish.disks):
        existing = actual.data_disk(index)
        wanted = {"size_gb": disk.size_gb, "provisioning": disk.provisioning}
        if existing is None:
            changes.append(Change(f"disks.{disk.name}", None, wanted, cold=False))
        elif existing.size_kb > disk.size_gb * KB_PER_GB:
            raise one_problem(
                "disk_shrinks",
                f"{wish.name}: size_gb of disk '{disk.name}'",
                f"at least its present {existing.size_kb // KB_PER_GB} GB, a disk never shrinks",
                str(disk.size_gb),
                "raise vm_disks, or remove the VM first",
            )
        elif existing.size_kb < disk.size_gb * KB_PER_GB:
            _check_grows(wish, disk, existing)
            before = {"size_gb": existing.size_kb // KB_PER_GB}
            changes.append(Change(f"disks.{disk.name}", before, {"size_gb": disk.size_gb}, cold=False))
    return changes


def _check_grows(wish: VmWish, disk: Disk, existing: DiskActual) -> None:
    if not existing.has_parent:
        return
    raise one_problem(
        "linked_disk",
        f"{wish.name}: size_gb of disk '{disk.name}'",
        f"its present {existing.size_kb // KB_PER_GB} GB: a disk with a parent (linked clone, snapshot) never grows",
        str(disk.size_gb),
        "make the VM as a full clone, remove its snapshots, or add another disk",
    )


def _network_changes(wish: VmWish, actual: VmActual) -> list[Change]:
    """Cards in the order of the wish; an empty wish leaves the template's cards as they are."""
    if not wish.networks:
        return []
    changes = []
    for index in range(max(len(wish.networks), len(actual.nics))):
        before = actual.nics[index].network if index < len(actual.nics) else None
        after = wish.networks[index].network if index < len(wish.networks) else None
        if before != after:
            changes.append(Change(f"networks[{index}]", before, after, cold=False))
    return changes
