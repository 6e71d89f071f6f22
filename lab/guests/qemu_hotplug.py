# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running guest takes over of a changed VM: disks that grow, come and go, and network cards that come and go.

CPUs, memory, and devices on buses that cannot do it count from the next power-on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import replace

from lab.guests.base import Disk, GuestError, Nic, Vm
from lab.guests.qemu_disks import Disks
from lab.guests.qemu_machine import (
    CONTROLLERS,
    controller_device,
    controller_id,
    disk_device,
    disk_id,
    disk_node,
    firmware_disk,
    nic_device,
    nic_id,
    nic_network,
)
from lab.guests.qemu_process import Machine

UNPLUG_SECONDS = 20.0  # a guest has to let go of a PCI device
log = logging.getLogger("lab.qemu")


async def apply(machine: Machine, vm: Vm, disks: Disks, forwards: Iterable[tuple[str, int, int]]) -> None:
    """Raises GuestError when the guest does not let go of a device; what was done until then stays so."""
    old = {disk.key: disk for disk in machine.hardware.vm.disks}
    for disk in old.values():
        if not any(_is_same(disk, other) for other in vm.disks) and _is_hot(disk):
            await _unplug_disk(machine, disk)
    for disk in vm.disks:
        before = next((other for other in old.values() if _is_same(disk, other)), None)
        if before is None and _is_hot(disk) and disk.key not in {d.key for d in machine.hardware.vm.disks}:
            await _plug_disk(machine, vm, disk, disks)
        elif before is not None and disk.size_kb > before.size_kb:
            await _grow(machine, disk)
    await _nics(machine, vm, forwards)


def _is_same(disk: Disk, other: Disk) -> bool:
    return (disk.key, disk.uuid) == (other.key, other.uuid)


def _is_hot(disk: Disk) -> bool:
    hot = CONTROLLERS[disk.controller].hotplug if disk.controller in CONTROLLERS else False
    if not hot:
        log.info("disk %d on %s: counts from the next power-on", disk.key, disk.controller)
    return hot


async def _grow(machine: Machine, disk: Disk) -> None:
    await machine.do("block_resize", {"node-name": disk_id(disk), "size": disk.size_kb * 1024})
    # Only the size: a disk that also moves to another controller does so at the next power-on.
    grown = [
        replace(other, size_kb=disk.size_kb) if other.key == disk.key else other for other in machine.hardware.vm.disks
    ]
    _now_has(machine, disks=tuple(grown))


async def _plug_disk(machine: Machine, vm: Vm, disk: Disk, disks: Disks) -> None:
    has = machine.hardware.vm
    hardware = machine.hardware.with_devices_of(replace(has, disks=(*has.disks, disk)))
    await disks.ensure_one(disk)
    name = controller_id(disk)
    if name not in machine.hardware.slots:
        await machine.do("device_add", controller_device(name, hardware.slots[name]))
    await machine.do("blockdev-add", disk_node(disk_id(disk), disks.file(disk)))
    device = disk_device(replace(vm, disks=hardware.vm.disks, enable_uuid=has.enable_uuid), disk)
    device.pop("bootindex", None)  # counts at the next boot, and the number may be another disk's now
    await machine.do("device_add", device)
    machine.hardware = hardware


async def _unplug_disk(machine: Machine, disk: Disk) -> None:
    if disk == firmware_disk(machine.hardware.vm):
        await _unplug(machine, "dev-firmware")
    await _unplug(machine, f"dev-{disk_id(disk)}")
    await _release(machine, disk_id(disk))
    _now_has(machine, disks=tuple(other for other in machine.hardware.vm.disks if other.key != disk.key))


async def _nics(machine: Machine, vm: Vm, forwards: Iterable[tuple[str, int, int]]) -> None:
    wanted, has = {nic.key for nic in vm.nics}, machine.hardware.vm.nics
    for nic in has:
        if nic.key not in wanted:
            await _unplug_nic(machine, nic)
    present = {nic.key for nic in machine.hardware.vm.nics}
    for nic in vm.nics:
        if nic.key not in present:
            await _plug_nic(machine, nic, forwards)


async def _plug_nic(machine: Machine, nic: Nic, forwards: Iterable[tuple[str, int, int]]) -> None:
    has = machine.hardware.vm
    hardware = machine.hardware.with_devices_of(replace(has, nics=(*has.nics, nic)))
    await machine.do("netdev_add", nic_network(hardware.vm, nic, forwards))
    await machine.do("device_add", nic_device(nic, hardware.slots[nic_id(nic)]))
    machine.hardware = hardware


async def _unplug_nic(machine: Machine, nic: Nic) -> None:
    await _unplug(machine, nic_id(nic))
    await machine.do("netdev_del", {"id": f"net-{nic.key}"})
    _now_has(machine, nics=tuple(other for other in machine.hardware.vm.nics if other.key != nic.key))


async def _unplug(machine: Machine, device: str) -> None:
    await machine.do("device_del", {"id": device})
    try:
        async with asyncio.timeout(UNPLUG_SECONDS):
            while any(row["name"] == device for row in await machine.do("qom-list", {"path": "/machine/peripheral"})):
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise GuestError(
            f"{machine.name}: the guest did not let go of {device} within {UNPLUG_SECONDS:.0f} s"
        ) from error


async def _release(machine: Machine, node: str) -> None:
    """What the guest still reads of a disk that is gone keeps it in use for a moment."""
    deadline = time.monotonic() + UNPLUG_SECONDS
    while True:
        try:
            await machine.do("blockdev-del", {"node-name": node})
        except GuestError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


def _now_has(machine: Machine, disks: tuple[Disk, ...] | None = None, nics: tuple[Nic, ...] | None = None) -> None:
    vm = machine.hardware.vm
    vm = replace(vm, disks=vm.disks if disks is None else disks, nics=vm.nics if nics is None else nics)
    machine.hardware = machine.hardware.with_devices_of(vm)
