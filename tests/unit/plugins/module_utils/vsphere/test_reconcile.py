# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop around the plan, on a fake vCenter with a fake clock: bounds, conflicts, deadlines, partial failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import faults, reconcile
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.jobs import Job
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import Slots
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.machine import Bounds, Machine
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.progress import Watchdog
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reconcile import Reconciler
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import parse_wishes
from pyVmomi import vim, vmodl


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
    left: set[str] = field(default_factory=lambda: {"close() was not called"})
    most_at_once: int = 0
    faults: dict[str, list[Any]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    expired: bool = False
    lost: int = 0
    renewed: int = 0
    plans: int = 0
    recoveries: list[bool | TestbedError] = field(default_factory=list)

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
        self.left = set(self.watched)

    def _session(self) -> None:
        if self.expired:
            raise vim.fault.NotAuthenticated
        if self.lost:
            self.lost -= 1
            raise ConnectionResetError("gone")

    def wait(self, seconds: float) -> dict[str, dict[str, Any]]:
        self._session()
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

    # what fleet is to the reconciler
    def watcher(self) -> FakeVcenter:
        return self

    def renew(self) -> None:
        self.renewed += 1
        self.expired = False

    def recover(self, machine: Machine) -> bool:
        if not self.recoveries:
            return False
        outcome = self.recoveries.pop(0)
        if isinstance(outcome, TestbedError):
            machine.error = outcome
            return False
        return outcome

    def slots(self, machine: Machine, operation: Operation, slots: Slots) -> dict[str, int]:
        return slots.keys(operation.kind, source="template")

    def read(self, machines: list[Machine]) -> None:
        self._session()
        for machine in machines:
            machine.actual = self.vms.get(machine.name)
            machine.reference = Reference(machine.actual.moid) if machine.actual else None
            machine.fresh = True

    def plan(self, machine: Machine) -> list[Operation]:
        self.plans += 1
        actual = machine.actual
        if actual is None:
            return [Operation("clone"), Operation("power_on"), Operation("wait_address")]
        if not actual.ready:
            return [Operation("wait_settled")]
        if actual.power == "poweredOff":
            return [Operation("power_on"), Operation("wait_address")]
        return [] if actual.addresses else [Operation("wait_address")]

    def start(self, machine: Machine, operation: Operation) -> Reference:
        self._session()
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
    return fake


def machines(*names: str, **lifecycle: Any) -> list[Machine]:
    base = {"template": {"library": "l", "item": "i"}, "cpus": 1, "memory_mb": 4, "lifecycle": lifecycle}
    return [Machine(name, parse_wishes([base | {"name": name}])[0]) for name in names]


def run(
    vcenter: FakeVcenter, todo: list[Machine], limit: int = 8, limits: dict[str, int] | None = None, seconds: int = 0
) -> None:
    vcenter.read(todo)
    Reconciler(vcenter, Bounds(limit, limits or {}, seconds)).run(todo)


def test_every_vm_is_made_within_the_bound(vcenter: FakeVcenter) -> None:
    todo = machines(*(f"vm{n}" for n in range(20)))
    run(vcenter, todo, limit=3)
    assert all(machine.error is None and machine.actual and machine.actual.addresses for machine in todo)
    assert vcenter.most_at_once == 3
    assert vcenter.left == set(), "a filter was left behind"
    assert len(vcenter.started) == 40


def test_a_vm_that_waits_for_a_slot_is_planned_for_once(vcenter: FakeVcenter) -> None:
    run(vcenter, machines(*(f"vm{n}" for n in range(40))), limit=1)
    assert vcenter.plans == 40 * 4, "before the clone, the power-on and the wait, and at the end"


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
    Reconciler(vcenter, Bounds(8)).run(todo)
    assert todo[0].error is None
    assert vcenter.started == ["a clone", "a power_on"]


def test_a_vm_that_is_still_being_made_is_waited_for(vcenter: FakeVcenter) -> None:
    vcenter.vms["a"] = VmActual("vm-a", "a", ready=False)
    original = vcenter.read

    def read(todo: list[Machine]) -> None:
        if vcenter.now > 300:
            vcenter.vms["a"] = replace(vcenter.vms["a"], ready=True)
        original(todo)

    vcenter.read = read  # type: ignore[method-assign]
    todo = machines("a")
    run(vcenter, todo)
    assert todo[0].error is None
    assert vcenter.started == ["a power_on"]


def test_a_fault_stops_its_vm_and_no_other(vcenter: FakeVcenter) -> None:
    vcenter.faults["b"] = [vim.fault.NoDiskSpace(datastore="vmfs-01", msg="no space")]
    todo = machines("a", "b", "c")
    run(vcenter, todo)
    assert [machine.error is None for machine in todo] == [True, False, True]
    assert "NoDiskSpace: no space" in str(todo[1].error)


@pytest.mark.parametrize("recovered", [True, False])
def test_what_the_driver_can_mend_is_planned_again(vcenter: FakeVcenter, recovered: bool) -> None:
    vcenter.faults["a"] = [vim.fault.GenericVmConfigFault(reason="in use")]
    vcenter.recoveries = [recovered]
    todo = machines("a")
    run(vcenter, todo)
    assert (todo[0].error is None) is recovered


def test_what_the_driver_knows_of_a_fault_is_the_error(vcenter: FakeVcenter) -> None:
    vcenter.faults["a"] = [vim.fault.GenericVmConfigFault(reason="in use")]
    vcenter.recoveries = [TestbedError("no_gpu", [])]
    todo = machines("a")
    run(vcenter, todo)
    assert todo[0].error is not None
    assert todo[0].error.error_code == "no_gpu"


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


def test_each_kind_has_its_own_bound(vcenter: FakeVcenter) -> None:
    vcenter.address_seconds = 0.1
    run(vcenter, machines(*(f"vm{n}" for n in range(12))), limit=100, limits={"clone": 3, "power": 2})
    assert vcenter.most_at_once == 5


@pytest.mark.parametrize("fault", [vim.fault.TaskInProgress, vmodl.fault.HostNotConnected, vim.fault.Timedout])
def test_a_fault_that_passes_is_tried_again(vcenter: FakeVcenter, fault: Any) -> None:
    vcenter.faults["a"] = [fault() for _turn in range(4)]
    todo = machines("a")
    run(vcenter, todo)
    assert todo[0].error is None
    assert todo[0].retries == 4


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (vim.fault.NoPermission(privilegeId="VirtualMachine.Interact.PowerOn", object=None), "no_permission"),
        (vim.fault.NoDiskSpace(), "no_space"),
        (vim.fault.InsufficientMemoryResourcesFault(), "no_resources"),
        (vim.fault.InvalidDeviceSpec(), "invalid_spec"),
    ],
)
def test_a_fault_that_stays_is_not_tried_again(vcenter: FakeVcenter, fault: Any, code: str) -> None:
    vcenter.faults["a"] = [fault]
    todo = machines("a")
    run(vcenter, todo)
    assert todo[0].error is not None
    assert todo[0].error.error_code == code
    assert len(vcenter.started) == 1


