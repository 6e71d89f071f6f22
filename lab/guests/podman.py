# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests as podman containers with their own systemd, sshd and cloud-init: a second from power-on to login."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import shutil
import signal
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab import inotify
from lab.guests import facts
from lab.guests.base import POWERED_OFF, POWERED_ON, SUSPENDED, Driver, Emit, GuestError, GuestState, Vm
from lab.guests.podman_cli import LAB_LABEL, MOID_LABEL, Podman, PodmanError
from lab.guests.seed import make_seed
from lab.state import write_json

INIT_SECONDS = 20.0  # until systemd takes requests; 0.2 s when the machine is idle
FACTS_SECONDS = 60.0  # how long a first report waits for cloud-init's host name
FAST_POLL, SLOW_POLL = 0.1, 3.0  # seconds between looks at a guest that boots, that has reported
REBOOT_STATUS = 128 + signal.SIGHUP  # reboot(2) in a PID namespace ends its init with SIGHUP, poweroff with SIGINT
SYSTEMD_POWEROFF, SYSTEMD_REBOOT = signal.SIGRTMIN + 4, signal.SIGRTMIN + 5
PODMAN_AT_ONCE = 4
PAUSE_ATTEMPTS = 8
SHARE = "/srv/nano-banana-share-source"  # in the guest; its users write there, whatever their ids
MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")
log = logging.getLogger("lab.podman")


