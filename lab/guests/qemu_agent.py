# SPDX-License-Identifier: GPL-3.0-or-later
"""The two channels between a guest and its hypervisor: QEMU's guest agent, and the port for guestinfo values."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

ANSWER_SECONDS = 10.0  # without KVM a busy guest is slow
LINE_LIMIT = 1 << 20  # bytes of one message
VALUES_LIMIT = 1 << 20  # bytes that a guest may write in all
KEY_PREFIX = "guestinfo."
RESYNC = b"\xff"  # the agent drops what it has read of a line before it


class AgentError(Exception):
    """Why the guest's agent did not do what was asked."""


class Agent:
    """One command at a time. One that gave no answer makes the next begin from scratch."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lock = asyncio.Lock()
        self._in_step = False
        self._ids = itertools.count(1)

    async def do(
        self, command: str, arguments: Mapping[str, Any] | None = None, seconds: float = ANSWER_SECONDS
    ) -> Any:
        """Raises AgentError when the agent refuses or does not answer."""
        async with self._lock:
            try:
                async with asyncio.timeout(seconds):
                    if not self._in_step:
                        await self._get_in_step()
                    await self._send(command, arguments)
                    answer = await self._receive()
            except (TimeoutError, OSError, EOFError, ValueError) as error:
                self._in_step = False
                raise AgentError(f"{command}: {type(error).__name__} {error}".strip()) from error
        if "error" in answer:
            raise AgentError(f"{command}: {answer['error'].get('desc')}")
        return answer.get("return")

    async def tell(self, command: str, arguments: Mapping[str, Any]) -> None:
        """For a command that has no answer: the guest goes down instead."""
        await self.do("guest-ping")
        async with self._lock:
            await self._send(command, arguments)
            self._in_step = False

    def lost(self) -> None:
        """The agent has closed its end: what comes next is another one."""
        self._in_step = False

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        else:
            self._channel.close()

    async def _get_in_step(self) -> None:
        number = next(self._ids)
        _, writer = await self._open()
        writer.write(RESYNC)
        await self._send("guest-sync", {"id": number})
        while (await self._receive()).get("return") != number:
            pass
        self._in_step = True

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(sock=self._channel, limit=LINE_LIMIT)
        return self._streams

    async def _send(self, command: str, arguments: Mapping[str, Any] | None) -> None:
        _, writer = await self._open()
        message = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()

    async def _receive(self) -> dict[str, Any]:
        reader, _ = await self._open()
        line = await reader.readline()
        if not line:
            raise EOFError("the channel is closed")
        answer = json.loads(line.lstrip(RESYNC))
        if not isinstance(answer, dict):
            raise ValueError("expected an object")
        return answer

    async def hostname(self) -> str:
        return str((await self.do("guest-get-host-name"))["host-name"])

    async def addresses(self) -> tuple[str, ...]:
        """IPv4 addresses of the guest's network cards."""
        cards = await self.do("guest-network-get-interfaces")
        found = [entry["ip-address"] for card in cards for entry in card.get("ip-addresses", ())]
        return tuple(address for address in found if _is_usable(address))


def _is_usable(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return parsed.version == 4 and not parsed.is_loopback and not parsed.is_link_local


class GuestinfoPort:
    """Answers {"set": KEY, "value": V} and {"get": KEY}, a line each. `given` holds the VM's values, `written` those
    of the guest, which win; `changed` is called after each write."""

    def __init__(self, given: Mapping[str, str], changed: Callable[[], None]) -> None:
        self.given = given
        self.written: dict[str, str] = {}
        self._changed = changed

    def give(self, given: Mapping[str, str]) -> None:
        """The VM's values have changed: the last writer wins."""
        changed = {key for key, value in given.items() if self.given.get(key) != value}
        self.given = given
        self.written = {key: value for key, value in self.written.items() if key not in changed}

    async def serve(self, channel: socket.socket) -> None:
        """Until the guest's machine ends."""
        reader, writer = await asyncio.open_connection(sock=channel, limit=LINE_LIMIT)
        try:
            while line := await _line(reader):
                writer.write(json.dumps(self.answer(line)).encode() + b"\n")
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if "set" in request:
                return self._set(str(request["set"]), str(request["value"]))
            value = {**self.given, **self.written}.get(str(request["get"]))
        except (ValueError, TypeError, LookupError):
            return {"ok": False, "error": 'expected {"set": KEY, "value": VALUE} or {"get": KEY}'}
        return {"ok": False} if value is None else {"ok": True, "value": value}

    def _set(self, key: str, value: str) -> dict[str, Any]:
        if not key.startswith(KEY_PREFIX):
            return {"ok": False, "error": f"a key begins with {KEY_PREFIX}"}
        values = {**self.written, key: value}
        if sum(len(name) + len(text) for name, text in values.items()) > VALUES_LIMIT:
            return {"ok": False, "error": f"all values together may have {VALUES_LIMIT} bytes"}
        changed = self.written.get(key) != value
        self.written = values
        if changed:
            self._changed()
        return {"ok": True}


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line; one that is too long comes as an empty request, b"" at the end."""
    too_long = False
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError as error:
            too_long = True
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readexactly(error.consumed)
            continue
        return b"\n" if too_long else line
