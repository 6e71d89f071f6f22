# SPDX-License-Identifier: GPL-3.0-or-later
"""Break a fault, see what the gate says, type the fix that the gate prints, and see it mended at the next gate."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue import CATALOGUE
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gate import WAIVER

from tests.bench.run import Lab
from tests.drill.faults import HOSTS, Fault
from tests.drill.places import INVENTORY, Typed, administrator, on_control, on_guest, wait_for_login

STAND_IN = Path(__file__).parent / "stand_in"
STAGES = ("platform", "machine", "guest")
BAD = ("failed", "blocked")
_run_number = itertools.count(1)


@dataclass
class Gate:
    """What a gate said of the targets: rows of the checklist by target and id, and Ansible's own words."""

    rows: dict[str, dict[str, dict[str, Any]]]
    output: str

    def of(self, host: str) -> dict[str, dict[str, Any]]:
        """The rows that concern a host: its own, and those that are nobody's own."""
        concerned = [target for target in self.rows if target == host or target not in HOSTS]
        return {id_: row for target in concerned for id_, row in self.rows[target].items()}

    def failed(self, host: str) -> dict[str, dict[str, Any]]:
        """Of those, the failed ones."""
        return {id_: row for id_, row in self.of(host).items() if row["status"] == "failed"}


@dataclass
class Outcome:
    """How the drill went with one fault: ``typed`` is the fix once it was typed, ``mended`` None until a gate tells."""

    fault: Fault
    found: bool = False
    typed: str = ""
    mended: bool | None = None
    alarms: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        words = [
            f"{self.seconds:6.1f} s",
            f"{self.fault.name:<22}",
            f"{self.fault.host:<15}",
            f"{self.fault.check:<22}",
            "found" if self.found else "NOT FOUND",
            "mended" if self.mended else "NOT MENDED",
            *self.notes,
        ]
        return "  ".join(words)


def ask(lab: Lab, stage: str, host: str = "", waiver: str = "") -> Gate:
    """Run one gate for one host or all; raises RuntimeError when it left no result."""
    name = f"drill-{next(_run_number)}"
    env = lab.env | {"NANOBANANA_RUN_ID": name, "ANSIBLE_INVENTORY": str(INVENTORY)}
    words = ["ansible-playbook", f"playbooks/preflight_{stage}.yml"]
    words += ["--limit", host] if host else []
    words += ["-e", json.dumps(json.dumps({"preflight_waivers": yaml.safe_load(waiver)}))] if waiver else []
    done = on_control(Lab(lab.state, env), " ".join(words))
    file = Path(env["NANOBANANA_ARTIFACTS"]) / name / f"preflight-{stage}.json"
    if not file.exists():
        raise RuntimeError(f"{' '.join(words)} left no {file.name}:\n{done.output[-4000:]}")
    targets = json.loads(file.read_text())["targets"]
    rows = {target: {row["id"]: row for row in told["checks"]} for target, told in targets.items()}
    return Gate(rows, done.output)


def prepare(lab: Lab) -> None:
    """Three configured hosts; on the one of the baseline a GPU and a driver that are none, with their tools."""
    on = Lab(lab.state, lab.env | {"ANSIBLE_INVENTORY": str(INVENTORY)})
    playbooks = ("playbooks/provision.yml", STAND_IN / "prepare.yml", "playbooks/configure.yml")
    _must(on_control(on, " ".join(["ansible-playbook", *map(str, playbooks)])))


def healthy(lab: Lab, when: str, unseen: Sequence[Outcome] = ()) -> list[str]:
    """What the gates find on hosts on which nothing is broken: all of it is false.

    ``unseen`` are faults whose fix was typed and that no gate has seen mended yet: these gates say it.
    """
    found = []
    for stage in STAGES:
        gate = ask(lab, stage)
        theirs = [outcome for outcome in unseen if outcome.fault.stage == stage]
        for outcome in theirs:
            judge_mended(outcome, gate)
        judged = {(outcome.fault.host, id_) for outcome in theirs for id_ in outcome.fault.checks}
        for target, rows in gate.rows.items():
            found += [
                f"{when}, {target}: {id_} ({row['actual']}; {row['detail']})"
                for id_, row in rows.items()
                if row["status"] in BAD and (target, id_) not in judged
            ]
    return found


def lane(lab: Lab, faults: Sequence[Fault]) -> list[Outcome]:
    """The faults of one host, one after the other: the gate that finds one sees the one before it mended.

    Where it cannot see that, the fault before has a gate of its own; the last one of a stage is left to ``healthy``.
    """
    outcomes: list[Outcome] = []
    for fault, later in zip(faults, [*faults[1:], None], strict=True):
        before = outcomes[-1] if outcomes and shows(fault, outcomes[-1].fault) else None
        alone = later is not None and later.stage == fault.stage and not shows(later, fault)
        outcomes.append(try_fault(lab, fault, before, alone=alone))
        for outcome in (before, outcomes[-1]):
            if outcome and outcome.mended is not None:
                print(outcome, flush=True)
    return outcomes


