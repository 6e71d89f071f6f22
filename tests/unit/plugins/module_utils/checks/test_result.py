# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which checks run, what blocks what, and the text that an operator reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    BLOCKED,
    ERROR,
    FAILED,
    GUEST,
    NOT_APPLICABLE,
    PASSED,
    SKIPPED,
    STATUSES,
    WARNED,
    WARNING,
    Check,
    Fix,
    Outcome,
    Result,
    explain,
    run_checks,
    summarise,
)


def check(name: str, *needs: str, **more: Any) -> Check:
    fix = more.pop("fix", Fix(f"Mend {name}."))
    return Check(name, "guest", f"Title of {name}", fix, needs=needs, **more)


def run(
    outcomes: Mapping[str, Outcome], *rows: Check, environment: str = "", ran: list[str] | None = None, workers: int = 1
) -> list[Result]:
    """Run rows whose probes give these outcomes; ``ran`` takes down which were asked."""

    def probe(name: str) -> Callable[[], Outcome]:
        def asked() -> Outcome:
            if ran is not None:
                ran.append(name)
            return outcomes[name]

        return asked

    probes = {row.id: probe(row.id) for row in rows}
    return run_checks(rows, probes, {"name": "nb-1"}, environment, workers=workers)


def outcome(status: str) -> Outcome:
    return Outcome(status, "this", "that", "because")


def result(name: str, status: str) -> Result:
    fix = f"Mend {name}."
    return Result(name, f"Title of {name}", status, ERROR, "this", "that", "because", fix, {}, "", {}, 0.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (PASSED, PASSED),
        (WARNED, PASSED),
        (FAILED, BLOCKED),
        (BLOCKED, BLOCKED),
        (SKIPPED, SKIPPED),
        (NOT_APPLICABLE, SKIPPED),
    ],
)
def test_only_an_answer_to_build_on_lets_a_dependant_run(first: str, second: str) -> None:
    ran: list[str] = []
    results = run({"a": outcome(first), "b": Outcome(PASSED)}, check("a"), check("b", "a"), ran=ran)
    assert results[1].status == second
    assert ran == (["a", "b"] if second == PASSED else ["a"])


@pytest.mark.parametrize(
    ("first", "second"),
    [(PASSED, PASSED), (WARNED, PASSED), (FAILED, BLOCKED), (SKIPPED, PASSED), (NOT_APPLICABLE, PASSED)],
)
def test_what_only_comes_after_another_is_blocked_by_its_failure_alone(first: str, second: str) -> None:
    results = run({"a": outcome(first), "b": Outcome(PASSED)}, check("a"), check("b", after=("a", "not here")))
    assert results[1].status == second


def test_a_blocked_check_names_what_blocked_it_and_blocks_in_turn() -> None:
    rows = [check("a"), check("b", "a"), check("c", "b")]
    results = run({"a": outcome(FAILED), "b": Outcome(PASSED), "c": Outcome(PASSED)}, *rows)
    assert [each.status for each in results] == [FAILED, BLOCKED, BLOCKED]
    assert results[1].detail == "not run: it needs a, which is failed"
    assert results[2].detail == "not run: it needs b, which is blocked"


def test_checks_that_do_not_need_the_failed_one_still_run() -> None:
    results = run({"a": outcome(FAILED), "b": Outcome(PASSED)}, check("a"), check("b"))
    assert [each.status for each in results] == [FAILED, PASSED]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_need_that_does_not_come_before_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match="b needs a"):
        run({}, check("b", "a"), check("a"), workers=workers)


def test_a_row_without_a_probe_is_a_fault_of_the_catalogue() -> None:
    with pytest.raises(KeyError, match="a"):
        run_checks([check("a")], {}, {})


@pytest.mark.parametrize(("environment", "status"), [("stress", PASSED), ("baseline", NOT_APPLICABLE), ("", PASSED)])
def test_a_check_is_asked_in_its_own_environments(environment: str, status: str) -> None:
    row = check("a", environments=("stress",))
    assert run({"a": Outcome(PASSED)}, row, environment=environment)[0].status == status


def test_a_failure_of_severity_warning_warns() -> None:
    assert run({"a": outcome(FAILED)}, check("a", severity=WARNING))[0].status == WARNED


