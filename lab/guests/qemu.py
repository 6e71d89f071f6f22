# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests as QEMU machines whose hardware is what the vCenter says, without root."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from lab.guests import qemu_copies, qemu_hotplug
from lab.guests.base import POWERED_OFF, POWERED_ON, SUSPENDED, Ability, Driver, Emit, GuestError, GuestState, Vm
from lab.guests.qemu_disks import Disks
from lab.guests.qemu_machine import Hardware, Places
from lab.guests.qemu_memory import check_room
from lab.guests.qemu_network import PORTS, choose_address, host_ports, network_of
from lab.guests.qemu_process import Machine
from lab.guests.qemu_record import Record, Snapshot
from lab.guests.qemu_watch import Watch
from lab.guests.seed import make_seed
from lab.state import write_json

STATE, SEED, CONSOLE_LOG, ERRORS = "state", "seed", "console.log", "qemu.log"
log = logging.getLogger("lab.qemu")


@dataclass
class Guest:
    """`machine` and `watch` are there while it runs."""

    vm: Vm
    record: Record
    disks: Disks
    power: str = POWERED_OFF
    machine: Machine | None = None
    watch: Watch | None = None
    reported: GuestState | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def folder(self) -> Path:
        return self.disks.folder

    @property
    def state(self) -> Path:
        return self.folder / STATE

    def snapshot_state(self, snapshot: str) -> Path:
        return self.folder / "snapshots" / snapshot / STATE

    def save(self) -> None:
        self.record.save(self.folder)


