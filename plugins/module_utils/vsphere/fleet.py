# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``fleet`` does: look everything up, refuse what cannot be, show the plan, make it so."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import (
    cost,
    lookup,
    ovf,
    ownership,
    passthrough,
    placing,
    spec,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Session
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.deploying import Deployer
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_desk import GpuDesk
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.guest_specs import GuestSpecs, has_ended
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import check_hosts
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hosts import HostBook, needs_hosts, shared_gpus
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lifecycle import gently
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import Slots
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual, routable
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Place, Resolver, Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import (
    Marks,
    Operation,
    changes_anything,
    deployment_marks,
    diff,
    marks_of,
    plan,
    plan_reboot,
    plan_removal,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.progress import Progress, Watchdog
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reconcile import Bounds, Machine, Reconciler
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sources import Source, Sources
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.template import Template
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.waiting import Watcher
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

# What needs nothing but the VM.
_SIMPLE = {
    "power_on": "PowerOnVM_Task",
    "power_off": "PowerOffVM_Task",
    "shutdown": "ShutdownGuest",
    "suspend": "SuspendVM_Task",
    "destroy": "Destroy_Task",
}


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


class Fleet:
    """One session's view of vCenter, for one owner."""

    def __init__(self, session: Session, owner: str, run: str, call: Call) -> None:
        self._session = session
        self._content = session.content
        self._owner, self._run, self._call = owner, run, call
        self._planner: Callable[[Machine], list[Operation]] = self._plan
        self._adopt = False
        self._tree = Tree(self._content)
        self._networks = self._tree.network_names
        self._gpus = GpuDesk(self._content, self._tree)
        self._finder = Sources(session, self._tree)
        self._guest_specs = GuestSpecs(self._content)
        self._folders = placing.Folders()
        self._packages = Deployer(session, self._folders)
        self._sources: dict[Template, Source] = {}
        self._places: dict[str, Place] = {}
        self._now = datetime.datetime.now(tz=datetime.UTC)

    def present(self, wishes: list[VmWish], *, check: bool, adopt: bool = False) -> Outcome:
        """Make these VMs exist as wished. Nothing is changed when anything in the list cannot be.

        ``adopt`` takes over existing VMs of these names that carry nobody's mark.
        """
        self._adopt = adopt
        machines = [_machine(wish) for wish in wishes]
        self.read(machines)
        self._resolve(machines)
        self._choose_gpus(machines)
        return self._converge(machines, self._plan, check=check)

    def absent(self, names: Mapping[str, int], *, all_owned: bool, check: bool, expired_only: bool = False) -> Outcome:
        """Remove VMs of this owner: the named ones, or every one there is; of them those whose time is over.

        ``names`` says how many seconds each guest gets to shut down.
        """
        if all_owned:
            references = lookup.owned_vms(self._content, self._owner)
            machines = [Machine(name, reference=reference) for name, reference in sorted(references.items())]
        else:
            machines = [Machine(name, shutdown_seconds=seconds) for name, seconds in names.items()]
        self.read(machines)
        if not expired_only:
            return self._converge(machines, self._plan_removal, check=check)
        states = [ownership.expiry(machine.actual, self._now) for machine in machines if machine.actual]
        outcome = self._converge(machines, self._plan_expired, check=check)
        outcome.warnings += [state.complaint for state in states if state.complaint]
        return outcome

    def rebooted(self, names: Mapping[str, int], wishes: Iterable[VmWish], *, check: bool) -> Outcome:
        """Power each of these VMs off and on once; a wish says which address is waited for."""
        known = {wish.name: wish for wish in wishes}
        machines = [Machine(name, known.get(name), shutdown_seconds=seconds) for name, seconds in names.items()]
        self.read(machines)
        missing = [machine.name for machine in machines if machine.actual is None]
        if missing:
            problems = [
                Problem(f"VM '{name}'", "a VM to reboot", "none", "state: present makes it") for name in missing
            ]
            raise TestbedError("unknown_object", problems)
        return self._converge(machines, self._plan_reboot, check=check)

    def gathered(self, names: Iterable[str], wishes: Iterable[VmWish]) -> Outcome:
        """Read these VMs as they are; a wish names its disks and says which address counts."""
        known = {wish.name: wish for wish in wishes}
        machines = [Machine(name, known.get(name)) for name in names]
        self.read(machines)
        outcome = Outcome()
        self._describe(machines, {}, outcome, done=False)
        return outcome

    def _converge(
        self, machines: list[Machine], planner: Callable[[Machine], list[Operation]], *, check: bool
    ) -> Outcome:
        self._planner = planner
        plans = self._plan_all(machines)
        outcome = self._outcome(machines, plans)
        outcome.cost = self._cost(machines, plans)
        if check:
            outcome.warnings += self._packages.unknown(plans)
        else:
            progress, watchdog = Progress(self._call.progress_file), Watchdog(self._call.watch_pid)
            Reconciler(self, self._call.bounds, progress, watchdog).run(machines)
            self._conclude(machines, outcome)
        self._describe(machines, plans, outcome, done=not check)
        return outcome

    def plan(self, machine: Machine) -> list[Operation]:
        """What is left to do for the VM."""
        operations = self._planner(machine)
        if any(operation.kind == "suspend" for operation in operations):
            self._check_suspend(machine)
        return gently(operations, machine.actual, machine.shutdown_seconds, asked=machine.asked)

    def _check_suspend(self, machine: Machine) -> None:
        source = self._sources.get(machine.wish.template) if machine.wish else None
        actual = machine.actual or (source.actual if source else None)
        if actual and actual.passthrough:
            passthrough.check(
                machine.name, "suspend", actual.passthrough, shared_gpus(self._session.instance, actual.host)
            )

    def watcher(self) -> Watcher:
        """A watcher in the present session."""
        return Watcher(self._content)

    def renew(self) -> None:
        """Log in again."""
        self._session.renew()

    def slots(self, machine: Machine, operation: Operation, slots: Slots) -> Mapping[str, int]:
        """Which limits the operation counts against."""
        wish = machine.wish
        if wish is None:
            return slots.keys(operation.kind)
        placement = wish.placement
        return slots.keys(operation.kind, str(wish.template), placement.host, placement.datastore)

    def read(self, machines: list[Machine]) -> None:
        """Refresh references and actual state, all in two calls."""
        lost = [machine for machine in machines if machine.reference is None]
        found = lookup.find_vms(self._content, [machine.name for machine in lost]) if lost else {}
        for machine in lost:
            machine.reference = found.get(machine.name)
        known = [machine.reference for machine in machines if machine.reference is not None]
        actuals = lookup.read_vms(self._content, known, self._networks)
        actuals |= lookup.importing(self._content, known, actuals, self._owner)
        for machine in machines:
            machine.actual = actuals.get(machine.reference._moId) if machine.reference is not None else None
            machine.fresh = True
            if machine.actual is None:
                machine.reference = None

    def _resolve(self, machines: list[Machine]) -> None:
        """Look up templates and placements; raise TestbedError with everything that does not exist."""
        resolver = Resolver(self._tree)
        missing: dict[Template, str] = {}
        for machine in machines:
            if machine.wish is None:
                continue
            place = resolver.resolve(machine.wish, exists=machine.actual is not None)
            if place:
                self._places[machine.name] = place
            if machine.actual is None:
                missing.setdefault(machine.wish.template, place.pool._moId if place else "")
        problems = list(resolver.problems)
        if missing:
            try:
                self._sources = self._finder.find(missing)
            except TestbedError as error:
                if error.error_code != "unknown_template":
                    raise
                problems += error.problems
        problems += self._misfits(machines)
        if problems:
            raise TestbedError("unknown_object", problems)
        self._check_hosts([machine.wish for machine in machines if machine.wish])

    def _choose_gpus(self, machines: list[Machine]) -> None:
        """Give out the GPUs to all VMs at once; somebody else's VM is refused by the plan, not here."""
        wanted = []
        for machine in machines:
            actual = machine.actual
            if machine.wish and (actual is None or self._is_ours(actual)):
                wanted.append((machine.wish, actual, self._places[machine.name]))
        problems = self._gpus.choose(wanted)
        if problems:
            raise TestbedError("no_gpu", problems)

    def recover(self, machine: Machine) -> bool:
        """Whether a fault may be the loss of a GPU to another run, so that planning again will help."""
        if machine.wish is None or machine.actual is None or machine.name not in self._places:
            return False
        try:
            return self._gpus.lost(machine.wish, machine.actual, self._places[machine.name])
        except TestbedError as error:
            machine.error = error
            return False

    def _is_ours(self, actual: VmActual) -> bool:
        return actual.ready and (actual.owner == self._owner or (self._adopt and ownership.adoptable(actual)))

    def _check_hosts(self, wishes: Iterable[VmWish]) -> None:
        """Refuse hardware that the hosts cannot give, before anything is made."""
        book = HostBook(self._content)
        problems: list[Problem] = []
        for wish in wishes:
            hardware = wish.tweaks.hardware
            if needs_hosts(hardware):
                candidates = book.candidates(self._places[wish.name])
                problems += check_hosts(wish.name, hardware, wish.cpus, candidates)
        if problems:
            raise TestbedError("unsupported_hardware", problems)

    def _misfits(self, machines: list[Machine]) -> Iterator[Problem]:
        """What of the customization of VMs that are to be made does not fit."""
        for machine in machines:
            wish = machine.wish
            source = self._sources.get(wish.template) if wish and machine.actual is None else None
            if wish is None or source is None:
                continue
            if source.package:
                place = self._places.get(machine.name)
                yield from ovf.misfits(wish, source.package, place.network_ids if place else ())
            try:
                self._guest_specs.fitted(wish, len(wish.networks or source.actual.nics))
            except TestbedError as error:
                yield from error.problems

    def customized(self, machine: Machine) -> bool:
        """Whether the guest has been customized; raises TestbedError when that failed."""
        return has_ended(self._content, machine.name, machine.reference)

    def _plan(self, machine: Machine) -> list[Operation]:
        wish = machine.wish
        if wish is None:
            raise ValueError(f"{machine.name} has no wish to plan for")
        if machine.actual is None and wish.template not in self._sources:
            # the VM was removed by somebody while we were at it
            self._sources |= self._finder.find({wish.template: self._places[wish.name].pool._moId})
        if machine.actual is None or self._is_ours(machine.actual):
            machine.wish = wish = self._gpus.apply(wish, machine.actual, self._places[machine.name])
        marks = self._marks(wish)
        source = self._sources.get(wish.template)
        if machine.actual is None and source and source.package:
            return plan(wish, None, ovf.expected(wish, source.package), marks, deploys=True)
        machine.actual = self._packages.marked(machine.actual, deployment_marks(wish, marks))
        return plan(wish, machine.actual, source.actual if source else None, marks)

    def _marks(self, wish: VmWish) -> Marks:
        expires = self._now + datetime.timedelta(hours=wish.lifecycle.ttl_hours)
        return Marks(self._owner, self._run, expires.strftime(ownership.TIME_FORMAT), self._adopt)

    def _plan_reboot(self, machine: Machine) -> list[Operation]:
        if machine.actual is None:
            raise one_problem("vanished", machine.name, "a VM to reboot", "it was removed meanwhile")
        networks = machine.wish.lifecycle.address_networks if machine.wish else ()
        operations = plan_reboot(machine.actual, self._owner, machine.done, networks)
        waits = machine.wish is not None and machine.wish.lifecycle.wait_seconds > 0
        return [step for step in operations if waits or step.kind != "wait_address"]

    def _plan_removal(self, machine: Machine) -> list[Operation]:
        return plan_removal(machine.actual, self._owner) if machine.actual else []

    def _plan_expired(self, machine: Machine) -> list[Operation]:
        """Asked again before each operation: who prolongs a VM in the last moment keeps it."""
        operations = self._plan_removal(machine)
        return operations if machine.actual and ownership.expiry(machine.actual, self._now).expired else []

    def _plan_all(self, machines: list[Machine]) -> dict[str, list[Operation]]:
        plans: dict[str, list[Operation]] = {}
        problems: list[Problem] = []
        code = ""
        for machine in machines:
            try:
                plans[machine.name] = self.plan(machine)
            except TestbedError as error:
                problems += error.problems
                code = code or error.error_code
        if problems:
            raise TestbedError(code, problems)
        return plans

    def start(self, machine: Machine, operation: Operation) -> Any:
        """Start the operation's task in vCenter."""
        reference, actual, wish = machine.reference, machine.actual, machine.wish
        if operation.kind in _SIMPLE:
            return getattr(reference, _SIMPLE[operation.kind])()
        if operation.kind == "upgrade":
            return reference.UpgradeVM_Task(version=f"vmx-{operation.changes[0].after}")
        if wish is None:
            raise ValueError(f"{operation.kind} of {machine.name} needs a wish")
        place = self._places[machine.name]
        source = self._sources.get(wish.template)
        if operation.kind == "deploy" and source and source.package:
            return self._packages.start(wish, source.package, self._gpus.place(wish, place), self._marks(wish))
        if operation.kind == "clone":
            return self._clone(wish, operation, self._gpus.place(wish, place))
        if operation.kind == "relocate":
            moved = self._gpus.place(wish, place)
            return reference.RelocateVM_Task(vim.vm.RelocateSpec(host=moved.host, pool=moved.pool))
        if actual is None:
            raise ValueError(f"{machine.name} cannot be reconfigured before it is read")
        if operation.kind == "customize":
            return reference.CustomizeVM_Task(self._guest_specs.fitted(wish, len(actual.nics)))
        return reference.ReconfigVM_Task(spec.reconfigure_spec(wish, operation.changes, actual, place))

    def _clone(self, wish: VmWish, operation: Operation, place: Place) -> Any:
        source = self._sources[wish.template]
        custom = self._guest_specs.fitted(wish, len(wish.networks or source.actual.nics))
        cloning = spec.clone_spec(wish, operation.changes, source, place, custom)
        cloning.location.folder = self._folders.of(place)
        cloning.location.datastore = placing.recommended(self._content, place, source, wish.name, cloning)
        return source.reference.CloneVM_Task(folder=cloning.location.folder, name=wish.name, spec=cloning)

    def _cost(self, machines: list[Machine], plans: dict[str, list[Operation]]) -> dict[str, Any]:
        """What the plans take; raises TestbedError (``no_room``) when it is more than there is."""
        costs = [
            placing.cost(wish, machine.actual, self._sources.get(wish.template), self._places[wish.name], self._tree)
            for machine in machines
            if (wish := machine.wish) is not None and wish.name in self._places and changes_anything(plans[wish.name])
        ]
        if not costs:
            return {}
        stores, pools = placing.stores(self._tree), placing.pools(self._tree, self._places.values())
        problems = cost.refusals(costs, stores, pools)
        if problems:
            raise TestbedError("no_room", problems)
        return cost.summary(costs, stores, pools)

    def _outcome(self, machines: list[Machine], plans: dict[str, list[Operation]]) -> Outcome:
        outcome = Outcome(changed=any(changes_anything(operations) for operations in plans.values()))
        for machine in machines:
            before, after = diff(machine.name, plans[machine.name])
            place = self._places.get(machine.name)
            if machine.wish and machine.actual is None and place and place.missing_folders:
                before[machine.name]["folder"] = "absent"
                after[machine.name]["folder"] = machine.wish.placement.folder
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
            error = machine.error
            outcome.vms[machine.name] = facts(machine.wish, machine.actual) | {
                "gpu": self._gpus.facts(machine.actual),
                "status": "failed" if error else "changed" if changes_anything(operations) else "unchanged",
                "operations": [str(operation) for operation in operations if not operation.kind.startswith("wait_")],
                "seconds": {kind: round(seconds, 1) for kind, seconds in machine.seconds.items()},
                "error_code": error.error_code if error else "",
                "error": str(error) if error else "",
            }


def _machine(wish: VmWish) -> Machine:
    return Machine(wish.name, wish, shutdown_seconds=wish.lifecycle.shutdown_seconds)


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
