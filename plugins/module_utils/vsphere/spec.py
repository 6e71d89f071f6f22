# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the changes of a plan to vSphere's ConfigSpec and CloneSpec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import hardware_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import KB_PER_GB, Change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.data_controller import TYPES
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_spec import gpu_device
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import DATA_BUS, VmActual, disk_unit
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Place
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sources import Source
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import Disk, VmWish

NEW_CONTROLLER_KEY = -101  # negative keys are placeholders that vCenter replaces


@dataclass
class _Draft:
    """A ConfigSpec in the making, and what its parts are made from."""

    wish: VmWish
    actual: VmActual
    place: Place | None
    spec: Any
    devices: list[Any] = field(default_factory=list)
    cloning: bool = False


def config_spec(
    wish: VmWish, changes: Iterable[Change], actual: VmActual, place: Place | None, *, cloning: bool = False
) -> Any:
    """The ConfigSpec that brings the changes about; ``actual`` is the VM, or the template of a clone."""
    changes = list(changes)
    draft = _Draft(wish, actual, place, vim.vm.ConfigSpec(), cloning=cloning)
    for change in changes:
        head = re.split(r"[.\[]", change.what, maxsplit=1)[0]
        if head not in ("data_controller", "disks", "storage_policy"):
            _WRITERS[head](draft, change)
    draft.devices += _disk_changes(wish, changes, actual)
    if place is not None and place.policy:
        _add_policy(draft, place.policy, everywhere=any(change.what == "storage_policy" for change in changes))
    if draft.devices:
        draft.spec.deviceChange = draft.devices
    return draft.spec


def _write_cpus(draft: _Draft, change: Change) -> None:
    draft.spec.numCPUs = change.after


def _write_memory(draft: _Draft, change: Change) -> None:
    draft.spec.memoryMB = change.after


def _write_memory_lock(draft: _Draft, change: Change) -> None:
    draft.spec.memoryReservationLockedToMax = change.after


def _write_memory_reservation(draft: _Draft, change: Change) -> None:
    draft.spec.memoryAllocation = vim.ResourceAllocationInfo(reservation=change.after)


def _write_video(draft: _Draft, change: Change) -> None:
    card = draft.actual.devices[draft.actual.video_key]
    card.enable3DSupport = change.after
    draft.devices.append(_device("edit", card))


def _write_extra_config(draft: _Draft, change: Change) -> None:
    key = change.what.removeprefix("extra_config.")
    draft.spec.extraConfig.append(
        vim.option.OptionValue(key=key, value=change.after or "")
    )  # an empty value removes the key


def _write_annotation(draft: _Draft, change: Change) -> None:
    draft.spec.annotation = change.after


def _write_network(draft: _Draft, change: Change) -> None:
    index = int(change.what.removeprefix("networks[").removesuffix("]"))
    draft.devices.append(_nic_change(draft, index, change))


def _hardware_writer(write: Callable[[Any, Any], None]) -> Callable[[_Draft, Change], None]:
    return lambda draft, change: write(draft.spec, change.after)


def _write_gpu(draft: _Draft, change: Change) -> None:
    index, choice = int(change.what.removeprefix("gpu[").removesuffix("]")), draft.wish.gpu_choice
    if change.before:
        draft.devices.append(_device("remove", draft.actual.devices[change.before["key"]]))
    if change.after and choice:
        draft.devices.append(_device("add", gpu_device(choice.picks[index], index)))


def policy_spec(policy: str) -> list[Any]:
    """What names a storage policy, by its id, in a spec."""
    return [vim.vm.DefinedProfileSpec(profileId=policy)]


def _add_policy(draft: _Draft, policy: str, *, everywhere: bool) -> None:
    """New disks get the policy in any case; the VM's files and the disks that it has, where they lack it.

    The disks of a clone's source get theirs with the place, see placing.py.
    """
    edits = [change for change in draft.devices if isinstance(change.device, vim.vm.device.VirtualDisk)]
    if everywhere and not draft.cloning:
        draft.spec.vmProfile = policy_spec(policy)
        edited = {change.device.key for change in edits}
        for disk in draft.actual.disks:
            if disk.key not in edited:
                edits.append(_device("edit", draft.actual.devices[disk.key]))
                draft.devices.append(edits[-1])
    for change in edits:
        if everywhere or change.operation == "add":
            change.profile = policy_spec(policy)


# One writer for each kind of change that compare() finds; disks and their controller are looked at all at once.
_WRITERS: dict[str, Callable[[_Draft, Change], None]] = {
    "cpus": _write_cpus,
    "memory_mb": _write_memory,
    "memory_locked": _write_memory_lock,
    "memory_reservation_mb": _write_memory_reservation,
    "video_3d": _write_video,
    "extra_config": _write_extra_config,
    "annotation": _write_annotation,
    "networks": _write_network,
    **{what: _hardware_writer(write) for what, write in hardware_spec.WRITERS.items()},
    "gpu": _write_gpu,
}


def reconfigure_spec(wish: VmWish, changes: Iterable[Change], actual: VmActual, place: Place | None) -> Any:
    """config_spec() tied to the version that was read: a VM that changed meanwhile answers ConcurrentAccess."""
    spec = config_spec(wish, changes, actual, place)
    spec.changeVersion = actual.change_version
    return spec


