# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop around the plan, on a fake vCenter with a fake clock: bounds, conflicts, deadlines, partial failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import reconcile
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reconcile import Machine, Reconciler
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import parse_wishes
from pyVmomi import vim


@dataclass(eq=False)
class Reference:
    """A stand-in for a managed object."""

    _moId: str  # noqa: N815 - pyVmomi's name


@dataclass
class FakeVcenter:
    """VMs by name, tasks that end after a while, and a clock that jumps to the next event."""

    now: float = 0.0
    task_seconds: float = 2.0
    address_seconds: float = 5.0
    vms: dict[str, VmActual] = field(default_factory=dict)
    ends: dict[str, tuple[float, Callable[[], tuple[Any, Any]]]] = field(default_factory=dict)
    booting: dict[str, float] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    most_at_once: int = 0
    faults: dict[str, list[Any]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)

    # the clock
    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)
        self._advance()

    # the watcher
    def watch(self, reference: Reference, properties: Any) -> None:
        self.watched.add(reference._moId)

    def forget(self, reference: Reference) -> None:
        self.watched.discard(reference._moId)

    def close(self) -> None:
        assert not self.watched, "a filter was left behind"

    def wait(self, seconds: float) -> dict[str, dict[str, Any]]:
        coming = [moment for moment, _end in self.ends.values()] + list(self.booting.values())
        self.now = min([*coming, self.now + max(seconds, 0.01)])
        self._advance()
        changed: dict[str, dict[str, Any]] = {}
        for key, (moment, end) in list(self.ends.items()):
            if moment <= self.now and key in self.watched:
                del self.ends[key]
                result, fault = end()
                state = "error" if fault else "success"
                changed[key] = {"info.state": state, "info.result": result, "info.error": fault}
        for vm in self.vms.values():
            if vm.moid in self.watched and vm.addresses:
                changed[vm.moid] = {"guest.ipAddress": vm.addresses[0]}
        return changed

    def _advance(self) -> None:
        for name, moment in list(self.booting.items()):
            if moment <= self.now:
                del self.booting[name]
                self.vms[name] = replace(self.vms[name], addresses=("192.0.2.1",))

    # what fleet hands to the reconciler
    def read(self, machines: list[Machine]) -> None:
        for machine in machines:
            machine.actual = self.vms.get(machine.name)
            machine.reference = Reference(machine.actual.moid) if machine.actual else None
            machine.fresh = True

    def plan(self, machine: Machine) -> list[Operation]:
        actual = machine.actual
        if actual is None:
            return [Operation("clone"), Operation("power_on"), Operation("wait_address")]
        if not actual.ready:
            return [Operation("wait_settled")]
        if actual.power == "poweredOff":
            return [Operation("power_on"), Operation("wait_address")]
        return [] if actual.addresses else [Operation("wait_address")]

    def start(self, machine: Machine, operation: Operation) -> Reference:
        self.started.append(f"{machine.name} {operation.kind}")
        task = Reference(f"task-{len(self.started)}")

        def end() -> tuple[Any, Any]:
            if self.faults.get(machine.name):
                return None, self.faults[machine.name].pop(0)
            if operation.kind == "clone":
                if machine.name in self.vms:
                    return None, vim.fault.DuplicateName()
                self.vms[machine.name] = VmActual(f"vm-{machine.name}", machine.name)
            else:
                self.vms[machine.name] = replace(self.vms[machine.name], power="poweredOn")
                self.booting[machine.name] = self.now + self.address_seconds
            return Reference(f"vm-{machine.name}"), None

        self.ends[task._moId] = (self.now + self.task_seconds, end)
        self.most_at_once = max(self.most_at_once, len(self.ends))
        return task


@pytest.fixture
def vcenter(monkeypatch: pytest.MonkeyPatch) -> FakeVcenter:
    fake = FakeVcenter()
    monkeypatch.setattr(reconcile, "time", fake)
    monkeypatch.setattr(reconcile, "Watcher", lambda content: fake)
    return fake


def machines(*names: str, **lifecycle: Any) -> list[Machine]:
    base = {"template": {"library": "l", "item": "i"}, "cpus": 1, "memory_mb": 4, "lifecycle": lifecycle}
    return [Machine(name, parse_wishes([base | {"name": name}])[0]) for name in names]


