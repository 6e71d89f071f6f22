# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the chosen GPUs: devices, memory window, firmware, hardware version, and vSphere's objects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import extra_config
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import Choice, Gpu, Pick
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_desk import gpu_host
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_plan import (
    MMIO_SIZE,
    USE_MMIO,
    mmio_gb,
    mmio_keys,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_spec import gpu_device, read_gpus
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import HardwareActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Marks, Operation, diff, plan
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.spec import config_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes
from pyVmomi import vim

MARKS = Marks(owner="lab", run="r1", expires="2030-01-01T00:00:00Z")
A10 = Gpu("h1", "0000:3b:00.0", 0x10DE, 0x2236, "NVIDIA A10", 24576)
STATIC = GpuWish("static", model="A10")
DYNAMIC = GpuWish("dynamic", vendor_id=0x10DE, device_id=0x2236)
HELD = GpuActual(13000, "static", "0000:3b:00.0", vendor_id=0x10DE, device_id=0x2236)


BIOS = HardwareActual(hardware_version=20, firmware="bios")


def hardware(version: int) -> HardwareActual:
    return HardwareActual(hardware_version=version, firmware="efi")


def wished(*picks: Pick, power: str = "on", **tweaks: Any) -> VmWish:
    base = {"name": "nb-1", "template": {"library": "lib", "item": "base"}, "cpus": 4, "memory_mb": 6144}
    wish = parse_wishes([base | {"tweaks": tweaks, "lifecycle": {"power": power}}])[0]
    choice = Choice("h1", "esx-01", picks)
    return replace(wish, gpu=tuple(pick.wish for pick in picks), gpu_choice=choice)


def matching(wish: VmWish, **fields: Any) -> VmActual:
    actual = VmActual(
        moid="vm-2",
        name=wish.name,
        cpus=wish.cpus,
        memory_mb=wish.memory_mb,
        memory_reservation_mb=wish.memory_mb,
        memory_locked=True,
        extra_config=extra_config(wish) | {"nanobanana.owner": "lab", "nanobanana.template": str(wish.template)},
        host="h1",
        hardware=hardware(20),
    )
    return replace(actual, **fields)


def operations(wish: VmWish, actual: VmActual | None, source: VmActual | None = None) -> list[Operation]:
    return [item for item in plan(wish, actual, source, MARKS) if item.kind != "wait_address"]


@pytest.mark.parametrize(
    ("memory_gb", "expected"),
    [
        ([4], 64),
        ([16], 64),
        ([24], 64),
        ([32], 64),
        ([33], 128),
        ([24, 24], 128),
        ([80], 256),
        ([80, 80], 512),
        ([0], 512),
    ],
)
def test_the_window_is_the_power_of_two_of_twice_the_memory(memory_gb: list[int], expected: int) -> None:
    assert mmio_gb([item * 1024 for item in memory_gb]) == expected


@pytest.mark.parametrize(
    ("wish", "user", "expected"),
    [
        (STATIC, {}, {USE_MMIO: "TRUE", MMIO_SIZE: "64"}),
        (DYNAMIC, {}, {USE_MMIO: "TRUE", MMIO_SIZE: "64"}),
        (GpuWish("vgpu", profile="nvidia_a10-4c"), {}, {USE_MMIO: "TRUE", MMIO_SIZE: "64"}),
        (GpuWish("vgpu", profile="nvidia_a10-4q"), {}, {}),
        (STATIC, {USE_MMIO: "false"}, {}),
        (STATIC, {MMIO_SIZE: "0"}, {}),
    ],
)
def test_the_keys_are_written_unless_the_user_switches_them_off(
    wish: GpuWish, user: dict[str, str], expected: dict[str, str]
) -> None:
    assert mmio_keys(Choice("h1", "esx-01", (Pick(wish, A10, 0, 24576),)), user) == expected


def test_the_users_size_wins() -> None:
    keys = extra_config(wished(Pick(STATIC, A10, 0, 24576), extra_config={MMIO_SIZE: "256"}))
    assert (keys[USE_MMIO], keys[MMIO_SIZE]) == ("TRUE", "256")


def test_a_vm_as_wished_needs_nothing() -> None:
    wish = wished(Pick(STATIC, A10, 13000, 24576))
    assert operations(wish, matching(wish, power="poweredOn", gpus=(HELD,))) == []


@pytest.mark.parametrize(
    ("picks", "has", "expected"),
    [
        ((Pick(STATIC, A10, 0, 24576),), (), {"gpu[0]": (None, "static")}),
        ((Pick(DYNAMIC, A10, 0, 24576),), (HELD,), {"gpu[0]": ("static", "dynamic")}),
        ((Pick(STATIC, A10, 13000, 24576),), (HELD, replace(HELD, key=13001)), {"gpu[1]": ("static", None)}),
    ],
)
def test_devices_are_added_swapped_and_removed(
    picks: tuple[Pick, ...], has: tuple[GpuActual, ...], expected: dict[str, tuple[str | None, str | None]]
) -> None:
    wish = wished(*picks)
    changes = operations(wish, matching(wish, gpus=has))[0].changes
    found = {item.what: tuple(side["mode"] if side else None for side in (item.before, item.after)) for item in changes}
    assert found == expected


def test_the_last_gpu_takes_its_keys_with_it() -> None:
    with_gpu = wished(Pick(STATIC, A10, 13000, 24576))
    first = operations(wished(), matching(with_gpu, gpus=(HELD,)))[0]
    gone = {item.what: item.after for item in first.changes if item.what != f"extra_config.{vmx.KEYS}"}
    assert gone == {"gpu[0]": None, f"extra_config.{USE_MMIO}": None, f"extra_config.{MMIO_SIZE}": None}


@pytest.mark.parametrize(
    ("picks", "has", "expected"),
    [
        ((Pick(STATIC, A10),), (), ["relocate", "reconfigure gpu[0]", "power on"]),
        ((Pick(STATIC, A10),), (HELD,), ["reconfigure gpu[0]", "relocate", "reconfigure gpu[0]", "power on"]),
        ((Pick(DYNAMIC, A10),), (), ["reconfigure gpu[0]", "power on"]),  # vCenter moves it by itself
    ],
)
def test_a_static_device_of_another_host_makes_the_vm_move(
    picks: tuple[Pick, ...], has: tuple[GpuActual, ...], expected: list[str]
) -> None:
    wish = wished(*picks)
    assert [str(item) for item in operations(wish, matching(wish, host="h2", gpus=has))] == expected


def test_a_running_vm_is_not_touched() -> None:
    wish = wished(Pick(STATIC, A10, 0, 24576))
    with pytest.raises(TestbedError) as caught:
        operations(wish, matching(wish, power="poweredOn"))
    assert caught.value.error_code == "needs_power_off"
    assert "nb-1: gpu[0]" in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "tweaks", "refused"),
    [
        (STATIC, {}, True),
        (DYNAMIC, {}, True),
        (GpuWish("vgpu", profile="nvidia_a10-4c"), {}, True),
        (GpuWish("vgpu", profile="nvidia_a10-4q"), {}, False),
        (STATIC, {"extra_config": {USE_MMIO: False}}, False),
    ],
)
def test_a_large_window_needs_efi(wish: GpuWish, tweaks: dict[str, Any], refused: bool) -> None:
    wanted = wished(Pick(wish, A10, 0, 24576), **tweaks)
    source = replace(matching(wanted), name="base", is_template=True, hardware=BIOS)
    if not refused:
        assert operations(wanted, None, source)[0].kind == "clone"
        return
    with pytest.raises(TestbedError) as caught:
        operations(wanted, None, source)
    assert caught.value.error_code == "gpu_needs_efi"
    assert "map 64 GB for its GPUs; found BIOS firmware in template 'base'" in str(caught.value)