@pytest.mark.parametrize("after", [1, 3, 6, 9])
def test_an_expired_session_is_renewed_in_the_middle(vcenter: FakeVcenter, after: int) -> None:
    original, count = vcenter._session, 0

    def session() -> None:
        nonlocal count
        count += 1
        vcenter.expired = vcenter.expired or count == after
        original()

    todo = machines("a", "b", "c")
    vcenter.read(todo)
    vcenter._session = session  # type: ignore[method-assign]
    Reconciler(vcenter, Bounds(8)).run(todo)
    assert vcenter.renewed == 1
    assert all(machine.error is None and machine.finished for machine in todo)
    assert sorted(vcenter.vms) == ["a", "b", "c"]


def test_a_broken_connection_is_made_anew(vcenter: FakeVcenter) -> None:
    todo = machines("a", "b")
    vcenter.read(todo)
    vcenter.lost = 3
    Reconciler(vcenter, Bounds(8)).run(todo)
    assert all(machine.error is None for machine in todo)
    assert vcenter.renewed == 3


def test_a_session_that_never_lasts_ends_the_call(vcenter: FakeVcenter) -> None:
    todo = machines("a")
    vcenter.read(todo)
    vcenter.lost = 1000
    Reconciler(vcenter, Bounds(8)).run(todo)
    assert todo[0].error is not None
    assert todo[0].error.error_code == "session_lost"


