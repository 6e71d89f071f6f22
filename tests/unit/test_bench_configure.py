# SPDX-License-Identifier: GPL-3.0-or-later
"""tests/bench/configure.py: what it counts from Ansible's own account of a run."""

from __future__ import annotations

import json

from tests.bench import configure


def task(name: str, start: str, end: str, **hosts: dict) -> dict:
    span = {"start": f"2026-11-25T10:00:{start}Z", "end": f"2026-11-25T10:00:{end}Z"}
    return {"task": {"name": name, "duration": span}, "hosts": hosts}


TOLD = {
    "plays": [
        {"tasks": [task("a", "01.000000", "02.500000", one={"changed": False}, two={"skipped": True})]},
        {
            "tasks": [
                task("b", "03.000000", "03.250000", one={}, two={"failed": True, "msg": "no"}),
                {"task": {"name": "c", "duration": {"start": "2026-11-25T10:00:04Z"}}, "hosts": {}},
            ]
        },
    ]
}


def test_skipped_tasks_cost_time_and_are_no_host_tasks() -> None:
    played = configure.account(9.0, TOLD)
    assert played.by_host == {"one": 2, "two": 1}
    assert played.host_tasks == 3
    assert played.tasks == [("a", 1.5), ("b", 0.25), ("c", 0.0)]
    assert played.task_seconds == 1.75


def test_the_account_is_found_among_other_words() -> None:
    assert configure.document("[WARNING]: x\n" + json.dumps(TOLD, indent=1) + "\nTESTBED ***\n{odd") == TOLD


def test_what_failed_is_told() -> None:
    told = configure.failures(json.dumps(TOLD))
    assert '"host": "two"' in told
    assert '"one"' not in told
    assert configure.failures("no JSON at all") == "no JSON at all"
