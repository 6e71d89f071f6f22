# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest protocol, Python's end: one JSON object a line, requests from the vCenter, replies and events to it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from lab.guests.base import Driver, GuestError, GuestState, Vm

PROTOCOL = 2
LINE_LIMIT = 32 << 20  # bytes: user data travels inside the line
log = logging.getLogger("lab.protocol")


class Server:
    """Serves one vCenter until it closes its end. The driver must emit into `send_event`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._order: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, find: Callable[[Vm], Driver]) -> None:
        """Returns at end of file, after the requests under way have ended. `find` gives the driver of a VM."""
        while line := await self._reader.readline():
            try:
                request = _request(line)
            except ValueError as error:
                log.error("not a request: %s: %.200r", error, line)
                self._send({"id": None, "ok": False, "error": {"message": f"not a request: {error}"}})
                continue
            # asyncio.Lock is first come, first served, and tasks start in the order of their making: this alone
            # keeps the requests for one VM in order.
            lock = self._order.setdefault(_moid(request), asyncio.Lock())
            task = asyncio.create_task(self._answer(request, find, lock))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await asyncio.gather(*self._running)

    def send_event(self, moid: str, state: GuestState) -> None:
        self._send({"event": "guest", "moid": moid, "guest": state.to_json()})

    async def _answer(self, request: dict[str, Any], find: Callable[[Vm], Driver], lock: asyncio.Lock) -> None:
        reply: dict[str, Any] = {"id": request["id"], "ok": True}
        async with lock:
            try:
                await _perform(request, find)
            except GuestError as error:
                log.warning("%s %s: %s", request["op"], _moid(request), error)
                reply = {"id": request["id"], "ok": False, "error": {"message": str(error)}}
            except Exception as error:  # a bug fails one vCenter task, not the lab with all its guests
                log.exception("%s %s: bug in the guest driver", request["op"], _moid(request))
                message = f"bug in the lab's guest driver ({type(error).__name__}: {error}); see: lab/lab logs daemon"
                reply = {"id": request["id"], "ok": False, "error": {"message": message}}
            self._send(reply)

    def _send(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")


OPERATIONS = (
    "power_on", "power_off", "shutdown", "reboot", "reset", "suspend", "resume", "reconfigure", "destroy", "clone",
    "snapshot", "revert", "remove_snapshot",
)  # fmt: skip


async def _perform(request: dict[str, Any], find: Callable[[Vm], Driver]) -> None:
    operation = request["op"]
    if operation == "hello":
        if request.get("protocol") != PROTOCOL:
            found = request.get("protocol")
            raise GuestError(f"guest protocol is {found!r}, expected {PROTOCOL}; run: lab/lab down, then up")
        return
    if operation not in OPERATIONS:
        raise GuestError(f"unknown operation {operation!r}, expected one of hello, {', '.join(OPERATIONS)}")
    try:
        vm = Vm.from_json(request["vm"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GuestError(f"{operation}: vm is not as the protocol says: {type(error).__name__} {error}") from error
    log.info("%s %s %s", operation, vm.moid, vm.name)
    try:
        doing: Awaitable[None] = getattr(find(vm), operation)(vm, **(request.get("arguments") or {}))
    except TypeError as error:  # from the call alone: nothing has run before it is awaited
        raise GuestError(f"{operation}: arguments are not as the protocol says: {error}") from error
    await doing


def _request(line: bytes) -> dict[str, Any]:
    request = json.loads(line)
    if not isinstance(request, dict) or not isinstance(request.get("op"), str) or "id" not in request:
        raise ValueError("expected an object with id and op")
    return request


def _moid(request: dict[str, Any]) -> str:
    vm = request.get("vm")
    return str(vm.get("moid", "")) if isinstance(vm, dict) else ""
