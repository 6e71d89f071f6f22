# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a vSphere fault means for an operation: try again or not, and what the operator can do. One table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Meaning:
    """``retry``: reading the VM again and going on may help; ``error_code`` and ``advice`` are for the result."""

    retry: bool
    error_code: str
    advice: str


AGAIN = "run again: what is done stays done"
_CONFLICT = Meaning(True, "conflict", "run again when nobody else changes this VM")
_HOST = Meaning(True, "host_unavailable", "look at the host's connection in vCenter, then run again")
_SPACE = Meaning(False, "no_space", "free space on the datastore, or name another one in vm_placement")
_RESOURCES = Meaning(False, "no_resources", "free reservations on the hosts, or wish for less (vm_memory_mb, vm_cpus)")
_SPEC = Meaning(False, "invalid_spec", "correct the wish; vCenter names what it refuses")
_QUIESCE = Meaning(False, "not_quiesced", "look at VMware Tools in the guest, or take the snapshot without quiesce")
_DEVICE = Meaning(False, "passthrough", "power the VM off (vGPU), or make it anew (DirectPath)")
_UNKNOWN = Meaning(False, "task_failed", f"mend the cause and {AGAIN}")

# By the fault's type name, so that the table can be read, and tested, without pyVmomi.
TABLE: dict[str, Meaning] = {
    # somebody else was faster: most likely ourselves, before we were killed
    "DuplicateName": _CONFLICT,
    "InvalidPowerState": _CONFLICT,
    "ConcurrentAccess": _CONFLICT,
    "TaskInProgress": _CONFLICT,
    "MethodDisabled": _CONFLICT,
    "InvalidState": _CONFLICT,
    "ManagedObjectNotFound": _CONFLICT,
    "ResourceInUse": _CONFLICT,
    "CustomizationPending": _CONFLICT,
    # vCenter and its hosts recover from these
    "HostNotConnected": _HOST,
    "HostNotReachable": _HOST,
    "HostCommunication": _HOST,
    "Timedout": _HOST,
    "RequestCanceled": Meaning(True, "canceled", "somebody cancelled the task; run again"),
    "TooManyConcurrentNativeClones": Meaning(True, "busy", AGAIN),
    # these stay as they are until somebody mends them
    "NoPermission": Meaning(False, "no_permission", "grant the privilege that is named on the object that is named"),
    "NoDiskSpace": _SPACE,
    "InsufficientStorageSpace": _SPACE,
    "InsufficientResourcesFault": _RESOURCES,
    "InsufficientMemoryResourcesFault": _RESOURCES,
    "InsufficientCpuResourcesFault": _RESOURCES,
    "InvalidDeviceSpec": _SPEC,
    "InvalidArgument": _SPEC,
    "InvalidRequest": _SPEC,
    "VmConfigFault": _SPEC,
    "SnapshotIncompatibleDeviceInVm": _DEVICE,
    "TooManySnapshotLevels": Meaning(False, "too_many_snapshots", "remove snapshots of this VM"),
    "ApplicationQuiesceFault": _QUIESCE,
    "FilesystemQuiesceFault": _QUIESCE,
    "MemorySnapshotOnIndependentDisk": Meaning(False, "invalid_spec", "take the snapshot without memory"),
    "GenericVmConfigFault": Meaning(False, "cannot_start", "look at the VM's log on its host"),
}


class DeploymentError(Exception):
    """vCenter made no VM of an OVF item. REST has no faults; these are judged like one."""

    meaning = Meaning(False, "deploy_failed", "mend the OVF item or the wish; vCenter names what it refuses")

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.msg = message


class DeploymentConflictError(DeploymentError):
    """The name is taken: somebody was faster, most likely ourselves before the connection was lost."""

    meaning = _CONFLICT


class DeploymentLostError(DeploymentError):
    """No answer came; vCenter may go on with it."""

    meaning = Meaning(True, "no_answer", "look for the deployment in vCenter's task list, then run again")


def type_name(fault: Any) -> str:
    """``vim.fault.NoPermission`` -> ``NoPermission``."""
    return type(fault).__name__.rsplit(".", 1)[-1]


def meaning(fault: Any) -> Meaning:
    """The table's row for the fault, or for the nearest of its base types that has one."""
    if isinstance(fault, DeploymentError):
        return fault.meaning
    for kind in type(fault).__mro__:
        row = TABLE.get(kind.__name__.rsplit(".", 1)[-1])
        if row:
            return row
    return _UNKNOWN


def describe(fault: Any) -> str:
    """One line about a fault: its type and vCenter's own words, never a dump."""
    if fault is None:
        return "vCenter dropped the task"
    texts = [getattr(fault, "localizedMessage", "") or getattr(fault, "msg", "") or ""]
    texts += [message.message or "" for message in getattr(fault, "faultMessage", None) or ()]
    if type_name(fault) == "NoPermission" and getattr(fault, "privilegeId", None):
        texts.append(f"privilege {fault.privilegeId} on {getattr(fault.object, '_moId', fault.object)}")
    told = "; ".join(dict.fromkeys(text for text in texts if text))
    return f"{type_name(fault)}: {told}" if told else type_name(fault)
