# SPDX-License-Identifier: GPL-3.0-or-later
"""Hardware of a VM by tables: what is read, what differs, what is refused and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import extra_config
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import (
    UNLIMITED,
    Hardware,
    HardwareActual,
    HostLimits,
    changes,
    check_hosts,
    read_hardware,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Marks, plan
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reader import Reader
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes

FOUND = HardwareActual(
    cores_per_socket=1,
    hardware_version=20,
    firmware="efi",
    boot_controller="ParaVirtualSCSIController",
)
HOSTS = [HostLimits("new", 21, 2000), HostLimits("old", 19, 3000)]
MARKS = Marks("lab", "r1", "2030-01-01T00:00:00Z")


def wished(cpus: int = 4, lifecycle: dict[str, Any] | None = None, **tweaks: Any) -> VmWish:
    template = {"library": "lib", "item": "base"}
    raw = {"name": "nb-1", "template": template, "cpus": cpus, "memory_mb": 4096, "tweaks": tweaks}
    return parse_wishes([raw | {"lifecycle": lifecycle or {}}])[0]


def actual(wish: VmWish, **fields: Any) -> VmActual:
    marks = {"nanobanana.owner": "lab", "nanobanana.template": str(wish.template)}
    found = VmActual(
        moid="vm-2",
        name="nb-1",
        power="poweredOn",
        cpus=wish.cpus,
        memory_mb=4096,
        memory_reservation_mb=4096 if wish.tweaks.reserve_memory else 0,
        memory_locked=wish.tweaks.reserve_memory,
        extra_config=extra_config(wish) | marks,
        addresses=("192.0.2.1",),
        hardware=FOUND,
    )
    return replace(found, **fields)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Hardware()),
        ({"cores_per_socket": None, "cpu_shares": None}, Hardware()),
        ({"cpu_shares": "high"}, Hardware(cpu_shares="high")),
        ({"cpu_shares": 2000}, Hardware(cpu_shares="2000")),
        ({"cpu_shares": "2000"}, Hardware(cpu_shares="2000")),
        ({"cpu_limit_mhz": "unlimited"}, Hardware(cpu_limit_mhz=UNLIMITED)),
        ({"cpu_limit_mhz": -1}, Hardware(cpu_limit_mhz=UNLIMITED)),
        ({"cpu_limit_mhz": "3000"}, Hardware(cpu_limit_mhz=3000)),
        ({"cpu_reservation_mhz": "0"}, Hardware(cpu_reservation_mhz=0)),
        ({"hardware_version": 21}, Hardware(hardware_version=21)),
        ({"hardware_version": "vmx-21"}, Hardware(hardware_version=21)),
        ({"firmware": "efi", "boot_controller": "nvme"}, Hardware(firmware="efi", boot_controller="nvme")),
    ],
)
def test_reading(values: dict[str, Any], expected: Hardware) -> None:
    reader = Reader("nb-1")
    assert read_hardware(reader, values) == expected
    assert reader.problems == []


@pytest.mark.parametrize(
    ("tweaks", "parts"),
    [
        ({"cores_per_socket": 0}, ["vm_tweaks.cores_per_socket", "from 1 to 768", "0"]),
        ({"cores_per_socket": 3}, ["divides vm_cpus (4)", "3"]),
        ({"cpu_shares": "many"}, ["vm_tweaks.cpu_shares", "low, normal, high", "'many'"]),
        ({"cpu_shares": True}, ["vm_tweaks.cpu_shares", "True"]),
        ({"cpu_shares": 1000001}, ["up to 1000000"]),
        ({"cpu_limit_mhz": "none"}, ["vm_tweaks.cpu_limit_mhz", "'unlimited'", "'none'"]),
        ({"cpu_limit_mhz": 0}, ["vm_tweaks.cpu_limit_mhz", "0"]),
        ({"cpu_limit_mhz": 1000, "cpu_reservation_mhz": 2000}, ["at most cpu_limit_mhz (1000)", "2000"]),
        ({"hardware_version": 16}, ["vm_tweaks.hardware_version", "20 (ESXi 8.0)", "16"]),
        ({"firmware": "uefi"}, ["vm_tweaks.firmware", "bios, efi", "'uefi'"]),
        ({"boot_controller": "scsi"}, ["vm_tweaks.boot_controller", "pvscsi"]),
        ({"latency_sensitivity": "medium"}, ["normal, high"]),
        ({"latency_sensitivity": "high"}, ["cpu_reservation_mhz", "all CPU reserved", "MHz of the host's cores"]),
        (
            {"latency_sensitivity": "high", "cpu_reservation_mhz": 9, "balloon": True, "reserve_memory": False},
            ["vm_tweaks.reserve_memory", "true, which latency_sensitivity high demands"],
        ),
        (
            {"latency_sensitivity": "high", "cpu_reservation_mhz": 9, "cpu_limit_mhz": 10},
            ["vm_tweaks.cpu_limit_mhz", "unlimited, which latency_sensitivity high demands"],
        ),
        ({"cpu_share": "high"}, ["vm_tweaks.cpu_share", "did you mean 'cpu_shares'?"]),
    ],
)
def test_impossible_wishes_are_named(tweaks: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        wished(**tweaks)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Hardware(), []),
        (Hardware(cpu_shares="normal", cpu_limit_mhz=UNLIMITED, latency_sensitivity="normal"), []),
        (Hardware(firmware="efi", boot_controller="pvscsi", hardware_version=20), []),
        (Hardware(cores_per_socket=2), [("cores_per_socket", 1, 2, True)]),
        (Hardware(cpu_shares="high"), [("cpu_shares", "normal", "high", False)]),
        (Hardware(cpu_limit_mhz=500), [("cpu_limit_mhz", UNLIMITED, 500, False)]),
        (Hardware(cpu_reservation_mhz=500), [("cpu_reservation_mhz", 0, 500, False)]),
        (Hardware(latency_sensitivity="high"), [("latency_sensitivity", "normal", "high", True)]),
        (Hardware(hardware_version=21), [("hardware_version", 20, 21, True)]),
    ],
)
def test_changes(wish: Hardware, expected: list[tuple[str, Any, Any, bool]]) -> None:
    assert changes("nb-1", wish, FOUND) == expected


@pytest.mark.parametrize(
    ("wish", "found", "code", "parts"),
    [
        (Hardware(firmware="bios"), {}, "wrong_firmware", ["expected bios; found efi", "installed with bios"]),
        (Hardware(boot_controller="nvme"), {}, "wrong_boot_controller", ["expected nvme; found pvscsi", "never swaps"]),
        (
            Hardware(boot_controller="nvme"),
            {"boot_controller": ""},
            "wrong_boot_controller",
            ["found a VM without a disk"],
        ),
        (Hardware(hardware_version=19), {}, "hardware_downgrade", ["at least 20", "found 19", "cannot lower"]),
        (
            Hardware(latency_sensitivity="high"),
            {"hardware_version": 13},
            "old_hardware",
            ["hardware version 14 or newer; found 13"],
        ),
    ],
)
def test_what_is_never_changed_is_refused(wish: Hardware, found: dict[str, Any], code: str, parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        changes("nb-1", wish, replace(FOUND, **found))
    assert caught.value.error_code == code
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Hardware(), []),
        (Hardware(hardware_version=19), []),
        (Hardware(hardware_version=20), ["at most 19 (ESXi 7.0 U2), the newest of host old; found 20 (ESXi 8.0)"]),
        (Hardware(hardware_version=22), ["21 (ESXi 8.0 U2), the newest of host new", "the newest of host old"]),
        (Hardware(latency_sensitivity="high", cpu_reservation_mhz=12000), []),
        (
            Hardware(latency_sensitivity="high", cpu_reservation_mhz=8000),
            ["at least 12000 (4 x 3000 MHz of host old)"],
        ),
    ],
)
def test_hosts_bound_the_wish(wish: Hardware, expected: list[str]) -> None:
    problems = [str(problem) for problem in check_hosts("nb-1", wish, 4, HOSTS)]
    assert len(problems) == len(expected)
    for part, problem in zip(expected, problems, strict=True):
        assert part in problem


def test_an_upgrade_is_a_step_of_its_own_before_the_settings_that_may_need_it() -> None:
    wish = wished(hardware_version=21, cores_per_socket=2, lifecycle={"power": "off"})
    off = actual(wish, power="poweredOff")
    assert [str(step) for step in plan(wish, off, None, MARKS)] == [
        "upgrade hardware_version",
        "reconfigure cores_per_socket",
    ]
    source = replace(off, is_template=True)
    assert [step.kind for step in plan(wish, None, source, MARKS)] == ["clone", "upgrade"]


def test_shares_of_a_running_vm_change_at_once_and_its_version_does_not() -> None:
    wish = wished(cpu_shares="high")
    assert [step.kind for step in plan(wish, actual(wish), None, MARKS)] == ["reconfigure"]
    with pytest.raises(TestbedError) as caught:
        plan(wished(hardware_version=21), actual(wish), None, MARKS)
    assert caught.value.error_code == "needs_power_off"


@pytest.mark.parametrize(
    ("locked", "reserved", "expected"),
    [
        (False, 0, {}),
        (True, 4096, {"memory_locked": False, "memory_reservation_mb": 0}),
        (False, 4096, {"memory_reservation_mb": 0}),
        (False, 1024, {}),
    ],
)
def test_a_full_reservation_is_taken_back(locked: bool, reserved: int, expected: dict[str, Any]) -> None:
    wish = wished(reserve_memory=False, balloon=True)
    found = actual(wish, memory_locked=locked, memory_reservation_mb=reserved)
    steps = plan(wish, found, None, MARKS)
    assert {change.what: change.after for step in steps for change in step.changes} == expected
