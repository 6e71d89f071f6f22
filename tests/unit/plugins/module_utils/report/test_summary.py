# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run on the terminal: every host of a few, the ones in trouble of many."""

from __future__ import annotations

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.report import summary
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.model import (
    BLOCKED,
    FAILED,
    NO_RUN,
    PASSED,
    SKIPPED,
    WARNED,
    Host,
)


def hosts(**counts: int) -> list[Host]:
    """As many hosts of each status, named after it."""
    return [
        Host(f"{status}-{number:03}", status=status, reason="why")
        for status, count in counts.items()
        for number in range(count)
    ]


def test_of_twenty_hosts_each_has_its_line() -> None:
    shown = summary.lines(hosts(**{PASSED: 18, WARNED: 1, NO_RUN: 1}))
    assert len(shown) == 20
    assert shown[0] == (PASSED, "passed-000  passed    why")
    assert shown[-1] == (NO_RUN, "no_run-000  no run    why")


@pytest.mark.parametrize(
    ("counts", "trouble", "last"),
    [
        ({PASSED: 144}, 0, (PASSED, "144 hosts: 144 passed")),
        ({WARNED: 40, PASSED: 100, FAILED: 3, BLOCKED: 1}, 4, (WARNED, "140 other hosts: 40 warned, 100 passed")),
        ({SKIPPED: 21}, 0, (SKIPPED, "21 hosts: 21 skipped")),
        ({PASSED: 1, NO_RUN: 20}, 20, (PASSED, "1 other host: 1 passed")),
    ],
)
def test_of_more_only_those_in_trouble(counts: dict[str, int], trouble: int, last: tuple[str, str]) -> None:
    shown = summary.lines(hosts(**counts))
    assert len(shown) == trouble + 1
    assert all(status in (FAILED, BLOCKED, NO_RUN) for status, _line in shown[:-1])
    assert shown[-1] == last


def test_when_all_are_in_trouble_all_are_shown_and_none_is_counted() -> None:
    assert len(summary.lines(hosts(**{FAILED: 30}))) == 30


def test_no_host_no_line() -> None:
    assert summary.lines([]) == []
