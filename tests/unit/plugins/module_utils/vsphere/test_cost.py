# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan takes is counted from wishes and sources alone, and refused where it cannot fit."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.cost import (
    Cost,
    Room,
    disk_gb,
    lines,
    memory_mb,
    refusals,
    summary,
    swap_gb,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import DiskActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes

GB = 1024 * 1024
SHARED = {"tweaks": {"reserve_memory": False, "balloon": True}}
OFF = {"lifecycle": {"power": "off"}}


def wished(**fields: Any) -> VmWish:
    template = {"library": "lib", "item": "base"}
    return parse_wishes([{"name": "nb-1", "template": template, "cpus": 2, "memory_mb": 2048} | fields])[0]


def disk(size_gb: int, provisioning: str = "lazy_zeroed") -> dict[str, Any]:
    return {"name": f"{provisioning}-{size_gb}", "size_gb": size_gb, "provisioning": provisioning}


def vm(*sizes_gb: int, power: str = "poweredOff", reserved: int = 0) -> VmActual:
    disks = tuple(DiskActual(2016 + unit, 1, unit, size * GB) for unit, size in enumerate(sizes_gb))
    return VmActual("vm-1", "nb-1", power=power, disks=disks, memory_reservation_mb=reserved)


@pytest.mark.parametrize(
    ("disks", "base", "committed", "needed"),
    [
        ([], None, 0, 0),
        ([], vm(), 5 * 1024**3, 5),
        ([disk(20), disk(30, "eager_zeroed")], vm(), 0, 50),
        ([disk(20), disk(30, "thin")], vm(), 1024**3, 21),
        ([disk(20)], vm(20), 0, 0),
        ([disk(30)], vm(20), 0, 10),
        ([disk(30, "thin")], vm(20), 0, 0),
        ([disk(20), disk(5)], vm(20), 0, 5),
    ],
)
def test_disks(disks: list[dict[str, Any]], base: VmActual | None, committed: int, needed: float) -> None:
    assert disk_gb(wished(disks=disks), base, committed) == needed


@pytest.mark.parametrize(
    ("fields", "actual", "memory", "swap"),
    [
        ({}, None, 2048, 0),
        (OFF, None, 0, 0),
        (SHARED, None, 0, 2),
        (SHARED | OFF, None, 0, 0),
        ({}, vm(reserved=2048), 2048, 0),  # an off VM holds nothing yet
        ({}, vm(power="poweredOn", reserved=2048), 0, 0),
        ({}, vm(power="poweredOn", reserved=1024), 1024, 0),
        ({}, vm(power="poweredOn", reserved=4096), 0, 0),
        (SHARED, vm(power="poweredOn"), 0, 0),
    ],
)
def test_memory_is_taken_at_power_on(fields: dict[str, Any], actual: VmActual | None, memory: int, swap: float) -> None:
    assert memory_mb(wished(**fields), actual) == memory
    assert swap_gb(wished(**fields), actual) == swap


STORES = {"ds-1": Room("vmfs-01", 100.0), "ds-2": Room("vmfs-02", None), "ds-3": Room("vmfs-03", 100.0, usable=False)}
POOLS = {"p-1": Room("gpu-cluster", 8192.0, most=4096), "h-1": Room("host esx-01", None, most=4096)}


def takes(disk: float = 0, memory: int = 0, store: str = "ds-1", pool: str = "p-1", name: str = "a") -> Cost:
    return Cost(name, store, disk, pool, memory)


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ([], []),
        ([takes(100, 4096)], []),
        ([takes(60), takes(40)], []),
        ([takes(60), takes(41)], ["datastore 'vmfs-01': expected 101.0 GB free for this plan; found 100.0 GB"]),
        ([takes(1e6, store="ds-2")], []),
        ([takes(1, store="ds-3")], ["datastore 'vmfs-03': expected one that takes VMs; found it is not accessible"]),
        ([takes(0, store="ds-3")], []),
        ([takes(memory=4096), takes(memory=4096)], []),
        ([takes(memory=3072)] * 3, ["cluster 'gpu-cluster': expected 9216 MB of memory free", "found 8192 MB"]),
        ([takes(memory=5000)], ["a: vm_memory_mb: expected at most 4096 MB, the memory of the largest host"]),
        ([takes(memory=5000, pool="h-1")], ["a: vm_memory_mb: expected at most 4096 MB"]),
        ([takes(200, 9000)], ["vmfs-01", "gpu-cluster", "vm_memory_mb"]),
    ],
)
def test_what_cannot_fit_is_named_with_needed_and_free(costs: list[Cost], said: list[str]) -> None:
    told = " | ".join(str(problem) for problem in refusals(costs, STORES, POOLS))
    assert bool(told) is bool(said)
    for part in said:
        assert part in told


def test_the_summary_names_only_what_is_taken() -> None:
    shown = summary([takes(10.04, 1024), takes(5, store="ds-2"), takes(store="ds-3")], STORES, POOLS)
    assert shown == {
        "datastores": {
            "vmfs-01": {"needed_gb": 10.0, "free_gb": 100.0},
            "vmfs-02": {"needed_gb": 5, "free_gb": None},
        },
        "clusters": {"gpu-cluster": {"needed_memory_mb": 1024, "free_memory_mb": 8192}},
    }
    assert lines(shown).startswith("datastore vmfs-01: needs 10.0 GB, has 100.0 GB free\n")
    assert lines(summary([], STORES, POOLS)) == ""


@pytest.mark.parametrize(
    ("placement", "part"),
    [
        ({"create_folder": True}, "vm_placement.create_folder: expected true only with a folder to create"),
        ({"create_folder": True, "folder": "/"}, "vm_placement.create_folder"),
        ({"create_folder": "maybe", "folder": "a"}, "vm_placement.create_folder: expected true or false"),
        ({"datastore": "a", "datastore_cluster": "b"}, "vm_placement.datastore: expected either"),
    ],
)
def test_a_placement_that_contradicts_itself(placement: dict[str, Any], part: str) -> None:
    with pytest.raises(TestbedError) as caught:
        wished(placement=placement)
    assert part in str(caught.value)
