# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate judges all targets at once: who did not answer, what is waived, what shuts it."""

from __future__ import annotations

import datetime
from functools import partial
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import gate
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    BLOCKED,
    FAILED,
    PASSED,
    WARNED,
    Check,
    Fix,
    Outcome,
    run_checks,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.waivers import Waiver

TODAY = datetime.date(2026, 11, 30)
KNOWN = {"guest.python": "guest", "model.import": "guest", "model.picture": "guest", "vm.gpu": "machine"}


def check(id_: str, status: str, **more: Any) -> dict[str, Any]:
    """A row as a module answers it."""
    return {"id": id_, "title": "T", "status": status, "detail": "" if status == PASSED else "why", **more}


def answer(*checks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"checks": list(checks), **more}


def waiver(check_id: str = "model.import", hosts: str = "*", days: int = 1, reason: str = "because") -> Waiver:
    """Valid for so many days from today on; less than 0 is over."""
    return Waiver(check_id, hosts, reason, TODAY + datetime.timedelta(days))


def judge(
    hosts: dict[str, Any], waivers: tuple[Waiver, ...] = (), expected: tuple[str, ...] = (), **more: Any
) -> gate.Verdict:
    return gate.judge("guest", hosts, expected, waivers, TODAY, KNOWN, **more)


def statuses(verdict: gate.Verdict) -> dict[tuple[str, str], str]:
    return {(row.target, row.id): row.status for row in verdict.rows}


@pytest.mark.parametrize(
    ("found", "word", "status"),
    [
        ([PASSED, PASSED], "open", "passed"),
        ([PASSED, WARNED], "open", "warned"),
        ([PASSED, FAILED], "shut", "failed"),
        ([PASSED, BLOCKED], "shut", "failed"),
        (["skipped", "not_applicable"], "open", "skipped"),
        (["skipped", PASSED], "open", "passed"),
    ],
)
def test_what_shuts_a_gate(found: list[str], word: str, status: str) -> None:
    verdict = judge({"h": answer(*(check(f"c.{number}", each) for number, each in enumerate(found)))})
    assert (verdict.word, gate.worst(verdict.rows)) == (word, status)


def test_nothing_asked_is_an_open_gate_that_says_nothing() -> None:
    verdict = judge({})
    assert (verdict.word, verdict.rows, gate.worst(verdict.rows)) == ("open", (), "skipped")


@pytest.mark.parametrize(
    ("hosts", "actual", "detail"),
    [
        ({}, "no answer", "it failed or became unreachable before it was asked"),
        ({"h": {}}, "no answer", "it failed or became unreachable"),
        ({"h": {"checks": []}}, "no answer", "it failed"),
        ({"h": {"checks": "text"}}, "no answer", "it failed"),
        ({"h": {"msg": "MODULE FAILURE: Segmentation fault"}}, "no answer", "MODULE FAILURE: Segmentation fault"),
        (
            {
                "h": {
                    "msg": "No start of json char found",
                    "module_stderr": "Traceback\nMemoryError\n",
                    "module_stdout": "x",
                }
            },
            "no answer",
            "No start of json char found: MemoryError",
        ),
        ({"h": {"unreachable": True, "msg": "Connection timed out"}}, "unreachable", "Connection timed out"),
    ],
)
def test_who_does_not_answer_fails(hosts: dict[str, Any], actual: str, detail: str) -> None:
    verdict = judge(hosts | {"good": answer(check("model.import", PASSED))}, expected=("h", "good"))
    rows = {row.target: row for row in verdict.rows}
    assert verdict.word == "shut"
    assert rows["h"].id == "gate.answer"
    assert rows["h"].actual == actual
    assert rows["h"].detail.startswith(detail)
    assert rows["h"].fix.endswith("ansible-playbook playbooks/preflight_guest.yml --limit h -vvv")
    assert rows["good"].status == PASSED


def test_a_status_that_nobody_knows_fails() -> None:
    row = judge({"h": answer(check("model.import", "fine"))}).rows[0]
    assert (row.status, row.detail) == (FAILED, "the check answered with the unknown status 'fine'; report this")


def test_a_waived_failure_warns_with_its_reason() -> None:
    verdict = judge(
        {"a": answer(check("model.import", FAILED)), "b": answer(check("model.import", FAILED))}, (waiver(hosts="a"),)
    )
    assert statuses(verdict) == {("a", "model.import"): WARNED, ("b", "model.import"): FAILED}
    assert verdict.rows[0].waived == "waived until 2026-12-01: because"
    assert verdict.rows[0].detail == "waived until 2026-12-01: because. why"
    assert (verdict.uses[0].state, verdict.uses[0].covers) == ("used", ("a",))


def test_the_waiver_that_lasts_longest_is_named() -> None:
    verdict = judge({"a": answer(check("model.import", FAILED))}, (waiver(days=3), waiver(days=9), waiver(hosts="a")))
    assert verdict.rows[0].waived == "waived until 2026-12-09: because"


def rows_of_a_guest(**statuses_: str) -> list[dict[str, Any]]:
    """The rows that run_checks really makes of a chain of three."""
    names = ("guest.python", "model.import", "model.picture")
    checks = [Check(id_, "guest", "T", Fix("mend"), needs=names[max(0, at - 1) : at]) for at, id_ in enumerate(names)]
    outcomes = {id_: Outcome(statuses_.get(id_.partition(".")[2], PASSED), detail="why") for id_ in names}
    probes = {id_: partial(outcomes.__getitem__, id_) for id_ in names}
    return [result.as_dict() for result in run_checks(checks, probes, {})]


