# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reconciler drives, what it drives it by, and within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import Slots
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.waiting import Watcher
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import SHUTDOWN_SECONDS, VmWish


@dataclass(eq=False)
class Machine:
    """One VM on its way to the wish."""

    name: str
    wish: VmWish | None = None
    reference: Any = None
    actual: VmActual | None = None
    done: list[Operation] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # by what it waited for
    error: TestbedError | None = None
    fresh: bool = False  # whether ``actual`` was read after the last thing that happened to the VM
    plan: list[Operation] | None = None  # made from ``actual``; a VM that waits for a slot is not planned for anew
    wanted: Mapping[str, int] | None = None  # the slots that the plan's first operation takes
    finished: bool = False
    asked: bool = False  # whether the guest was asked to shut down since the VM was last powered on
    shutdown_seconds: int = SHUTDOWN_SECONDS
    retries: int = 0
    settle_until: float = 0.0
    customize_until: float = 0.0
    task: Any = None
    operation: Operation | None = None
    slots: Mapping[str, int] = field(default_factory=dict)
    began: float = 0.0
    deadline: float = 0.0
    wake: float = 0.0

    def fail(self, code: str, expected: str, found: str, next_step: str = "") -> None:
        """Give this VM up; the others go on."""
        self.error = TestbedError(code, [Problem(self.name, expected, found, next_step)])


class Driver(Protocol):
    """What fleet gives to the reconciler."""

    def read(self, machines: list[Machine]) -> None:
        """Refresh the machines' references and actual state."""

    def plan(self, machine: Machine) -> list[Operation]:
        """What is left to do; raises TestbedError when it cannot be done."""

    def start(self, machine: Machine, operation: Operation) -> Any:
        """Start one operation in vCenter and return its task, or a Job where it is no task."""

    def group(self, machine: Machine) -> str:
        """What an operation of TOGETHER changes: VMs of a group share a task, and a group has one at a time."""

    def start_together(self, machines: list[Machine]) -> Any:
        """Start the next operation of these VMs, which are of one group, and return its task."""

    def recover(self, machine: Machine) -> bool:
        """Whether a fault that a mere retry does not mend is mended by planning again; may set ``machine.error``."""

    def slots(self, machine: Machine, operation: Operation, slots: Slots) -> Mapping[str, int]:
        """The slots that the operation takes."""

    def customized(self, machine: Machine) -> bool:
        """Whether the guest has been customized; raises TestbedError when that failed."""

    def watcher(self) -> Watcher:
        """A watcher in the present session."""

    def renew(self) -> None:
        """Log in again."""


@dataclass(frozen=True)
class Bounds:
    """Limits of one call: operations under way in all and by kind, and seconds for everything (0: no end)."""

    concurrency: int = 32
    limits: Mapping[str, int] = field(default_factory=dict)
    seconds: int = 0
