# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots and copies of guests, running ones too."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lab.guests.base import GuestError, Vm
from lab.guests.qemu_disks import Disks
from lab.guests.qemu_machine import disk_id
from lab.guests.qemu_process import Machine
from lab.guests.qemu_record import Record

COPY_SECONDS = 600.0


def _nodes(vm: Vm) -> list[str]:
    return [*map(disk_id, vm.disks), *(["variables"] if vm.firmware == "efi" else [])]


async def snapshot_running(machine: Machine, name: str, state: Path | None) -> None:
    """All disks at one instant, and with `state` the running state of the same instant; the guest stands still
    meanwhile."""
    nodes = _nodes(machine.hardware.vm)
    take = [{"type": "blockdev-snapshot-internal-sync", "data": {"device": node, "name": name}} for node in nodes]
    await machine.do("stop")
    try:
        if take:
            await machine.do("transaction", {"actions": take})
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
            try:
                await machine.save(state)
            except GuestError:
                state.parent.rmdir()
                await _remove_running(machine, nodes, name)
                raise
    finally:
        await machine.do("cont")


async def _remove_running(machine: Machine, nodes: list[str], name: str) -> None:
    for node in nodes:
        await machine.do("blockdev-snapshot-delete-internal-sync", {"device": node, "name": name})


async def remove_snapshot(machine: Machine | None, disks: Disks, vm: Vm, name: str) -> None:
    """`vm` is the one of the snapshot: some of its disks may not be part of the running guest any more."""
    in_use: dict[Path, str] = {}
    if machine is not None:
        has = machine.hardware.vm
        in_use = {disks.file(disk): disk_id(disk) for disk in has.disks}
        in_use |= {disks.variables: "variables"} if has.firmware == "efi" else {}
        nodes = [node for file, node in in_use.items() if file in disks.kept(vm)]
        await _remove_running(machine, nodes, name)
    await disks.remove_snapshot(vm, name, in_use)


async def copy(record: Record, source: Disks, machine: Machine | None, target: Disks, vm: Vm, snapshot: str) -> None:
    """Gives the VM's disks the contents of those of the source with the same keys; `machine` is the source's run."""
    if snapshot:
        kept = record.snapshots.get(snapshot)
        if kept is None:
            raise GuestError(f"{record.vm.name}: its disks hold no snapshot {snapshot}")
        await target.copy_from(source.files(kept.hardware.vm), vm, snapshot)
    elif machine is None:
        await target.copy_from(source.files(record.vm), vm, "")
    else:
        await _copy_running(machine, target, vm)


async def _copy_running(machine: Machine, target: Disks, vm: Vm) -> None:
    """All disks as they are at one instant, while the guest goes on."""
    target.folder.mkdir(parents=True, exist_ok=True)
    keys = {disk.key for disk in machine.hardware.vm.disks}
    files = {f"copy-{disk.key}": (disk_id(disk), target.file(disk)) for disk in vm.disks if disk.key in keys}
    jobs = [
        {
            "job-id": job, "device": node, "target": str(_temporary(file)), "format": "qcow2", "sync": "top",
            "auto-dismiss": False,
        }
        for job, (node, file) in files.items()
    ]  # fmt: skip
    if jobs:
        await machine.do("transaction", {"actions": [{"type": "drive-backup", "data": job} for job in jobs]})
    for job, (_, file) in files.items():
        await _until_done(machine, job)
        _temporary(file).replace(file)


def _temporary(file: Path) -> Path:
    return file.with_name(f".{file.name}.new")


async def _until_done(machine: Machine, job: str) -> None:
    async with asyncio.timeout(COPY_SECONDS):
        while True:
            (row,) = [row for row in await machine.do("query-jobs") if row["id"] == job]
            if row["status"] == "concluded":
                await machine.do("job-dismiss", {"id": job})
                if "error" in row:
                    raise GuestError(f"{machine.name}: its disk could not be copied: {row['error']}")
                return
            await asyncio.sleep(0.05)
