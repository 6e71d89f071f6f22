# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as the callback records them: a good one and one in which a host fails, on the lab's three hosts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.report import build, junit
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.events import (
    Check,
    Event,
    FleetRan,
    GateRan,
    PlayStarted,
    RunEnded,
    SuiteRan,
    TaskFailed,
    TaskStarted,
    Vm,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.model import Evidence, Report, RunInfo

START = 1795243512.0  # 2026-11-21 06:45:12 UTC
DEBIAN = "Debian GNU/Linux 12 (bookworm)"
HOSTS = {
    "nb-baseline-01": ("baseline", "Ubuntu 22.04"),
    "nb-compat-01": ("compatibility", "Windows Server 2019"),
    "nb-stress-01": ("stress", "CentOS 7.9"),
}
SIZES = {"baseline": (4, 6144), "compatibility": (8, 16384), "stress": (2, 4096)}
SIMULATOR = ("VMware vCenter Server 8.0.3 build-24022515 (simulated)", "8.0.3")
CLONED = ("clone from the template", "add the disk data", "power on")
TESTS = (
    "test_the_guest_bears_its_name_in_the_inventory",
    "test_the_user_is_there_and_owns_a_home",
    "test_the_user_may_use_sudo_without_a_password",
    "test_the_folders_are_the_users_and_writable",
    "test_the_extra_authorities_are_trusted",
    "test_the_environment_runs_a_python_that_the_engine_supports",
    "test_the_engine_is_imported_from_the_environment",
    "test_the_engine_draws_the_same_picture_of_the_asked_size_twice",
)


@dataclass(frozen=True)
class Recorded:
    """Everything that a report is built from."""

    info: RunInfo
    events: tuple[Event, ...]
    evidence: Evidence
    now: float = START + 72

    def report(self, *, going: bool = False) -> Report:
        """The report of it."""
        return build.build(self.info, self.events, self.evidence, self.now, going=going)


def vms(operations: tuple[str, ...], *, exist: bool = True) -> tuple[Vm, ...]:
    """The three VMs as fleet returns them."""
    made = []
    for number, (name, (environment, _os)) in enumerate(HOSTS.items()):
        cpus, memory = SIZES[environment]
        made.append(
            Vm(
                name,
                exists=True,
                address=f"127.0.10.{number + 2}",
                power="poweredOn",
                moid=f"vm-{61 + number}",
                instance_uuid=f"5a4f5a3c-7a9e-4b7e-8a43-00000000000{number}",
                owner="lab",
                run="20261121-064512-3fa2",
                expires="2026-11-22T06:45:20Z",
                template=f"nano-banana-{environment}-template",
                cpus=cpus,
                memory_mb=memory,
                operations=operations,
            )
            if exist
            else Vm(name, power="absent", operations=operations)
        )
    return tuple(made)


def gate(host: str, *, broken: bool = False) -> GateRan:
    """The guest gate of the lab: another system, another Python, a picture by the preview backend."""
    checks = [
        Check(
            "guest.os",
            "The guest runs the wished operating system",
            "warned",
            HOSTS[host][1],
            DEBIAN,
            f"{DEBIAN} stands in for {HOSTS[host][1]}",
            "Clone from a template with that system.",
            0.001,
        ),
        Check(
            "guest.python",
            "The engine's environment runs the wished Python",
            "warned",
            "Python 3.10.12",
            "Python 3.11.2",
            "Python 3.11.2 stands in for 3.10.12",
            "Set pyenv_provider.",
            0.004,
        ),
    ]
    facts = {"os": DEBIAN, "python": "3.11.2"}
    title = "The engine can be imported"
    expected = "import nano_banana prints a version"
    drawing = "The engine draws one picture"
    if broken:
        why = "cuDNN is not found: either its wheel is absent or shadowed, or driver and CUDA do not match"
        missing = "ImportError: libcudnn.so.8: cannot open shared object file: No such file or directory"
        configure = f"ansible-playbook playbooks/configure.yml --limit {host}"
        mend = f"Install it again: delete /home/tester/nano-env on the guest, then: {configure}"
        checks.append(Check("model.import", title, "failed", expected, missing, why, mend, 0.21))
        checks.append(
            Check("model.picture", drawing, "blocked", detail="not run: it needs model.import, which is failed")
        )
        return GateRan(host, tuple(checks), facts)
    wished = "512x512 by preview within 60 s, bright background (20% to 99.5%, >= 200), not black"
    drawn = "512x512 PNG by preview in 0.9 s, background (248, 248, 248) 71.3%"
    checks.append(Check("model.import", title, "passed", expected, "nano_banana 0.1.0", seconds=0.2))
    checks.append(Check("model.picture", drawing, "passed", wished, drawn, seconds=1.1))
    picture = "/home/tester/nano-banana/output/preflight.png"
    return GateRan(host, tuple(checks), facts | {"engine": "0.1.0", "backend": "preview", "picture": picture})


def tests(*, failing: bool = False) -> tuple[junit.Test, ...]:
    """What the suite says of a host."""
    rows = [junit.Test(junit.sentence(name), "passed", 0.12) for name in TESTS]
    if failing:
        why = "expected writable folders of tester; found otherwise: /home/tester/nano-banana/output"
        rows[3] = replace(rows[3], status="failed", message=why)
    return tuple(rows)


def plays(stage: str, at: float, name: str, *tasks: tuple[float, str]) -> list[Event]:
    """A play with its tasks, each (seconds after the play's start, name)."""
    return [
        PlayStarted(START + at, name, stage, HOSTS),
        *(TaskStarted(START + at + later, title) for later, title in tasks),
    ]


def count(**figures: int) -> dict[str, int]:
    """A host's line in Ansible's recap."""
    return dict.fromkeys(("ok", "changed", "failures", "unreachable", "skipped", "rescued", "ignored"), 0) | figures


@pytest.fixture
def good_run() -> Recorded:
    """site.yml on a fresh lab; everything works."""
    events = [
        *plays("platform", 1, "Platform gate", (0.1, "Ask vCenter whether the wish can be met")),
        FleetRan("platform", vms=vms(CLONED, exist=False), vcenter=SIMULATOR),
        *plays(
            "provision",
            2.2,
            "Provision the VMs",
            (0.1, "Make vCenter match the wish"),
            (9.0, "Wait until the guest lets us in"),
        ),
        FleetRan("provision", changed=True, vms=vms(CLONED), vcenter=SIMULATOR),
        *plays(
            "configure",
            14,
            "Configure the guests",
            (0.2, "nanobanana.testbed.guest_base : Trust the extra authorities"),
            (7, "nanobanana.testbed.pyenv : Make the virtual environment anew"),
            (13, "nanobanana.testbed.model : Install the wheel with its locked requirements"),
        ),
        *plays("guest", 48, "Pass the guest gate", (0.2, "nanobanana.testbed.preflight : Examine the guest")),
        *(gate(host) for host in HOSTS),
        *plays("verify", 54, "Verify the guests", (0.5, "Run the suite against the guest")),
        *(SuiteRan(host, 0) for host in HOSTS),
        RunEnded(START + 61.4, {host: count(ok=31, changed=12, skipped=6) for host in HOSTS}),
    ]
    info = RunInfo("20261121-064512-3fa2", START, ("inventories/lab",))
    return Recorded(info, tuple(events), Evidence({host: tests() for host in HOSTS}))


@pytest.fixture
def bad_run(good_run: Recorded) -> Recorded:
    """The same, but the engine of one host cannot be imported and a test of another one fails."""
    broken = gate("nb-compat-01", broken=True)
    failed = broken.checks[2]
    message = "\n".join(
        (
            "Guest gate of nb-compat-01: 1 of 4 checks failed.",
            f"model.import: {failed.title}",
            f"  why:      {failed.detail}",
            f"  expected: {failed.expected}",
            f"  found:    {failed.actual}",
            f"  mend:     {failed.fix}",
            "Not run because of that: model.picture.",
            "Next: ansible-playbook playbooks/preflight_guest.yml --limit nb-compat-01",
        )
    )
    events: list[Event] = []
    for event in good_run.events:
        if isinstance(event, GateRan) and event.host == "nb-compat-01":
            task = "nanobanana.testbed.preflight : Examine the guest"
            events += [broken, TaskFailed(START + 50, "nb-compat-01", task, message, "guest")]
        elif isinstance(event, SuiteRan):
            events += [] if event.host == "nb-compat-01" else [SuiteRan(event.host, int(event.host == "nb-stress-01"))]
        elif isinstance(event, RunEnded):
            why = "test_the_folders_are_the_users_and_writable: expected writable folders of tester; found otherwise"
            events.append(TaskFailed(START + 60, "nb-stress-01", "Stop at what is not as it should be", why, "verify"))
            stats = {host: count(ok=31, changed=12, failures=int(host != "nb-baseline-01")) for host in HOSTS}
            events.append(replace(event, stats=stats))
        else:
            events.append(event)
    found = {"nb-baseline-01": tests(), "nb-stress-01": tests(failing=True)}
    return replace(good_run, events=tuple(events), evidence=Evidence(found))
