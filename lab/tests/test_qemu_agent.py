# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels to a guest, with a guest's end that this file plays; and where a guest is reached."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lab.guests import kvm
from lab.guests.base import GuestError
from lab.guests.qemu_agent import VALUES_LIMIT, Agent, AgentError, GuestinfoPort
from lab.guests.qemu_network import choose_address, host_ports, is_free, network_of


def with_agent(play: Callable[[dict[str, Any]], list[Any]], talk: Callable[[Agent], Awaitable[None]]) -> list[str]:
    """`play` gives the lines that the guest's agent sends upon a request. Returns the commands that it was sent."""
    asked: list[str] = []

    async def serve(channel: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=channel)
        while line := await reader.readline():
            request = json.loads(line.lstrip(b"\xff"))
            asked.append(request["execute"])
            for answer in play(request):
                writer.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")
        writer.close()

    async def main() -> None:
        ours, theirs = socket.socketpair()
        serving = asyncio.create_task(serve(theirs))
        agent = Agent(ours)
        await talk(agent)
        agent.close()
        await serving

    asyncio.run(main())
    return asked


def in_step(request: dict[str, Any], *answers: Any) -> list[Any]:
    if request["execute"] == "guest-sync":
        return [{"return": request["arguments"]["id"]}]
    return list(answers)


def test_facts_are_what_another_machine_can_use() -> None:
    cards = [
        {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1"}, {"ip-address": "::1"}]},
        {"name": "ens2", "ip-addresses": [{"ip-address": "10.0.2.15"}, {"ip-address": "fe80::1"}]},
        {"name": "ens4", "ip-addresses": [{"ip-address": "169.254.1.1"}]},
        {"name": "ens5"},
    ]

    async def talk(agent: Agent) -> None:
        assert await agent.hostname() == "nb-1"
        assert await agent.addresses() == ("10.0.2.15",)

    answers = {"guest-get-host-name": {"host-name": "nb-1"}, "guest-network-get-interfaces": cards}
    asked = with_agent(lambda request: in_step(request, {"return": answers.get(request["execute"])}), talk)
    assert asked == ["guest-sync", "guest-get-host-name", "guest-network-get-interfaces"]


def test_answers_to_earlier_requests_are_dropped() -> None:
    def play(request: dict[str, Any]) -> list[Any]:
        if request["execute"] == "guest-sync":
            return [{"return": "late"}, {"error": {"desc": "late"}}, {"return": request["arguments"]["id"]}]
        return [{"return": {"host-name": "nb-1"}}]

    async def talk(agent: Agent) -> None:
        assert await agent.hostname() == "nb-1"

    with_agent(play, talk)


def test_a_silent_agent_is_an_error_and_the_next_request_begins_anew() -> None:
    silent = True

    async def talk(agent: Agent) -> None:
        nonlocal silent
        with pytest.raises(AgentError, match="guest-ping: TimeoutError"):
            await agent.do("guest-ping", seconds=0.05)
        silent = False
        await agent.do("guest-ping")

    asked = with_agent(lambda request: [] if silent else in_step(request, {"return": {}}), talk)
    assert asked == ["guest-sync", "guest-sync", "guest-ping"]


def test_an_agent_that_refuses_or_talks_nonsense_is_an_error() -> None:
    async def refuse(agent: Agent) -> None:
        with pytest.raises(AgentError, match="guest-set-time: not now"):
            await agent.do("guest-set-time", {"time": 1})

    with_agent(lambda request: in_step(request, {"error": {"desc": "not now"}}), refuse)

    async def nonsense(agent: Agent) -> None:
        with pytest.raises(AgentError, match="guest-ping"):
            await agent.do("guest-ping")

    with_agent(lambda request: in_step(request, b"nonsense\n"), nonsense)


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        (b'{"set": "guestinfo.a", "value": "b"}', {"ok": True}),
        (b'{"set": "guestinfo.number", "value": 5}', {"ok": True}),
        (b'{"get": "guestinfo.given"}', {"ok": True, "value": "by the VM"}),
        (b'{"get": "guestinfo.none"}', {"ok": False}),
        (b'{"set": "disk.EnableUUID", "value": "true"}', {"ok": False, "error": "a key begins with guestinfo."}),
        (b'{"set": "guestinfo.a"}', {"ok": False, "error": 'expected {"set": KEY, "value": VALUE} or {"get": KEY}'}),
        (b"[]", {"ok": False, "error": 'expected {"set": KEY, "value": VALUE} or {"get": KEY}'}),
        (b"\xff\n", {"ok": False, "error": 'expected {"set": KEY, "value": VALUE} or {"get": KEY}'}),
    ],
)
def test_guestinfo_requests(request_line: bytes, answer: dict[str, Any]) -> None:
    port = GuestinfoPort({"guestinfo.given": "by the VM"}, lambda: None)
    assert port.answer(request_line) == answer


