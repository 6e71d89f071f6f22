# SPDX-License-Identifier: GPL-3.0-or-later
"""One fault: break it, see what the gate says, type the fix that the gate prints, and see the gate again."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

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

    def failed(self, host: str) -> dict[str, dict[str, Any]]:
        """The failed rows that concern a host: its own, and those that are nobody's own."""
        concerned = [target for target in self.rows if target == host or target not in HOSTS]
        return {id_: row for target in concerned for id_, row in self.rows[target].items() if row["status"] == "failed"}


@dataclass
class Outcome:
    """How the drill went with one fault."""

    fault: Fault
    found: bool = False
    mended: bool = False
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
    _must(on_control(on, "ansible-playbook playbooks/provision.yml"))
    _must(on_control(on, f"ansible-playbook {STAND_IN / 'prepare.yml'}"))
    _must(on_control(on, "ansible-playbook playbooks/configure.yml"))


def healthy(lab: Lab, when: str) -> list[str]:
    """What the gates find on hosts on which nothing is broken: all of it is false."""
    found = []
    for stage in STAGES:
        gate = ask(lab, stage)
        for target, rows in gate.rows.items():
            found += [
                f"{when}, {target}: {id_} ({row['actual']}; {row['detail']})"
                for id_, row in rows.items()
                if row["status"] in BAD
            ]
    return found


def try_fault(lab: Lab, fault: Fault) -> Outcome:
    """Break, look, mend, look again."""
    outcome, began = Outcome(fault), time.monotonic()
    try:
        break_it(lab, fault)
        gate = ask(lab, fault.stage, fault.host, fault.waiver)
        judge(outcome, gate)
        failed = gate.failed(fault.host)
        if fault.check in failed:
            _mend(lab, fault, failed, outcome)
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


def judge(outcome: Outcome, gate: Gate) -> None:
    """Was it found, by which cause, and what else failed that it does not explain?"""
    fault, failed = outcome.fault, gate.failed(outcome.fault.host)
    row = failed.get(fault.check)
    outcome.found = row is not None and (not fault.cause or row["cause"] == fault.cause)
    if row is not None and not outcome.found:
        outcome.notes.append(f"cause: expected {fault.cause}; found '{row['cause']}' ({row['detail']})")
    others = set(failed) - {fault.check, *fault.explains}
    outcome.alarms += [f"{id_} ({failed[id_]['actual']}; {failed[id_]['detail']})" for id_ in sorted(others)]


def _mend(lab: Lab, fault: Fault, failed: dict[str, dict[str, Any]], outcome: Outcome) -> None:
    """Type what the row says, literally."""
    row = failed[fault.check]
    waiver = ""  # what mends an entry that ran out is to take it out of the inventory, after the failure below it
    if fault.waiver:
        row = failed[fault.explains[0]]
    command, where = row["mend"].get("run", ""), row["mend"].get("where", "")
    if fault.by_hand:
        with administrator(lab) as content:
            fault.by_hand(content, fault.host)
    elif not command:
        outcome.notes.append(f"the fix has no command: {row['fix']}")
        return
    else:
        done = _typed(lab, fault, command, where)
        if done.rc and not fault.restarts:
            outcome.notes.append(f"'{command}' ended with {done.rc}: {done.output[-1500:]}")
    again = ask(lab, fault.stage, fault.host, waiver).failed(fault.host)
    outcome.mended = not again
    if again:
        left = "; ".join(f"{id_}: {row['actual']}, {row['detail']}" for id_, row in again.items())
        outcome.notes.append(f"after '{command}' there is still {left}")


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
    _mend(lab, fault, failed, outcome)
    print("== mended" if outcome.mended else f"== not mended: {outcome.notes}")
    return int(not outcome.mended)


def _must(done: Typed) -> None:
    if done.rc:
        raise RuntimeError(f"expected to end well; it ended with {done.rc}:\n{done.output[-4000:]}")
