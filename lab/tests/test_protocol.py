# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol server over a real socket pair, with the fake driver behind it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lab.guests.base import Disk, GuestState, Vm
from lab.guests.fake import FakeDriver
from lab.protocol import LINE_LIMIT, Server
from lab.tests.helpers import vm

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, FakeDriver], Awaitable[None]]


def converse(talk: Talk, make: Callable[[Server], FakeDriver] | None = None) -> FakeDriver:
    """Runs `talk` as the vCenter's end, then closes it and waits for the server's end."""

    async def main() -> FakeDriver:
        ours, theirs = socket.socketpair()
        server = Server(*await asyncio.open_connection(sock=ours, limit=LINE_LIMIT))
        driver = make(server) if make else FakeDriver(server.send_event)
        serving = asyncio.create_task(server.serve(lambda _vm: driver))
        reader, writer = await asyncio.open_connection(sock=theirs, limit=LINE_LIMIT)
        await asyncio.wait_for(talk(reader, writer, driver), 10)
        writer.close()
        await asyncio.wait_for(serving, 10)
        return driver

    return asyncio.run(main())


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *requests: Any) -> list[dict[str, Any]]:
    """Sends all requests at once; returns the replies in the order in which they come, without events."""
    for request in requests:
        writer.write((request if isinstance(request, bytes) else json.dumps(request).encode()) + b"\n")
    replies: list[dict[str, Any]] = []
    while len(replies) < len(requests):
        message = json.loads(await reader.readline())
        if "event" not in message:
            replies.append(message)
    return replies


def test_requests_for_one_vm_keep_their_order_and_those_for_several_overlap() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, driver: FakeDriver) -> None:
        verbs = ("power_on", "reset", "power_off", "destroy")
        requests = [
            {"id": 10 * number + index, "op": verb, "vm": vm(number)}
            for index, verb in enumerate(verbs)
            for number in (1, 2, 3)
        ]
        replies = await exchange(reader, writer, *requests)
        assert all(reply["ok"] for reply in replies)
        for number in (1, 2, 3):
            calls = [call for call, moid in driver.calls if moid == vm(number)["moid"]]
            assert calls == [f"{verb} {part}" for verb in verbs for part in ("begins", "ends")]
        assert [call for call, _ in driver.calls[:3]] == ["power_on begins"] * 3

    converse(talk, lambda server: FakeDriver(server.send_event, seconds=0.01))


@pytest.mark.parametrize(
    ("request_line", "reply_id", "message"),
    [
        (b"{not json", None, "not a request"),
        (b"[1, 2]", None, "expected an object with id and op"),
        (b'{"op": "power_on"}', None, "expected an object with id and op"),
        (b'{"id": 1, "op": "fly", "vm": {"moid": "vm-1", "name": "a"}}', 1, "unknown operation 'fly'"),
        (b'{"id": 2, "op": "power_on"}', 2, "vm is not as the protocol says"),
        (b'{"id": 3, "op": "power_on", "vm": {"name": "a"}}', 3, "moid"),
        (b'{"id": 4, "op": "power_on", "vm": {"moid": "vm-1", "name": "a", "disks": 5}}', 4, "vm is not as"),
        (b'{"id": 5, "op": "snapshot", "vm": {"moid": "vm-1", "name": "a"}}', 5, "arguments are not as the protocol"),
        (b'{"id": 5, "op": "power_on", "arguments": {"now": true}, "vm": {"moid": "vm-1", "name": "a"}}', 5, "'now'"),
        (b'{"id": 5, "op": "hello", "protocol": 9}', 5, "guest protocol is 9, expected 2"),
    ],
)
def test_a_bad_request_gets_an_error_and_the_next_one_is_served(
    request_line: bytes, reply_id: Any, message: str
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, driver: FakeDriver) -> None:
        (bad,) = await exchange(reader, writer, request_line)
        assert bad["id"] == reply_id and bad["ok"] is False
        assert message in bad["error"]["message"]
        assert await exchange(reader, writer, {"id": 6, "op": "hello", "protocol": 2}) == [{"id": 6, "ok": True}]

    converse(talk)