def test_what_the_guest_writes_wins_is_told_once_and_has_a_limit() -> None:
    told: list[dict[str, str]] = []
    port = GuestinfoPort({"guestinfo.a": "given"}, lambda: told.append(dict(port.written)))
    for _ in range(2):
        assert port.answer(b'{"set": "guestinfo.a", "value": "written"}') == {"ok": True}
    assert told == [{"guestinfo.a": "written"}]
    assert port.answer(b'{"get": "guestinfo.a"}') == {"ok": True, "value": "written"}
    large = json.dumps({"set": "guestinfo.b", "value": "x" * VALUES_LIMIT}).encode()
    assert port.answer(large)["ok"] is False
    assert port.written == {"guestinfo.a": "written"}
    port.give({"guestinfo.a": "given", "guestinfo.c": "new"})
    assert port.answer(b'{"get": "guestinfo.a"}') == {"ok": True, "value": "written"}
    port.give({"guestinfo.a": "given again"})
    assert port.answer(b'{"get": "guestinfo.a"}') == {"ok": True, "value": "given again"}


def test_a_guest_that_writes_a_line_without_end_does_no_harm() -> None:
    async def main() -> list[Any]:
        ours, theirs = socket.socketpair()
        serving = asyncio.create_task(GuestinfoPort({}, lambda: None).serve(ours))
        reader, writer = await asyncio.open_connection(sock=theirs)
        writer.write(b"x" * (3 << 20) + b'\n{"set": "guestinfo.a", "value": "b"}\n')
        answers = [json.loads(await reader.readline()) for _ in range(2)]
        writer.close()
        await serving
        return answers

    assert [answer["ok"] for answer in asyncio.run(main())] == [False, True]


def test_each_lab_has_a_network_and_each_guest_an_address_that_can_be_listened_to() -> None:
    assert network_of("0a1b2c3d") == "127.74.27"
    assert network_of("ffff0000") == "127.127.255"
    network = "127.77.3"
    with socket.create_server(("127.77.3.3", 0)) as taken:
        ports = {22: taken.getsockname()[1]}
        assert choose_address(network, {"127.77.3.2"}, ports, 0) == "127.77.3.4"
        assert choose_address(network, set(), ports, 252) == "127.77.3.254"
        assert not is_free("127.77.3.3", ports.values())
    with pytest.raises(GuestError, match="all 253 addresses"):
        choose_address(network, {f"127.77.3.{last}" for last in range(2, 255)}, {}, 0)


def test_ports_that_this_user_may_not_listen_to_are_shifted_together() -> None:
    with socket.socket() as busy:
        busy.bind(("127.77.4.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert host_ports((22, port, 65000), "127.77.4", unprivileged=port + 1) == {
            22: 10022,
            port: port + 10000,
            65000: 65000,
        }
    assert host_ports((8000, 9100), "127.77.4", unprivileged=1024) == {8000: 8000, 9100: 9100}


@pytest.mark.machine
def test_the_probe_for_kvm_runs_a_processor_and_has_an_end() -> None:
    assert kvm.runs("tcg", 20)
    assert not kvm.runs("tcg", 0.01)
    assert not kvm.runs("none such", 20)
