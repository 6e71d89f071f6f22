# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU devices between vSphere's objects and plain data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import Pick
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim


def signed(number: int) -> int:
    """A 16-bit id as the static backing wants it: 0x8086 is -32634 there, and beyond its type when written as it is."""
    return number - 0x10000 if number > 0x7FFF else number


def unsigned(number: int | None) -> int:
    """An id as people write it, from vSphere's signed 16-bit numbers."""
    return (number or 0) & 0xFFFF


def gpu_device(pick: Pick, index: int) -> Any:
    """The new virtual device for one entry of the wish."""
    passthrough, wish = vim.vm.device.VirtualPCIPassthrough, pick.wish
    if wish.mode == "vgpu":
        backing = passthrough.VmiopBackingInfo(vgpu=wish.profile)
    elif wish.mode == "dynamic":
        allowed = passthrough.AllowedDevice(vendorId=wish.vendor_id, deviceId=wish.device_id)
        backing = passthrough.DynamicBackingInfo(deviceName="", allowedDevice=[allowed], customLabel=wish.label)
    else:
        if pick.gpu is None:
            raise ValueError(f"no device was chosen for {wish}")
        backing = passthrough.DeviceBackingInfo(
            deviceName=pick.gpu.name,
            id=pick.gpu.address,
            deviceId=f"{pick.gpu.device_id:x}",
            systemId=pick.system_id,
            vendorId=signed(pick.gpu.vendor_id),
        )
    return vim.vm.device.VirtualPCIPassthrough(key=-(401 + index), backing=backing)


def read_gpus(devices: Iterable[Any]) -> tuple[GpuActual, ...]:
    """Every passed-through device and vGPU of a VM (a device that is no GPU is told apart by its host)."""
    return tuple(_read(device) for device in devices if isinstance(device, vim.vm.device.VirtualPCIPassthrough))


def _read(device: Any) -> GpuActual:
    passthrough, backing = vim.vm.device.VirtualPCIPassthrough, device.backing
    if isinstance(backing, passthrough.VmiopBackingInfo):
        return GpuActual(device.key, "vgpu", profile=backing.vgpu or "")
    if isinstance(backing, passthrough.DynamicBackingInfo):
        allowed = next(iter(backing.allowedDevice or ()), None)
        return GpuActual(
            device.key,
            "dynamic",
            vendor_id=allowed.vendorId if allowed else 0,
            device_id=allowed.deviceId if allowed else 0,
            label=backing.customLabel or "",
            assigned=(backing.assignedId or "").lower(),
        )
    if isinstance(backing, passthrough.DeviceBackingInfo):
        return GpuActual(
            device.key,
            "static",
            address=(backing.id or "").lower(),
            system_id=backing.systemId or "",
            vendor_id=unsigned(backing.vendorId),
            device_id=int(backing.deviceId or "0", 16),
        )
    return GpuActual(device.key, "other")