def run(vcenter: FakeVcenter, todo: list[Machine], limit: int = 8) -> None:
    vcenter.read(todo)
    Reconciler(None, limit, vcenter.read, vcenter.plan, vcenter.start).run(todo)


def test_every_vm_is_made_within_the_bound(vcenter: FakeVcenter) -> None:
    todo = machines(*(f"vm{n}" for n in range(20)))
    run(vcenter, todo, limit=3)
    assert all(machine.error is None and machine.actual and machine.actual.addresses for machine in todo)
    assert vcenter.most_at_once == 3
    assert len(vcenter.started) == 40


def test_waiting_for_an_address_takes_no_slot(vcenter: FakeVcenter) -> None:
    vcenter.address_seconds = 100
    run(vcenter, machines("a", "b", "c", wait_seconds=200), limit=1)
    # three clones and three power-ons one after the other, and the boots side by side
    assert vcenter.now == pytest.approx(3 * 2 * 2 + 100, abs=5)


def test_nothing_is_started_when_everything_matches(vcenter: FakeVcenter) -> None:
    vcenter.vms["a"] = VmActual("vm-a", "a", power="poweredOn", addresses=("192.0.2.1",))
    run(vcenter, machines("a"))
    assert vcenter.started == []


def test_a_vm_that_another_run_made_meanwhile_is_adopted(vcenter: FakeVcenter) -> None:
    todo = machines("a")
    vcenter.read(todo)
    vcenter.vms["a"] = VmActual("vm-a", "a")
    Reconciler(None, 8, vcenter.read, vcenter.plan, vcenter.start).run(todo)
    assert todo[0].error is None
    assert vcenter.started == ["a clone", "a power_on"]


def test_a_vm_that_is_still_being_made_is_waited_for(vcenter: FakeVcenter) -> None:
    vcenter.vms["a"] = VmActual("vm-a", "a", ready=False)
    original = vcenter.read

    def read(todo: list[Machine]) -> None:
        if vcenter.now > 300:
            vcenter.vms["a"] = replace(vcenter.vms["a"], ready=True)
        original(todo)

    todo = machines("a")
    read(todo)
    Reconciler(None, 8, read, vcenter.plan, vcenter.start).run(todo)
    assert todo[0].error is None
    assert vcenter.started == ["a power_on"]


def test_a_fault_stops_its_vm_and_no_other(vcenter: FakeVcenter) -> None:
    vcenter.faults["b"] = [vim.fault.NoDiskSpace(datastore="vmfs-01", msg="no space")]
    todo = machines("a", "b", "c")
    run(vcenter, todo)
    assert [machine.error is None for machine in todo] == [True, False, True]
    assert "NoDiskSpace: no space" in str(todo[1].error)


def test_endless_conflict_ends_in_a_message(vcenter: FakeVcenter) -> None:
    vcenter.faults["a"] = [vim.fault.TaskInProgress() for _turn in range(100)]
    todo = machines("a")
    run(vcenter, todo)
    assert todo[0].error is not None
    assert todo[0].error.error_code == "conflict"


def test_a_guest_without_an_address_ends_at_its_deadline(vcenter: FakeVcenter) -> None:
    vcenter.address_seconds = 10_000
    todo = machines("a", wait_seconds=60)
    run(vcenter, todo)
    assert todo[0].error is not None
    assert "a routable address within 60 s" in str(todo[0].error)
    assert "tools are unknown" in str(todo[0].error)
    assert vcenter.now < 120


def test_a_task_that_never_ends_is_given_up(vcenter: FakeVcenter) -> None:
    vcenter.task_seconds = 1e9
    todo = machines("a")
    run(vcenter, todo)
    assert todo[0].error is not None
    assert todo[0].error.error_code == "task_timeout"


def test_a_plan_that_never_ends_is_given_up(vcenter: FakeVcenter) -> None:
    vcenter.plan = lambda machine: [Operation("reconfigure")]  # type: ignore[method-assign]
    vcenter.vms["a"] = VmActual("vm-a", "a")
    todo = machines("a")
    run(vcenter, todo)
    assert todo[0].error is not None
    assert todo[0].error.error_code == "no_convergence"
