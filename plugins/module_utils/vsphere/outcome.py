# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the modules that drive VMs are called and what they return; shared by fleet and fleet_snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.machine import Bounds, Driver, Machine
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual, routable
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import (
    Operation,
    changes_anything,
    marks_of,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.progress import Progress, Watchdog
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reconcile import Reconciler
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish


@dataclass
class Outcome:
    """What the module returns; ``error`` is set when some VMs could not be brought to the wish."""

    changed: bool = False
    vms: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    error: TestbedError | None = None
    cost: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Call:
    """How one call of the module goes about its work."""

    bounds: Bounds
    progress_file: str | None = None
    watch_pid: int = 0


def refused(error: TestbedError) -> dict[str, Any]:
    """Ansible's result where nothing was done."""
    return {"failed": True, "msg": str(error), "error_code": error.error_code, "warnings": []}


def result(outcome: Outcome, **more: Any) -> dict[str, Any]:
    """Ansible's result; a failure of some VMs comes with what became of all."""
    told = {"changed": outcome.changed, "failed": False, "vms": outcome.vms, "warnings": outcome.warnings, **more}
    return told | {**refused(outcome.error), "warnings": outcome.warnings} if outcome.error else told


def plan_all(driver: Driver, machines: Iterable[Machine]) -> dict[str, list[Operation]]:
    """The plan of each VM by its name; raises one TestbedError with the problems of all of them."""
    plans: dict[str, list[Operation]] = {}
    problems: list[Problem] = []
    code = ""
    for machine in machines:
        try:
            plans[machine.name] = driver.plan(machine)
        except TestbedError as error:
            problems += error.problems
            code = code or error.error_code
    if problems:
        raise TestbedError(code, problems)
    return plans


def carry_out(driver: Driver, call: Call, machines: list[Machine], outcome: Outcome) -> None:
    """Drive the VMs to their wishes, and note what came of it."""
    progress, watchdog = Progress(call.progress_file), Watchdog(call.watch_pid)
    Reconciler(driver, call.bounds, progress, watchdog).run(machines)
    outcome.changed = any(changes_anything(machine.done) for machine in machines)
    failed = [machine.error for machine in machines if machine.error]
    if failed:
        problems = [problem for error in failed for problem in error.problems]
        rest = len(machines) - len(failed)
        text = f"the other {rest} VMs are as wished" if rest else "what was done stays done"
        outcome.error = TestbedError(failed[0].error_code, problems, text)


def story(machine: Machine, operations: Iterable[Operation]) -> dict[str, Any]:
    """What was done to a VM, or would be, and how it ended."""
    operations, error = list(operations), machine.error
    return {
        "status": "failed" if error else "changed" if changes_anything(operations) else "unchanged",
        "operations": [str(operation) for operation in operations if not operation.kind.startswith("wait_")],
        "seconds": {kind: round(seconds, 1) for kind, seconds in machine.seconds.items()},
        "error_code": error.error_code if error else "",
        "error": str(error) if error else "",
    }


def facts(wish: VmWish | None, actual: VmActual | None) -> dict[str, Any]:
    """What later plays and reports may know of a VM."""
    if actual is None:
        return {"exists": False, "address": "", "power": "absent"}
    networks = wish.lifecycle.address_networks if wish else ()
    disks = [
        {"name": disk.name, "uuid": found.uuid, "size_gb": found.size_kb // (1024 * 1024)}
        for index, disk in enumerate(wish.disks if wish else ())
        if (found := actual.data_disk(index))
    ]
    return {
        "exists": True,
        "moid": actual.moid,
        "uuid": actual.uuid,
        "instance_uuid": actual.instance_uuid,
        "power": actual.power,
        "address": routable(actual.addresses, networks),
        "addresses": list(actual.addresses),
        "hostname": actual.hostname,
        "cpus": actual.cpus,
        "memory_mb": actual.memory_mb,
        "disks": disks,
        "template": actual.extra_config.get("nanobanana.template", ""),
        **marks_of(actual),
    }
