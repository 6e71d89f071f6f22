# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the events of a run to its report. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import verdict
from .events import (
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
from .model import (
    BROKEN_OFF,
    ENDED,
    GATES,
    PREVIEW,
    STAGES,
    STAND_IN_CHECKS,
    UNFINISHED,
    WARNED,
    Evidence,
    Host,
    Report,
    RunInfo,
    Stage,
    StandIn,
    TaskTime,
    VCenter,
)

SLOWEST = 8
Common = Mapping[str, Mapping[str, tuple[Check, ...]]]


@dataclass
class Ledger:
    """The events, sorted by what they are about."""

    hosts: dict[str, tuple[str, str]] = field(default_factory=dict)
    fleet: dict[str, dict[str, Vm]] = field(default_factory=dict)
    changed: dict[str, bool] = field(default_factory=dict)
    gates: dict[str, dict[str, GateRan]] = field(default_factory=dict)
    suites: dict[str, int] = field(default_factory=dict)
    failures: list[TaskFailed] = field(default_factory=list)
    stats: dict[str, dict[str, int]] = field(default_factory=dict)
    vcenter: VCenter = field(default_factory=VCenter)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    stage_now: str = ""
    tasks: list[TaskTime] = field(default_factory=list)
    last: float = 0.0
    ended: bool = False

    def add_fleet(self, event: FleetRan) -> None:
        """The newest word on a VM counts; an empty stage is a reading between the stages."""
        self.fleet.setdefault(event.stage, {}).update({vm.name: vm for vm in event.vms})
        self.changed[event.stage] = self.changed.get(event.stage, False) or event.changed
        if event.vcenter[0]:
            self.vcenter = VCenter(*event.vcenter)

    def checks(self, name: str) -> dict[str, tuple[Check, ...]]:
        """A target's checks by stage, in the order of the stages."""
        found = self.gates.get(name, {})
        return {stage: found[stage].checks for stage in GATES if stage in found}

    def facts(self, name: str) -> Mapping[str, str]:
        """What a host's gate told about it."""
        told = self.gates.get(name, {}).get("guest")
        return told.facts if told else {}

    def vm(self, name: str) -> Vm | None:
        """The VM as it was last seen, with what a stage that acts did to it."""
        found = None
        for stage in ("platform", "provision", "", "teardown"):
            seen = self.fleet.get(stage, {}).get(name)
            if seen is None:
                continue
            # A mere reading knows the state best and nothing of what was done.
            found = Vm(**{**vars(seen), "operations": found.operations}) if found and stage == "" else seen
        return found


def happened(events: Sequence[Event]) -> bool:
    """Whether anything of the testbed ran, so that there is something to report."""
    return any(isinstance(event, FleetRan | GateRan | SuiteRan) for event in events)


def drawn(events: Sequence[Event]) -> frozenset[str]:
    """The hosts whose guest gate drew a picture in this run."""
    return frozenset(event.host for event in events if isinstance(event, GateRan) and event.facts.get("picture"))


def build(info: RunInfo, events: Sequence[Event], evidence: Evidence, now: float, *, going: bool = False) -> Report:
    """The report at the time ``now`` (seconds since the epoch); ``going`` says that the run may still be under way."""
    ledger = _ledger(events, now)
    state = ENDED if ledger.ended else UNFINISHED if going else BROKEN_OFF
    failures = tuple(failure for failure in ledger.failures if not _rescued(failure, ledger))
    names = _names(ledger, evidence)
    hosts = tuple(_host(name, info, ledger, evidence, failures) for name in names)
    common = {name: ledger.checks(name) for name in ledger.gates if name not in names}
    statuses = [host.status for host in hosts] + [verdict.of_checks(stages) for stages in common.values()]
    return Report(
        info=info,
        state=state,
        status=verdict.of_run(statuses, failures, broken=state == BROKEN_OFF),
        seconds=max(0.0, ledger.last - info.started),
        vcenter=ledger.vcenter,
        stages=_stages(info, ledger, (hosts, common), failures, state),
        hosts=hosts,
        stand_ins=tuple(_stand_ins(ledger.vcenter, hosts)),
        failures=failures,
        slowest=tuple(sorted(ledger.tasks, key=lambda task: -task.seconds)[:SLOWEST]),
        fleet={stage: tuple(vms.values()) for stage, vms in ledger.fleet.items()},
        changed=ledger.changed,
        common=common,
    )


def _ledger(events: Sequence[Event], now: float) -> Ledger:
    ledger = Ledger(last=now)
    play: PlayStarted | None = None
    task: TaskStarted | None = None

    for event in events:
        if isinstance(event, PlayStarted | TaskStarted | RunEnded):
            _close_task(ledger, task, event.at)
            task = event if isinstance(event, TaskStarted) else None
        if isinstance(event, PlayStarted | RunEnded):
            _close_play(ledger, play, event.at)
            play = event if isinstance(event, PlayStarted) else None
        _enter(ledger, event)
    _close_task(ledger, task, now)
    _close_play(ledger, play, now)
    return ledger


def _enter(ledger: Ledger, event: Event) -> None:
    if isinstance(event, PlayStarted):
        ledger.hosts.update(event.hosts)
        ledger.stage_now, ledger.ended = event.stage, False
    elif isinstance(event, FleetRan):
        ledger.add_fleet(event)
    elif isinstance(event, GateRan):
        ledger.gates.setdefault(event.host, {})[event.stage] = event
    elif isinstance(event, SuiteRan):
        ledger.suites[event.host] = event.status
    elif isinstance(event, TaskFailed):
        ledger.failures.append(event)
    elif isinstance(event, RunEnded):
        ledger.ended, ledger.last = True, event.at
        ledger.stats = {host: dict(counts) for host, counts in event.stats.items()}


def _close_task(ledger: Ledger, task: TaskStarted | None, at: float) -> None:
    if task:
        ledger.tasks.append(TaskTime(task.name, at - task.at, ledger.stage_now))


def _close_play(ledger: Ledger, play: PlayStarted | None, at: float) -> None:
    if play:
        ledger.stage_seconds[play.stage] = ledger.stage_seconds.get(play.stage, 0.0) + at - play.at


def _rescued(failure: TaskFailed, ledger: Ledger) -> bool:
    """A failure that a rescue block answered is none: Ansible counts it as rescued, and the host goes on."""
    counts = ledger.stats.get(failure.host, {})
    return bool(counts.get("rescued")) and not counts.get("failures") and not counts.get("unreachable")


def _names(ledger: Ledger, evidence: Evidence) -> list[str]:
    """Hosts in the order of the inventory, then what only vCenter or the folder knows."""
    known = dict.fromkeys(ledger.hosts)
    for vms in ledger.fleet.values():
        known.update(dict.fromkeys(vms))
    known.update(dict.fromkeys([*ledger.suites, *evidence.tests]))
    # What only the guest gate knows is a host as well; the other gates also judge what is none.
    known.update(dict.fromkeys(name for name, stages in ledger.gates.items() if _is_guest(stages)))
    return list(known)


def _is_guest(stages: Mapping[str, GateRan]) -> bool:
    return any(not check.id.startswith("gate.") for check in stages["guest"].checks) if "guest" in stages else False


def _host(name: str, info: RunInfo, ledger: Ledger, evidence: Evidence, failures: Sequence[TaskFailed]) -> Host:
    environment, wished_os = ledger.hosts.get(name, ("", ""))
    gates, facts = ledger.checks(name), ledger.facts(name)
    system = next((check for check in gates.get("guest", ()) if check.id == "guest.os"), None)
    vm = ledger.vm(name)
    seen = verdict.Seen(
        vm=vm,
        removed=name in ledger.fleet.get("teardown", {}),
        gates=gates,
        tests=evidence.tests.get(name, ()),
        suite_status=ledger.suites.get(name),
        stats=ledger.stats.get(name, {}),
        own=tuple(failure for failure in failures if failure.host == name and not failure.for_all),
        common=tuple(failure for failure in failures if failure.for_all),
        check_mode=info.check_mode,
        ended=ledger.ended,
    )
    status, reason = verdict.of_host(seen)
    return Host(
        name=name,
        environment=environment,
        wished_os=(system.expected if system else "") or wished_os,
        found_os=facts.get("os", "") or (system.actual if system else ""),
        status=status,
        reason=reason,
        vm=vm,
        planned=info.check_mode or not ({"provision", "teardown"} & ledger.fleet.keys()),
        gates=gates,
        facts=facts,
        tests=seen.tests,
        picture=evidence.pictures.get(name, ""),
        stats=seen.stats,
    )


def _stages(
    info: RunInfo, ledger: Ledger, judged: tuple[Sequence[Host], Common], failures: Sequence[TaskFailed], state: str
) -> tuple[Stage, ...]:
    hosts, common = judged
    stages = []
    for name in STAGES:
        started = name in ledger.stage_seconds
        if name == "teardown" and not started and name not in ledger.fleet:
            continue
        broken = state == BROKEN_OFF and ledger.stage_now == name
        status, note = verdict.of_stage(
            name,
            started=started,
            check_mode=info.check_mode,
            answered=name in ledger.fleet,
            hosts=hosts,
            rows=_statuses(name, hosts, common),
            failures=[failure for failure in failures if failure.stage == name],
            broken=broken,
        )
        stages.append(Stage(name, status, ledger.stage_seconds.get(name, 0.0), note))
    return tuple(stages)


def _statuses(stage: str, hosts: Sequence[Host], common: Common) -> list[str]:
    judged = [*(host.gates for host in hosts), *common.values()]
    return [check.counts_as for gates in judged for check in gates.get(stage, ())]


def _stand_ins(vcenter: VCenter, hosts: Sequence[Host]) -> list[StandIn]:
    """Everything that is not what the wish names, each kind once with its hosts."""
    found = []
    if vcenter.simulated:
        simulator = "vCenter simulator: no VM of this run is on ESXi, whatever its firmware says"
        found.append(StandIn("vCenter", "A real vCenter", simulator))
    for id_, what in STAND_IN_CHECKS.items():
        grouped: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for host in hosts:
            for check in host.checks:
                if check.id == id_ and check.status == WARNED:
                    grouped[check.expected, check.actual].append(host.name)
        found += [StandIn(what, *pair, tuple(names)) for pair, names in grouped.items()]
    drawing = tuple(host.name for host in hosts if host.facts.get("backend") == PREVIEW)
    if drawing:
        backend = "Layout backend 'preview', not the diffusion model"
        found.append(StandIn("Pictures", "The diffusion model", backend, drawing))
    return found