def test_dynamic_devices_raise_the_hardware_version_first() -> None:
    wish = wished(Pick(DYNAMIC, A10, 0, 24576))
    found = operations(wish, matching(wish, hardware=hardware(15)))
    assert [str(item) for item in found] == ["upgrade hardware_version", "reconfigure gpu[0]", "power on"]
    assert (found[0].changes[0].before, found[0].changes[0].after) == (15, 17)
    cloned = operations(wish, None, replace(matching(wish), is_template=True, hardware=hardware(15)))
    assert [item.kind for item in cloned] == ["clone", "upgrade", "reconfigure", "power_on"]
    assert not [item for item in cloned[0].changes if item.what.startswith("gpu")]
    with pytest.raises(TestbedError, match="hardware_version"):
        operations(wish, matching(wish, hardware=hardware(15), power="poweredOn", gpus=()))


@pytest.mark.parametrize("version", [17, 20])
def test_a_hardware_version_that_will_do_is_left_alone(version: int) -> None:
    wish = wished(Pick(DYNAMIC, A10, 0, 24576))
    assert [item.kind for item in operations(wish, matching(wish, hardware=hardware(version)))][:1] == ["reconfigure"]


def test_a_templates_own_gpu_is_replaced_in_the_clone_call() -> None:
    wish = wished(Pick(STATIC, A10, 0, 24576))
    old = vim.vm.device.VirtualPCIPassthrough(
        key=13000, backing=vim.vm.device.VirtualPCIPassthrough.VmiopBackingInfo(vgpu="nvidia_a10-4c")
    )
    source = replace(matching(wish), is_template=True, gpus=read_gpus([old]), devices={13000: old})
    spec = config_spec(wish, operations(wish, None, source)[0].changes, source, None)
    assert [(item.operation, item.device.key) for item in spec.deviceChange] == [("remove", 13000), ("add", -401)]


