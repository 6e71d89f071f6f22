# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``fleet`` does: look everything up, refuse what cannot be, show the plan, make it so."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_plan import claims
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.guest_specs import GuestSpecs, has_ended
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import check_hosts
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hosts import HostBook, needs_hosts, shared_gpus
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lifecycle import gently
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import Slots
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.machine import Machine
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.outcome import (
    Call,
    Outcome,
    carry_out,
    facts,
    plan_all,
    story,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.overrides import with_overrides
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.overrides_desk import OverridesDesk, Wanted
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Place, Resolver, Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import (
    POWER_AFTER,
    Marks,
    Operation,
    changes_anything,
    diff,
    plan,
    plan_reboot,
    plan_removal,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.policies import Policies
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


class Fleet:
    """One session's view of vCenter, for one owner."""

    def __init__(self, session: Session, owner: str, run: str, call: Call) -> None:
        self._session = session
        self._content = session.content
        self._owner, self._run, self._call = owner, run, call
        self._planner: Callable[[Machine], list[Operation]] = self._plan
        self._adopt = False
        self._compares = False  # whether VMs are read to be compared with their wishes
        self._tree = Tree(self._content)
        self._networks = self._tree.network_names
        self._gpus = GpuDesk(self._content, self._tree)
        self._overrides = OverridesDesk(self._content, self._tree)
        self._policies = Policies(session, self._tree)
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
        self._adopt, self._compares = adopt, True
        machines = [_machine(wish) for wish in wishes]
        self.read(machines)
        self._resolve(machines)
        self._choose_gpus(machines)
        self._prepare_overrides(machines)
        outcome = self._converge(machines, self._plan, check=check)
        outcome.warnings += self._overrides.warnings
        return outcome

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
        plans = plan_all(self, machines)
        outcome = self._outcome(machines, plans)
        outcome.cost = self._cost(machines, plans)
        if check:
            outcome.warnings += self._packages.unknown(plans)
        else:
            carry_out(self, self._call, machines, outcome)
        self._describe(machines, plans, outcome, done=not check)
        return outcome

    def plan(self, machine: Machine) -> list[Operation]:
        """What is left to do for the VM."""
        operations = self._planner(machine)
        if any(operation.kind == "suspend" for operation in operations):
            self._check_suspend(machine)
        return gently(operations, machine.actual, machine.shutdown_seconds, asked=machine.asked)

    def _check_suspend(self, machine: Machine) -> None:
        """By the GPUs of the wish, which the VM may still have to get, and what else of the VM or its source stays."""
        wish, actual = machine.wish, machine.actual
        source = self._sources.get(wish.template) if wish else None
        holder = actual or (source.actual if source else None)
        choice = wish.gpu_choice if wish else None
        kept = list(holder.gpus) if holder else []
        if choice:
            kept = [gpu for gpu in kept if gpu.key in choice.foreign or gpu.mode == "other"]
        devices: list[GpuActual | GpuWish] = [*(wish.gpu if wish else ()), *kept]
        if devices:
            host = (choice.host if choice else "") or (holder.host if holder else "")
            shared = shared_gpus(self._session.instance, [host]).get(host, {})
            passthrough.check(machine.name, "suspend", devices, shared)

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
        """Refresh references and actual state, all in three calls, and one more after static GPUs were given out."""
        lost = [machine for machine in machines if machine.reference is None]
        found = lookup.find_vms(self._content, [machine.name for machine in lost]) if lost else {}
        for machine in lost:
            machine.reference = found.get(machine.name)
        steady = [machine.actual for machine in machines if machine.actual and _is_steady(machine)]
        keyed = [machine.actual for machine in machines if machine.actual and _has_new_keys(machine)]
        actuals = lookup.same_but_state(self._content, steady, self._session.instance._stub) if steady else {}
        actuals |= lookup.with_new_keys(self._content, keyed, self._session.instance._stub) if keyed else {}
        known = [
            machine.reference
            for machine in machines
            if machine.reference is not None and machine.reference._moId not in actuals
        ]
        actuals |= lookup.read_vms(self._content, known, self._networks)
        actuals |= lookup.importing(self._content, known, actuals, self._owner)
        self._gpus.settle(actuals.values())
        if self._compares:
            rows = ((item.wish, actuals.get(item.reference._moId)) for item in machines if item.reference is not None)
            actuals |= self._policies.complete(rows)
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
                self._places[machine.name], found = self._policies.resolve(machine.wish, machine.actual, place)
                resolver.problems += found
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
        """Give out the GPUs to all VMs at once."""
        problems = self._gpus.choose(self._own(machines))
        if problems:
            raise TestbedError("no_gpu", problems)

    def _prepare_overrides(self, machines: list[Machine]) -> None:
        problems = self._overrides.prepare(self._own(machines))
        if problems:
            raise TestbedError("no_permission", problems)

    def _own(self, machines: list[Machine]) -> Iterator[Wanted]:
        """The VMs that are ours or to be made; somebody else's is refused by the plan."""
        for machine in machines:
            actual = machine.actual
            if machine.wish and (actual is None or self._is_ours(actual)):
                yield Wanted(machine.wish, actual, self._places[machine.name])

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
        source = self._sources.get(wish.template)
        template = source.actual if source else None
        if self._gpus.waits(machine.name):
            return [Operation("wait_settled")]
        marks = self._marks(wish)
        machine.actual = self._packages.marked(machine.actual, wish, marks)
        if machine.actual is None or self._is_ours(machine.actual):
            machine.wish = wish = self._gpus.apply(wish, machine.actual, self._places[machine.name], template)
        package = source.package if source and machine.actual is None else None
        known = ovf.expected(wish, package) if package else template
        operations = plan(wish, machine.actual, known, marks, deploys=package is not None)
        return with_overrides(operations, self._overrides.changes(wish, machine.actual, self._places[machine.name]))

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
        if claims(operation.changes):
            self._gpus.claimed(machine.name)
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

    def group(self, machine: Machine) -> str:
        """The cluster whose overrides are to be written."""
        if machine.wish is None:
            raise ValueError(f"{machine.name} has no wish to override anything for")
        return self._overrides.cluster(machine.wish, machine.actual, self._places[machine.name])

    def start_together(self, machines: list[Machine]) -> Any:
        """Write the overrides of many VMs of one cluster."""
        rows = {machine.reference: machine.operation.changes for machine in machines if machine.operation}
        return self._overrides.start(self.group(machines[0]), rows)

    def _clone(self, wish: VmWish, operation: Operation, place: Place) -> Any:
        source = self._sources[wish.template]
        custom = self._guest_specs.fitted(wish, len(wish.networks or source.actual.nics))
        cloning = spec.clone_spec(wish, operation.changes, source, place, custom)
        cloning.location.folder = self._folders.of(place)
        cloning.location.datastore = placing.recommended(self._content, place, source, wish.name, cloning)
        if place.policy:
            placing.put_policy(cloning, place, source)
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

    def _describe(
        self, machines: list[Machine], plans: dict[str, list[Operation]], outcome: Outcome, *, done: bool
    ) -> None:
        for machine in machines:
            operations = machine.done if done else plans.get(machine.name, [])
            outcome.vms[machine.name] = (
                facts(machine.wish, machine.actual)
                | {"gpu": self._gpus.facts(machine.actual)}
                | story(machine, operations)
            )


def _is_steady(machine: Machine) -> bool:
    """Whether only the state of the VM will have changed; a dynamic GPU's device gets its address at power-on."""
    operation = machine.operation
    if operation is None or not _is_known(machine):
        return False
    return operation.kind in POWER_AFTER or operation.kind.startswith("wait_")


def _has_new_keys(machine: Machine) -> bool:
    """Whether a call that succeeded has changed the VM's VMX keys and nothing else."""
    operation = machine.operation
    if operation is None or operation.kind != "reconfigure" or not _is_known(machine):
        return False
    succeeded = bool(machine.done) and machine.done[-1] is operation
    return succeeded and all(change.what.startswith("extra_config.") for change in operation.changes)


def _is_known(machine: Machine) -> bool:
    """Whether the VM was read whole, and what it is can be told from that and from what we do to it."""
    actual = machine.actual
    if actual is None or machine.reference is None or actual.gpus or not actual.change_version:
        return False
    # of one that is being deployed, whether vCenter still copies its disks is no part of its configuration
    return actual.ready and not actual.deployed


def _machine(wish: VmWish) -> Machine:
    return Machine(wish.name, wish, shutdown_seconds=wish.lifecycle.shutdown_seconds)