@pytest.mark.parametrize("error", [ValueError("x" * 5000), KeyError("k"), RecursionError(), UnicodeError("\udcff")])
def test_a_probe_that_breaks_is_a_failed_row_with_a_reason(error: Exception) -> None:
    def broken() -> Outcome:
        raise error

    found = run_checks([check("a")], {"a": broken}, {})[0]
    assert found.status == FAILED
    assert type(error).__name__ in found.detail
    assert len(found.detail) < 500


def test_how_to_mend_is_told_only_where_something_is_to_mend() -> None:
    results = run({status: outcome(status) for status in STATUSES}, *(check(status) for status in STATUSES))
    assert {each.status for each in results if each.fix} == {FAILED, WARNED}


def test_a_fix_names_the_host_and_keeps_what_braces_it_does_not_know() -> None:
    fix = Fix("Mend it.", "do {name} ${shell} {other}", GUEST, automatic=True)
    found = run({"a": outcome(FAILED)}, check("a", fix=fix))[0]
    assert found.fix == "Mend it. On the guest: do nb-1 ${shell} {other}"
    assert found.mend == {"run": "do nb-1 ${shell} {other}", "where": GUEST, "automatic": True}


def test_the_probes_fix_is_better_than_the_catalogues() -> None:
    found = run({"a": replace(outcome(FAILED), fix=Fix("Better."), cause="known")}, check("a"))[0]
    assert (found.fix, found.mend, found.cause) == ("Better.", {}, "known")


def test_seconds_are_those_of_the_probe() -> None:
    ticks = iter([1.0, 1.25, 5.0, 7.0])
    probes = dict.fromkeys("ab", lambda: Outcome(PASSED))
    results = run_checks([check("a"), check("b")], probes, {}, clock=lambda: next(ticks))
    assert [each.seconds for each in results] == [0.25, 2.0]


def test_with_workers_what_waits_for_nobody_runs_at_once_and_the_order_stays() -> None:
    together = Barrier(2, timeout=5)

    def meet() -> Outcome:
        together.wait()
        return Outcome(PASSED)

    rows = [check("a"), check("c", "a"), check("b")]
    probes = {"a": meet, "b": meet, "c": lambda: Outcome(PASSED)}
    results = run_checks(rows, probes, {}, workers=4)
    assert [(each.id, each.status) for each in results] == [("a", PASSED), ("c", PASSED), ("b", PASSED)]


def test_what_runs_alone_waits_for_all_before_it_and_others_for_it() -> None:
    running: list[str] = []
    seen: dict[str, list[str]] = {}

    def probe(name: str) -> Callable[[], Outcome]:
        def asked() -> Outcome:
            running.append(name)
            time.sleep(0.02)
            seen[name] = list(running)
            running.remove(name)
            return Outcome(PASSED)

        return asked

    rows = [check("a"), check("b", "a"), check("x", alone=True), check("c")]
    run_checks(rows, {row.id: probe(row.id) for row in rows}, {}, workers=4)
    assert list(seen) == ["a", "b", "x", "c"]
    assert seen["x"] == ["x"]


@pytest.mark.parametrize("status", [status for status in STATUSES if status != PASSED])
def test_every_status_but_passed_must_say_why(status: str) -> None:
    with pytest.raises(ValueError, match="must say why"):
        Outcome(status)


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of passed"):
        Outcome("green")


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ([PASSED, PASSED], PASSED),
        ([PASSED, WARNED], WARNED),
        ([WARNED, FAILED], FAILED),
        ([PASSED, BLOCKED], FAILED),
        ([PASSED, SKIPPED, NOT_APPLICABLE], PASSED),
        ([SKIPPED, NOT_APPLICABLE], SKIPPED),
        ([], SKIPPED),
    ],
)
def test_the_verdict_is_the_worst_that_happened(statuses: list[str], verdict: str) -> None:
    summary = summarise([result(str(number), status) for number, status in enumerate(statuses)])
    assert summary["verdict"] == verdict
    assert summary["total"] == len(statuses) == sum(summary[status] for status in STATUSES)


def test_the_explanation_has_what_why_expected_found_mend_and_next() -> None:
    results = [result("a", FAILED), result("b", BLOCKED), result("c", PASSED)]
    assert explain(results, "Guest gate of nb-1", "make again").splitlines() == [
        "Guest gate of nb-1: 1 of 3 checks failed.",
        "a: Title of a",
        "  why:      because",
        "  expected: this",
        "  found:    that",
        "  mend:     Mend a.",
        "Not run because of that: b.",
        "Next: make again",
    ]