def clone_spec(wish: VmWish, changes: Iterable[Change], source: Source, place: Place, customization: Any = None) -> Any:
    """The whole clone: where to, and the whole configuration with the marks, in one call."""
    changes = list(changes)
    relocate = vim.vm.RelocateSpec(pool=place.pool, datastore=place.datastore, folder=place.folder)
    if place.host is not None:
        relocate.host = place.host
    if source.snapshot is not None:
        relocate.diskMoveType = "createNewChildDiskBacking"
    config = config_spec(wish, changes, source.actual, place, cloning=True)
    config.deviceChange = [*config.deviceChange, *_own_addresses(changes, source.actual)]
    return vim.vm.CloneSpec(
        location=relocate,
        snapshot=source.snapshot,
        powerOn=False,
        template=False,
        config=config,
        customization=customization,
    )


def _own_addresses(changes: list[Change], source: VmActual) -> Iterable[Any]:
    """vCenter copies a MAC that was set by hand; two guests with one MAC would take each other's address."""
    edited = {change.what for change in changes}
    for index, nic in enumerate(source.nics):
        card = source.devices.get(nic.key)
        if card is not None and card.addressType == "manual" and f"networks[{index}]" not in edited:
            card.macAddress, card.addressType = None, "assigned"
            yield _device("edit", card)


def _device(operation: str, device: Any, file_operation: str | None = None) -> Any:
    change = vim.vm.device.VirtualDeviceSpec(operation=operation, device=device)
    if file_operation:
        change.fileOperation = vim.vm.device.VirtualDeviceSpec.FileOperation(file_operation)
    return change


def _nic_change(draft: _Draft, index: int, change: Change) -> Any:
    wish, actual, place = draft.wish, draft.actual, draft.place
    if change.after is None:
        return _device("remove", actual.devices[actual.nics[index].key])
    if place is None:
        raise ValueError("a network card cannot be plugged in without a resolved placement")
    backing = place.networks[wish.networks[index].network]
    if change.before is not None:
        card = actual.devices[actual.nics[index].key]
        card.backing = backing
        if draft.cloning:
            card.macAddress, card.addressType = None, "assigned"  # a clone has to get an address of its own
        return _device("edit", card)
    connectable = vim.vm.device.VirtualDevice.ConnectInfo(startConnected=True, connected=True, allowGuestControl=True)
    card = vim.vm.device.VirtualVmxnet3(
        key=-(201 + index), backing=backing, connectable=connectable, addressType="assigned"
    )
    return _device("add", card)


def _disk_changes(wish: VmWish, changes: list[Change], actual: VmActual) -> list[Any]:
    changed = {change.what.removeprefix("disks.") for change in changes if change.what.startswith("disks.")}
    controller_key = actual.controller_keys.get(DATA_BUS)
    devices: list[Any] = []
    if any(change.what == "data_controller" for change in changes):
        devices = _controller_changes(wish, actual)
        controller_key = NEW_CONTROLLER_KEY
    moved = {change.device.key for change in devices}
    for index, disk in enumerate(wish.disks):
        if disk.name in changed:
            change = _disk_change(index, disk, actual, controller_key)
            if change.device.key not in moved:  # a disk that grows as it moves is one edit, which has the new size now
                devices.append(change)
    return devices


def _controller_changes(wish: VmWish, actual: VmActual) -> list[Any]:
    """A controller for the data disks, in place of the one that has their bus, if any.

    A type is no setting: the old device goes, a new one comes on the same bus, and each device of the old one is edited
    onto the new one's key, with its unit, file and UUID, all in one spec. terraform-provider-vsphere does it like that
    (swapSCSIDevice). What PowerCLI's Set-ScsiController and the vSphere Client send is not published; from memory it is
    the same.
    """
    old = actual.devices.get(actual.controller_keys.get(DATA_BUS, 0))
    sharing = old.sharedBus if old else vim.vm.device.VirtualSCSIController.Sharing.noSharing
    kind = getattr(vim.vm.device, TYPES[wish.tweaks.data_controller])
    new = _device("add", kind(key=NEW_CONTROLLER_KEY, busNumber=DATA_BUS, sharedBus=sharing))
    if old is None:
        return [new]
    # The placeholder too: a spec that failed may be made again from what was read once.
    keys = (old.key, NEW_CONTROLLER_KEY)
    moved = [device for device in actual.devices.values() if device.controllerKey in keys]
    for device in moved:
        device.controllerKey = NEW_CONTROLLER_KEY
    return [_device("remove", old), new, *(_device("edit", device) for device in moved)]


def _disk_change(index: int, disk: Disk, actual: VmActual, controller_key: int | None) -> Any:
    existing = actual.data_disk(index)
    if existing:
        device = actual.devices[existing.key]
        device.capacityInKB = disk.size_gb * KB_PER_GB
        device.capacityInBytes = None  # the old size beside the new one would contradict it
        return _device("edit", device)
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        diskMode="persistent",
        thinProvisioned=disk.provisioning == "thin",
        eagerlyScrub=disk.provisioning == "eager_zeroed",
    )
    device = vim.vm.device.VirtualDisk(
        key=-(301 + index),
        controllerKey=controller_key,
        unitNumber=disk_unit(index),
        capacityInKB=disk.size_gb * KB_PER_GB,
        backing=backing,
    )
    return _device("add", device, "create")
