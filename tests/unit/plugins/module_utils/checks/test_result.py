# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which checks run, what blocks what, and the text that an operator reads."""

from __future__ import annotations

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    BLOCKED,
    FAILED,
    NOT_APPLICABLE,
    PASSED,
    SKIPPED,
    STATUSES,
    WARNED,
    Check,
    Outcome,
    Result,
    explain,
    run_checks,
    summarise,
)


def check(name: str, outcome: Outcome, *needs: str, ran: list[str] | None = None) -> Check:
    def probe() -> Outcome:
        if ran is not None:
            ran.append(name)
        return outcome

    return Check(name, f"Title of {name}", f"Mend {name}.", probe, needs)


def outcome(status: str) -> Outcome:
    return Outcome(status, "this", "that", "because")


def result(name: str, status: str) -> Result:
    return Result(name, f"Title of {name}", status, "this", "that", "because", f"Mend {name}.", {}, 0.0)


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
    results = run_checks([check("a", outcome(first)), check("b", Outcome(PASSED), "a", ran=ran)])
    assert results[1].status == second
    assert ran == (["b"] if second == PASSED else [])


def test_a_blocked_check_names_what_blocked_it_and_blocks_in_turn() -> None:
    checks = [check("a", outcome(FAILED)), check("b", Outcome(PASSED), "a"), check("c", Outcome(PASSED), "b")]
    results = run_checks(checks)
    assert [each.status for each in results] == [FAILED, BLOCKED, BLOCKED]
    assert results[1].detail == "not run: it needs a, which is failed"
    assert results[2].detail == "not run: it needs b, which is blocked"


def test_checks_that_do_not_need_the_failed_one_still_run() -> None:
    results = run_checks([check("a", outcome(FAILED)), check("b", Outcome(PASSED))])
    assert [each.status for each in results] == [FAILED, PASSED]


def test_a_need_that_does_not_come_before_is_refused() -> None:
    with pytest.raises(ValueError, match="b needs a"):
        run_checks([check("b", Outcome(PASSED), "a"), check("a", Outcome(PASSED))])


def test_how_to_mend_is_told_only_where_something_is_to_mend() -> None:
    results = run_checks([check(status, outcome(status)) for status in STATUSES])
    assert {each.status for each in results if each.fix} == {FAILED, WARNED}


def test_seconds_are_those_of_the_probe() -> None:
    ticks = iter([1.0, 1.25, 5.0, 7.0])
    results = run_checks([check("a", Outcome(PASSED)), check("b", Outcome(PASSED))], clock=lambda: next(ticks))
    assert [each.seconds for each in results] == [0.25, 2.0]


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
