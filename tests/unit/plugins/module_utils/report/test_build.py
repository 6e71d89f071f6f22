# SPDX-License-Identifier: GPL-3.0-or-later
"""The report says of a run what its events say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.report import build, documents, verdict
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.events import (
    Check,
    FleetRan,
    GateRan,
    PlayStarted,
    RunEnded,
    SuiteRan,
    TaskFailed,
    TaskStarted,
    Vm,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.junit import Test
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.model import Evidence, RunInfo, StandIn

INFO = RunInfo("r1", 1000.0)
WARNED = Check("guest.os", "OS", "warned", "Ubuntu 22.04", "Debian 12", "stands in")
PASSED = Check("model.import", "Import", "passed")
FAILED = Check("model.import", "Import", "failed", actual="ImportError: x\nmore", detail="")
BLOCKED = Check("model.picture", "Picture", "blocked", detail="not run")
MINE = TaskFailed(1, "h", "Install the engine", "pip said no\nand more")
FOR_ALL = TaskFailed(1, "h", "Make vCenter match the wish", "no", for_all=True)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, ("no_run", "nothing ran on this host")),
        ({"gates": {"guest": [WARNED, PASSED]}}, ("warned", "2 checks, 1 warned")),
        ({"gates": {"guest": [PASSED]}, "tests": (Test("A", "passed"),)}, ("passed", "1 check; 1 of 1 test passed")),
        ({"gates": {"guest": [WARNED, FAILED, BLOCKED]}}, ("failed", "model.import: ImportError: x")),
        (
            {"tests": (Test("A", "passed"), Test("B", "skipped", 0.0, "a container"))},
            ("passed", "1 of 1 test passed, 1 skipped"),
        ),
        ({"tests": (Test("A", "passed"), Test("B", "failed"))}, ("failed", "1 of 2 tests failed: B")),
        ({"suite_status": 4}, ("failed", "the suite ended with status 4")),
        ({"suite_status": 0}, ("passed", "verified")),
        ({"own": [MINE]}, ("failed", "failed at: Install the engine")),
        ({"own": [replace(MINE, unreachable=True)]}, ("failed", "unreachable: pip said no")),
        ({"common": [FOR_ALL]}, ("blocked", "stopped by: Make vCenter match the wish")),
        ({"vm": Vm("h", exists=True, power="poweredOn", address="192.0.2.1")}, ("passed", "poweredOn, 192.0.2.1")),
        ({"vm": Vm("h", exists=True, error="no address\nwithin 60 s")}, ("failed", "no address")),
        ({"vm": Vm("h"), "check_mode": True}, ("skipped", "not created yet (check mode)")),
        (
            {"vm": Vm("h", exists=True, power="poweredOn"), "ended": False},
            ("no_run", "the run ended before this host was checked"),
        ),
        ({"vm": Vm("h", operations=("remove",)), "removed": True}, ("passed", "removed")),
        ({"vm": Vm("h"), "removed": True}, ("passed", "nothing to remove")),
        ({"stats": {"ok": 3}}, ("passed", "3 tasks")),
    ],
)
def test_a_hosts_verdict(seen: dict[str, Any], expected: tuple[str, str]) -> None:
    assert verdict.of_host(verdict.Seen(**seen)) == expected


@pytest.mark.parametrize(
    ("hosts", "failures", "broken", "expected"),
    [
        ([], [], False, "no_run"),
        (["passed", "passed"], [], False, "passed"),
        (["passed", "warned"], [], False, "warned"),
        (["passed", "failed"], [], False, "failed"),
        (["passed", "blocked"], [], False, "failed"),
        (["skipped"], [], False, "skipped"),
        (["passed"], [FOR_ALL], False, "failed"),
        (["passed"], [], True, "failed"),
    ],
)
def test_the_runs_verdict(hosts: list[str], failures: list[TaskFailed], broken: bool, expected: str) -> None:
    assert verdict.of_run(hosts, failures, broken=broken) == expected


def test_a_good_run_passes_and_names_every_stand_in(good_run: Any) -> None:
    report = good_run.report()
    assert (report.status, report.state, report.headline) == ("warned", "ended", "Passed with stand-ins")
    debian = "Debian GNU/Linux 12 (bookworm)"
    every = ("nb-baseline-01", "nb-compat-01", "nb-stress-01")
    assert report.stand_ins == (
        StandIn(
            "vCenter",
            "A real vCenter",
            "vCenter simulator: no VM of this run is on ESXi, whatever its firmware says",
        ),
        StandIn("Operating system", "Ubuntu 22.04", debian, every[:1]),
        StandIn("Operating system", "Windows Server 2019", debian, every[1:2]),
        StandIn("Operating system", "CentOS 7.9", debian, every[2:]),
        StandIn("Python", "Python 3.10.12", "Python 3.11.2", every),
        StandIn(
            "Pictures",
            "The diffusion model",
            "Layout backend 'preview', not the diffusion model",
            every,
        ),
    )


def test_where_everything_is_as_wished_there_is_no_stand_in() -> None:
    events = [
        FleetRan("provision", vms=(Vm("h", exists=True),), vcenter=("VMware vCenter Server 8.0.3 build-1", "8.0.3")),
        GateRan("h", (Check("guest.os", "OS", "passed", "a", "a"),), {"backend": "sdxl"}),
        RunEnded(1001.0, {}),
    ]
    report = build.build(INFO, events, Evidence(), 1001.0)
    assert (report.stand_ins, report.headline) == ((), "Passed")


def test_a_warning_that_is_no_stand_in_is_not_called_one() -> None:
    gate = GateRan("h", (WARNED, Check("gpu.memory", "GPU", "warned", detail="used")))
    assert build.build(INFO, [gate, RunEnded(1001.0, {})], Evidence(), 1001.0).headline == "Passed with warnings"


def test_a_bad_run_fails_and_says_where(bad_run: Any) -> None:
    report = bad_run.report()
    assert {host.name: host.status for host in report.hosts} == {
        "nb-baseline-01": "warned",
        "nb-compat-01": "failed",
        "nb-stress-01": "failed",
    }
    assert [(stage.name, stage.status) for stage in report.stages] == [
        ("platform", "passed"),
        ("provision", "passed"),
        ("machine", "no_run"),
        ("configure", "passed"),
        ("guest", "failed"),
        ("verify", "failed"),
    ]
    assert [(failure.host, failure.stage) for failure in report.failures] == [
        ("nb-compat-01", "guest"),
        ("nb-stress-01", "verify"),
    ]


def test_times_of_stages_and_tasks_add_up(good_run: Any) -> None:
    report = good_run.report()
    assert {stage.name: round(stage.seconds, 1) for stage in report.stages} == {
        "platform": 1.2,
        "provision": 11.8,
        "machine": 0.0,
        "configure": 34.0,
        "guest": 6.0,
        "verify": 7.4,
    }
    assert round(report.seconds, 1) == 61.4
    assert report.slowest[0].name == "nanobanana.testbed.model : Install the wheel with its locked requirements"
    assert (report.slowest[0].seconds, report.slowest[0].stage) == (21.0, "configure")


def test_a_rescued_failure_is_no_failure() -> None:
    counts = {"ok": 4, "failures": 0, "unreachable": 0, "rescued": 1}
    events = [FleetRan(""), MINE, SuiteRan("h", 0), RunEnded(1001.0, {"h": counts})]
    report = build.build(INFO, events, Evidence(), 1001.0)
    assert (report.failures, report.status) == ((), "passed")


def test_a_vm_keeps_what_was_done_to_it_when_it_is_read_again() -> None:
    events = [
        FleetRan("platform", vms=(Vm("h", operations=("clone",)),)),
        FleetRan("provision", vms=(Vm("h", exists=True, operations=("clone", "power on")),)),
        FleetRan("", vms=(Vm("h", exists=True, address="192.0.2.9"),)),
        RunEnded(1001.0, {}),
    ]
    vm = build.build(INFO, events, Evidence(), 1001.0).hosts[0].vm
    assert vm == Vm("h", exists=True, address="192.0.2.9", operations=("clone", "power on"))


@pytest.mark.parametrize(
    ("going", "state", "headline", "status"),
    [(True, "unfinished", "Unfinished", "passed"), (False, "broken off", "Broken off", "failed")],
)
def test_a_run_without_an_end_does_not_pass_for_a_good_one(going: bool, state: str, headline: str, status: str) -> None:
    events = [PlayStarted(1000.0, "Provision", "provision"), TaskStarted(1000.0, "t"), SuiteRan("h", 0)]
    report = build.build(INFO, events, Evidence(), 1003.0, going=going)
    assert (report.state, report.headline, report.status) == (state, headline, status)
    assert report.stages[1].status == ("no_run" if going else "failed")


def test_check_mode_is_a_plan(good_run: Any) -> None:
    made = FleetRan("provision", vms=(Vm("h", operations=("clone",)),))
    events = [
        PlayStarted(1.0, "Provision", "provision", {"h": ("stress", "CentOS 7.9")}),
        made,
        PlayStarted(2.0, "Configure", "configure", {}),
        PlayStarted(3.0, "Verify", "verify", {}),
        RunEnded(4.0, {"h": {"ok": 2}}),
    ]
    report = build.build(replace(INFO, check_mode=True), events, Evidence(), 4.0)
    assert (report.headline, report.hosts[0].status, report.hosts[0].planned) == (
        "Planned (check mode)",
        "skipped",
        True,
    )
    assert [(stage.name, stage.status) for stage in report.stages if stage.seconds] == [
        ("provision", "passed"),
        ("configure", "skipped"),
        ("verify", "skipped"),
    ]


def test_only_a_run_of_the_testbed_is_worth_a_report() -> None:
    plain = [PlayStarted(1.0, "p"), TaskStarted(1.0, "t"), MINE, RunEnded(2.0, {})]
    assert not build.happened(plain)
    assert all(build.happened([*plain, event]) for event in (FleetRan(""), GateRan("h", ()), SuiteRan("h", 0)))


def test_every_run_writes_all_six_documents_with_the_same_head(bad_run: Any) -> None:
    texts = documents.documents(bad_run.report())
    assert set(texts) == {f"{name}.json" for name in ("platform", "provision", "machine", "guest", "verify", "run")}
    found = {name: json.loads(text) for name, text in texts.items()}
    for name, document in found.items():
        assert (document["schema"], document["run_id"], document["stage"]) == (1, "20261121-064512-3fa2", name[:-5])
    assert found["run.json"]["status"] == "failed"
    assert found["run.json"]["started"] == "2026-11-21T06:45:12Z"
    assert found["run.json"]["hosts"]["nb-stress-01"]["address"] == "127.0.10.4"
    assert found["provision.json"]["vcenter"]["simulated"] is True
    assert found["provision.json"]["vms"]["nb-baseline-01"]["operations"][0] == "clone from the template"
    assert [check["status"] for check in found["guest.json"]["hosts"]["nb-compat-01"]["checks"]] == [
        "warned",
        "warned",
        "failed",
        "blocked",
    ]
    assert found["verify.json"]["hosts"]["nb-stress-01"]["failed"] == 1
    assert "nb-compat-01" not in found["verify.json"]["hosts"]


def test_a_stage_that_did_not_run_says_so() -> None:
    report = build.build(INFO, [FleetRan(""), RunEnded(1001.0, {})], Evidence(), 1001.0)
    assert json.loads(documents.documents(report)["verify.json"])["status"] == "no_run"


def judged(stage: str, *targets: tuple[str, Check]) -> list[GateRan]:
    """What a gate says of each target."""
    return [GateRan(target, (check,), {}, stage) for target, check in targets]


def test_checks_of_all_gates_belong_to_their_stage_and_what_is_no_host_stands_apart() -> None:
    login = Check("vcenter.login", "Login", "passed")
    space = Check("datastore.space", "Space", "warned", detail="12 GB left")
    events = [
        PlayStarted(1000.0, "Platform gate", "platform", {"h": ("stress", "")}),
        *judged("platform", ("vc", login), ("h", space)),
        PlayStarted(1001.0, "Machine gate", "machine", {"h": ("stress", "")}),
        *judged("machine", ("h", FAILED)),
        *judged("machine", ("h", PASSED)),  # asked again after it was mended
        *judged("guest", ("preflight_waivers", Check("gate.waiver", "Waivers", "warned", detail="can be deleted"))),
        RunEnded(1002.0, {}),
    ]
    report = build.build(INFO, events, Evidence(), 1002.0)
    assert [host.name for host in report.hosts] == ["h"]
    assert report.hosts[0].gates == {"platform": (space,), "machine": (PASSED,)}
    assert {name: list(gates) for name, gates in report.common.items()} == {
        "vc": ["platform"],
        "preflight_waivers": ["guest"],
    }
    assert {stage.name: stage.status for stage in report.stages if stage.status != "no_run"} == {
        "platform": "warned",
        "machine": "passed",
        "guest": "warned",
    }
    assert (report.status, report.headline) == ("warned", "Passed with warnings")
    found = {name: json.loads(text) for name, text in documents.documents(report).items()}
    assert found["platform.json"]["common"]["vc"]["checks"][0]["id"] == "vcenter.login"
    assert found["machine.json"]["hosts"]["h"]["checks"][0]["status"] == "passed"
    assert (found["guest.json"]["hosts"], list(found["guest.json"]["common"])) == ({}, ["preflight_waivers"])


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"check_mode": True, "vm": Vm("h")}, ("skipped", "not created yet (check mode)")),
        ({"ended": False}, ("no_run", "the run ended before this host was checked")),
        ({}, ("passed", "1 check")),
        ({"common": [FOR_ALL]}, ("blocked", "stopped by: Make vCenter match the wish")),
    ],
)
def test_a_host_of_which_only_the_wish_was_checked(seen: dict[str, Any], expected: tuple[str, str]) -> None:
    assert verdict.of_host(verdict.Seen(gates={"platform": [PASSED]}, **seen)) == expected


def test_a_failed_check_of_the_vcenter_fails_the_run() -> None:
    failed = Check("vcenter.version", "Version", "failed", detail="too old")
    report = build.build(INFO, [*judged("platform", ("vc", failed)), RunEnded(1001.0, {})], Evidence(), 1001.0)
    assert (report.status, report.hosts) == ("failed", ())


@pytest.mark.parametrize(("excused", "status"), [(True, "warned"), (False, "failed")])
def test_what_a_waived_failure_blocks_fails_nobody(excused: bool, status: str) -> None:
    waived = replace(FAILED, status="warned", waived="waived until 2026-12-31: soon", detail="waived")
    gate = GateRan("h", (waived, replace(BLOCKED, excused=excused)))
    assert build.build(INFO, [gate, RunEnded(1001.0, {})], Evidence(), 1001.0).status == status