@dataclass
class Guest:
    vm: Vm
    container: str
    address: str
    created_mb: int  # memory limit that the container was made with
    memory_mb: int = 0  # memory limit now
    created: bool = False
    pid: int = 0  # of the guest's init; 0 while it is off
    power: str = POWERED_OFF
    hostname: str | None = None  # what cloud-init will set
    reported: GuestState | None = None
    watch: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class PodmanDriver(Driver):
    """`subnet` is that of the lab's network, `folder` gets one sub-folder per guest, `cap_mb` is the most memory that
    one guest may take of this machine, whatever its VM asks for, `share` is a folder that all guests see."""

    def __init__(
        self, emit: Emit, podman: Podman, image: str, subnet: str, folder: Path, cap_mb: int, share: Path
    ) -> None:
        super().__init__(emit)
        self.podman = podman
        self.image = image
        self.folder = folder
        self.cap_mb = cap_mb
        self.share = share
        self.guests: dict[str, Guest] = {}
        self._addresses = deque(list(ipaddress.IPv4Network(subnet).hosts())[1:])  # the first is the gateway
        self._exits: set[asyncio.Task[None]] = set()
        self._at_once = asyncio.Semaphore(PODMAN_AT_ONCE)

    async def power_on(self, vm: Vm) -> None:
        guest = self.guests.get(vm.moid) or self._new_guest(vm)
        async with guest.lock:
            guest.vm = vm
            if guest.power == SUSPENDED:
                await self._resume(guest)
            elif guest.power == POWERED_OFF:
                seed = make_seed(vm)
                for remark in seed.remarks:
                    log.info("%s: %s", guest.container, remark)
                seed.write(self._folder_of(vm) / "seed")
                guest.hostname = seed.hostname
                if not guest.created:
                    await self._podman(*self._create_arguments(guest))
                    guest.created = True
                await self._start(guest)

    async def power_off(self, vm: Vm) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            await self._stop(guest)
            self._report(guest, GuestState(POWERED_OFF))

    async def shutdown(self, vm: Vm) -> None:
        self._signal(self._guest(vm), SYSTEMD_POWEROFF)

    async def reboot(self, vm: Vm) -> None:
        self._signal(self._guest(vm), SYSTEMD_REBOOT)

    async def reset(self, vm: Vm) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            await self._stop(guest)
            await self._start(guest)

    async def suspend(self, vm: Vm) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            if guest.power != POWERED_ON:
                raise GuestError(f"{vm.name} is {guest.power}; only a running guest can be suspended")
            await self._pause(guest)
            self._stop_watch(guest)
            guest.power = SUSPENDED
            self._report(guest, GuestState(SUSPENDED, tools_running=False))

    async def resume(self, vm: Vm) -> None:
        guest = self._guest(vm)
        async with guest.lock:
            await self._resume(guest)

    async def reconfigure(self, vm: Vm) -> None:
        guest = self.guests.get(vm.moid)
        if guest is None:
            return
        async with guest.lock:
            guest.vm = vm
            if guest.power == POWERED_ON:
                await self._set_memory(guest)

    async def destroy(self, vm: Vm) -> None:
        guest = self.guests.pop(vm.moid, None)
        if guest is None:
            return
        async with guest.lock:
            await self._stop(guest)
            if guest.created:
                await self._podman("rm", "--force", "--time", "0", guest.container)
            shutil.rmtree(self._folder_of(vm), ignore_errors=True)

    async def revert(self, vm: Vm, snapshot: str, power: str) -> None:
        if power == POWERED_OFF and vm.moid not in self.guests:
            return  # it never ran
        await super().revert(vm, snapshot, power)

    async def close(self) -> None:
        for guest in self.guests.values():
            self._stop_watch(guest)
            guest.pid = 0  # what happens to it from now on is not ours to answer

    # ------------------------------------------------------------------ one guest

    def _new_guest(self, vm: Vm) -> Guest:
        in_use = {guest.address for guest in self.guests.values()}
        if len(in_use) >= len(self._addresses):
            raise GuestError(f"all {len(in_use)} addresses of the lab's network are in use; remove some VMs")
        # Round and round, so that an address rests before its reuse: clients remember host keys.
        while (address := str(self._addresses[0])) in in_use:
            self._addresses.rotate(-1)
        self._addresses.rotate(-1)
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", vm.name)
        container = f"nblab-{self.podman.lab_id}-{plain}"
        if any(guest.container == container for guest in self.guests.values()):
            container += f"-{vm.moid}"
        guest = self.guests[vm.moid] = Guest(vm, container, address, self._memory_of(vm))
        return guest

    async def _set_memory(self, guest: Guest) -> None:
        """podman forgets an update when the container stops: each start begins with the limit of its creation."""
        memory = self._memory_of(guest.vm)
        if memory != guest.memory_mb:
            await self._podman("update", f"--memory={memory}m", f"--memory-swap={memory}m", guest.container)
            guest.memory_mb = memory

    def _create_arguments(self, guest: Guest) -> list[str]:
        folder = self._folder_of(guest.vm)
        memory = guest.created_mb
        self.share.mkdir(parents=True, exist_ok=True)
        self.share.chmod(0o1777)
        arguments = [
            "create", "--quiet", "--name", guest.container,
            "--label", f"{LAB_LABEL}={self.podman.lab_id}", "--label", f"{MOID_LABEL}={guest.vm.moid}",
            "--pidfile", str(folder / "pid"),
            "--hostname", "localhost", "--no-hosts",  # as a template that cloud-init has not named yet
            "--systemd=always", "--privileged",
            "--network", self.podman.network, "--ip", guest.address,
            f"--memory={memory}m", f"--memory-swap={memory}m",
            "--volume", f"{self.share}:{SHARE}",
            "--volume", f"{folder / 'seed'}:/var/lib/cloud/seed/nocloud:ro",
        ]  # fmt: skip
        mac = guest.vm.mac.lower()
        # A container cannot take a multicast address, nor podman what it cannot parse: then podman chooses.
        if MAC.match(mac) and not int(mac[:2], 16) & 1:
            arguments += ["--mac-address", mac]
        return [*arguments, self.image]

    async def _start(self, guest: Guest) -> None:
        began = time.monotonic()
        await self._podman("start", guest.container)
        guest.memory_mb = guest.created_mb
        pid = int((self._folder_of(guest.vm) / "pid").read_text())
        try:
            await self._wait_for_init(guest, pid)
            await self._set_memory(guest)
        except GuestError:
            await self._podman("stop", "--time", "0", guest.container)
            raise
        guest.pid, guest.power = pid, POWERED_ON
        self._watch_exit(guest, pid)
        guest.watch = asyncio.create_task(self._watch_facts(guest, pid))
        self._report(guest, GuestState(POWERED_ON, tools_running=False))
        log.info("%s: init runs after %.2f s, pid %d", guest.container, time.monotonic() - began, pid)

    async def _wait_for_init(self, guest: Guest, pid: int) -> None:
        deadline = time.monotonic() + INIT_SECONDS
        # systemd makes this socket when it begins to take requests.
        socket = Path(f"/proc/{pid}/root/run/systemd/private")
        while not socket.exists():
            if not Path(f"/proc/{pid}/root").exists():
                raise GuestError(await self._why_exited(guest))
            if time.monotonic() > deadline:
                raise GuestError(f"{guest.vm.name}: init did not come up within {INIT_SECONDS:.0f} s")
            await asyncio.sleep(0.02)

    async def _why_exited(self, guest: Guest) -> str:
        status = await self._exit_status(guest)
        if status == 255:
            running = sum(1 for other in self.guests.values() if other.pid)
            return (
                f"{guest.vm.name}: the guest's systemd exited at once with 255, as it does when inotify instances run "
                f"out: {inotify.NAME} is {inotify.current()} with {running} guests running; run: {inotify.COMMAND}"
            )
        return f"{guest.vm.name}: the guest's init exited at once with {status}; see: lab/lab logs daemon"

    async def _stop(self, guest: Guest) -> None:
        self._stop_watch(guest)
        if guest.power == SUSPENDED:
            await self._podman("unpause", guest.container)
        was_on, guest.pid, guest.power = guest.pid, 0, POWERED_OFF
        if was_on:
            await self._podman("stop", "--time", "0", guest.container)

    async def _pause(self, guest: Guest) -> None:
        """runc gives up on a guest that forks while it is being frozen, as one that boots on a busy machine does."""
        for attempt in range(1, PAUSE_ATTEMPTS + 1):
            try:
                await self._podman("pause", guest.container)
                return
            except GuestError:
                if attempt == PAUSE_ATTEMPTS:
                    raise
                await asyncio.sleep(0.2 * attempt)

    async def _resume(self, guest: Guest) -> None:
        if guest.power == SUSPENDED:
            await self._podman("unpause", guest.container)
            guest.power = POWERED_ON
            guest.watch = asyncio.create_task(self._watch_facts(guest, guest.pid))

    def _signal(self, guest: Guest, number: int) -> None:
        if guest.power != POWERED_ON:
            raise GuestError(f"{guest.vm.name} is {guest.power}; only a running guest can be asked")
        os.kill(guest.pid, number)

    # ------------------------------------------------------------------ watching

    def _watch_exit(self, guest: Guest, pid: int) -> None:
        """A pid file descriptor turns readable when the process ends: no polling, no podman process per guest."""
        loop = asyncio.get_running_loop()
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._spawn_exit(guest, pid)
            return

        def ended() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            self._spawn_exit(guest, pid)

        loop.add_reader(fd, ended)

    def _spawn_exit(self, guest: Guest, pid: int) -> None:
        task = asyncio.create_task(self._on_exit(guest, pid))
        self._exits.add(task)
        task.add_done_callback(self._exits.discard)

    async def _on_exit(self, guest: Guest, pid: int) -> None:
        async with guest.lock:
            if guest.pid != pid:
                return  # one of our own operations ended it
            self._stop_watch(guest)
            guest.pid, guest.power = 0, POWERED_OFF
            try:
                status = await self._exit_status(guest)
                log.info("%s: init ended with %d", guest.container, status)
                if status == REBOOT_STATUS:
                    await self._start(guest)
                    return
            except GuestError as error:
                log.error("%s: %s", guest.container, error)
            self._report(guest, GuestState(POWERED_OFF))

    async def _exit_status(self, guest: Guest) -> int:
        return int(await self._podman("wait", guest.container))

    async def _watch_facts(self, guest: Guest, pid: int) -> None:
        deadline = time.monotonic() + FACTS_SECONDS
        ready = False
        while guest.pid == pid:
            hostname, addresses = facts.hostname(pid), facts.addresses(pid)
            named = guest.hostname in (None, hostname) or time.monotonic() > deadline
            ready = ready or (named and bool(addresses))
            if ready:
                self._report(guest, GuestState(POWERED_ON, True, hostname, addresses, guest.vm.mac or None))
            await asyncio.sleep(SLOW_POLL if ready else FAST_POLL)

    def _stop_watch(self, guest: Guest) -> None:
        if guest.watch is not None:
            guest.watch.cancel()
            guest.watch = None

    def _report(self, guest: Guest, state: GuestState) -> None:
        if state == guest.reported:
            return
        guest.reported = state
        record = {"container": guest.container, "name": guest.vm.name, "moid": guest.vm.moid, **asdict(state)}
        write_json(self._folder_of(guest.vm) / "guest.json", record)
        self.emit(guest.vm.moid, state)

    # ------------------------------------------------------------------ small things

    def _guest(self, vm: Vm) -> Guest:
        guest = self.guests.get(vm.moid)
        if guest is None:
            raise GuestError(f"{vm.name} was never powered on in this lab")
        return guest

    def _folder_of(self, vm: Vm) -> Path:
        return self.folder / vm.moid

    def _memory_of(self, vm: Vm) -> int:
        return min(vm.memory_mb, self.cap_mb)

    async def _podman(self, *arguments: str) -> str:
        async with self._at_once:
            try:
                return await self.podman.run_async(*arguments)
            except PodmanError as error:
                raise GuestError(str(error)) from error