def test_operations_with_arguments_reach_the_driver() -> None:
    snapshot: dict[str, Any] = {"snapshot": "0d3c"}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, driver: FakeDriver) -> None:
        wanted = [
            ("clone", {"source": "50000000", "linked": False, "snapshot": ""}),
            ("snapshot", {**snapshot, "memory": True}),
            ("revert", {**snapshot, "power": "poweredOn"}),
            ("remove_snapshot", snapshot),
        ]
        requests = [
            {"id": number, "op": operation, "vm": vm(1), "arguments": arguments}
            for number, (operation, arguments) in enumerate(wanted)
        ]
        assert all(reply["ok"] for reply in await exchange(reader, writer, *requests))
        assert [call for call, _ in driver.calls if "begins" in call] == [f"{name} begins" for name, _ in wanted]
        assert driver.arguments == [(name, *arguments.values()) for name, arguments in wanted]
        assert driver.guests["vm-61"].power == "poweredOn"

    converse(talk)


def test_a_vm_is_read_with_the_defaults_for_what_is_left_out() -> None:
    disk = {"key": 2000, "unit": 0, "controller": "pvscsi", "size_kb": 1024, "uuid": "6000c29", "news": 1}
    read = Vm.from_json(
        {"moid": "vm-1", "name": "a", "disks": [disk, {**disk, "origin": True, "bus": 1}], "nics": None}
    )
    assert read.disks == (
        Disk(2000, 0, "pvscsi", 1024, "6000c29"),
        Disk(2000, 0, "pvscsi", 1024, "6000c29", 0, 1, True),
    )
    assert (read.cores_per_socket, read.boot_order, read.enable_uuid) == (1, (), False)
    read = Vm.from_json({"moid": "vm-1", "name": "a", "boot_order": ["disk:2001"], "enable_uuid": True})
    assert (read.boot_order, read.enable_uuid) == (("disk:2001",), True)


def test_a_failing_operation_carries_its_reason_and_the_vm_can_be_asked_again() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, driver: FakeDriver) -> None:
        request = {"id": 1, "op": "power_on", "vm": vm(1)}
        assert await exchange(reader, writer, request) == [
            {"id": 1, "ok": False, "error": {"message": "no room left"}},
        ]
        driver.fail.clear()
        assert await exchange(reader, writer, request) == [{"id": 1, "ok": True}]

    converse(talk, lambda server: FakeDriver(server.send_event, fail={"power_on": "no room left"}))


def test_a_bug_in_a_driver_fails_one_request_and_not_the_server() -> None:
    class Broken(FakeDriver):
        async def power_on(self, vm: Vm) -> None:
            raise ZeroDivisionError("oops")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, driver: FakeDriver) -> None:
        (bad,) = await exchange(reader, writer, {"id": 1, "op": "power_on", "vm": vm(1)})
        assert "bug in the lab's guest driver (ZeroDivisionError: oops)" in bad["error"]["message"]
        assert await exchange(reader, writer, {"id": 2, "op": "destroy", "vm": vm(1)}) == [{"id": 2, "ok": True}]

    converse(talk, lambda server: Broken(server.send_event))


def test_a_power_on_reports_facts_with_megabytes_of_user_data_in_the_request() -> None:
    machine = vm(1, "ssh-ed25519 AAAA")
    machine["guestinfo"]["guestinfo.vendordata"] = "#" * (5 << 20)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, driver: FakeDriver) -> None:
        writer.write(json.dumps({"id": 1, "op": "power_on", "vm": machine}).encode() + b"\n")
        event = json.loads(await reader.readline())
        assert event == {
            "event": "guest",
            "moid": "vm-61",
            "guest": {
                "power": "poweredOn",
                "tools_running": True,
                "hostname": "nb-test-01",
                "mac": "00:50:56:01:02:01",
                "addresses": ["198.18.0.2"],
            },
        }

    converse(talk)


def test_an_unknown_fact_is_left_out_of_an_event() -> None:
    assert GuestState("poweredOff").to_json() == {"power": "poweredOff"}
    assert GuestState("poweredOn", tools_running=False).to_json() == {"power": "poweredOn", "tools_running": False}
    wrote = GuestState("poweredOn", guestinfo={"guestinfo.a": "b"}, crashed=True)
    assert wrote.to_json() == {"power": "poweredOn", "guestinfo": {"guestinfo.a": "b"}, "crashed": True}
