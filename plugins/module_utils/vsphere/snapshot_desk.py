# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``fleet_snapshot`` does: read VMs with their snapshots, refuse what cannot be, make it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError, nearest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup, snapshots, vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Session
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hosts import shared_gpus
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import Slots
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.machine import Machine
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.outcome import (
    Call,
    Outcome,
    carry_out,
    plan_all,
    story,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.passthrough import SharedGpu
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import (
    Operation,
    changes_anything,
    diff,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.snapshots import Ask, Snapshot
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.waiting import Watcher


class SnapshotDesk:
    """One session's view of the VMs of one owner, and of what is asked of all of them."""

    def __init__(self, session: Session, owner: str, ask: Ask, call: Call) -> None:
        self._session = session
        self._content = session.content
        self._owner, self._ask, self._call = owner, ask, call
        self._snapshots: dict[str, tuple[Snapshot, ...]] = {}  # by id of the VM
        self._shared: dict[str, dict[str, SharedGpu]] = {}  # by id of the host
        self._holders: dict[str, str] = {}  # owner in the settings of a snapshot, by its id

    def run(self, names: Iterable[str], *, check: bool) -> Outcome:
        """Do what is asked with these VMs. Nothing is changed when anything cannot be."""
        machines = [Machine(name) for name in names]
        self.read(machines)
        self._check_known(machines)
        self._learn(machines)
        plans = plan_all(self, machines)
        outcome = Outcome(changed=any(changes_anything(operations) for operations in plans.values()))
        for machine in machines:
            before, after = diff(machine.name, plans[machine.name])
            if before[machine.name] or after[machine.name]:
                outcome.before |= before
                outcome.after |= after
            if machine.actual and (told := snapshots.complaint(self._ask, machine.actual, self._of(machine))):
                outcome.warnings.append(told)
        if not check:
            carry_out(self, self._call, machines, outcome)
        for machine in machines:
            operations = plans[machine.name] if check else machine.done
            outcome.vms[machine.name] = self._facts(machine) | story(machine, operations)
        return outcome

    def read(self, machines: list[Machine]) -> None:
        """Refresh references, actual state and snapshots, all in two calls."""
        lost = [machine for machine in machines if machine.reference is None]
        found = lookup.find_vms(self._content, [machine.name for machine in lost]) if lost else {}
        for machine in lost:
            machine.reference = found.get(machine.name)
        known = {machine.reference._moId: machine for machine in machines if machine.reference is not None}
        for machine in machines:
            machine.actual, machine.fresh = None, True
        properties = [*lookup.VM_PROPERTIES, "snapshot"]
        references = [machine.reference for machine in known.values()]
        for reference, values in lookup.retrieve(self._content, vim.VirtualMachine, references, properties):
            known[reference._moId].actual = lookup.vm_actual(reference, values, {})
            self._snapshots[reference._moId] = snapshots.read_tree(values.get("snapshot"))
        for machine in machines:
            if machine.actual is None:
                machine.reference = None

    def plan(self, machine: Machine) -> list[Operation]:
        """What is left to do for the VM."""
        actual, ask = machine.actual, self._ask
        if actual is None:
            raise TestbedError("vanished", [Problem(machine.name, "the VM", "it was removed meanwhile")])
        known = self._of(machine)
        self._learn([machine])
        shared = self._shared.get(actual.host)
        operations = snapshots.plan_snapshots(ask, actual, known, self._owner, machine.done, shared)
        for operation in operations:
            if operation.kind == "revert" and (snapshot := snapshots.find(ask.name, machine.name, known)):
                holder = self._holders.get(snapshot.moid, "")
                snapshots.check_marks(machine.name, snapshot, holder, self._owner)
        return operations

    def start(self, machine: Machine, operation: Operation) -> Any:
        """Start the operation's task in vCenter."""
        reference, ask, actual = machine.reference, self._ask, machine.actual
        if operation.kind == "remove_snapshots":
            return reference.RemoveAllSnapshots_Task(consolidate=True)
        if operation.kind in ("power_on", "power_off"):
            return reference.PowerOnVM_Task() if operation.kind == "power_on" else reference.PowerOffVM_Task()
        if operation.kind == "snapshot" and actual is not None:
            return reference.CreateSnapshotEx_Task(
                name=ask.name,
                description=ask.description,
                memory=snapshots.takes_memory(ask, actual),
                quiesceSpec=vim.vm.GuestQuiesceSpec() if ask.quiesce and actual.power == "poweredOn" else None,
            )
        known = snapshots.find(ask.name, machine.name, self._of(machine))
        if known is None:
            raise ValueError(f"{operation.kind} of {machine.name} needs a snapshot")
        snapshot = self._snapshot(known.moid)
        if operation.kind == "revert":
            return snapshot.RevertToSnapshot_Task(suppressPowerOn=ask.power == "off")
        return snapshot.RemoveSnapshot_Task(removeChildren=False, consolidate=True)

    def group(self, machine: Machine) -> str:
        """No operation on snapshots is shared by VMs."""
        return machine.name

    def start_together(self, machines: list[Machine]) -> Any:
        """Never asked for: see group()."""
        raise ValueError(f"nothing to do together for {', '.join(machine.name for machine in machines)}")

    def recover(self, _machine: Machine) -> bool:
        """Planning again mends nothing that a mere retry does not."""
        return False

    def slots(self, _machine: Machine, operation: Operation, slots: Slots) -> Mapping[str, int]:
        """Which limits the operation counts against."""
        return slots.keys(operation.kind)

    def customized(self, machine: Machine) -> bool:
        """No plan of this module waits for a customization."""
        raise ValueError(f"{machine.name} waits for no customization")

    def watcher(self) -> Watcher:
        """A watcher in the present session."""
        return Watcher(self._content)

    def renew(self) -> None:
        """Log in again."""
        self._session.renew()

    def _of(self, machine: Machine) -> tuple[Snapshot, ...]:
        return self._snapshots.get(machine.reference._moId, ()) if machine.reference is not None else ()

    def _snapshot(self, moid: str) -> Any:
        return vim.vm.Snapshot(moid, self._session.instance._stub)  # as hosts.py: no public way from an id

    def _check_known(self, machines: list[Machine]) -> None:
        missing = [machine.name for machine in machines if machine.actual is None]
        if not missing:
            return
        owned = lookup.owned_vms(self._content, self._owner)
        raise TestbedError(
            "unknown_object",
            [Problem(f"VM '{name}'", "a VM of that name", "none", nearest(name, owned)) for name in missing],
        )

    def _learn(self, machines: list[Machine]) -> None:
        """Ask hosts and snapshots what the plans depend on and is not known yet: one call for all VMs, or none."""
        if self._ask.state == "present":
            holders = [machine.actual for machine in machines if machine.actual]
            hosts = {actual.host for actual in holders if any(device.mode == "vgpu" for device in actual.gpus)}
            if unknown := hosts - set(self._shared):
                self._shared |= shared_gpus(self._session.instance, unknown)
        if self._ask.state == "reverted":
            named = {item.moid for machine in machines for item in self._of(machine) if item.name == self._ask.name}
            self._read_holders(named - set(self._holders))

    def _read_holders(self, moids: Iterable[str]) -> None:
        references = [self._snapshot(moid) for moid in moids]
        properties = ["config.extraConfig"]
        for reference, values in lookup.retrieve(self._content, vim.vm.Snapshot, references, properties):
            keys = {option.key: str(option.value) for option in values.get("config.extraConfig") or ()}
            self._holders[reference._moId] = keys.get(vmx.OWNER, "")

    def _facts(self, machine: Machine) -> dict[str, Any]:
        actual = machine.actual
        return {
            "moid": actual.moid if actual else "",
            "power": actual.power if actual else "absent",
            "snapshots": [item.facts() for item in self._of(machine)],
        }
