# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that are only book-keeping: for tests, and for `lab up --guests fake` where no real ones can run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from lab.guests.base import POWERED_OFF, POWERED_ON, SUSPENDED, Driver, Emit, GuestError, GuestState, Vm
from lab.guests.seed import make_seed


@dataclass
class FakeGuest:
    address: str
    power: str = POWERED_OFF
    hostname: str | None = None


class FakeDriver(Driver):
    """Addresses come from 198.18.0.0/15, which no real network uses. `fail` maps an operation to the error that it
    raises; `seconds` is what each operation takes; `calls` records (operation, moid) at its start and its end,
    `arguments` what came with the operations that take some."""

    def __init__(self, emit: Emit, seconds: float = 0.0, fail: dict[str, str] | None = None) -> None:
        super().__init__(emit)
        self.seconds = seconds
        self.fail = fail or {}
        self.guests: dict[str, FakeGuest] = {}
        self.calls: list[tuple[str, str]] = []
        self.arguments: list[tuple[str | bool, ...]] = []
        self._given = 0

    async def power_on(self, vm: Vm) -> None:
        guest = await self._do("power_on", vm)
        guest.hostname = make_seed(vm).hostname
        self._set(vm, POWERED_ON)

    async def power_off(self, vm: Vm) -> None:
        await self._do("power_off", vm)
        self._set(vm, POWERED_OFF)

    async def shutdown(self, vm: Vm) -> None:
        await self._do("shutdown", vm)
        self._set(vm, POWERED_OFF)

    async def reboot(self, vm: Vm) -> None:
        await self._do("reboot", vm)
        self._set(vm, POWERED_ON)

    async def reset(self, vm: Vm) -> None:
        await self._do("reset", vm)
        self._set(vm, POWERED_ON)

    async def suspend(self, vm: Vm) -> None:
        await self._do("suspend", vm)
        self._set(vm, SUSPENDED)

    async def resume(self, vm: Vm) -> None:
        await self._do("resume", vm)
        self._set(vm, POWERED_ON)

    async def reconfigure(self, vm: Vm) -> None:
        await self._do("reconfigure", vm)

    async def destroy(self, vm: Vm) -> None:
        await self._do("destroy", vm)
        self.guests.pop(vm.moid, None)

    async def clone(self, vm: Vm, source: str, linked: bool, snapshot: str) -> None:
        await self._do("clone", vm, source, linked, snapshot)

    async def snapshot(self, vm: Vm, snapshot: str, memory: bool) -> None:
        await self._do("snapshot", vm, snapshot, memory)

    async def revert(self, vm: Vm, snapshot: str, power: str) -> None:
        guest = await self._do("revert", vm, snapshot, power)
        if power == POWERED_ON and guest.power == POWERED_OFF:
            guest.hostname = make_seed(vm).hostname
        self._set(vm, power)

    async def remove_snapshot(self, vm: Vm, snapshot: str) -> None:
        await self._do("remove_snapshot", vm, snapshot)

    async def close(self) -> None:
        return

    async def _do(self, operation: str, vm: Vm, *arguments: str | bool) -> FakeGuest:
        if arguments:
            self.arguments.append((operation, *arguments))
        self.calls.append((f"{operation} begins", vm.moid))
        await asyncio.sleep(self.seconds)
        self.calls.append((f"{operation} ends", vm.moid))
        if operation in self.fail:
            raise GuestError(self.fail[operation])
        if vm.moid not in self.guests:
            self._given += 1
            high, low = divmod(self._given, 250)
            self.guests[vm.moid] = FakeGuest(f"198.18.{high}.{low + 1}")
        return self.guests[vm.moid]

    def _set(self, vm: Vm, power: str) -> None:
        guest = self.guests[vm.moid]
        guest.power = power
        running = power == POWERED_ON
        addresses = (guest.address,) if running else ()
        self.emit(vm.moid, GuestState(power, running, guest.hostname if running else None, addresses, vm.mac or None))
