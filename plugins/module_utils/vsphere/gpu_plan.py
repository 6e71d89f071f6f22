# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows for one VM from the GPUs that it gets: devices to add and remove, VMX keys, hardware version. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import Choice, Pick
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import DYNAMIC_HARDWARE
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

USE_MMIO, MMIO_SIZE = "pciPassthru.use64bitMMIO", "pciPassthru.64bitMMIOSizeGB"
SMALLEST_MMIO_GB = 64
UNKNOWN_MMIO_GB = 512  # vm-operator's default, used where a host does not tell the size of a device's memory
Row = tuple[str, Any, Any]  # path, before, after


def mmio_gb(memory_mb: list[int]) -> int:
    """Size of the 64-bit MMIO window in GB: the power of two that holds twice the sum of the video memory."""
    if not all(memory_mb):
        return UNKNOWN_MMIO_GB
    size = SMALLEST_MMIO_GB
    while size * 1024 < 2 * sum(memory_mb):
        size *= 2
    return size


def mmio_keys(choice: Choice | None, user: Mapping[str, str]) -> dict[str, str]:
    """The VMX keys that map large device memory; none where the user switches them off by naming either key."""
    mapped = [pick.memory_mb for pick in choice.picks if pick.wish.wants_mmio] if choice else []
    if not mapped or user.get(USE_MMIO, "TRUE").upper() == "FALSE" or user.get(MMIO_SIZE, "1").strip() == "0":
        return {}
    return {USE_MMIO: "TRUE", MMIO_SIZE: str(mmio_gb(mapped))}


def described(gpu: GpuActual, host: str) -> dict[str, Any]:
    """A device of a VM as results show it; ``host`` is the host's name."""
    row: dict[str, Any] = {"mode": gpu.mode, "host": host}
    if gpu.mode == "vgpu":
        return row | {"profile": gpu.profile}
    row |= {"vendor_id": f"{gpu.vendor_id:04x}", "device_id": f"{gpu.device_id:04x}"}
    if gpu.mode == "dynamic":
        return row | {"label": gpu.label, "address": gpu.assigned}
    return row | {"address": gpu.address}


def _after(pick: Pick, choice: Choice) -> dict[str, Any]:
    wish = pick.wish
    if wish.mode == "vgpu":
        return {"mode": "vgpu", "profile": wish.profile}
    if wish.mode == "dynamic":
        ids = {"vendor_id": f"{wish.vendor_id:04x}", "device_id": f"{wish.device_id:04x}"}
        return {"mode": "dynamic", **ids, "label": wish.label}
    return {"mode": "static", "address": pick.gpu.address if pick.gpu else "", "host": choice.host_name}


def gpu_rows(wish: VmWish, actual: VmActual) -> list[Row]:
    """Every difference between the chosen devices and the VM's; ``before`` has the ``key`` of the device that goes.

    Raises TestbedError (``gpu_needs_efi``) for BIOS firmware under a device that maps its memory above 4 GB.
    """
    choice = wish.gpu_choice
    if choice is None:
        return []
    kept = {pick.key for pick in choice.picks if pick.key} | choice.foreign
    removed = [gpu for gpu in actual.gpus if gpu.key not in kept]
    rows: list[Row] = []
    for index, pick in enumerate(choice.picks):
        if not pick.key:
            before = _before(removed.pop(0)) if removed else None
            rows.append((f"gpu[{index}]", before, _after(pick, choice)))
    rows += [(f"gpu[{len(choice.picks) + extra}]", _before(gpu), None) for extra, gpu in enumerate(removed)]
    _check_firmware(wish, actual)
    version, wished = actual.hardware.hardware_version, wish.tweaks.hardware.hardware_version
    if any(item.mode == "dynamic" for item in wish.gpu) and 0 < version < DYNAMIC_HARDWARE and not wished:
        rows.append(("hardware_version", version, DYNAMIC_HARDWARE))
    return rows


def claims(changes: Iterable[Any]) -> bool:
    """Whether these changes give the VM a static device, which vCenter does not keep from two VMs that are off."""
    return any(change.what.startswith("gpu[") and (change.after or {}).get("mode") == "static" for change in changes)


def moves(wish: VmWish, actual: VmActual) -> bool:
    """Whether the VM has to be on another host first: a static device is its host's, the others find theirs."""
    choice = wish.gpu_choice
    if choice is None or not actual.host or choice.host == actual.host:
        return False
    return any(pick.wish.mode == "static" for pick in choice.picks)


def _before(gpu: GpuActual) -> dict[str, Any]:
    row = described(gpu, "")
    del row["host"]
    return row | {"key": gpu.key}


def _check_firmware(wish: VmWish, actual: VmActual) -> None:
    keys = mmio_keys(wish.gpu_choice, wish.tweaks.extra_config)
    if keys and actual.hardware.firmware == "bios":
        raise one_problem(
            "gpu_needs_efi",
            f"{wish.name}: vm_gpu",
            f"EFI firmware, without which a guest cannot map {keys[MMIO_SIZE]} GB for its GPUs",
            f"BIOS firmware in {'template' if actual.is_template else 'VM'} '{actual.name}'",
            f"use a template with EFI, or set {USE_MMIO} to false in vm_tweaks.extra_config for a GPU of 16 GB or less",
        )
