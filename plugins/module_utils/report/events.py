# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report remembers of a run, and the only door through which task results come in.

Every field is taken from a result by its name, so a secret that a result happens to carry stays outside.
Times are seconds since the epoch.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

ENVIRONMENTS = ("baseline", "compatibility", "stress")
# One playbook file a verb (see the architecture): the file in which a play stands says which stage the play is.
STAGE_OF_PLAYBOOK = {
    "preflight_platform.yml": "platform",
    "provision.yml": "provision",
    "preflight_machine.yml": "machine",
    "configure.yml": "configure",
    "preflight_guest.yml": "guest",
    "verify.yml": "verify",
    "teardown.yml": "teardown",
}
MESSAGE_LIMIT = 6000
VALUE_LIMIT = 400
HIDDEN = "The result is hidden (no_log)."

_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_URL_LOGIN = re.compile(r"(?<=://)[^/\s]+@")


@dataclass(frozen=True)
class Vm:
    """A VM as ``fleet`` returned it. ``operations`` are what it did, or would do in check mode."""

    name: str
    exists: bool = False
    address: str = ""
    power: str = ""
    moid: str = ""
    instance_uuid: str = ""
    owner: str = ""
    run: str = ""
    expires: str = ""
    template: str = ""
    cpus: int = 0
    memory_mb: int = 0
    operations: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Check:
    """One check of a gate; the fields are those of ``checks`` in preflight_gate's RETURN, without the evidence.

    ``excused``: blocked only because of a failure that is waived.
    """

    id: str
    title: str
    status: str
    expected: str = ""
    actual: str = ""
    detail: str = ""
    fix: str = ""
    seconds: float = 0.0
    waived: str = ""
    excused: bool = False

    @property
    def counts_as(self) -> str:
        """The status by which a host, a stage or the run is judged."""
        return "skipped" if self.excused else self.status


@dataclass(frozen=True)
class PlayStarted:
    """A play began. ``hosts`` maps each host of an environment to (environment, wished operating system)."""

    at: float
    name: str
    stage: str = ""
    hosts: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskStarted:
    """A task began; it ends when the next one, the next play or the end of the run comes."""

    at: float
    name: str


