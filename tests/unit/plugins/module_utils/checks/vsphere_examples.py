# SPDX-License-Identifier: GPL-3.0-or-later
"""A wish, the VM that matches it, and a host with GPUs: what the tests of the vSphere checks take apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import MachineFacts
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import gpu
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import extra_config
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import HardwareActual, HostLimits
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import (
    DATA_BUS,
    PVSCSI,
    DiskActual,
    GpuActual,
    NicActual,
    VmActual,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes

A10 = gpu.Gpu("host-1", "0000:3b:00.0", 0x10DE, 0x2236, "NVIDIA A10", 24576)
SHARED = gpu.Gpu("host-2", "0000:3b:00.0", 0x10DE, 0x2236, "NVIDIA A10", 24576, enabled=False, active=False)
SHARED = replace(SHARED, graphics=gpu.SHARED_DIRECT)
HOST = gpu.GpuHost("host-1", "esx-01", "8.0.3", (A10,), others=frozenset({"0000:10:00.0"}))
VGPU_HOST = gpu.GpuHost("host-2", "esx-02", "8.0.3", (SHARED,), ("nvidia_a10-4c",))
INVENTORY = gpu.Inventory((HOST, VGPU_HOST))
STATIC = GpuActual(13000, "static", A10.address, vendor_id=0x10DE, device_id=0x2236)
DYNAMIC = GpuActual(13000, "dynamic", vendor_id=0x10DE, device_id=0x2236, assigned=A10.address)
VGPU = GpuActual(13000, "vgpu", profile="nvidia_a10-4c")
WISHED_STATIC = {"gpu": [{"mode": "static", "model": "A10"}]}
WISHED_DYNAMIC = {"gpu": [{"mode": "dynamic", "vendor_id": "10de", "device_id": "2236"}]}
WISHED_VGPU = {"gpu": [{"mode": "vgpu", "profile": "nvidia_a10-4c"}]}
ESXI_8 = (HostLimits("esx-01", 21, 2600),)
MMIO = {"pciPassthru.use64bitMMIO": "TRUE", "pciPassthru.64bitMMIOSizeGB": "64"}


def wish(**fields: Any) -> VmWish:
    """The wish of a VM 'a' with a data disk and a card."""
    raw = {
        "name": "a",
        "template": {"library": "l", "item": "i"},
        "cpus": 4,
        "memory_mb": 6144,
        "disks": [{"name": "data", "size_gb": 20}],
        "networks": [{"network": "testbed"}],
        "tweaks": {"cpu_shares": "high", "cpu_limit_mhz": "unlimited"},
    }
    return parse_wishes([raw | fields])[0]


def machine(wished: VmWish | None = None, actual: dict[str, Any] | None = None, **fields: Any) -> MachineFacts:
    """The VM exactly as wished, but for ``actual`` (of the VM) and ``fields`` (of what is known beside it)."""
    wished = wished or wish()
    keys = dict(extra_config(wished)) | (MMIO if wished.gpu else {}) | {"nanobanana.owner": "me"}
    vm = VmActual(
        moid="vm-1",
        name="a",
        power="poweredOn",
        cpus=wished.cpus,
        memory_mb=wished.memory_mb,
        memory_reservation_mb=wished.memory_mb,
        memory_locked=True,
        extra_config=keys,
        controllers={0: PVSCSI, DATA_BUS: PVSCSI},
        disks=(DiskActual(2000, 0, 0, 40 << 20), DiskActual(2001, DATA_BUS, 0, 20 << 20)),
        nics=(NicActual(4000, "vmxnet3", "testbed"),),
        host="host-1",
        hardware=HardwareActual(cpu_shares="high", hardware_version=20, firmware="efi"),
    )
    vm = replace(vm, **(actual or {}))
    known: dict[str, Any] = {"inventory": INVENTORY, "hosts": ESXI_8} | fields
    return MachineFacts(wished, "me", vm, **known)


def without(*keys: str) -> dict[str, Any]:
    """The VM's keys, some of them gone."""
    kept = machine().vm.extra_config
    return {"extra_config": {key: value for key, value in kept.items() if key not in keys}}
