# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report says, as plain data: the page and the JSON files are both written from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .events import Check, TaskFailed, Vm
from .junit import Test

PASSED, WARNED, FAILED = "passed", "warned", "failed"
BLOCKED, SKIPPED, NOT_APPLICABLE, NO_RUN = "blocked", "skipped", "not_applicable", "no_run"
STATUSES = (PASSED, WARNED, FAILED, BLOCKED, SKIPPED, NOT_APPLICABLE, NO_RUN)
STAGES = ("platform", "provision", "machine", "configure", "guest", "verify", "teardown")
GATES = ("platform", "machine", "guest")

ENDED, UNFINISHED, BROKEN_OFF = "ended", "unfinished", "broken off"
SIMULATED = "(simulated)"
PREVIEW = "preview"
# The checks whose warning means that something else took the place of what was wished, and what that is called.
STAND_IN_CHECKS = {"guest.os": "Operating system", "guest.machine": "Machine", "guest.python": "Python"}


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first task. ``started`` in seconds since the epoch."""

    run_id: str
    started: float
    inventory: tuple[str, ...] = ()
    check_mode: bool = False
    limit: str = ""


@dataclass(frozen=True)
class Evidence:
    """What lies in the run's folder: tests by host, pictures (a link or a data URI) by host."""

    tests: Mapping[str, tuple[Test, ...]] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VCenter:
    """Which vCenter answered; ``full_name`` is empty when none did."""

    full_name: str = ""
    version: str = ""

    @property
    def simulated(self) -> bool:
        """The lab's simulator says so in its own full name."""
        return SIMULATED in self.full_name


@dataclass(frozen=True)
class StandIn:
    """Something that took the place of what was wished; ``hosts`` is empty when it concerns the whole run."""

    what: str
    wished: str
    found: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One stage of the path; ``seconds`` is 0 for one that did not run."""

    name: str
    status: str
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class TaskTime:
    """How long a task took over all its hosts, in seconds."""

    name: str
    seconds: float
    stage: str = ""


@dataclass(frozen=True)
class Host:
    """Everything about one host. ``reason`` is one line that says why ``status`` is what it is.

    ``gates`` holds its checks by stage.
    """

    name: str
    environment: str = ""
    wished_os: str = ""
    found_os: str = ""
    status: str = NO_RUN
    reason: str = ""
    vm: Vm | None = None
    planned: bool = False
    gates: Mapping[str, tuple[Check, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    tests: tuple[Test, ...] = ()
    picture: str = ""
    stats: Mapping[str, int] = field(default_factory=dict)

    @property
    def checks(self) -> tuple[Check, ...]:
        """Those of all gates, in the order of the stages."""
        return tuple(check for stage in GATES for check in self.gates.get(stage, ()))

    @property
    def os_differs(self) -> bool:
        """Whether the guest's own word on its system is not the wished one."""
        return any(check.id == "guest.os" and check.status in (WARNED, FAILED) for check in self.checks)


@dataclass(frozen=True)
class Report:
    """The whole run. ``state`` is ended, unfinished (still going, or killed) or broken off.

    ``common`` holds the checks of what is no host (the vCenter, the waivers), by name and by stage.
    """

    info: RunInfo
    state: str
    status: str
    seconds: float
    vcenter: VCenter
    stages: tuple[Stage, ...]
    hosts: tuple[Host, ...]
    stand_ins: tuple[StandIn, ...]
    failures: tuple[TaskFailed, ...]
    slowest: tuple[TaskTime, ...]
    fleet: Mapping[str, tuple[Vm, ...]] = field(default_factory=dict)
    changed: Mapping[str, bool] = field(default_factory=dict)
    common: Mapping[str, Mapping[str, tuple[Check, ...]]] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        if self.state == UNFINISHED:
            return "Unfinished"
        if self.state == BROKEN_OFF:
            return "Broken off"
        if self.status == FAILED:
            return "Failed"
        words = {PASSED: "Passed", WARNED: "Passed with warnings", SKIPPED: "Planned", NO_RUN: "Nothing ran"}
        word = words.get(self.status, self.status.capitalize())
        if self.status in (PASSED, WARNED) and self.stand_ins and not self.other_warnings:
            word = "Passed with stand-ins"
        return f"{word} (check mode)" if self.info.check_mode else word

    @property
    def other_warnings(self) -> tuple[Check, ...]:
        """Warnings that are no stand-ins."""
        hosts = [check for host in self.hosts for check in host.checks]
        common = [check for stages in self.common.values() for checks in stages.values() for check in checks]
        return tuple(check for check in hosts + common if check.status == WARNED and check.id not in STAND_IN_CHECKS)