def test_the_whole_call_has_a_deadline(vcenter: FakeVcenter) -> None:
    vcenter.task_seconds = 50
    todo = machines(*(f"vm{n}" for n in range(9)))
    run(vcenter, todo, limit=2, seconds=120)
    failed = [machine for machine in todo if machine.error]
    assert failed
    assert {machine.error.error_code for machine in failed if machine.error} == {"deadline"}
    assert vcenter.now < 180


def test_nothing_more_is_started_when_the_parent_is_gone(vcenter: FakeVcenter) -> None:
    class Gone(Watchdog):
        def alone(self) -> bool:
            return True

    todo = machines("a", "b")
    vcenter.read(todo)
    Reconciler(vcenter, Bounds(1), watchdog=Gone(0)).run(todo)
    assert len(vcenter.started) == 1
    assert all(machine.error and machine.error.error_code == "parent_lost" for machine in todo)


def test_the_result_knows_what_was_waited_for(vcenter: FakeVcenter) -> None:
    todo = machines("a")
    run(vcenter, todo)
    assert todo[0].seconds == pytest.approx({"clone": 2, "power_on": 2, "wait_address": 5}, abs=0.5)


@dataclass
class Stopping(FakeVcenter):
    """Its guests are to be off; they need ``stop_seconds`` when asked, and vCenter may refuse to ask."""

    stop_seconds: float = 5.0
    refuses: bool = False
    stopping: dict[str, float] = field(default_factory=dict)

    def plan(self, machine: Machine) -> list[Operation]:
        if self.vms[machine.name].power == "poweredOff":
            return []
        return [Operation("power_off" if machine.asked else "shutdown")]

    def start(self, machine: Machine, operation: Operation) -> Reference:
        self.started.append(f"{machine.name} {operation.kind}")
        task = Reference(f"task-{len(self.started)}")
        if operation.kind == "shutdown":
            if self.refuses:
                raise vim.fault.ToolsUnavailable
            self.stopping[machine.name] = self.now + self.stop_seconds
        else:
            self.ends[task._moId] = (self.now + self.task_seconds, lambda: (self._off(machine.name), None))
        return task

    def _off(self, name: str) -> None:
        self.vms[name] = replace(self.vms[name], power="poweredOff", addresses=())

    def wait(self, seconds: float) -> dict[str, dict[str, Any]]:
        changed = super().wait(seconds)
        for name, moment in list(self.stopping.items()):
            if moment <= self.now:
                self._off(name)
        for vm in self.vms.values():
            if vm.moid in self.watched:
                changed[vm.moid] = {"runtime.powerState": vm.power, "guest.ipAddress": "192.0.2.1"}
        return changed