def test_a_templates_own_gpu_that_is_not_wished_is_taken_out_in_the_clone_call_and_shown() -> None:
    wish = replace(wished(), gpu_choice=Choice("", "", (), frozenset({13001})))
    kinds = vim.vm.device.VirtualPCIPassthrough
    gpu, other = (kinds(key=13000 + key, backing=kinds.VmiopBackingInfo(vgpu="nvidia_a10-4c")) for key in range(2))
    source = replace(matching(wish), is_template=True, gpus=read_gpus([gpu, other]), devices={13000: gpu, 13001: other})
    steps = operations(wish, None, source)
    assert [
        (item.operation, item.device.key) for item in config_spec(wish, steps[0].changes, source, None).deviceChange
    ] == [("remove", 13000)]
    before, after = diff("nb-1", steps)
    assert before["nb-1"]["gpu[0]"] == {"mode": "vgpu", "profile": "nvidia_a10-4c", "key": 13000}
    assert after["nb-1"]["gpu[0]"] is None


@pytest.mark.parametrize(
    ("vendor", "written"),
    [(0x10DE, 4318), (0x1002, 4098), (0x8086, -32634)],
)
def test_the_static_backings_vendor_is_a_signed_number(vendor: int, written: int) -> None:
    found = replace(A10, vendor_id=vendor, device_id=0x0BD5)
    device = gpu_device(Pick(STATIC, found, system_id="system-1"), 0)
    backing = device.backing
    assert (backing.vendorId, backing.deviceId, backing.id, backing.systemId) == (
        written,
        "bd5",
        "0000:3b:00.0",
        "system-1",
    )
    read = read_gpus([device])[0]
    assert (read.vendor_id, read.device_id, read.address) == (vendor, 0x0BD5, "0000:3b:00.0")


@pytest.mark.parametrize(
    "wish",
    [
        GpuWish("dynamic", vendor_id=0x8086, device_id=0x9ABC, label="render"),
        GpuWish("vgpu", profile="nvidia_a10-4c"),
    ],
)
def test_other_backings_read_back_as_written(wish: GpuWish) -> None:
    read = read_gpus([gpu_device(Pick(wish), 0)])[0]
    assert GpuWish(read.mode, "", "", read.vendor_id, read.device_id, read.label, read.profile) == wish


def test_passthrough_devices_are_told_from_others() -> None:
    kinds = vim.vm.device.VirtualPCIPassthrough
    hardware = [
        vim.vm.device.VirtualVmxnet3(key=4000),
        kinds(key=13000, backing=kinds.VmiopBackingInfo(vgpu="nvidia_a10-8c")),
        kinds(key=13001, backing=kinds.DvxBackingInfo()),
    ]
    expected = (GpuActual(13000, "vgpu", profile="nvidia_a10-8c"), GpuActual(13001, "other"))
    assert read_gpus(hardware) == expected


def test_a_hosts_properties_become_plain_data() -> None:
    def pci(address: str, kind: int, vendor: int, device: int, name: str) -> Any:
        return vim.host.PciDevice(id=address, classId=kind, vendorId=vendor, deviceId=device, deviceName=name)

    values = {
        "name": "esx-01",
        "hardware.pciDevice": [
            pci("0000:02:00.0", 0x0300, 0x102B - 0x10000, 0x0534, "console"),
            pci("0000:17:00.0", 0x0200, -32634, 0x1572, "network card"),
            pci("0000:3B:00.0", 0x0302, 0x10DE, 0x20F1, "GA100 [A100 PCIe 40GB]"),
            pci("0000:5e:00.0", 0x0380, -32634, 0x0BD5, "GPU Max"),
        ],
        "config.pciPassthruInfo": [
            vim.host.PciPassthruInfo(
                id="0000:3b:00.0",
                dependentDevice="0000:3b:00.0",
                passthruEnabled=True,
                passthruCapable=True,
                passthruActive=False,
            )
        ],
        "config.graphicsInfo": [
            vim.host.GraphicsInfo(
                deviceName="Intel GPU",
                vendorName="Intel",
                pciId="0000:5e:00.0",
                graphicsType="shared",
                memorySizeInKB=49152 << 10,
            )
        ],
        "runtime.connectionState": "notResponding",
    }
    host = gpu_host("h1", values)
    assert host.unusable == "notResponding"
    assert host.others == {"0000:17:00.0"}
    assert [gpu.address for gpu in host.gpus] == ["0000:3b:00.0", "0000:5e:00.0"]
    nvidia, intel = host.gpus
    assert (nvidia.enabled, nvidia.active, nvidia.memory_mb) == (True, False, 40960)
    assert (intel.vendor_id, intel.name, intel.pci_name, intel.memory_mb) == (0x8086, "Intel GPU", "GPU Max", 49152)
