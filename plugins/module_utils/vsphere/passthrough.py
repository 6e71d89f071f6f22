# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM with passthrough devices may not do: rules over plain data, told before vCenter refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual

Action = Literal["suspend", "snapshot", "memory snapshot"]


@dataclass(frozen=True)
class SharedGpu:
    """What a host says of one vGPU profile (HostSharedGpuCapabilities)."""

    suspend: bool = False
    snapshot: bool = False  # of the disks of a running VM; that of a VM that is off always works
    memory_snapshot: bool = False

    def allows(self, action: Action) -> bool:
        """Whether a running VM with this profile may."""
        return {"suspend": self.suspend, "snapshot": self.snapshot, "memory snapshot": self.memory_snapshot}[action]


def capabilities(shared: Iterable[Any] | None) -> dict[str, SharedGpu]:
    """By profile, from a host's ``config.sharedGpuCapabilities``."""
    return {
        item.vgpu: SharedGpu(
            suspend=bool(item.suspendSupported),
            snapshot=bool(item.diskSnapshotSupported),
            memory_snapshot=bool(item.memorySnapshotSupported),
        )
        for item in shared or ()
    }


def check(
    name: str,
    action: Action,
    found: Iterable[GpuActual | GpuWish],
    host: Mapping[str, SharedGpu],
    *,
    running: bool = True,
) -> None:
    """Raise TestbedError (``passthrough``) when the VM's devices, found or wished, forbid the action.

    ``host`` is what the VM's host says of each profile; a profile that it does not name can do nothing.
    """
    for device in found:
        if device.mode != "vgpu":
            reason = f"a DirectPath device ({device}), with which vSphere can neither suspend nor snapshot a VM"
            instead = {
                "suspend": "set vm_lifecycle.power to off",
                "snapshot": "make the VM anew from its template instead: state absent, then present",
            }["suspend" if action == "suspend" else "snapshot"]
        elif (not running and action == "snapshot") or host.get(device.profile, SharedGpu()).allows(action):
            continue
        else:
            reason = f"vGPU {device.profile}, whose {action} its host does not support"
            instead = {
                "suspend": "set vm_lifecycle.power to off",
                "snapshot": "power the VM off first",
                "memory snapshot": "take it without memory, or power the VM off first",
            }[action]
        raise one_problem("passthrough", f"{name}: {action}", "a VM whose devices allow it", reason, instead)