@pytest.mark.parametrize(
    ("needs", "refuses", "expected", "latest"),
    [
        (5.0, False, ["a shutdown"], 15),
        (1e9, False, ["a shutdown", "a power_off"], 50),
        (5.0, True, ["a shutdown", "a power_off"], 5),
    ],
    ids=["in time", "never", "no tools"],
)
def test_a_guest_is_asked_to_shut_down_and_then_switched_off(
    monkeypatch: pytest.MonkeyPatch, needs: float, refuses: bool, expected: list[str], latest: float
) -> None:
    vcenter = Stopping(stop_seconds=needs, refuses=refuses)
    monkeypatch.setattr(reconcile, "time", vcenter)
    vcenter.vms["a"] = VmActual("vm-a", "a", power="poweredOn", addresses=("192.0.2.1",))
    machine = Machine("a", shutdown_seconds=40)
    run(vcenter, [machine])
    assert machine.error is None
    assert vcenter.started == expected
    assert [operation.kind for operation in machine.done] == [expected[-1].removeprefix("a ")]
    assert vcenter.now < latest
    assert vcenter.left == set()


@dataclass
class CustomizingVcenter(FakeVcenter):
    """Its guests are customized ``customize_seconds`` after the first question, or the question itself fails."""

    customize_seconds: float = 10.0
    refusals: list[Any] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)

    def plan(self, machine: Machine) -> list[Operation]:
        marked = f"{machine.name} reconfigure" in self.started
        running = machine.actual is not None and machine.actual.power == "poweredOn"
        return [Operation("wait_customized")] if running and not marked else super().plan(machine)

    def customized(self, machine: Machine) -> bool:
        self.asked.append(self.now)
        if self.refusals:
            raise self.refusals.pop(0)
        return self.now - self.asked[0] >= self.customize_seconds