@dataclass(frozen=True)
class FleetRan:
    """``fleet`` answered. ``stage`` is empty when it only read; ``vcenter`` is (full name, version)."""

    stage: str
    changed: bool = False
    vms: tuple[Vm, ...] = ()
    vcenter: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class GateRan:
    """``preflight_gate`` judged a target, a host or the vCenter, whether the gate opened or not."""

    host: str
    checks: tuple[Check, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    stage: str = "guest"


@dataclass(frozen=True)
class SuiteRan:
    """The testinfra suite was started for a host and ended with this exit status of pytest."""

    host: str
    status: int


@dataclass(frozen=True)
class TaskFailed:
    """A task failed or its host was unreachable. ``for_all``: the failure ended the play for every host."""

    at: float
    host: str
    task: str
    message: str
    stage: str = ""
    unreachable: bool = False
    for_all: bool = False


@dataclass(frozen=True)
class RunEnded:
    """Ansible's own count for each host: ok, changed, failures, unreachable, skipped, rescued, ignored."""

    at: float
    stats: Mapping[str, Mapping[str, int]]


Event: TypeAlias = "PlayStarted | TaskStarted | FleetRan | GateRan | SuiteRan | TaskFailed | RunEnded"


def clean(value: object, limit: int = VALUE_LIMIT) -> str:
    """Text fit for a page: no terminal codes, no login in an address, at most ``limit`` characters."""
    text = _URL_LOGIN.sub("***@", _TERMINAL.sub("", "" if value is None else str(value))).strip()
    return text if len(text) <= limit else f"{text[:limit].rstrip()} ... ({len(text) - limit} more characters)"


def hidden(result: Mapping[str, Any]) -> bool:
    """Whether Ansible withholds the result, which then must not be read."""
    return bool(result.get("_ansible_no_log") or "censored" in result)


def answers(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The result, or those of a loop's items, that may be read."""
    if hidden(result):
        return
    items = result.get("results")
    if not isinstance(items, list):
        yield result
        return
    yield from (item for item in items if isinstance(item, Mapping) and not hidden(item))


def fleet_ran(result: Mapping[str, Any], stage: str) -> FleetRan:
    """Take what the report needs from a result of ``fleet``; a failed one has neither VMs nor a vCenter."""
    vms = _mapping(result.get("vms"))
    vcenter = _mapping(result.get("vcenter"))
    return FleetRan(
        stage=stage,
        changed=bool(result.get("changed")),
        vms=tuple(_vm(str(name), _mapping(facts)) for name, facts in vms.items()),
        vcenter=(clean(vcenter.get("full_name")), clean(vcenter.get("version"))),
    )


def _vm(name: str, facts: Mapping[str, Any]) -> Vm:
    words = ("address", "power", "moid", "instance_uuid", "owner", "run", "expires", "template")
    operations = facts.get("operations")
    return Vm(
        name=name,
        exists=bool(facts.get("exists")),
        cpus=_number(facts.get("cpus")),
        memory_mb=_number(facts.get("memory_mb")),
        operations=tuple(clean(each) for each in operations) if isinstance(operations, list) else (),
        error=clean(facts.get("error"), MESSAGE_LIMIT),
        **{word: clean(facts.get(word)) for word in words},
    )


def gate_ran(result: Mapping[str, Any]) -> list[GateRan]:
    """Take checks and facts of each target from a result of ``preflight_gate``; none when it did not get to judge."""
    stage = clean(result.get("stage"))
    targets, advised = _mapping(result.get("targets")), bool(result.get("advisory"))
    judged = [_judged(str(name), _mapping(answer), stage) for name, answer in targets.items()]
    return [replace(each, checks=tuple(map(_advised, each.checks))) for each in judged] if advised else judged


def _advised(check: Check) -> Check:
    """A gate that only advises fails nobody: what it would have stopped for is a warning of the plan."""
    if check.status not in ("failed", "blocked"):
        return check
    return replace(check, status="warned" if check.status == "failed" else "skipped")


def _judged(target: str, answer: Mapping[str, Any], stage: str) -> GateRan:
    rows = answer.get("checks")
    checks = tuple(_check(row) for row in rows if isinstance(row, Mapping)) if isinstance(rows, list) else ()
    facts = _mapping(answer.get("facts"))
    names = ("os", "python", "engine", "backend", "picture") if facts else ()
    return GateRan(target, checks, {word: clean(facts.get(word)) for word in names}, stage)


def _check(row: Mapping[str, Any]) -> Check:
    words = ("id", "title", "status", "expected", "actual", "detail", "fix", "waived")
    texts: dict[str, Any] = {word: clean(row.get(word), 2000) for word in words}
    return Check(seconds=_seconds(row.get("seconds")), excused=bool(row.get("excused")), **texts)


def suite_ran(result: Mapping[str, Any], folder: str) -> SuiteRan | None:
    """Recognise the suite by the JUnit file in ``folder`` that its command line names; None for other commands."""
    command = result.get("cmd")
    status = result.get("rc")
    if not isinstance(command, list) or not isinstance(status, int):
        return None
    start = f"--junitxml={folder}/verify-"
    for word in command:
        if isinstance(word, str) and word.startswith(start) and word.endswith(".xml"):
            return SuiteRan(word[len(start) : -len(".xml")], status)
    return None


def message_of(result: Mapping[str, Any]) -> str:
    """What a failed task says for itself: its message and, of a command, the end of what it wrote."""
    if hidden(result):
        return HIDDEN
    parts = [clean(result.get("msg"), MESSAGE_LIMIT)]
    for key in ("stderr", "stdout", "module_stderr"):
        # The end of a long output tells why it ended; what it began with does not.
        tail = "\n".join(clean(result.get(key), sys.maxsize).splitlines()[-20:])[-MESSAGE_LIMIT:]
        if tail and tail not in parts[0]:
            parts.append(tail)
            break
    items = answers(result) if "results" in result else ()
    parts += [clean(item.get("msg"), MESSAGE_LIMIT) for item in items if item.get("failed") or item.get("unreachable")]
    return "\n".join(part for part in parts if part) or "The task failed without a message."


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