class QemuDriver(Driver):
    """`image` is what new system disks begin as, `folder` gets one sub-folder per guest by its instance UUID, `run` is
    a short path for sockets, `ports` are forwarded to each guest's address."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(Ability)

    def __init__(
        self,
        emit: Emit,
        image: Path,
        folder: Path,
        run: Path,
        lab_id: str,
        ports: tuple[int, ...] = PORTS,
        kvm: bool = False,
    ) -> None:
        super().__init__(emit)
        self.image, self.folder, self.run = image, folder, run
        self.kvm = kvm
        self.label = f"nblab-{lab_id}"
        self.network = network_of(lab_id)
        self.ports = host_ports(ports, self.network)
        self.guests: dict[str, Guest] = {}
        self._given = 0
        run.mkdir(parents=True, exist_ok=True, mode=0o700)

    # ------------------------------------------------------------------ power

    async def power_on(self, vm: Vm) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            guest.vm = vm
            if guest.power == SUSPENDED:
                await self._resume(guest)
            elif guest.power == POWERED_OFF:
                await self._boot(guest)

    async def power_off(self, vm: Vm) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            await self._end(guest)
            self._drop_state(guest)
            self._report(guest, GuestState(POWERED_OFF))

    async def shutdown(self, vm: Vm) -> None:
        machine, watch = self._running(vm)
        if not await watch.ask("powerdown"):
            await machine.do("system_powerdown")

    async def reboot(self, vm: Vm) -> None:
        machine, watch = self._running(vm)
        if not await watch.ask("reboot"):
            # ACPI knows no request to reboot; every init takes this one for it.
            keys = [{"type": "qcode", "data": key} for key in ("ctrl", "alt", "delete")]
            await machine.do("send-key", {"keys": keys})

    async def reset(self, vm: Vm) -> None:
        machine, _ = self._running(vm)
        await machine.do("system_reset")

    async def suspend(self, vm: Vm) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            machine, _ = self._running(vm)
            began = time.monotonic()
            await machine.do("stop")
            try:
                await machine.save(guest.state)
            except GuestError:
                await machine.do("cont")
                raise
            await self._end(guest)
            guest.record.suspended = machine.hardware
            guest.save()
            guest.power = SUSPENDED
            log.info("%s: suspended in %.1f s", vm.name, time.monotonic() - began)
            self._report(guest, GuestState(SUSPENDED, tools_running=False))

    async def resume(self, vm: Vm) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            guest.vm = vm
            await self._resume(guest)

    async def reconfigure(self, vm: Vm) -> None:
        guest = self._known(vm)
        if guest is None:
            return
        async with guest.lock:
            guest.vm = guest.record.vm = vm
            if guest.machine is not None:
                await qemu_hotplug.apply(guest.machine, vm, guest.disks, self._forwards(guest))
            if guest.watch is not None:
                guest.watch.port.give(vm.guestinfo)
            self._save_and_tidy(guest)

    async def destroy(self, vm: Vm) -> None:
        guest = self._known(vm)
        if guest is None:
            return
        async with guest.lock:
            await self._end(guest)
            self.guests.pop(vm.moid, None)
            self._console(guest).unlink(missing_ok=True)
            guest.disks.remove()

    async def close(self) -> None:
        """Guests end with the lab; their disks stay."""
        await asyncio.gather(*(self._end(guest) for guest in self.guests.values()))

    # ------------------------------------------------------------------ snapshots and clones

    async def clone(self, vm: Vm, source: str, linked: bool, snapshot: str) -> None:
        """A linked clone gets a copy too: only what its source has beyond the image."""
        del linked
        folder = self.folder / source
        original = next((other for other in self.guests.values() if other.folder == folder), None)
        record = original.record if original else Record.load(folder)
        if record is None:
            return
        guest = self._guest(vm)
        async with guest.lock, original.lock if original else contextlib.nullcontext():
            machine = original.machine if original else None
            await qemu_copies.copy(record, Disks(folder, self.image), machine, guest.disks, vm, snapshot)
            guest.save()

    async def snapshot(self, vm: Vm, snapshot: str, memory: bool) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            guest.vm = guest.record.vm = vm
            state = guest.snapshot_state(snapshot)
            if guest.machine is not None:
                hardware = guest.machine.hardware
                await qemu_copies.snapshot_running(guest.machine, snapshot, state if memory else None)
            else:
                hardware = guest.record.suspended or Hardware.of(vm, guest.record.slots)
                await guest.disks.ensure(hardware.vm)
                await guest.disks.snapshot(hardware.vm, snapshot)
                memory = guest.record.suspended is not None
                if memory:
                    _link(guest.state, state)
            guest.record.snapshots[snapshot] = Snapshot(hardware, memory)
            guest.save()

    async def revert(self, vm: Vm, snapshot: str, power: str) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            kept = guest.record.snapshots.get(snapshot)
            if kept is None:
                raise GuestError(f"{vm.name}: its disks hold no snapshot {snapshot}")
            if power != POWERED_OFF and not kept.memory:
                raise GuestError(f"{vm.name}: the running state is not part of snapshot {snapshot}")
            await self._end(guest)
            self._drop_state(guest)
            guest.vm = guest.record.vm = vm
            await guest.disks.revert(kept.hardware.vm, snapshot)
            guest.record.slots = dict(kept.hardware.slots)
            if power != POWERED_OFF:
                _link(guest.snapshot_state(snapshot), guest.state)
                guest.record.suspended, guest.power = kept.hardware, SUSPENDED
            self._save_and_tidy(guest)
            if power == POWERED_ON:
                await self._resume(guest)
            else:
                self._report(guest, GuestState(power, tools_running=False if power == SUSPENDED else None))

    async def remove_snapshot(self, vm: Vm, snapshot: str) -> None:
        guest = self._known(vm)
        kept = guest.record.snapshots.get(snapshot) if guest else None
        if guest is None or kept is None:
            return
        async with guest.lock:
            await qemu_copies.remove_snapshot(guest.machine, guest.disks, kept.hardware.vm, snapshot)
            shutil.rmtree(guest.snapshot_state(snapshot).parent, ignore_errors=True)
            del guest.record.snapshots[snapshot]
            self._save_and_tidy(guest)

    # ------------------------------------------------------------------ one guest

    def _known(self, vm: Vm) -> Guest | None:
        """A guest of this lab or of one before it; None for a VM that never had one."""
        if vm.moid in self.guests:
            return self.guests[vm.moid]
        folder = self.folder / (vm.instance_uuid or vm.moid)
        record = Record.load(folder)
        if record is None:
            return None
        power = SUSPENDED if record.suspended else POWERED_OFF
        guest = self.guests[vm.moid] = Guest(vm, record, Disks(folder, self.image), power)
        return guest

    def _guest(self, vm: Vm) -> Guest:
        guest = self._known(vm)
        if guest is None:
            folder = self.folder / (vm.instance_uuid or vm.moid)
            in_use = {other.record.address for other in self.guests.values()} | {
                record.address for path in self.folder.glob("*/") if (record := Record.load(path))
            }
            address = choose_address(self.network, in_use, self.ports, self._given)
            self._given += 1
            guest = self.guests[vm.moid] = Guest(vm, Record(vm, address), Disks(folder, self.image))
        return guest

    def _running(self, vm: Vm) -> tuple[Machine, Watch]:
        guest = self._known(vm)
        if guest is None or guest.machine is None or guest.watch is None:
            found = guest.power if guest else "never powered on in this lab"
            raise GuestError(f"{vm.name} is {found}; only a running guest can be asked")
        return guest.machine, guest.watch

    async def _boot(self, guest: Guest) -> None:
        vm = guest.vm
        check_room(vm)
        hardware = Hardware.of(vm, guest.record.slots)
        await guest.disks.ensure(vm)
        if guest.record.running:  # a lab that was killed left it so
            await guest.disks.repair()
        guest.record.vm, guest.record.slots = vm, dict(hardware.slots)
        self._save_and_tidy(guest)
        (guest.folder / CONSOLE_LOG).unlink(missing_ok=True)
        await self._start(guest, hardware, None)

    async def _resume(self, guest: Guest) -> None:
        hardware = guest.record.suspended
        if hardware is None:
            return
        check_room(hardware.vm)
        await self._start(guest, hardware, guest.state)

    async def _start(self, guest: Guest, hardware: Hardware, incoming: Path | None) -> None:
        began = time.monotonic()
        seed = make_seed(hardware.vm)
        for remark in seed.remarks:
            log.info("%s: %s", guest.vm.name, remark)
        if seed.files:
            seed.write(guest.folder / SEED)
        places = Places(
            guest.disks.files(hardware.vm), guest.disks.variables, guest.folder / SEED if seed.files else None,
            self._console(guest), guest.folder / CONSOLE_LOG, self._forwards(guest),
        )  # fmt: skip
        machine = Machine(guest.vm.name, hardware)
        channels = await machine.start(places, self.kvm, self.label, guest.folder / ERRORS, incoming)
        guest.machine, guest.power, guest.record.running = machine, POWERED_ON, True
        self._drop_state(guest)  # it does not fit the disks any more once the guest has gone on
        guest.save()
        guest.watch = Watch(
            machine, channels, guest.record.address, seed.hostname, guest.folder / CONSOLE_LOG, bool(incoming),
            lambda state: self._report(guest, state), lambda ended: self._on_end(guest, ended),
        )  # fmt: skip
        try:
            await machine.do("cont")
        except GuestError:
            await self._end(guest)
            raise
        log.info("%s: runs after %.2f s, pid %d", guest.vm.name, time.monotonic() - began, machine.pid)

    async def _end(self, guest: Guest) -> None:
        """Ends the present run, if there is one; the caller reports."""
        machine, guest.machine = guest.machine, None
        if guest.watch is not None:
            guest.watch.stop()
            guest.watch = None
        if machine is not None:
            await machine.quit()
            guest.power = POWERED_OFF
            guest.record.running = False
            guest.save()

    async def _on_end(self, guest: Guest, machine: Machine) -> None:
        async with guest.lock:
            if guest.machine is not machine:
                return  # one of our own operations ended it
            status = await machine.wait()
            log.info("%s: has ended with %d", guest.vm.name, status)
            await self._end(guest)
            self._report(guest, GuestState(POWERED_OFF))

    def _drop_state(self, guest: Guest) -> None:
        if guest.record.suspended is not None:
            guest.record.suspended = None
            guest.save()
            guest.state.unlink(missing_ok=True)
        if guest.machine is None:
            guest.power = POWERED_OFF

    def _save_and_tidy(self, guest: Guest) -> None:
        """Disks that neither the VM nor one of its snapshots has are gone for good."""
        guest.save()
        owners = [guest.vm, *(kept.hardware.vm for kept in guest.record.snapshots.values())]
        if guest.machine is not None:
            owners.append(guest.machine.hardware.vm)
        if guest.record.suspended is not None:
            owners.append(guest.record.suspended.vm)
        guest.disks.remove_others(file.name for vm in owners for file in guest.disks.files(vm).values())

    def _report(self, guest: Guest, state: GuestState) -> None:
        if state == guest.reported:
            return
        guest.reported = state
        record = {
            "driver": "qemu", "name": guest.vm.name, "moid": guest.vm.moid,
            "pid": guest.machine.pid if guest.machine else 0, "ports": self.ports,
            "console": str(self._console(guest)), "console_log": str(guest.folder / CONSOLE_LOG), **asdict(state),
        }  # fmt: skip
        write_json(guest.folder / "guest.json", record)
        self.emit(guest.vm.moid, state)

    def _console(self, guest: Guest) -> Path:
        return self.run / f"{guest.record.address.rsplit('.', 1)[1]}.console"

    def _forwards(self, guest: Guest) -> tuple[tuple[str, int, int], ...]:
        return tuple((guest.record.address, here, there) for there, here in self.ports.items())


def _link(source: Path, target: Path) -> None:
    """A saved state is never changed, so two names may have the same one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    os.link(source, target)
