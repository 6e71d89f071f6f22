# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of VMs: what is asked, what a VM has, and what has to be done. Pure; snapshot_desk.py does it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import (
    Problem,
    TestbedError,
    nearest,
    one_problem,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import ownership, passthrough, vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import Change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lifecycle import TOOLS_RUNNING
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation, check_owner

MOST_LEVELS = 32  # of snapshots on top of each other; VMware's number, vCenter's fault is TooManySnapshotLevels
STATES = ("present", "absent", "reverted", "gathered")
POWERS = ("snapshot", "on", "off")
MAX_NAME = 80
_POWER = {"poweredOn": "on", "poweredOff": "off"}


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of a VM; ``power`` is the state to which it leads, ``level`` counts from 1."""

    moid: str
    id: int
    name: str
    description: str = ""
    created: str = ""
    power: str = "poweredOff"
    quiesced: bool = False
    parent: str = ""
    level: int = 1
    current: bool = False

    def facts(self) -> dict[str, Any]:
        """What the module returns of it."""
        return {
            "name": self.name,
            "id": self.id,
            "description": self.description,
            "created": self.created,
            "power": self.power,
            "quiesced": self.quiesced,
            "parent": self.parent,
            "current": self.current,
        }


def read_tree(info: Any) -> tuple[Snapshot, ...]:
    """All snapshots of a VM's property ``snapshot``, parents before children."""
    if info is None:
        return ()
    current = info.currentSnapshot._moId if info.currentSnapshot else ""
    return tuple(_walk(info.rootSnapshotList or (), "", 1, current))


def _walk(nodes: Iterable[Any], parent: str, level: int, current: str) -> Iterator[Snapshot]:
    for node in nodes:
        yield Snapshot(
            moid=node.snapshot._moId,
            id=node.id,
            name=node.name,
            description=node.description or "",
            created=node.createTime.astimezone(datetime.UTC).strftime(ownership.TIME_FORMAT),
            power=str(node.state),
            quiesced=bool(node.quiesced),
            parent=parent,
            level=level,
            current=node.snapshot._moId == current,
        )
        yield from _walk(node.childSnapshotList or (), node.name, level + 1, current)


@dataclass(frozen=True)
class Ask:
    """What is asked for every VM of the list."""

    state: str = "present"
    name: str = ""
    description: str = ""
    memory: bool = False
    quiesce: bool = False
    power: str = "snapshot"
    all: bool = False


def read_ask(params: Mapping[str, Any]) -> Ask:
    """The options of the module, checked against each other; raises TestbedError (``invalid_snapshot``)."""
    ask = Ask(
        params["state"],
        params["name"] or "",
        params["description"],
        params["memory"],
        params["quiesce"],
        params["power"],
        params["all"],
    )
    problems: list[Problem] = []
    if ask.all and (ask.state != "absent" or ask.name):
        found = f"state {ask.state}" if ask.state != "absent" else f"name '{ask.name}'"
        problems.append(Problem("all", "only with state absent, and without name", found, "leave it out"))
    if ask.name and (len(ask.name) > MAX_NAME or re.search(r"[%/\\]", ask.name)):
        problems.append(Problem("name", rf"at most {MAX_NAME} characters without %, / and \ ", f"'{ask.name}'"))
    if not ask.name and not ask.all and ask.state != "gathered":
        problems.append(Problem("name", f"a name with state {ask.state}", "none"))
    if ask.memory and ask.quiesce:
        found = "both, which vSphere's own client does not offer"
        problems.append(Problem("quiesce", "either memory or quiesce", found, "leave one out"))
    if problems:
        raise TestbedError("invalid_snapshot", problems)
    return ask


def plan_snapshots(
    ask: Ask,
    actual: VmActual,
    snapshots: tuple[Snapshot, ...],
    owner: str,
    done: Iterable[Operation] = (),
    shared: Mapping[str, passthrough.SharedGpu] | None = None,
) -> list[Operation]:
    """What has to be done to the VM; ``shared`` is what its host says of each vGPU profile.

    Raises TestbedError where the VM may not be touched, or cannot have what is asked.
    """
    if ask.state == "gathered":
        return []
    if not actual.ready:
        return [Operation("wait_settled")]
    check_owner(actual, owner)
    if ask.all:
        gone = tuple(Change(f"snapshots.{item.name}", _shown(item), None) for item in snapshots)
        return [Operation("remove_snapshots", gone)] if gone else []
    known = find(ask.name, actual.name, snapshots)
    if ask.state == "reverted":
        return _revert(ask, actual, known, snapshots, done)
    if ask.state == "absent":
        return [_removal(known)] if known else []
    return [] if known else [_creation(ask, actual, snapshots, shared or {})]


