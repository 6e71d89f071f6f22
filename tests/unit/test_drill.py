# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill's table: what it breaks is what the catalogue has, and the exercises are the causes' traps."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue import CATALOGUE
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.causes import CAUSES
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gate import WAIVER

from tests.drill.faults import FAULTS, HOSTS, Fault
from tests.drill.places import INVENTORY
from tests.drill.run import Gate, Outcome, judge

STAGES = {row.id: row.stage for row in CATALOGUE}
BY_NAME = {fault.name: fault for fault in FAULTS}


def test_it_breaks_25_different_things() -> None:
    assert len(BY_NAME) == len(FAULTS) == 25


def test_the_five_traps_are_among_them() -> None:
    assert sorted(fault.trap for fault in FAULTS if fault.trap) == sorted(
        {cause.trap for cause in CAUSES.values() if cause.trap}
    )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_names_checks_and_causes_that_exist(fault: Fault) -> None:
    assert fault.check == WAIVER or STAGES[fault.check] == fault.stage
    assert all(name in STAGES for name in fault.explains)
    assert not fault.cause or fault.cause in CAUSES
    assert fault.guest or fault.vcenter, "something must be broken"


def test_its_hosts_are_those_of_its_inventory() -> None:
    groups = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    assert {host for group in groups.values() for host in group["hosts"]} == set(HOSTS)


def gate(**failed: str) -> Gate:
    rows = {
        name.replace("_", ".", 1): {"status": "failed", "actual": "x", "detail": "y", "cause": cause}
        for name, cause in failed.items()
    }
    return Gate({"nb-baseline-01": rows, "nb-stress-01": {"guest.os": {"status": "failed"}}}, "")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (gate(gpu_driver="nvml-mismatch"), (True, [])),
        (gate(gpu_driver="no-device"), (False, [])),
        (gate(), (False, [])),
        (gate(gpu_driver="nvml-mismatch", guest_swap=""), (True, ["guest.swap (x; y)"])),
        (gate(guest_swap=""), (False, ["guest.swap (x; y)"])),
    ],
    ids=["found", "another cause", "not found", "found with a false alarm", "a false alarm alone"],
)
def test_what_counts_as_found_and_what_as_a_false_alarm(found: Gate, expected: tuple[bool, list[str]]) -> None:
    outcome = Outcome(BY_NAME["driver-mismatch"])
    judge(outcome, found)
    assert (outcome.found, outcome.alarms) == expected