def shows(later: Fault, fault: Fault) -> bool:
    """Whether the gate at which ``later`` is broken tells if ``fault`` is mended: it asks the same, unhindered."""
    hidden = set(later.checks)
    for _ in CATALOGUE:
        hidden |= {check.id for check in CATALOGUE if hidden.intersection((*check.needs, *check.after))}
    return later.stage == fault.stage and later.host == fault.host and hidden.isdisjoint(fault.checks)


def try_fault(lab: Lab, fault: Fault, before: Outcome | None = None, *, alone: bool = False) -> Outcome:
    """Break it, look, type the fix; the look tells also whether the fault ``before`` it was mended.

    ``alone``: no later gate will tell of this one, so that it has a second one of its own.
    """
    outcome, began = Outcome(fault), time.monotonic()
    try:
        break_it(lab, fault)
        gate = ask(lab, fault.stage, fault.host, fault.waiver)
        judge(outcome, gate, before.fault.checks if before else ())
        if before:
            judge_mended(before, gate)
        if fault.check in gate.failed(fault.host):
            type_fix(lab, outcome, gate)
        if alone:
            judge_mended(outcome, ask(lab, fault.stage, fault.host))
    except (RuntimeError, TimeoutError) as error:
        outcome.notes.append(str(error))
    outcome.seconds = time.monotonic() - began
    return outcome


def break_it(lab: Lab, fault: Fault) -> None:
    """Do what somebody did."""
    if fault.vcenter:
        with administrator(lab) as content:
            fault.vcenter(content, fault.host)
    if fault.guest:
        _must(on_guest(lab, fault.host, fault.guest))


def judge(outcome: Outcome, gate: Gate, before: Sequence[str] = ()) -> None:
    """Was it found, by which cause, and what else failed that neither it nor the fault ``before`` explains?"""
    fault, failed = outcome.fault, gate.failed(outcome.fault.host)
    row = failed.get(fault.check)
    outcome.found = row is not None and (not fault.cause or row["cause"] == fault.cause)
    if row is not None and not outcome.found:
        outcome.notes.append(f"cause: expected {fault.cause}; found '{row['cause']}' ({row['detail']})")
    others = set(failed) - {*fault.checks, *before}
    outcome.alarms += [f"{id_} ({failed[id_]['actual']}; {failed[id_]['detail']})" for id_ in sorted(others)]


def judge_mended(outcome: Outcome, gate: Gate) -> None:
    """Did the typed fix mend it? A check that was not run proves nothing; an entry that is gone needs no row."""
    rows, fault = gate.of(outcome.fault.host), outcome.fault
    left = []
    for id_ in fault.checks:
        row = rows.get(id_, {"status": "passed" if id_ == WAIVER else "absent", "actual": "", "detail": "no such row"})
        if row["status"] not in ("passed", "warned"):
            left.append(f"{id_}: {row['status']}, {row['actual']}, {row['detail']}")
    outcome.mended = bool(outcome.typed) and not left
    if outcome.typed and left:
        outcome.notes.append(f"after '{outcome.typed}' there is still {'; '.join(left)}")


def type_fix(lab: Lab, outcome: Outcome, gate: Gate) -> None:
    """Type what the row says, literally."""
    fault, failed = outcome.fault, gate.failed(outcome.fault.host)
    # What mends an entry that ran out is to take it out of the inventory, after the failure below it.
    row = failed[fault.explains[0] if fault.waiver else fault.check]
    command, where = row["mend"].get("run", ""), row["mend"].get("where", "")
    if fault.by_hand:
        with administrator(lab) as content:
            fault.by_hand(content, fault.host)
        outcome.typed = row["fix"]
    elif command:
        done = _typed(lab, fault, command, where)
        outcome.typed = command
        if done.rc and not fault.restarts:
            outcome.notes.append(f"'{command}' ended with {done.rc}: {done.output[-1500:]}")
    else:
        outcome.notes.append(f"the fix has no command: {row['fix']}")


def _typed(lab: Lab, fault: Fault, command: str, where: str) -> Typed:
    if where == "guest":
        done = on_guest(lab, fault.host, command)
    else:
        done = on_control(Lab(lab.state, lab.env | {"ANSIBLE_INVENTORY": str(INVENTORY)}), command)
    if fault.restarts:
        wait_for_login(lab, fault.host)
    return done


def exercise(lab: Lab, fault: Fault) -> int:
    """A trap, told step by step."""
    print(f"\n== {fault.trap}: breaking {fault.host}", flush=True)
    break_it(lab, fault)
    gate = ask(lab, fault.stage, fault.host, fault.waiver)
    print(gate.output)
    failed = gate.failed(fault.host)
    if fault.check not in failed:
        print(f"== {fault.check} did not find it")
        return 1
    print(f"== typing the fix: {failed[fault.check]['fix']}", flush=True)
    outcome = Outcome(fault, found=True)
    type_fix(lab, outcome, gate)
    judge_mended(outcome, ask(lab, fault.stage, fault.host))
    print("== mended" if outcome.mended else f"== not mended: {outcome.notes}")
    return int(not outcome.mended)


def _must(done: Typed) -> None:
    if done.rc:
        raise RuntimeError(f"expected to end well; it ended with {done.rc}:\n{done.output[-4000:]}")
