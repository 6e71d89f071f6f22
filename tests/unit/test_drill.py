# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill's table: what it breaks is what the catalogue has, and the exercises are the causes' traps."""

from __future__ import annotations

import itertools

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue import CATALOGUE
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.causes import CAUSES
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gate import WAIVER

from tests.drill.faults import FAULTS, HOSTS, Fault
from tests.drill.places import INVENTORY
from tests.drill.run import Gate, Outcome, judge, judge_mended, shows

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


def test_no_fault_needs_a_second_gate_of_its_own() -> None:
    for host in HOSTS:
        theirs = [fault for fault in FAULTS if fault.host == host and fault.stage != "platform"]
        for fault, later in itertools.pairwise(theirs):
            assert later.stage != fault.stage or shows(later, fault), f"{later.name} hides {fault.name}"


@pytest.mark.parametrize(
    ("later", "fault", "expected"),
    [
        ("driver-too-old", "driver-mismatch", True),
        ("driver-mismatch", "driver-too-old", False),
        ("driver-removed", "driver-mismatch", False),
        ("python-missing", "picture-black", False),
        ("picture-black", "package-missing", True),
        ("cudnn-missing", "picture-empty", False),
        ("picture-black", "driver-mismatch", False),
        ("accel-3d-on", "driver-mismatch", False),
    ],
    ids=[
        "of the driver",
        "blocked",
        "the same check",
        "blocked by way of another",
        "below it",
        "comes after it",
        "host",
        "stage",
    ],
)
def test_which_gate_shows_a_fault_mended(later: str, fault: str, expected: bool) -> None:
    assert shows(BY_NAME[later], BY_NAME[fault]) is expected


def rows(**statuses: str) -> Gate:
    told = {
        name.replace("_", ".", 1): {"status": status, "actual": "x", "detail": "y"} for name, status in statuses.items()
    }
    return Gate({"nb-baseline-01": told}, "")


@pytest.mark.parametrize(
    ("typed", "seen", "expected"),
    [
        ("a command", rows(gpu_driver_wish="passed", gpu_cuda="warned"), True),
        ("a command", rows(gpu_driver_wish="passed", gpu_cuda="failed"), False),
        ("a command", rows(gpu_driver_wish="blocked", gpu_cuda="passed"), False),
        ("a command", rows(gpu_driver_wish="passed"), False),
        ("", rows(gpu_driver_wish="passed", gpu_cuda="passed"), False),
    ],
    ids=["mended", "what it explains is left", "not looked at", "no row", "nothing was typed"],
)
def test_what_counts_as_mended(typed: str, seen: Gate, expected: bool) -> None:
    outcome = Outcome(BY_NAME["driver-too-old"], typed=typed)
    judge_mended(outcome, seen)
    assert outcome.mended is expected


def test_an_entry_that_is_gone_is_mended_without_a_row() -> None:
    outcome = Outcome(BY_NAME["waiver-expired"], typed="a command")
    judge_mended(outcome, Gate({"nb-stress-01": {"vm.cpu_shares": {"status": "passed"}}}, ""))
    assert outcome.mended is True
