# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes vCenter match: for each VM read, plan, do the first operation, and again until the plan is empty.

vCenter runs the operations itself (each is a task there), so one thread starts them and waits for all of them
with one blocking call. A conflict with another writer (a run that was killed but whose module lives on), a host
that drops out for a moment, an expired session: each ends in reading and planning anew (docs/adr/0004).
"""

from __future__ import annotations

import http.client
import time
from collections import deque
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import faults
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.jobs import Job
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import Slots
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.machine import Bounds, Driver, Machine
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import routable
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation, customized
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.progress import Progress, Watchdog
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim, vmodl
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.waiting import (
    GUEST_PROPERTIES,
    TASK_PROPERTIES,
)

MAX_STEPS = 12  # clone, two reconfigures and power-on are four; more means that the plan does not converge
MAX_RETRIES = 20
MAX_RENEWALS = 10  # of the session in one call; more means that vCenter throws us out for good
LONGEST_PAUSE = 15.0  # between two looks at a VM that somebody else is changing
CUSTOMIZATION_PAUSE = 3.0  # between two questions for the event that ends it; it takes minutes
TASK_SECONDS = 3600
JOB_SECONDS = 1  # longest single wait while a call runs in a thread of its own: vCenter's updates do not tell its end
POLL_SECONDS = 5  # longest single wait: deadlines, progress and our own parent are looked at this often
TOGETHER = ("override",)  # what vCenter does to many VMs in one task
LOST = (OSError, http.client.HTTPException)  # the connection broke


def _is_shared(machine: Machine) -> bool:
    return machine.operation is not None and machine.operation.kind in TOGETHER


def _shuts_down(machine: Machine) -> bool:
    return machine.operation is not None and machine.operation.kind == "shutdown"


class Reconciler:
    """Drives many machines to their wishes."""

    def __init__(
        self, driver: Driver, bounds: Bounds, progress: Progress | None = None, watchdog: Watchdog | None = None
    ) -> None:
        self._driver, self._bounds = driver, bounds
        self._progress, self._watchdog = progress or Progress(None), watchdog or Watchdog(0)
        self._slots = Slots(bounds.limits)
        self._watcher = driver.watcher()
        self._renewals = 0
        self._machines: list[Machine] = []
        self._ready: deque[Machine] = deque()
        self._busy: dict[str, list[Machine]] = {}  # by id of the task
        self._joining: list[Machine] = []  # whose next operation is one of TOGETHER
        self._guests: dict[str, Machine] = {}  # by id of the VM whose address is waited for
        self._settling: list[Machine] = []

    def run(self, machines: list[Machine]) -> None:
        """Work until each machine matches or has failed; errors are in the machines."""
        self._machines = machines
        self._ready.extend(machines)
        end = time.monotonic() + self._bounds.seconds if self._bounds.seconds else float("inf")
        try:
            while self._ready or self._busy or self._joining or self._guests or self._settling:
                self._guarded_round()
                if time.monotonic() > end:
                    self._give_up("deadline", f"everything within {self._bounds.seconds} s", "raise deadline_seconds")
                elif self._watchdog.alone():
                    self._give_up("parent_lost", "ansible-playbook to be there", "run the playbook again")
        finally:
            self._close()

    def _guarded_round(self) -> None:
        """One round; a session that expired or a connection that broke is made anew, not passed on at once."""
        try:
            self._step_ready()
            self._begin_together()
            self._wait()
            self._look_at_jobs()
            self._tell()
        except vim.fault.NotAuthenticated:
            self._renew()
        except LOST:
            time.sleep(min(LONGEST_PAUSE, 0.5 * 2**self._renewals))
            self._renew()

    def _renew(self) -> None:
        self._renewals += 1
        if self._renewals > MAX_RENEWALS:
            self._driver.renew()  # whatever this raises is the clear error
            self._give_up("session_lost", "a session that lasts", "look at vCenter's session limits")
            return
        try:
            self._driver.renew()
        except LOST:
            return  # the next round fails the same way, and pauses longer
        self._watcher = self._driver.watcher()
        for machines in self._busy.values():
            self._watch_task(machines[0].task)
        for machine in self._guests.values():
            self._watcher.watch(machine.reference, GUEST_PROPERTIES)

    def _close(self) -> None:
        try:
            self._watcher.close()
        except (vim.fault.NotAuthenticated, vmodl.fault.ManagedObjectNotFound, *LOST):
            return  # the session is gone, and its filters with it

    def _give_up(self, code: str, expected: str, next_step: str) -> None:
        """End the call: what runs inside vCenter goes on there, and the next call finds it."""
        for machine in self._machines:
            if not machine.finished and machine.error is None:
                doing = str(machine.operation) if machine.operation else "nothing done yet"
                machine.fail(code, expected, f"unfinished: {doing}", next_step)
        self._ready.clear()
        self._busy.clear()
        self._joining.clear()
        self._guests.clear()
        self._settling.clear()

    def _tell(self) -> None:
        now = time.monotonic()
        busy = [machine for machine in self._working() if machine.operation]
        doing = [(machine.name, str(getattr(machine.operation, "kind", "")), now - machine.began) for machine in busy]
        guests = [(machine, str(getattr(machine.operation, "kind", ""))) for machine in self._guests.values()]
        doing += [(machine.name, kind, now - machine.began) for machine, kind in guests]
        doing += [(machine.name, "pause", 0.0) for machine in self._settling]
        done = sum(machine.finished for machine in self._machines)
        failed = sum(machine.error is not None for machine in self._machines)
        self._progress.tell(len(self._machines), done, failed, doing)

    def _step_ready(self) -> None:
        stale = [machine for machine in self._ready if not machine.fresh]
        if stale:
            try:
                self._driver.read(stale)
            except TestbedError as error:  # what other VMs are doing has to come to its end
                for machine in stale:
                    machine.error = error
                self._ready = deque(machine for machine in self._ready if machine not in stale)
        for machine in stale:
            machine.plan = None
        waiting: deque[Machine] = deque()
        while self._ready:
            machine = self._ready[0]
            try:
                if not self._step(machine):
                    waiting.append(machine)
            except TestbedError as error:
                machine.error = error
            except (vim.fault.NotAuthenticated, *LOST):
                machine.fresh = False  # the call may have been carried out
                if self._under_way(machine):
                    self._ready.popleft()
                self._ready.extend(waiting)
                raise
            self._ready.popleft()
        self._ready = waiting

    def _under_way(self, machine: Machine) -> bool:
        return machine in self._working() or machine in self._guests.values()

    def _working(self) -> list[Machine]:
        """The VMs with a task under way."""
        return [machine for machines in self._busy.values() for machine in machines]

    def _step(self, machine: Machine) -> bool:
        """Do the next thing for the VM; False when all slots for it are taken."""
        if machine.plan is None:
            machine.plan, machine.wanted = self._driver.plan(machine), None
        operations = machine.plan
        if not operations:
            machine.finished = True
            return True
        operation = operations[0]
        if operation.kind == "wait_address":
            self._await_address(machine)
        elif operation.kind == "wait_settled":
            self._settle(machine)
        elif operation.kind == "shutdown":
            self._ask_guest(machine, operation)
        elif operation.kind == "wait_customized":
            return self._await_customized(machine)
        elif len(machine.done) >= MAX_STEPS:
            left = ", ".join(change.what for change in operation.changes) or operation.kind
            machine.fail("no_convergence", "nothing left to do", f"after {MAX_STEPS} steps still {left}")
        elif operation.kind in TOGETHER:
            machine.operation = operation
            self._joining.append(machine)
        else:
            return self._begin(machine, operation)
        return True

    def _begin(self, machine: Machine, operation: Operation) -> bool:
        if len(self._busy) >= self._bounds.concurrency:
            return False
        if machine.wanted is None:  # a VM that waits is asked in each round
            machine.wanted = self._driver.slots(machine, operation, self._slots)
        slots = machine.wanted
        if not self._slots.take(slots):
            return False
        machine.operation, machine.slots, machine.wanted = operation, slots, None
        machine.fresh = False
        try:
            machine.task = self._driver.start(machine, operation)
        except vim.fault.NotAuthenticated:
            self._slots.give_back(slots)
            raise
        except vmodl.MethodFault as fault:
            self._slots.give_back(slots)
            self._failed(machine, fault)
            return True
        except LOST:
            self._slots.give_back(slots)
            raise
        self._follow(machine.task, [machine])
        return True

    def _follow(self, task: Any, machines: list[Machine]) -> None:
        for machine in machines:
            machine.task = task
            machine.began = time.monotonic()
            machine.deadline = machine.began + TASK_SECONDS
        self._busy[task._moId] = machines
        self._watch_task(task)

    def _watch_task(self, task: Any) -> None:
        if not isinstance(task, Job):
            self._watcher.watch(task, TASK_PROPERTIES)

    def _begin_together(self) -> None:
        """Start one task for all VMs that are waiting for it; those that come while it runs share the next one."""
        under_way = {self._driver.group(item) for item in self._working() if _is_shared(item)}
        groups: dict[str, list[Machine]] = {}
        for machine in self._joining:
            groups.setdefault(self._driver.group(machine), []).append(machine)
        for name, machines in groups.items():
            if name in under_way or len(self._busy) >= self._bounds.concurrency:
                continue
            self._joining = [machine for machine in self._joining if machine not in machines]
            for machine in machines:
                machine.fresh, machine.slots = False, {}
            try:
                self._follow(self._driver.start_together(machines), machines)
            except (vim.fault.NotAuthenticated, *LOST):
                self._ready.extend(machines)  # the call may have been carried out: look first
                raise
            except vmodl.MethodFault as fault:
                for machine in machines:
                    self._failed(machine, fault)

    def _await_address(self, machine: Machine) -> None:
        if machine.wish is None:
            raise ValueError("only a wished VM has an address to wait for")
        self._watch_guest(machine, Operation("wait_address"), machine.wish.lifecycle.wait_seconds)

    def _watch_guest(self, machine: Machine, operation: Operation, seconds: int) -> None:
        machine.operation = operation
        machine.fresh = False
        machine.began = time.monotonic()
        machine.deadline = machine.began + seconds
        self._guests[machine.reference._moId] = machine
        self._watcher.watch(machine.reference, GUEST_PROPERTIES)

    def _ask_guest(self, machine: Machine, operation: Operation) -> None:
        """Ask the guest to shut down, which is no task in vCenter; one that cannot be asked is switched off next."""
        machine.asked = True
        try:
            self._driver.start(machine, operation)
        except vim.fault.NotAuthenticated:
            raise
        except vmodl.MethodFault:
            machine.fresh = False
            self._look_again(machine)
            return
        self._watch_guest(machine, operation, machine.shutdown_seconds)

    def _guest_is_off(self, machine: Machine, *, gone: bool) -> None:
        self._stop_waiting(machine)
        if machine.operation and not gone:
            machine.done.append(machine.operation)
        self._ready.append(machine)

    def _await_customized(self, machine: Machine) -> bool:
        """Look for the event in which the customization ends, again and again until its deadline."""
        wish = machine.wish
        if wish is None:
            raise ValueError("only a wished VM has a customization to wait for")
        try:
            ended = self._driver.customized(machine)
        except vim.fault.NotAuthenticated:
            raise
        except vmodl.MethodFault as fault:
            machine.operation = Operation("wait_customized")
            self._failed(machine, fault)
            return True
        if ended:
            return self._begin(machine, customized(wish))
        now = time.monotonic()
        machine.customize_until = machine.customize_until or now + wish.customization.wait_seconds
        if now >= machine.customize_until:
            machine.fail(
                "customization_timeout",
                f"an event that customization '{wish.customization.spec}' ended, within "
                f"{wish.customization.wait_seconds} s",
                "none",
                "look at the VM's console; the template needs VMware Tools (Linux: and perl, or cloud-init with "
                "disable_vmware_customization: false)",
            )
            return True
        machine.fresh = False
        machine.wake = min(now + CUSTOMIZATION_PAUSE, machine.customize_until)
        self._settling.append(machine)
        return True

    def _wait(self) -> None:
        now = time.monotonic()
        waiting = [*self._working(), *self._guests.values()]
        due = [machine.deadline for machine in waiting] + [machine.wake for machine in self._settling]
        if not due:
            return
        jobs = [machine.task for machine in self._working() if isinstance(machine.task, Job)]
        seconds = min(float(JOB_SECONDS if jobs else POLL_SECONDS), max(0.0, min(due) - now))
        if len(waiting) > len(jobs):
            # vCenter waits in whole seconds: a VM that is looked at again sooner must not wait for that.
            for key, values in self._watcher.wait(0 if self._settling and seconds < 1 else seconds).items():
                self._changed(key, values)
            if self._settling and seconds < 1:
                time.sleep(min(seconds, 0.2))
        elif jobs:
            jobs[0].wait(seconds)
        else:
            time.sleep(seconds)
        self._look_at_clocks(time.monotonic())

    def _look_at_jobs(self) -> None:
        for machine in [item for item in self._working() if isinstance(item.task, Job) and item.task.ended]:
            self._release(machine)
            try:
                self._succeeded(machine, machine.task.result())
            except faults.DeploymentError as error:
                self._failed(machine, error)
            except TestbedError as error:
                machine.error = error

    def _look_at_clocks(self, now: float) -> None:
        self._ready.extend(machine for machine in self._settling if machine.wake <= now)
        self._settling = [machine for machine in self._settling if machine.wake > now]
        for machine in [item for item in self._working() if item.deadline <= now]:
            self._release(machine)
            machine.fail("task_timeout", f"the task to end within {TASK_SECONDS} s", f"{machine.operation} still runs")
        for machine in [item for item in self._guests.values() if item.deadline <= now]:
            if _shuts_down(machine):
                self._stop_waiting(machine)
                self._ready.append(machine)  # still running, and asked: the next plan switches it off
            else:
                self._no_address(machine)

    def _no_address(self, machine: Machine) -> None:
        self._driver.read([machine])
        self._stop_waiting(machine)
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
            state = values.get("info.state")
            if values.get("gone") or state in ("success", "error"):
                for machine in list(self._busy[key]):
                    self._release(machine)
                    if state == "success":
                        self._succeeded(machine, values.get("info.result"))
                    else:
                        self._failed(machine, values.get("info.error"))

    def _guest_changed(self, machine: Machine, values: dict[str, Any]) -> None:
        if _shuts_down(machine):
            if values.get("gone") or values.get("runtime.powerState") == "poweredOff":
                self._guest_is_off(machine, gone=bool(values.get("gone")))
            return
        wish = machine.wish
        found = [values.get("guest.ipAddress")]
        for card in values.get("guest.net") or ():
            found += list(card.ipAddress or ())
        networks = wish.lifecycle.address_networks if wish else ()
        ended = values.get("gone") or values.get("runtime.powerState") == "poweredOff"
        if ended or routable([address for address in found if address], networks):
            self._stop_waiting(machine)
            machine.retries += bool(ended)
            if machine.retries > 2 and ended:
                advice = "look at its console"
                machine.fail("guest_ends", "a guest that stays powered on", "it powers itself off", advice)
            else:
                machine.done.append(Operation("wait_address"))
                self._ready.append(machine)

    def _succeeded(self, machine: Machine, result: Any) -> None:
        operation = machine.operation
        if operation is None:
            raise ValueError("a task without its operation")
        machine.done.append(operation)
        if operation.kind == "power_on":
            machine.asked = False
        if operation.kind in ("clone", "deploy"):
            machine.reference = result
        if operation.kind == "destroy":
            machine.reference = machine.actual = None
            machine.finished = True
            return
        self._ready.append(machine)

    def _failed(self, machine: Machine, fault: Any) -> None:
        meaning = faults.meaning(fault)
        if fault is None or meaning.retry or self._driver.recover(machine):
            machine.retries += 1
            if machine.actual is not None and machine.actual.deployed:
                self._settle(machine)  # a run that was killed deploys it, and vCenter may still copy its disks
                return
            if machine.retries <= MAX_RETRIES:
                self._look_again(machine)
                return
        if machine.error is None:
            expected, found = f"'{machine.operation}' to succeed", faults.describe(fault)
            machine.fail(meaning.error_code, expected, found, meaning.advice)

    def _settle(self, machine: Machine) -> None:
        """The VM is being made by somebody, most likely by ourselves before we were killed."""
        now = time.monotonic()
        machine.settle_until = machine.settle_until or now + TASK_SECONDS
        spent = now - (machine.settle_until - TASK_SECONDS)
        if now > machine.settle_until:
            found = f"none after {TASK_SECONDS} s"
            machine.fail("unfinished", "a VM that is complete, with settings to read", found, "remove it by hand")
            return
        self._look_again(machine)
        machine.wake = max(machine.wake, now + min(LONGEST_PAUSE, spent / 4))

    def _look_again(self, machine: Machine) -> None:
        machine.fresh = False
        machine.wake = time.monotonic() + min(LONGEST_PAUSE, 0.25 * 2**machine.retries)
        self._settling.append(machine)

    def _release(self, machine: Machine) -> None:
        left = [other for other in self._busy.pop(machine.task._moId, []) if other is not machine]
        if left:
            self._busy[machine.task._moId] = left
        else:
            self._watcher.forget(machine.task)
        self._slots.give_back(machine.slots)
        if machine.operation:
            spent = time.monotonic() - machine.began
            machine.seconds[machine.operation.kind] = machine.seconds.get(machine.operation.kind, 0.0) + spent

    def _stop_waiting(self, machine: Machine) -> None:
        self._guests.pop(machine.reference._moId, None)
        kind = machine.operation.kind if machine.operation else "wait_address"
        machine.seconds[kind] = machine.seconds.get(kind, 0.0) + time.monotonic() - machine.began
        self._watcher.forget(machine.reference)
