# SPDX-License-Identifier: GPL-3.0-or-later
"""The section gpu of the wish: what is read, and what every wrong entry is told."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes

BASE = {"name": "nb-1", "template": {"library": "lib", "item": "base"}, "cpus": 4, "memory_mb": 6144}


def wished(gpu: Any, **fields: Any) -> VmWish:
    return parse_wishes([BASE | {"gpu": gpu} | fields])[0]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"mode": "static", "address": "0000:3B:00.0"}, GpuWish("static", address="0000:3b:00.0")),
        ({"mode": "static", "model": "A10"}, GpuWish("static", model="A10")),
        (
            {"mode": "dynamic", "vendor_id": "10DE", "device_id": "2236"},
            GpuWish("dynamic", vendor_id=0x10DE, device_id=0x2236),
        ),
        (
            {"mode": "dynamic", "vendor_id": "8086", "device_id": "0bd5", "label": "render"},
            GpuWish("dynamic", vendor_id=0x8086, device_id=0x0BD5, label="render"),
        ),
        ({"mode": "vgpu", "profile": "nvidia_a10-4c"}, GpuWish("vgpu", profile="nvidia_a10-4c")),
        # the module fills in what was not given
        (
            {"mode": "vgpu", "profile": "grid_t4-8q", "address": None, "label": None},
            GpuWish("vgpu", profile="grid_t4-8q"),
        ),
    ],
)
def test_each_form_is_read(entry: dict[str, Any], expected: GpuWish) -> None:
    assert wished([entry]).gpu == (expected,)


@pytest.mark.parametrize("gpu", [None, []])
def test_no_gpu_is_the_default(gpu: Any) -> None:
    assert wished(gpu).gpu == ()


@pytest.mark.parametrize(
    ("gpu", "parts"),
    [
        ("A10", ["vm_gpu: expected a list"]),
        (["A10"], ["vm_gpu[0]: expected a mapping"]),
        ([{}], ["vm_gpu[0]: expected a mapping with mode"]),
        ([{"mode": "passthrough"}], ["vm_gpu[0].mode", "one of static, dynamic, vgpu", "'passthrough'"]),
        ([{"mode": "static"}], ["vm_gpu[0]: expected either address or model", "neither"]),
        ([{"mode": "static", "address": "0000:3b:00.0", "model": "A10"}], ["either address or model", "both"]),
        ([{"mode": "static", "model": " "}], ["vm_gpu[0].model: expected a text"]),
        ([{"mode": "static", "address": "3b:00.0"}], ["vm_gpu[0].address", "such as '0000:3b:00.0'"]),
        ([{"mode": "static", "adress": "0000:3b:00.0"}], ["vm_gpu[0].adress", "did you mean 'address'?"]),
        ([{"mode": "static", "model": "A10", "profile": "p"}], ["vm_gpu[0].profile", "only address, model with mode"]),
        ([{"mode": "dynamic", "vendor_id": "10de"}], ["vm_gpu[0].device_id", "four hexadecimal digits", "nothing"]),
        ([{"mode": "dynamic", "vendor_id": "0x10de", "device_id": "2236"}], ["vm_gpu[0].vendor_id", "'0x10de'"]),
        ([{"mode": "vgpu"}], ["vm_gpu[0].profile: expected a text"]),
        ([{"mode": "static", "address": "0000:3b:00.0"}] * 2, ["vm_gpu: expected each address once", "0000:3b:00.0"]),
        ([{"mode": "static", "model": "A10"}] * 17, ["at most 16 devices", "17"]),
    ],
)
def test_wrong_entries_are_named(gpu: Any, parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        wished(gpu)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("mode: static\naddress: 0000:03:00.0", "vm_gpu[0].address"),  # 180.0 to YAML
        ("mode: dynamic\nvendor_id: 10de\ndevice_id: 2236", "vm_gpu[0].device_id"),
        ("mode: dynamic\nvendor_id: 0x8086\ndevice_id: '0bd5'", "vm_gpu[0].vendor_id"),
        ("mode: dynamic\nvendor_id: 10de\ndevice_id: 0010", "vm_gpu[0].device_id"),  # 8 to YAML
    ],
)
def test_what_yaml_reads_as_a_number_is_asked_for_in_quotes(text: str, path: str) -> None:
    with pytest.raises(TestbedError) as caught:
        wished([yaml.safe_load(text)])
    assert path in str(caught.value)
    assert "put it in quotes" in str(caught.value)


def test_gpus_need_reserved_memory() -> None:
    with pytest.raises(TestbedError) as caught:
        wished([{"mode": "static", "model": "A10"}], tweaks={"reserve_memory": False, "balloon": True})
    assert "vm_tweaks.reserve_memory: expected true for a VM with GPUs" in str(caught.value)


def test_a_hardware_version_without_dynamic_devices_is_refused_with_one() -> None:
    dynamic = {"mode": "dynamic", "vendor_id": "10de", "device_id": "2236"}
    with pytest.raises(TestbedError) as caught:
        wished([dynamic], tweaks={"hardware_version": 15})
    assert "vm_tweaks.hardware_version: expected at least 17 for mode dynamic; found 15" in str(caught.value)
    assert wished([dynamic], tweaks={"hardware_version": 19}).gpu


@pytest.mark.parametrize(
    ("profile", "megabytes", "mmio"),
    [
        ("nvidia_a10-4c", 4096, True),
        ("nvidia_a10-24q", 24576, False),
        ("grid_p40-1b4", 1024, False),
        ("grid_m60-0b", 512, False),
        ("grid_a100-1-5c", 5120, True),
        ("grid_a100-1-5cme", 5120, True),
        ("other", 0, False),
    ],
)
def test_a_profiles_name_tells_its_memory(profile: str, megabytes: int, mmio: bool) -> None:
    wish = GpuWish("vgpu", profile=profile)
    assert (wish.profile_mb, wish.wants_mmio) == (megabytes, mmio)
