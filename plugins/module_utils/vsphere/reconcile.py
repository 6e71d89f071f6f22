# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes vCenter match: for each VM read, plan, do the first operation, and again until the plan is empty.

vCenter runs the operations itself (each is a task there), so one thread starts them and waits for all of them
with one blocking call; ``limit`` bounds how many are under way. A conflict with another writer (a run that was
killed but whose module lives on) ends in reading and planning anew.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual, routable
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim, vmodl
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.waiting import (
    GUEST_PROPERTIES,
    TASK_PROPERTIES,
    Watcher,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

MAX_STEPS = 12  # clone, two reconfigures and power-on are four; more means that the plan does not converge
MAX_CONFLICTS = 20
LONGEST_PAUSE = 15.0  # between two looks at a VM that somebody else is changing
TASK_SECONDS = 3600
POLL_SECONDS = 20  # longest single wait: deadlines are looked at this often


@dataclass
class Machine:
    """One VM on its way to the wish."""

    name: str
    wish: VmWish | None = None
    reference: Any = None
    actual: VmActual | None = None
    done: list[Operation] = field(default_factory=list)
    error: TestbedError | None = None
    fresh: bool = False  # whether ``actual`` was read after the last thing that happened to the VM
    conflicts: int = 0
    settle_until: float = 0.0
    task: Any = None
    operation: Operation | None = None
    deadline: float = 0.0
    wake: float = 0.0

    def fail(self, code: str, expected: str, found: str, next_step: str = "") -> None:
        """Give this VM up; the others go on."""
        self.error = TestbedError(code, [Problem(self.name, expected, found, next_step)])


def is_conflict(fault: Any) -> bool:
    """Whether the fault means that somebody else got there first, so that reading again will help."""
    return isinstance(
        fault,
        (
            vim.fault.DuplicateName,
            vim.fault.InvalidPowerState,
            vim.fault.ConcurrentAccess,
            vim.fault.TaskInProgress,
            vim.fault.InvalidState,
            vmodl.fault.ManagedObjectNotFound,
        ),
    )


class Reconciler:
    """Drives many machines: ``read`` refreshes them, ``plan`` says what is left, ``start`` starts an operation."""

    def __init__(
        self,
        content: Any,
        limit: int,
        read: Callable[[list[Machine]], None],
        plan: Callable[[Machine], list[Operation]],
        start: Callable[[Machine, Operation], Any],
    ) -> None:
        self._watcher = Watcher(content)
        self._limit, self._read, self._plan, self._start = limit, read, plan, start
        self._ready: deque[Machine] = deque()
        self._busy: dict[str, Machine] = {}  # by id of the task
        self._guests: dict[str, Machine] = {}  # by id of the VM whose address is waited for
        self._settling: list[Machine] = []

    def run(self, machines: list[Machine]) -> None:
        """Work until each machine matches or has failed."""
        self._ready.extend(machines)
        try:
            while self._ready or self._busy or self._guests or self._settling:
                self._step_ready()
                self._wait()
        finally:
            self._watcher.close()

    def _step_ready(self) -> None:
        stale = [machine for machine in self._ready if not machine.fresh]
        if stale:
            self._read(stale)
        waiting: deque[Machine] = deque()
        while self._ready:
            machine = self._ready.popleft()
            if len(self._busy) >= self._limit:
                waiting.append(machine)
                continue
            try:
                self._step(machine)
            except TestbedError as error:
                machine.error = error
        self._ready = waiting

    def _step(self, machine: Machine) -> None:
        operations = self._plan(machine)
        if not operations:
            return
        operation = operations[0]
        if operation.kind == "wait_address":
            self._await_address(machine)
        elif operation.kind == "wait_settled":
            self._settle(machine)
        elif len(machine.done) >= MAX_STEPS:
            left = ", ".join(change.what for change in operation.changes) or operation.kind
            machine.fail("no_convergence", "nothing left to do", f"after {MAX_STEPS} steps still {left}")
        else:
            self._begin(machine, operation)

    def _begin(self, machine: Machine, operation: Operation) -> None:
        machine.operation = operation
        machine.fresh = False
        try:
            machine.task = self._start(machine, operation)
        except vmodl.MethodFault as fault:
            self._failed(machine, fault)
            return
        machine.deadline = time.monotonic() + TASK_SECONDS
        self._busy[machine.task._moId] = machine
        self._watcher.watch(machine.task, TASK_PROPERTIES)

    def _await_address(self, machine: Machine) -> None:
        if machine.wish is None:
            raise ValueError("only a wished VM has an address to wait for")
        machine.fresh = False
        machine.deadline = time.monotonic() + machine.wish.lifecycle.wait_seconds
        self._guests[machine.reference._moId] = machine
        self._watcher.watch(machine.reference, GUEST_PROPERTIES)

    def _wait(self) -> None:
        now = time.monotonic()
        watched = [*self._busy.values(), *self._guests.values()]
        due = [machine.deadline for machine in watched] + [machine.wake for machine in self._settling]
        if not due:
            return
        seconds = min(POLL_SECONDS, max(0.0, min(due) - now))
        if watched and not (self._ready and len(self._busy) < self._limit):
            for key, values in self._watcher.wait(seconds if not self._settling else min(seconds, 1)).items():
                self._changed(key, values)
        elif not self._ready:
            time.sleep(seconds)
        self._look_at_clocks(time.monotonic())

    def _look_at_clocks(self, now: float) -> None:
        self._ready.extend(machine for machine in self._settling if machine.wake <= now)
        self._settling = [machine for machine in self._settling if machine.wake > now]
        for machine in [item for item in self._busy.values() if item.deadline <= now]:
            self._release(machine)
            machine.fail("task_timeout", f"the task to end within {TASK_SECONDS} s", f"{machine.operation} still runs")
        for machine in [item for item in self._guests.values() if item.deadline <= now]:
            self._no_address(machine)

    def _no_address(self, machine: Machine) -> None:
        self._stop_waiting(machine)
        self._read([machine])
        actual, wish = machine.actual, machine.wish
        if wish is None or actual is None:
            machine.fail("vanished", "the VM", "it was removed meanwhile")
            return
        only = f" in {', '.join(wish.lifecycle.address_networks)}" if wish.lifecycle.address_networks else ""
        found = ", ".join(actual.addresses) or "no address"
        machine.fail(
            "no_address",
            f"a routable address{only} within {wish.lifecycle.wait_seconds} s of waiting",
            f"{found}; the VM is {actual.power}, its tools are {actual.tools or 'unknown'}",
            "look at the VM's console; check DHCP on its network and that VMware Tools run in the template",
        )

    def _changed(self, key: str, values: dict[str, Any]) -> None:
        if key in self._guests:
            self._guest_changed(self._guests[key], values)
        elif key in self._busy:
            machine = self._busy[key]
            state = values.get("info.state")
            if values.get("gone") or state in ("success", "error"):
                self._release(machine)
                if state == "success":
                    self._succeeded(machine, values.get("info.result"))
                else:
                    self._failed(machine, values.get("info.error"))

    def _guest_changed(self, machine: Machine, values: dict[str, Any]) -> None:
        wish = machine.wish
        found = [values.get("guest.ipAddress")]
        for card in values.get("guest.net") or ():
            found += list(card.ipAddress or ())
        networks = wish.lifecycle.address_networks if wish else ()
        ended = values.get("gone") or values.get("runtime.powerState") == "poweredOff"
        if ended or routable([address for address in found if address], networks):
            self._stop_waiting(machine)
            machine.conflicts += bool(ended)
            if machine.conflicts > 2:
                machine.fail(
                    "guest_ends", "a guest that stays powered on", "it powers itself off", "look at its console"
                )
            else:
                machine.done.append(Operation("wait_address"))
                self._ready.append(machine)

    def _succeeded(self, machine: Machine, result: Any) -> None:
        operation = machine.operation
        if operation is None:
            raise ValueError("a task without its operation")
        machine.done.append(operation)
        if operation.kind == "clone":
            machine.reference = result
        if operation.kind == "destroy":
            machine.reference = machine.actual = None
            return
        self._ready.append(machine)

    def _failed(self, machine: Machine, fault: Any) -> None:
        if is_conflict(fault):
            self._conflict(machine, describe_fault(fault))
            return
        machine.fail(
            "task_failed",
            f"'{machine.operation}' to succeed",
            describe_fault(fault),
            "mend the cause and run again: what is done stays done",
        )

    def _conflict(self, machine: Machine, reason: str) -> None:
        machine.conflicts += 1
        if machine.conflicts > MAX_CONFLICTS:
            machine.fail("conflict", "to be the only one who changes this VM", reason, "run again when it is quiet")
            return
        self._look_again(machine)

    def _settle(self, machine: Machine) -> None:
        """The VM is being made by somebody, most likely by ourselves before we were killed."""
        now = time.monotonic()
        machine.settle_until = machine.settle_until or now + TASK_SECONDS
        if now > machine.settle_until:
            machine.fail(
                "unfinished", "a VM whose settings can be read", f"none after {TASK_SECONDS} s", "remove it by hand"
            )
            return
        self._look_again(machine)

    def _look_again(self, machine: Machine) -> None:
        machine.fresh = False
        machine.wake = time.monotonic() + min(LONGEST_PAUSE, 0.5 * 2**machine.conflicts)
        self._settling.append(machine)

    def _release(self, machine: Machine) -> None:
        self._busy.pop(machine.task._moId, None)
        self._watcher.forget(machine.task)

    def _stop_waiting(self, machine: Machine) -> None:
        self._guests.pop(machine.reference._moId, None)
        self._watcher.forget(machine.reference)


def describe_fault(fault: Any) -> str:
    """One line about a vSphere fault: its type and vCenter's own words, never a dump."""
    if fault is None:
        return "vCenter dropped the task"
    name = type(fault).__name__.rsplit(".", 1)[-1]
    texts = [getattr(fault, "localizedMessage", "") or getattr(fault, "msg", "") or ""]
    texts += [message.message or "" for message in getattr(fault, "faultMessage", None) or ()]
    told = "; ".join(dict.fromkeys(text for text in texts if text))
    return f"{name}: {told}" if told else name
