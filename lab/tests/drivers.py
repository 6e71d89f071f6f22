# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest drivers as the conformance suite drives them: in this process, without daemon and vCenter."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lab import disk_image
from lab.guests.base import POWERED_ON, Ability, Disk, Driver, Emit, GuestState, Vm
from lab.guests.qemu import QemuDriver
from lab.paths import Paths
from lab.tests import helpers

T = TypeVar("T")
DISK = Disk(2000, 0, "pvscsi", 40 << 20, "6000c29a-0000-4000-8000-000000000001", 1000, 0, True)
DATA_DISK = Disk(2001, 1, "pvscsi", 1 << 20, "6000c29b-0123-4567-89ab-cdef01234567", 1000, 0)
EVENT_SECONDS = 120.0
SSH_OPTIONS = (
    "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
    "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20",
)  # fmt: skip


class Bench:
    """One driver with the event loop that it lives in; the loop only runs while one of the methods waits."""

    def __init__(self, make: Callable[[Emit], Driver], key: Path, seconds: float = EVENT_SECONDS) -> None:
        self._runner = asyncio.Runner()
        self.key = key
        self.seconds = seconds
        self.events: list[tuple[str, GuestState]] = []
        self.driver = self.run(self._make(make))

    async def _make(self, make: Callable[[Emit], Driver]) -> Driver:
        return make(lambda moid, state: self.events.append((moid, state)))

    def can(self, ability: Ability) -> bool:
        return ability in self.driver.abilities

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def do(self, operation: str, vm: Vm, **arguments: Any) -> None:
        self.run(getattr(self.driver, operation)(vm, **arguments))

    def vm(self, number: int, **more: Any) -> Vm:
        """A small VM with an identity of its own."""
        public = self.key.with_suffix(".pub").read_text().strip()
        vm = Vm.from_json(helpers.vm(number, public, cpus=2, memory_mb=1024, firmware="bios"))
        disk = replace(DISK, uuid=f"{DISK.uuid[:-2]}{number:02x}")
        return replace(vm, **{"disks": (disk,), "cores_per_socket": 2, "enable_uuid": True, **more})

    def event(self, vm: Vm, seconds: float | None = None, **wanted: Any) -> GuestState:
        """The first one with these values, seen or still to come; takes it out, and what the guest said before."""

        async def wait() -> GuestState:
            deadline = time.monotonic() + (seconds or self.seconds)
            while True:
                for index, (moid, state) in enumerate(self.events):
                    if moid == vm.moid and all(getattr(state, name) == value for name, value in wanted.items()):
                        self.events = [e for i, e in enumerate(self.events) if i > index or e[0] != vm.moid]
                        return state
                assert time.monotonic() < deadline, f"no event for {vm.moid} with {wanted}; had {self.events}"
                await asyncio.sleep(0.02)

        return self.run(wait())

    def forget_events(self) -> None:
        self.run(asyncio.sleep(0))
        self.events.clear()

    def start(self, vm: Vm) -> GuestState:
        self.do("power_on", vm)
        return self.event(vm, power=POWERED_ON, tools_running=True, hostname=vm.name)

    def close(self) -> None:
        self.run(self.driver.close())
        self._runner.close()


class RealBench(Bench):
    """For drivers whose guests one can log in to."""

    def ssh(self, vm: Vm) -> list[str]:
        ports = getattr(self.driver, "ports", {})
        return [
            "ssh", "-i", str(self.key), "-p", str(ports.get(22, 22)), *SSH_OPTIONS, f"tester@{self.address(vm)}", "--"
        ]  # fmt: skip

    def address(self, vm: Vm) -> str:
        guest = self.driver.guests[vm.moid]  # type: ignore[attr-defined]
        return str(getattr(guest, "address", "") or guest.record.address)

    def shell(self, vm: Vm, command: str, seconds: float = 60) -> str:
        """What root gets to see; waits for sshd, which may come up after the first facts."""

        async def wait() -> str:
            deadline = time.monotonic() + seconds
            while True:
                process = await asyncio.create_subprocess_exec(
                    *self.ssh(vm), "sudo", "sh", "-c", f"'{command}'",
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )  # fmt: skip
                out, errors = await process.communicate()
                if process.returncode == 0:
                    return out.decode().strip()
                assert process.returncode == 255, f"{command}: {process.returncode} {errors.decode()}"
                assert time.monotonic() < deadline, f"{vm.name}: no login within {seconds} s: {errors.decode()}"
                await asyncio.sleep(0.2)

        return self.run(wait())


def make_key(folder: Path) -> Path:
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return key


def lab_id_of(folder: Path) -> str:
    """One that no other lab on this machine has."""
    return hashlib.sha256(f"{os.getpid()} {folder}".encode()).hexdigest()[:8]


def qemu_driver(emit: Any, folder: Path) -> QemuDriver:
    return QemuDriver(emit, machine_image(), folder / "guests", folder / "run", lab_id_of(folder))


def machine_image() -> Path:
    """That of the checkout, which `lab up` would build."""
    paths = Paths.of_checkout()
    if not disk_image.path(paths).exists():
        disk_image.build(paths)
    return disk_image.path(paths)


def process_of(bench: Bench, vm: Vm) -> int:
    guest = bench.driver.guests[vm.moid]  # type: ignore[attr-defined]
    machine = getattr(guest, "machine", None)
    return int(machine.pid if machine else getattr(guest, "pid", 0))


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and bool(Path(f"/proc/{pid}/cmdline").read_bytes())


def until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.2)


def assert_whole(folder: Path) -> None:
    for file in folder.glob("*.qcow2"):
        subprocess.run(["qemu-img", "check", "-q", str(file)], check=True)
