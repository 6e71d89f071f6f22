# SPDX-License-Identifier: GPL-3.0-or-later
"""Task results come in by named keys alone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.report import events

SECRET = "hunter2"


def test_a_fleet_result_gives_its_named_keys_and_nothing_else() -> None:
    result = {
        "changed": True,
        "vms": {"a": {"exists": True, "address": "192.0.2.1", "moid": "vm-1", "operations": ["power on"], "x": SECRET}},
        "vcenter": {"full_name": "vCenter 8", "version": "8.0.3", "session": SECRET},
        "invocation": {"module_args": {"vsphere_password": SECRET}},
        "diff": {"after": SECRET},
    }
    ran = events.fleet_ran(result, "provision")
    assert (ran.stage, ran.changed, ran.vcenter) == ("provision", True, ("vCenter 8", "8.0.3"))
    assert ran.vms == (events.Vm("a", exists=True, address="192.0.2.1", moid="vm-1", operations=("power on",)),)
    assert SECRET not in repr(ran)


def test_a_gate_result_gives_checks_and_facts_without_their_evidence() -> None:
    row = {"id": "guest.os", "title": "T", "status": "passed", "seconds": 1, "evidence": {"stderr": SECRET}}
    answer = {"checks": [row, "text"], "facts": {"os": "Debian", "token": SECRET}, "summary": {}}
    (ran,) = events.gate_ran({"stage": "guest", "targets": {"h": answer}, "invocation": SECRET})
    assert (ran.host, ran.stage) == ("h", "guest")
    assert ran.checks == (events.Check("guest.os", "T", "passed", seconds=1.0),)
    assert ran.facts["os"] == "Debian"
    assert SECRET not in repr(ran)


def test_a_gate_that_did_not_get_to_judge_gives_nothing() -> None:
    assert events.gate_ran({"msg": "preflight_waivers[0].until: expected a day", "failed": True}) == []


@pytest.mark.parametrize(
    ("row", "advisory", "status", "counts_as"),
    [
        ({"status": "failed"}, False, "failed", "failed"),
        ({"status": "failed"}, True, "warned", "warned"),
        ({"status": "blocked"}, False, "blocked", "blocked"),
        ({"status": "blocked"}, True, "skipped", "skipped"),
        ({"status": "blocked", "excused": True}, False, "blocked", "skipped"),
        ({"status": "warned", "waived": "waived until 2026-12-31: new board"}, False, "warned", "warned"),
        ({"status": "passed"}, True, "passed", "passed"),
    ],
)
def test_what_a_waiver_or_check_mode_excuses_fails_nobody(
    row: dict[str, Any], advisory: bool, status: str, counts_as: str
) -> None:
    result = {"stage": "machine", "advisory": advisory, "targets": {"h": {"checks": [{"id": "vm.gpu", **row}]}}}
    check = events.gate_ran(result)[0].checks[0]
    assert (check.status, check.counts_as, check.waived) == (status, counts_as, row.get("waived", ""))


@pytest.mark.parametrize(
    "result",
    [
        {"censored": "the output has been hidden", "vms": {"a": {}}},
        {"_ansible_no_log": True, "vms": {"a": {}}},
        {"results": [{"censored": "hidden", "vms": {"a": {}}}]},
    ],
)
def test_a_hidden_result_is_not_read(result: dict[str, Any]) -> None:
    assert list(events.answers(result)) == []


def test_of_a_loop_every_readable_item_is_read() -> None:
    items = [{"vms": {}}, {"censored": "hidden"}, "text", {"checks": []}]
    assert list(events.answers({"results": items})) == [{"vms": {}}, {"checks": []}]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"msg": "no route"}, "no route"),
        ({"msg": "non-zero return code", "stderr": "boom", "stdout": "noise"}, "non-zero return code\nboom"),
        ({"msg": "failed", "stdout": "told on stdout"}, "failed\ntold on stdout"),
        ({"msg": "it said boom", "stderr": "boom"}, "it said boom"),
        ({"results": [{"msg": "item", "failed": True}, {"msg": "fine"}], "msg": "One failed"}, "One failed\nitem"),
        ({}, "The task failed without a message."),
        ({"msg": "x", "stderr": "hunter2", "censored": "hidden"}, events.HIDDEN),
        ({"msg": "\x1b[31mred\x1b[0m"}, "red"),
        (
            {"msg": "pip --index https://me:hunter2@mirror.example/simple"},
            "pip --index https://***@mirror.example/simple",
        ),
    ],
)
def test_the_message_of_a_failure_is_what_an_operator_needs(result: dict[str, Any], message: str) -> None:
    assert events.message_of(result) == message


def test_of_a_long_output_the_end_is_kept() -> None:
    message = events.message_of({"msg": "rc 1", "stderr": "begin\n" + "line\n" * 100_000 + "the reason"})
    assert message.endswith("the reason")
    assert len(message) < events.MESSAGE_LIMIT + 100


def test_a_long_value_is_cut_and_says_so() -> None:
    assert events.clean("x" * 500, 400) == "x" * 400 + " ... (100 more characters)"


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({"cmd": ["pytest", "--junitxml=/a/run/verify-h1.xml"], "rc": 1}, events.SuiteRan("h1", 1)),
        ({"cmd": ["pytest", "--junitxml=/elsewhere/verify-h1.xml"], "rc": 0}, None),
        ({"cmd": "pytest --junitxml=/a/run/verify-h1.xml", "rc": 0}, None),
        ({"cmd": ["pytest", "--junitxml=/a/run/verify-h1.xml"], "skipped": True}, None),
        ({"cmd": ["true"], "rc": 0}, None),
    ],
)
def test_the_suite_is_known_by_the_file_that_it_writes(result: dict[str, Any], found: events.SuiteRan | None) -> None:
    assert events.suite_ran(result, "/a/run") == found