def find(name: str, vm: str, snapshots: Iterable[Snapshot]) -> Snapshot | None:
    """The snapshot of this name; vSphere allows several, of which one must never be guessed."""
    found = [item for item in snapshots if item.name == name]
    if len(found) > 1:
        ids = " and ".join(f"id {item.id} of {item.created}" for item in found)
        advice = "rename one of them in vCenter, or remove all of the VM's: state absent with all"
        raise one_problem("ambiguous_snapshot", f"{vm}: snapshot '{name}'", "one of that name", ids, advice)
    return found[0] if found else None


def takes_memory(ask: Ask, actual: VmActual) -> bool:
    """Whether the snapshot will hold memory; vSphere takes that of a suspended VM whatever is asked."""
    return actual.power == "suspended" or (ask.memory and actual.power == "poweredOn")


def _creation(
    ask: Ask, actual: VmActual, snapshots: Iterable[Snapshot], shared: Mapping[str, passthrough.SharedGpu]
) -> Operation:
    running, memory = actual.power != "poweredOff", takes_memory(ask, actual)
    passthrough.check(actual.name, "snapshot", actual.gpus, shared, running=running)
    if memory:
        passthrough.check(actual.name, "memory snapshot", actual.gpus, shared)
    what = f"{actual.name}: snapshot '{ask.name}'"
    level = max((item.level for item in snapshots if item.current), default=0)
    if level >= MOST_LEVELS:
        expected = f"at most {MOST_LEVELS} snapshots on top of each other"
        raise one_problem("too_many_snapshots", what, expected, str(level), "remove some: state absent")
    if ask.quiesce and actual.power == "poweredOn" and actual.tools != TOOLS_RUNNING:
        found = actual.tools or "no VMware Tools"
        raise one_problem("no_tools", what, "VMware Tools that run, to quiesce the guest", found, "leave quiesce out")
    power = _POWER.get(actual.power, actual.power) if memory else "off"
    return Operation("snapshot", (Change(f"snapshots.{ask.name}", None, {"power": power}),), ask.name)


def _removal(known: Snapshot) -> Operation:
    return Operation("remove_snapshot", (Change(f"snapshots.{known.name}", _shown(known), None),), known.name)


def _revert(
    ask: Ask,
    actual: VmActual,
    known: Snapshot | None,
    snapshots: Iterable[Snapshot],
    done: Iterable[Operation],
) -> list[Operation]:
    """A VM may have diverged from its snapshot in its disks, which nobody can see: each call reverts it once."""
    if known is None:
        names = {item.name for item in snapshots}
        raise one_problem(
            "unknown_snapshot", f"{actual.name}: snapshot '{ask.name}'", "a snapshot", "none", nearest(ask.name, names)
        )
    power = actual.power
    if reverted := not any(operation.kind == "revert" for operation in done):
        power = "poweredOff" if ask.power == "off" else known.power
    steps = [_reverting(actual, known, power)] if reverted else []
    if ask.power == "on" and power != "poweredOn":
        steps.append(Operation("power_on"))
    if ask.power == "off" and power != "poweredOff":
        steps.append(Operation("power_off"))
    return steps


def _reverting(actual: VmActual, known: Snapshot, power: str) -> Operation:
    changes = [Change("state", "as it is", f"as in snapshot {known.name} of {known.created}")]
    if power != actual.power:
        changes.append(Change("power", _POWER.get(actual.power, actual.power), _POWER.get(power, power)))
    return Operation("revert", tuple(changes), known.name)


def check_marks(vm: str, known: Snapshot, holder: str, owner: str) -> None:
    """Raise TestbedError (``not_owner``) for a snapshot whose settings, which a revert brings back, are not ours."""
    if holder != owner:
        raise one_problem(
            "not_owner",
            f"{vm}: snapshot '{known.name}'",
            f"the mark {vmx.OWNER} = '{owner}' in its settings, because a revert brings them back",
            f"'{holder}'" if holder else "none",
            "take a new snapshot, now that the VM is yours",
        )


def complaint(ask: Ask, actual: VmActual, snapshots: Iterable[Snapshot]) -> str:
    """What the operator should know of a snapshot with memory that has none, or will have none."""
    if ask.state != "present" or not ask.memory:
        return ""
    known = next((item for item in snapshots if item.name == ask.name), None)
    if known is None and actual.power == "poweredOff":
        return f"{actual.name}: snapshot '{ask.name}' has no memory, because the VM is off"
    if known is not None and known.power == "poweredOff":
        return f"{actual.name}: snapshot '{ask.name}' of {known.created} exists, and was taken without memory"
    return ""


def _shown(item: Snapshot) -> dict[str, str]:
    return {"created": item.created, "power": _POWER.get(item.power, item.power)}