def customizing(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> tuple[CustomizingVcenter, Machine]:
    fake = CustomizingVcenter(**fields)
    monkeypatch.setattr(reconcile, "time", fake)
    template = {"library": "l", "item": "i"}
    custom = {"method": "spec", "spec": "linux", "wait_seconds": 60}
    raw = {"name": "a", "template": template, "cpus": 1, "memory_mb": 4, "customization": custom}
    return fake, Machine("a", parse_wishes([raw])[0])


def test_a_customization_is_asked_for_until_it_ends_and_then_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, machine = customizing(monkeypatch)
    Reconciler(fake, Bounds()).run([machine])
    assert machine.error is None
    assert fake.started == ["a clone", "a power_on", "a reconfigure"]
    assert 3 <= len(fake.asked) <= 6, "often enough to be quick, not often enough to be a burden"


def test_a_customization_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, machine = customizing(monkeypatch, customize_seconds=1e9)
    Reconciler(fake, Bounds()).run([machine])
    assert machine.error
    assert machine.error.error_code == "customization_timeout"
    assert 60 <= fake.asked[-1] - fake.asked[0] <= 65


def test_who_may_not_ask_for_events_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, machine = customizing(monkeypatch, refusals=[vim.fault.NoPermission()])
    Reconciler(fake, Bounds()).run([machine])
    assert machine.error
    assert machine.error.error_code == "no_permission"


def test_an_event_is_asked_for_again_in_a_new_session(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, machine = customizing(monkeypatch, refusals=[vim.fault.NotAuthenticated()])
    Reconciler(fake, Bounds()).run([machine])
    assert machine.error is None
    assert fake.renewed == 1


@dataclass
class OverridingVcenter(FakeVcenter):
    """Each VM wants an override between its clone and its power-on; all are in one cluster."""

    overridden: set[str] = field(default_factory=set)
    calls: list[list[str]] = field(default_factory=list)
    running: int = 0

    def plan(self, machine: Machine) -> list[Operation]:
        operations = super().plan(machine)
        if machine.name in self.overridden:
            return operations
        at = 1 if machine.actual is None else 0
        return [*operations[:at], Operation("override"), *operations[at:]]

    def group(self, machine: Machine) -> str:
        return "cluster"

    def start_together(self, machines: list[Machine]) -> Reference:
        self._session()
        self.calls.append([machine.name for machine in machines])
        assert not self.running, "two tasks at once on one cluster"
        self.running += 1
        task = Reference(f"together-{len(self.calls)}")

        def end() -> tuple[Any, Any]:
            self.running -= 1
            found = [self.faults[machine.name].pop(0) for machine in machines if self.faults.get(machine.name)]
            if found:
                return None, found[0]
            self.overridden |= {machine.name for machine in machines}
            return None, None

        self.ends[task._moId] = (self.now + self.task_seconds, end)
        return task


@pytest.fixture
def overriding(monkeypatch: pytest.MonkeyPatch) -> OverridingVcenter:
    fake = OverridingVcenter()
    monkeypatch.setattr(reconcile, "time", fake)
    return fake


def kinds(machine: Machine) -> list[str]:
    return [operation.kind for operation in machine.done]


def test_vms_share_one_call_to_their_cluster(overriding: OverridingVcenter) -> None:
    todo = machines("a", "b", "c")
    run(overriding, todo)
    assert overriding.calls == [["a", "b", "c"]]
    assert all(kinds(machine) == ["clone", "override", "power_on", "wait_address"] for machine in todo)
    assert overriding.left == set()


def test_vms_that_come_while_a_call_runs_share_the_next_one(overriding: OverridingVcenter) -> None:
    todo = machines(*(f"vm{number}" for number in range(6)))
    run(overriding, todo, limits={"clone": 2})
    assert all(machine.error is None for machine in todo)
    assert sorted(name for call in overriding.calls for name in call) == [machine.name for machine in todo]
    assert len(overriding.calls) < 6


def test_a_fault_of_a_shared_call_is_told_for_each_vm(overriding: OverridingVcenter) -> None:
    todo = machines("a", "b")
    overriding.faults["b"] = [vim.fault.NoPermission(privilegeId="Host.Inventory.EditCluster")]
    overriding.vms = {name: VmActual(f"vm-{name}", name) for name in "ab"}
    run(overriding, todo)
    assert [machine.error.error_code for machine in todo if machine.error] == ["no_permission"] * 2


def test_a_conflict_of_a_shared_call_is_tried_again(overriding: OverridingVcenter) -> None:
    todo = machines("a", "b")
    overriding.faults["b"] = [vim.fault.ConcurrentAccess()]
    overriding.vms = {name: VmActual(f"vm-{name}", name) for name in "ab"}
    run(overriding, todo)
    assert all(machine.error is None for machine in todo)
    assert overriding.overridden == {"a", "b"}


def test_an_expired_session_loses_no_vm_of_a_shared_call(overriding: OverridingVcenter) -> None:
    todo = machines("a", "b")
    overriding.vms = {name: VmActual(f"vm-{name}", name) for name in "ab"}
    overriding.read(todo)
    overriding.lost = 1
    Reconciler(overriding, Bounds(8)).run(todo)
    assert all(machine.error is None for machine in todo)
    assert overriding.overridden == {"a", "b"}


def test_a_shared_call_that_never_ends_is_given_up_for_each_vm(overriding: OverridingVcenter) -> None:
    todo = machines("a", "b")
    overriding.vms = {name: VmActual(f"vm-{name}", name) for name in "ab"}
    overriding.task_seconds = 1e9
    run(overriding, todo)
    assert [machine.error.error_code for machine in todo if machine.error] == ["task_timeout"] * 2
    assert overriding.left == set()


def test_vms_that_cannot_be_read_fail_alone(vcenter: FakeVcenter) -> None:
    todo = machines("a", "b")
    vcenter.vms["a"] = VmActual("vm-a", "a", power="poweredOn", addresses=("192.0.2.1",))
    original, refused = vcenter.read, TestbedError("no_storage_policies", [])

    def read(some: list[Machine]) -> None:
        if vcenter.now > 0:
            raise refused
        original(some)

    vcenter.read = read  # type: ignore[method-assign]
    run(vcenter, todo)
    assert todo[0].finished
    assert todo[1].error is refused
    assert vcenter.left == set()


class Deploying(FakeVcenter):
    """A vCenter whose VMs are deployed from OVF items: by calls that answer at their end."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, list[Callable[[], Any]]] = {}

    def plan(self, machine: Machine) -> list[Operation]:
        if machine.actual is None and machine.name in self.answers:
            return [Operation("deploy"), Operation("power_on")]
        return super().plan(machine)

    def start(self, machine: Machine, operation: Operation) -> Any:
        if operation.kind != "deploy":
            return super().start(machine, operation)
        self.started.append(f"{machine.name} deploy")
        answer = self.answers[machine.name].pop(0)

        def work() -> Reference:
            made = answer()
            self.vms[machine.name] = VmActual(f"vm-{machine.name}", machine.name)
            return made or Reference(f"vm-{machine.name}")

        return Job(machine.name, work)


@pytest.fixture
def deploying(monkeypatch: pytest.MonkeyPatch) -> Deploying:
    fake = Deploying()
    monkeypatch.setattr(reconcile, "time", fake)
    return fake


def failing(error: Exception) -> Callable[[], None]:
    def answer() -> None:
        raise error

    return answer


def test_a_call_that_answers_at_its_end_does_not_hold_up_the_others(deploying: Deploying) -> None:
    gate = threading.Event()
    deploying.answers = {"a": [lambda: gate.wait(30) and None], "b": [lambda: None]}
    todo = machines("a", "b", "c")
    started = deploying.start

    def start(machine: Machine, operation: Operation) -> Any:
        if machine.name == "c" and operation.kind == "power_on":
            gate.set()  # "a" can end only now
        return started(machine, operation)

    deploying.start = start  # type: ignore[method-assign]
    run(deploying, todo)
    assert [machine.error for machine in todo] == [None, None, None]
    assert deploying.started.index("c power_on") < deploying.started.index("a power_on")
    assert deploying.left == set()


def test_a_deployment_that_failed_is_that_vm_s_error_alone(deploying: Deploying) -> None:
    deploying.answers = {
        "a": [failing(faults.DeploymentError("no space"))],
        "b": [failing(one_problem("rest_refused", "vCenter", "access", "HTTP 403"))],
        "c": [lambda: None],
    }
    todo = machines("a", "b", "c")
    run(deploying, todo)
    assert [machine.error.error_code if machine.error else "" for machine in todo] == [
        "deploy_failed",
        "rest_refused",
        "",
    ]
    assert "no space" in str(todo[0].error)


@pytest.mark.parametrize("kind", [faults.DeploymentLostError, faults.DeploymentConflictError])
def test_a_deployment_without_an_answer_is_looked_for_and_tried_again(
    deploying: Deploying, kind: type[faults.DeploymentError]
) -> None:
    def made_and_lost() -> None:
        deploying.vms["b"] = VmActual("vm-b", "b")
        raise kind("gone")

    deploying.answers = {"a": [failing(kind("gone")), lambda: None], "b": [made_and_lost]}
    todo = machines("a", "b")
    run(deploying, todo)
    assert [machine.error for machine in todo] == [None, None]
    assert sorted(deploying.started) == ["a deploy", "a deploy", "a power_on", "b deploy", "b power_on"]


def test_a_bug_in_such_a_call_is_not_hidden(deploying: Deploying) -> None:
    deploying.answers = {"a": [failing(KeyError("oops"))]}
    with pytest.raises(KeyError, match="oops"):
        run(deploying, machines("a"))


def test_who_is_still_deploying_is_waited_for_long(deploying: Deploying) -> None:
    """A run that was killed deploys it: vCenter refuses all else until the disks are copied."""
    deploying.vms["a"] = VmActual("vm-a", "a", deployed={"nanobanana.owner": "lab"})
    deploying.faults["a"] = [vim.fault.TaskInProgress()] * 60
    todo = machines("a")
    run(deploying, todo)
    assert todo[0].error is None
    assert deploying.now > 600
