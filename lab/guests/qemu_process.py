# SPDX-License-Identifier: GPL-3.0-or-later
"""One running QEMU: its start, its monitor, its end. It dies with the process that started it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qemu.qmp import ExecuteError, Message, QMPClient, QMPError

from lab.guests.base import GuestError
from lab.guests.qemu_machine import Hardware, Places, command

START_SECONDS = 30.0  # until the monitor answers; 0.2 s when the machine is idle
COMMAND_SECONDS = 30.0
SAVE_SECONDS = 300.0
END_SECONDS = 5.0
OUT_OF_MEMORY_SCORE = "500"  # when this machine runs out of memory, a guest goes before anything else of it
# The kernel sends the signal when the starter dies; one that was dead before it could ask for that is seen by sh.
BOUND_TO_US = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')
log = logging.getLogger("lab.qemu")
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # it also raises what it complains about


@dataclass(frozen=True)
class Channels:
    """Our ends of the sockets to the guest's agent and its guestinfo port."""

    agent: socket.socket
    guestinfo: socket.socket

    def close(self) -> None:
        self.agent.close()
        self.guestinfo.close()


class Machine:
    """`events` yields what QEMU says about the guest until it has ended. `hardware` is what the guest has now."""

    def __init__(self, name: str, hardware: Hardware) -> None:
        self.name = name
        self.hardware = hardware
        self.pid = 0
        self._monitor = QMPClient(name)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, places: Places, kvm: bool, label: str, errors: Path, incoming: Path | None) -> Channels:
        """Returns with the guest standing still before its first instruction, or where it was saved. Raises GuestError
        with QEMU's last words, and then leaves no process behind."""
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        monitor, channels = ours[0], Channels(ours[1], ours[2])
        fds = [end.fileno() for end in theirs]
        places = replace(places, monitor_fd=fds[0], agent_fd=fds[1], guestinfo_fd=fds[2])
        arguments = [*command(self.hardware, places, kvm, label), *(("-incoming", "defer") if incoming else ("-S",))]
        try:
            with errors.open("wb") as error_file:
                self._process = await asyncio.create_subprocess_exec(
                    *BOUND_TO_US, str(os.getpid()), *arguments,
                    stdin=asyncio.subprocess.DEVNULL, stdout=error_file, stderr=error_file, pass_fds=fds,
                )  # fmt: skip
            self.pid = self._process.pid
            for end in theirs:
                end.close()  # so that ours read end of file when QEMU ends
            await self._greet(monitor, errors)
            with contextlib.suppress(OSError):
                Path(f"/proc/{self.pid}/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
            if incoming:
                await self._load(incoming)
        except BaseException:
            for end in (*ours, *theirs):
                end.close()
            await self.kill()
            raise
        return channels

    async def _greet(self, monitor: socket.socket, errors: Path) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._monitor.connect(monitor)
        except TimeoutError as error:
            raise GuestError(f"{self.name}: QEMU did not answer within {START_SECONDS:.0f} s") from error
        except (QMPError, OSError, EOFError) as error:
            assert self._process is not None
            status = await self._process.wait()
            raise GuestError(f"{self.name}: QEMU ended at once with {status}: {_last_line(errors)}") from error

    async def do(self, operation: str, arguments: Mapping[str, object] | None = None) -> Any:
        """Raises GuestError when QEMU refuses, does not answer or is gone."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self._monitor.execute(operation, dict(arguments) if arguments else None)
        except TimeoutError as error:
            raise GuestError(f"{self.name}: QEMU's {operation}: no answer within {COMMAND_SECONDS:.0f} s") from error
        except ExecuteError as error:
            raise GuestError(f"{self.name}: QEMU's {operation}: {error.error.error.desc}") from error
        except QMPError as error:
            raise GuestError(f"{self.name}: QEMU has ended during {operation}") from error

    async def events(self) -> AsyncIterator[Message]:
        """Ends when QEMU has ended."""
        waiting = asyncio.ensure_future(self.wait())
        try:
            while True:
                getting = asyncio.ensure_future(self._monitor.events.get())
                await asyncio.wait({waiting, getting}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    break
                yield getting.result()
            for event in self._monitor.events.clear():
                yield event
        finally:
            waiting.cancel()

    async def save(self, file: Path) -> None:
        """Writes the state of the stopped guest. QEMU can go on afterwards."""
        temporary = file.with_name(f"{file.name}.new")
        try:
            with temporary.open("wb") as state:
                await self._pass_file(state.fileno())
                await self.do("migrate-set-parameters", {"max-bandwidth": 1 << 40})
                await self.do("migrate", {"uri": "fd:state"})
                await self._until_moved()
        except BaseException:
            temporary.unlink()
            raise
        temporary.replace(file)

    async def _load(self, file: Path) -> None:
        with file.open("rb") as state:
            await self._pass_file(state.fileno())
            await self.do("migrate-incoming", {"uri": "fd:state"})
            await self._until_moved()

    async def _pass_file(self, fd: int) -> None:
        self._monitor.send_fd_scm(fd)
        await self.do("getfd", {"fdname": "state"})

    async def _until_moved(self) -> None:
        async with asyncio.timeout(SAVE_SECONDS):
            while True:
                moved = await self.do("query-migrate")
                if moved.get("status") == "completed":
                    return
                if moved.get("status") in ("failed", "cancelled"):
                    reason = moved.get("error-desc") or "QEMU gives no reason"
                    raise GuestError(f"{self.name}: its running state could not be moved: {reason}")
                await asyncio.sleep(0.05)

    async def quit(self) -> None:
        """Ends QEMU with its files closed; by force when it does not heed."""
        with contextlib.suppress(GuestError):  # it may go before it answers
            await self.do("quit")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self.wait()
        await self.kill()

    async def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        with contextlib.suppress(Exception):  # it says once more that the other end is gone
            await self._monitor.disconnect()

    async def wait(self) -> int:
        assert self._process is not None
        return await self._process.wait()


def _last_line(file: Path) -> str:
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
