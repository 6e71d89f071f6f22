# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``fleet`` does: look everything up, refuse what cannot be, show the plan, make it so."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup, spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Connection
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual, routable
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Place, Resolver, Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import (
    Marks,
    Operation,
    changes_anything,
    diff,
    marks_of,
    plan,
    plan_removal,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reconcile import Machine, Reconciler
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import Template, VmWish


@dataclass
class Outcome:
    """What the module returns; ``error`` is set when some VMs could not be brought to the wish."""

    changed: bool = False
    vms: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    error: TestbedError | None = None


class Fleet:
    """One session's view of vCenter, for one owner."""

    def __init__(self, instance: Any, connection: Connection, owner: str, run: str, limit: int) -> None:
        self._content = instance.content
        self._stub = instance._stub  # pyVmomi offers no public way from an id to an object
        self._connection = connection
        self._owner, self._run, self._limit = owner, run, limit
        self._tree = Tree(self._content)
        self._networks = self._tree.network_names
        self._sources: dict[Template, VmActual] = {}
        self._places: dict[str, Place] = {}
        self._now = datetime.datetime.now(tz=datetime.UTC)

    def present(self, wishes: list[VmWish], *, check: bool) -> Outcome:
        """Make these VMs exist as wished. Nothing is changed when anything in the list cannot be."""
        machines = [Machine(wish.name, wish) for wish in wishes]
        self._read(machines)
        self._resolve(machines)
        plans = self._plan_all(machines, self._plan)
        outcome = self._outcome(machines, plans)
        if not check:
            Reconciler(self._content, self._limit, self._read, self._plan, self._start).run(machines)
            self._conclude(machines, outcome)
        self._describe(machines, plans, outcome, done=not check)
        return outcome

    def absent(self, names: Iterable[str], *, all_owned: bool, check: bool) -> Outcome:
        """Remove VMs of this owner: the named ones, or every one there is."""
        if all_owned:
            references = lookup.owned_vms(self._content, self._owner)
            machines = [Machine(name, reference=reference) for name, reference in sorted(references.items())]
        else:
            machines = [Machine(name) for name in names]
        self._read(machines)
        plans = self._plan_all(machines, self._plan_removal)
        outcome = self._outcome(machines, plans)
        if not check:
            Reconciler(self._content, self._limit, self._read, self._plan_removal, self._start).run(machines)
            self._conclude(machines, outcome)
        self._describe(machines, plans, outcome, done=not check)
        return outcome

    def gathered(self, names: Iterable[str], wishes: Iterable[VmWish]) -> Outcome:
        """Read these VMs as they are; a wish names its disks and says which address counts."""
        known = {wish.name: wish for wish in wishes}
        machines = [Machine(name, known.get(name)) for name in names]
        self._read(machines)
        outcome = Outcome()
        self._describe(machines, {}, outcome, done=False)
        return outcome

    def _read(self, machines: list[Machine]) -> None:
        lost = [machine for machine in machines if machine.reference is None]
        found = lookup.find_vms(self._content, [machine.name for machine in lost]) if lost else {}
        for machine in lost:
            machine.reference = found.get(machine.name)
        known = [machine.reference for machine in machines if machine.reference is not None]
        actuals = lookup.read_vms(self._content, known, self._networks)
        for machine in machines:
            machine.actual = actuals.get(machine.reference._moId) if machine.reference is not None else None
            machine.fresh = True
            if machine.actual is None:
                machine.reference = None

    def _resolve(self, machines: list[Machine]) -> None:
        """Look up templates and placements; raise TestbedError with everything that does not exist."""
        resolver = Resolver(self._tree)
        missing = []
        for machine in machines:
            if machine.wish is None:
                continue
            place = resolver.resolve(machine.wish)
            if place:
                self._places[machine.name] = place
            if machine.actual is None:
                missing.append(machine.wish.template)
        problems = list(resolver.problems)
        if missing:
            try:
                self._read_sources(missing)
            except TestbedError as error:
                if error.error_code != "unknown_template":
                    raise
                problems += error.problems
        if problems:
            raise TestbedError("unknown_object", problems)

    def _read_sources(self, templates: list[Template]) -> None:
        # Imported where a VM has to be made: Ansible's HTTP client takes longer to load than a quiet run's calls.
        from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import library

        with library.rest_session(self._connection) as session:
            ids = library.template_vms(session, templates)
        references = {template: vim.VirtualMachine(moid, self._stub) for template, moid in ids.items()}
        actuals = lookup.read_vms(self._content, references.values(), self._networks)
        problems = [
            Problem(f"template '{template}'", "a template VM that can be read", f"none with id {moid}")
            for template, moid in ids.items()
            if moid not in actuals
        ]
        if problems:
            raise TestbedError("unknown_template", problems)
        self._sources = {template: actuals[moid] for template, moid in ids.items()}

    def _plan(self, machine: Machine) -> list[Operation]:
        wish = machine.wish
        if wish is None:
            raise ValueError(f"{machine.name} has no wish to plan for")
        if machine.actual is None and wish.template not in self._sources:
            self._read_sources([wish.template])  # the VM was removed by somebody while we were at it
        expires = self._now + datetime.timedelta(hours=wish.lifecycle.ttl_hours)
        marks = Marks(self._owner, self._run, expires.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return plan(wish, machine.actual, self._sources.get(wish.template), marks)

    def _plan_removal(self, machine: Machine) -> list[Operation]:
        return plan_removal(machine.actual, self._owner) if machine.actual else []

    def _plan_all(
        self, machines: list[Machine], planner: Callable[[Machine], list[Operation]]
    ) -> dict[str, list[Operation]]:
        plans: dict[str, list[Operation]] = {}
        problems: list[Problem] = []
        code = ""
        for machine in machines:
            try:
                plans[machine.name] = planner(machine)
            except TestbedError as error:
                problems += error.problems
                code = code or error.error_code
        if problems:
            raise TestbedError(code, problems)
        return plans

    def _start(self, machine: Machine, operation: Operation) -> Any:
        """Start the operation's task in vCenter."""
        reference, actual, wish = machine.reference, machine.actual, machine.wish
        if operation.kind == "power_on":
            return reference.PowerOnVM_Task()
        if operation.kind == "power_off":
            return reference.PowerOffVM_Task()
        if operation.kind == "destroy":
            return reference.Destroy_Task()
        if wish is None:
            raise ValueError(f"{operation.kind} of {machine.name} needs a wish")
        place = self._places[machine.name]
        if operation.kind == "clone":
            source = self._sources[wish.template]
            template = vim.VirtualMachine(source.moid, self._stub)
            cloning = spec.clone_spec(wish, operation.changes, source, place)
            return template.CloneVM_Task(folder=place.folder, name=wish.name, spec=cloning)
        if actual is None:
            raise ValueError(f"{machine.name} cannot be reconfigured before it is read")
        return reference.ReconfigVM_Task(spec.reconfigure_spec(wish, operation.changes, actual, place))

    def _outcome(self, machines: list[Machine], plans: dict[str, list[Operation]]) -> Outcome:
        outcome = Outcome(changed=any(changes_anything(operations) for operations in plans.values()))
        for machine in machines:
            before, after = diff(machine.name, plans[machine.name])
            if before[machine.name] or after[machine.name]:
                outcome.before |= before
                outcome.after |= after
        return outcome

    def _conclude(self, machines: list[Machine], outcome: Outcome) -> None:
        outcome.changed = any(changes_anything(machine.done) for machine in machines)
        failed = [machine.error for machine in machines if machine.error]
        if failed:
            problems = [problem for error in failed for problem in error.problems]
            rest = len(machines) - len(failed)
            text = f"the other {rest} VMs are as wished" if rest else "what was done stays done"
            outcome.error = TestbedError(failed[0].error_code, problems, text)

    def _describe(
        self, machines: list[Machine], plans: dict[str, list[Operation]], outcome: Outcome, *, done: bool
    ) -> None:
        for machine in machines:
            operations = machine.done if done else plans.get(machine.name, [])
            outcome.vms[machine.name] = facts(machine.wish, machine.actual) | {
                "operations": [str(operation) for operation in operations if not operation.kind.startswith("wait_")],
                "error": str(machine.error) if machine.error else "",
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
