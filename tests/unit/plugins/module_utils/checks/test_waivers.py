# SPDX-License-Identifier: GPL-3.0-or-later
"""Waivers are read strictly: whatever is wrong is named with what was expected and what comes next."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import waivers
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError

KNOWN = ("gpu.licence", "guest.swap", "vm.balloon")
GOOD = {"check": "gpu.licence", "hosts": "nb-stress-*", "reason": "the licence server moves", "until": "2026-12-31"}
DAY = datetime.date(2026, 12, 31)


@pytest.mark.parametrize("until", ["2026-12-31", DAY, datetime.datetime(2026, 12, 31, 23, 0), " 2026-12-31 "])
def test_a_day_is_read_as_yaml_gives_it(until: object) -> None:
    (found,) = waivers.parse([{**GOOD, "until": until}], KNOWN)
    assert found == waivers.Waiver("gpu.licence", "nb-stress-*", "the licence server moves", DAY)
    assert found.words() == "waived until 2026-12-31: the licence server moves"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            {**GOOD, "untill": 1},
            "preflight_waivers[0].untill: expected no such key; found 1. Next: did you mean 'until'?",
        ),
        (
            {**GOOD, "check": "gpu.license"},
            "preflight_waivers[0].check: expected the id of a check; found gpu.license. ",
        ),
        ({**GOOD, "check": "gpu.license"}, "did you mean 'gpu.licence'?"),
        ({**GOOD, "check": "gate.answer"}, "known are gpu.licence, guest.swap, vm.balloon"),
        (
            {**GOOD, "until": "31.12.2026"},
            "until: expected the last day on which it is accepted, as YYYY-MM-DD; found 31.1",
        ),
        ({**GOOD, "until": "2026-02-30"}, "found 2026-02-30. Next: write it as 2026-12-31"),
        ({**GOOD, "until": "20261231"}, "found 20261231"),
        ({**GOOD, "until": 20261231}, "found 20261231"),
        ({**GOOD, "reason": "  "}, "preflight_waivers[0].reason: expected why the failure is accepted; found nothing."),
        ({"check": "guest.swap"}, "3 problems, no check was judged:"),
        ("guest.swap", "preflight_waivers[0]: expected a mapping with check, hosts, reason, until; found 'guest.swap'"),
        (None, "found None"),
    ],
)
def test_what_is_wrong_is_named(entry: Any, says: str) -> None:
    with pytest.raises(TestbedError) as caught:
        waivers.parse([entry], KNOWN)
    assert caught.value.error_code == "invalid_waiver"
    assert says in str(caught.value)


def test_all_entries_are_read_before_it_refuses() -> None:
    with pytest.raises(TestbedError) as caught:
        waivers.parse([{**GOOD, "until": "soon"}, GOOD, {**GOOD, "check": "x"}], KNOWN)
    assert [problem.what for problem in caught.value.problems] == [
        "preflight_waivers[0].until",
        "preflight_waivers[2].check",
    ]


def test_the_same_entry_of_many_hosts_is_one() -> None:
    assert len(waivers.parse([GOOD, dict(GOOD), {**GOOD, "hosts": "*"}], KNOWN)) == 2


@pytest.mark.parametrize(
    ("today", "over"), [(DAY - datetime.timedelta(1), False), (DAY, False), (DAY + datetime.timedelta(1), True)]
)
def test_the_last_day_still_counts(today: datetime.date, over: bool) -> None:
    (waiver,) = waivers.parse([GOOD], KNOWN)
    assert waiver.expired(today) is over


@pytest.mark.parametrize(
    ("check", "target", "found"),
    [
        ("gpu.licence", "nb-stress-01", True),
        ("gpu.licence", "nb-baseline-01", False),
        ("gpu.licence", "NB-STRESS-01", False),
        ("guest.swap", "nb-stress-01", False),
    ],
)
def test_a_waiver_names_a_check_on_hosts(check: str, target: str, found: bool) -> None:
    (waiver,) = waivers.parse([GOOD], KNOWN)
    assert waiver.names(check, target) is found