@pytest.mark.parametrize(
    ("failed", "waived", "word", "excused"),
    [
        ("python", "guest.python", "open", ["model.import", "model.picture"]),
        ("python", "model.import", "shut", []),
        ("import", "model.import", "open", ["model.picture"]),
        ("import", "model.picture", "shut", []),
    ],
)
def test_what_a_waived_failure_blocks_is_excused(failed: str, waived: str, word: str, excused: list[str]) -> None:
    verdict = judge({"h": answer(*rows_of_a_guest(**{failed: FAILED}))}, (waiver(waived),))
    assert verdict.word == word
    assert [row.id for row in verdict.rows if row.excused] == excused
    for row in verdict.rows:
        if row.excused:
            assert row.status == BLOCKED
            assert row.detail.endswith(f"; {waived} is waived until 2026-12-01: because")


def test_a_failed_login_of_another_target_is_followed_too() -> None:
    blocked = check("vm.gpu", BLOCKED, evidence={"needs": "vcenter.login"})
    hosts = {"vc": answer(check("vcenter.login", FAILED)), "h": answer(blocked)}
    known = {"vcenter.login": "machine"}
    verdict = gate.judge("machine", hosts, (), (waiver("vcenter.login", "vc"),), TODAY, known)
    assert (verdict.word, verdict.rows[1].excused) == ("open", True)


@pytest.mark.parametrize("evidence", [{}, {"needs": "unknown"}, {"needs": "model.picture"}, {"needs": 5}])
def test_a_blocked_check_whose_cause_is_not_known_shuts_the_gate(evidence: dict[str, Any]) -> None:
    hosts = {"h": answer(check("model.import", WARNED), check("model.picture", BLOCKED, evidence=evidence))}
    assert judge(hosts, (waiver(),)).word == "shut"


def test_a_waiver_that_ran_out_covers_nothing_and_fails_itself() -> None:
    verdict = judge({"h": answer(check("model.import", FAILED))}, (waiver(days=-1),))
    assert statuses(verdict) == {("h", "model.import"): FAILED, ("preflight_waivers", "gate.waiver"): FAILED}
    row = verdict.rows[-1]
    assert row.actual == "model.import on *, until 2026-11-29"
    assert row.fix.startswith("Mend the failure and delete the entry of preflight_waivers with check: model.import")
    assert verdict.only_expired


def test_other_failures_beside_one_that_ran_out_are_told_apart() -> None:
    hosts = {"h": answer(check("model.import", FAILED), check("guest.python", FAILED))}
    assert not judge(hosts, (waiver(days=-1),)).only_expired
    assert not judge(hosts).only_expired
    assert judge(hosts, (waiver(days=-1), waiver("guest.python"))).only_expired


def test_a_renewed_waiver_beside_its_old_one_is_fine() -> None:
    verdict = judge({"h": answer(check("model.import", FAILED))}, (waiver(days=-1), waiver(days=5)))
    assert (verdict.word, [use.state for use in verdict.uses]) == ("open", ["used"])


@pytest.mark.parametrize(
    ("status", "hosts", "days", "state"),
    [
        (PASSED, "*", 1, "unused"),
        (PASSED, "*", -1, "unused"),
        (WARNED, "h", 1, "unused"),
        ("not_applicable", "*", 1, "unused"),
        ("skipped", "*", 1, "idle"),
        (BLOCKED, "*", -1, "idle"),
        (PASSED, "other-*", 1, "idle"),
        (PASSED, "nobody", 1, "unused"),
    ],
)
def test_a_waiver_that_covers_nothing_can_be_deleted(status: str, hosts: str, days: int, state: str) -> None:
    verdict = judge(
        {"h": answer(check("model.import", status))}, (waiver(hosts=hosts, days=days),), inventory=["h", "other-1"]
    )
    assert [use.state for use in verdict.uses] == [state]
    warned = [row.id for row in verdict.rows if row.target == "preflight_waivers"]
    assert warned == (["gate.waiver"] if state == "unused" else [])
    assert verdict.rows[-1].status in (WARNED, status)


def test_a_waiver_of_another_stage_is_not_looked_at() -> None:
    assert judge({"h": answer(check("model.import", PASSED))}, (waiver("vm.gpu"),)).uses == ()


def test_only_what_is_safe_and_not_waived_is_mended_unasked() -> None:
    def row(id_: str, status: str, automatic: bool, **more: Any) -> dict[str, Any]:
        return check(id_, status, mend={"run": f"do {id_}", "where": "guest", "automatic": automatic} | more)

    checks = [
        row("guest.swap", FAILED, True),
        row("guest.kernel", WARNED, True),
        row("gpu.processes", FAILED, False),
        row("model.import", FAILED, True),
        row("vm.shares", FAILED, True, where="control"),
        row("vm.nothing", FAILED, True, run=""),
        check("vm.none", FAILED),
    ]
    verdict = judge({"h": answer(*checks), "good": answer(check("guest.swap", PASSED))}, (waiver(),))
    assert gate.mends(verdict) == {
        "h": [
            {"id": "guest.swap", "run": "do guest.swap", "where": "guest"},
            {"id": "vm.shares", "run": "do vm.shares", "where": "control"},
        ]
    }


def test_facts_and_the_order_of_targets_are_kept() -> None:
    good = check("model.import", PASSED)
    verdict = judge(
        {"z": answer(good, facts={"os": "Debian"}), "a": answer(good, facts="text")}, expected=("a", "m", "z")
    )
    assert list(verdict.targets) == ["z", "a", "m"]
    assert verdict.facts == {"z": {"os": "Debian"}}
