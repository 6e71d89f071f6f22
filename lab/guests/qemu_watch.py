# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of a guest does on its own: facts, values that it writes, reboots, panics, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lab.guests.base import POWERED_ON, GuestState
from lab.guests.qemu_agent import Agent, AgentError, GuestinfoPort
from lab.guests.qemu_process import Channels, Machine

FACTS_SECONDS = 120.0  # how long a first report waits for cloud-init's host name
FAST_POLL, SLOW_POLL = 0.5, 5.0  # seconds between looks at a guest that boots, that has reported
SILENT_LOOKS = 3  # in a row, until tools count as not running: a busy guest answers late
CONSOLE_LOG_BYTES = 1 << 20
log = logging.getLogger("lab.qemu")


class Watch:
    """`report` is called with each state; `ended` once, when QEMU has ended without our doing. `address` is what
    clients reach the guest at, `hostname` what cloud-init will set."""

    def __init__(
        self,
        machine: Machine,
        channels: Channels,
        address: str,
        hostname: str | None,
        console_log: Path,
        restored: bool,
        report: Callable[[GuestState], None],
        ended: Callable[[Machine], Awaitable[None]],
    ) -> None:
        vm = machine.hardware.vm
        self.agent = Agent(channels.agent)
        self.port = GuestinfoPort(vm.guestinfo, self._changed)
        self._machine = machine
        self._channels = channels
        self._address = address
        self._hostname = hostname
        self._console_log = console_log
        self._restored = restored
        self._report = report
        self._ended = ended
        self._mac = vm.mac or None
        self._facts = GuestState(POWERED_ON, tools_running=False)
        self._look_now = asyncio.Event()
        self._agent_is_there = False
        self._silent = 0
        self._begin()
        self._tasks = [asyncio.create_task(task) for task in (self._follow(), self._look_on(), self._serve())]

    def stop(self) -> None:
        """Nothing is reported from now on. The end of QEMU calls this from one of the tasks themselves."""
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self.agent.close()
        self._channels.guestinfo.close()

    async def ask(self, mode: str) -> bool:
        """Asks the guest's agent to go down; False where there is none that answers."""
        if not self._agent_is_there:
            return False
        try:
            await self.agent.tell("guest-shutdown", {"mode": mode})
        except AgentError:
            return False
        return True

    def _begin(self) -> None:
        """A new boot: what is known about the guest is void."""
        self._deadline = time.monotonic() + FACTS_SECONDS
        self._ready = False
        self._set(GuestState(POWERED_ON, tools_running=False))

    def _set(self, facts: GuestState) -> None:
        self._facts = facts
        self._changed()

    def _changed(self) -> None:
        facts = self._facts
        self._report(
            GuestState(
                facts.power, facts.tools_running, facts.hostname, facts.addresses, facts.mac,
                dict(self.port.written), facts.crashed,
            )
        )  # fmt: skip

    async def _serve(self) -> None:
        await self.port.serve(self._channels.guestinfo)

    # ------------------------------------------------------------------ what QEMU says

    async def _follow(self) -> None:
        async for event in self._machine.events():
            self._take(str(event["event"]), event.get("data") or {})
        await self._ended(self._machine)

    def _take(self, name: str, data: Any) -> None:
        if name == "VSERPORT_CHANGE" and data.get("id") == "port-agent":
            self._agent_is_there = bool(data.get("open"))
            self.agent.lost()
            if self._agent_is_there:
                self._look_now.set()
            else:
                self._tools_stopped()
        elif name == "RESET":
            log.info("%s: boots anew", self._machine.name)
            self._agent_is_there = False
            self._begin()
        elif name == "GUEST_PANICKED":
            log.warning("%s: its kernel panicked; see %s", self._machine.name, self._console_log)
            self._set(GuestState(POWERED_ON, tools_running=False, crashed=True))
        elif name == "BLOCK_IO_ERROR" and not data.get("nospace"):
            log.error("%s: %s of %s failed: %s", self._machine.name, data.get("operation"), data.get("node-name"), data)
        elif name == "BLOCK_IO_ERROR":
            log.error("%s: stands still, this machine's disk is full; make room, then power the VM off", data)

    def _tools_stopped(self) -> None:
        facts = self._facts
        if facts.tools_running:
            self._set(GuestState(POWERED_ON, False, facts.hostname, facts.addresses, facts.mac))

    # ------------------------------------------------------------------ what its agent says

    async def _look_on(self) -> None:
        await self._find_agent()
        while True:
            _bound(self._console_log)
            if self._agent_is_there and not self._facts.crashed:
                await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SLOW_POLL if self._ready else FAST_POLL):
                    await self._look_now.wait()
            self._look_now.clear()

    async def _find_agent(self) -> None:
        """In a guest that was restored it is there from the beginning, and no event tells."""
        for row in await self._machine.do("query-chardev"):
            if row["label"] == "agent":
                self._agent_is_there = bool(row["frontend-open"])
        if self._restored and self._agent_is_there:
            await self._set_clock()

    async def _set_clock(self) -> None:
        """A guest that was restored has the time of when it was saved; VMware's tools set it too."""
        try:
            await self.agent.do("guest-set-time", {"time": time.time_ns()})
        except AgentError as error:
            log.info("%s: its clock stays behind: %s", self._machine.name, error)

    async def _look(self) -> None:
        try:
            hostname, inside = await self.agent.hostname(), await self.agent.addresses()
        except AgentError as error:
            self._silent += 1
            if self._silent == SILENT_LOOKS:
                log.info("%s: its agent is silent: %s", self._machine.name, error)
                self._tools_stopped()
            return
        self._silent = 0
        named = self._hostname in (None, hostname) or time.monotonic() > self._deadline
        self._ready = self._ready or (named and (bool(inside) or self._mac is None))
        if self._ready and self._agent_is_there and not self._facts.crashed:
            addresses = (self._address,) if inside else ()
            self._set(GuestState(POWERED_ON, True, hostname, addresses, self._mac))


def _bound(file: Path) -> None:
    """QEMU appends to it, so it can be emptied under its hands; the last megabyte stays beside it."""
    with contextlib.suppress(FileNotFoundError):
        if file.stat().st_size > CONSOLE_LOG_BYTES:
            shutil.copyfile(file, file.with_name(f"{file.name}.1"))
            with file.open("r+b") as opened:
                opened.truncate(0)
