# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hardware settings of hardware.py, read from a VM's config and written into a ConfigSpec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import (
    SHARE_LEVELS,
    UNLIMITED,
    HardwareActual,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim


def version_number(text: str | None) -> int:
    """21 for "vmx-21"; 0 where vCenter says nothing."""
    digits = (text or "").removeprefix("vmx-")
    return int(digits) if digits.isdigit() else 0


def hardware_actual(config: Any) -> HardwareActual:
    """The settings of a VM's or template's config."""
    allocation, latency = config.cpuAllocation, config.latencySensitivity
    shares = allocation.shares if allocation else None
    level = str(shares.level) if shares else "normal"
    return HardwareActual(
        cores_per_socket=config.hardware.numCoresPerSocket or 1,
        cpu_shares=level if level in SHARE_LEVELS or shares is None else str(shares.shares),
        cpu_limit_mhz=UNLIMITED if allocation is None or allocation.limit is None else allocation.limit,
        cpu_reservation_mhz=(allocation.reservation or 0) if allocation else 0,
        latency_sensitivity=str(latency.level) if latency else "normal",
        hardware_version=version_number(config.version),
        firmware=config.firmware or "",
        boot_controller=_boot_controller(config.hardware.device),
    )


def _boot_controller(devices: list[Any]) -> str:
    """Type of what the first disk hangs on; a template's own disks come before those that fleet adds."""
    disk = next((device for device in devices if isinstance(device, vim.vm.device.VirtualDisk)), None)
    holder = next((device for device in devices if disk is not None and device.key == disk.controllerKey), None)
    return type(holder).__name__.rsplit(".", 1)[-1] if holder is not None else ""


def _allocation(spec: Any) -> Any:
    """One allocation for shares, limit and reservation: what it leaves unset vCenter leaves as it is."""
    spec.cpuAllocation = spec.cpuAllocation or vim.ResourceAllocationInfo()
    return spec.cpuAllocation


def _write_cores(spec: Any, value: int) -> None:
    spec.numCoresPerSocket = value


def _write_shares(spec: Any, value: str) -> None:
    level = value if value in SHARE_LEVELS else "custom"
    # vCenter reads the number with the level "custom" alone, and yet demands one with each level.
    shares = int(value) if level == "custom" else 0
    _allocation(spec).shares = vim.SharesInfo(level=level, shares=shares)


def _write_limit(spec: Any, value: int) -> None:
    _allocation(spec).limit = value


def _write_reservation(spec: Any, value: int) -> None:
    _allocation(spec).reservation = value


def _write_latency(spec: Any, value: str) -> None:
    spec.latencySensitivity = vim.LatencySensitivity(level=value)


# hardware_version has no writer: it is an operation of its own (UpgradeVM_Task).
WRITERS: dict[str, Callable[[Any, Any], None]] = {
    "cores_per_socket": _write_cores,
    "cpu_shares": _write_shares,
    "cpu_limit_mhz": _write_limit,
    "cpu_reservation_mhz": _write_reservation,
    "latency_sensitivity": _write_latency,
}
