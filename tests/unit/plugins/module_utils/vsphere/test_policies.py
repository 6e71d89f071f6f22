# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage policies: what differs, which datastore is taken or refused, and what a spec says of each disk."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import placing, spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import Change, policy_change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import (
    PVSCSI,
    VM_HOME,
    DiskActual,
    VmActual,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Node, Place
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.policies import Policies
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes
from pyVmomi import vim

GB = 1024 * 1024


def wished(policy: str = "gold", *disks: int, **placement: str) -> VmWish:
    base = {
        "name": "a",
        "template": {"library": "l", "item": "i"},
        "cpus": 1,
        "memory_mb": 1024,
        "disks": [{"name": f"d{number}", "size_gb": size} for number, size in enumerate(disks)],
        "placement": {"storage_policy": policy} | placement,
    }
    return parse_wishes([base])[0]


def vm(policies: dict[int, str] | None = None, datastore: str = "fast") -> VmActual:
    """A VM with the template's disk and one data disk of 10 GB."""
    disk = vim.vm.device.VirtualDisk
    return VmActual(
        "vm-1",
        "a",
        controllers={0: PVSCSI, 1: PVSCSI},
        controller_keys={0: 1000, 1: 1001},
        disks=(DiskActual(2000, 0, 0, 40 * GB), DiskActual(2016, 1, 0, 10 * GB)),
        devices={key: disk(key=key, capacityInKB=size * GB) for key, size in ((2000, 40), (2016, 10))},
        datastore=datastore,
        policies=policies or {},
    )


ALL_GOLD = {VM_HOME: "gold", 2000: "gold", 2016: "gold"}


@pytest.mark.parametrize(
    ("wanted", "held", "before"),
    [
        ("gold", ALL_GOLD, None),
        ("", ALL_GOLD, None),
        ("", {}, None),
        ("gold", {}, "none"),
        ("silver", ALL_GOLD, "gold"),
        ("gold", ALL_GOLD | {2016: "silver"}, "gold, silver"),
        ("gold", {VM_HOME: "gold"}, "gold, none"),
        ("gold", ALL_GOLD | {2999: "silver"}, None),  # a disk that is gone
    ],
)
def test_one_policy_for_all_files(wanted: str, held: dict[int, str], before: str | None) -> None:
    change = policy_change(wanted, vm(held))
    assert (change.before if change else None) == before
    if change:
        assert (change.what, change.after, change.cold) == ("storage_policy", wanted, False)


class FakeService:
    """Three policies; silver is satisfied by the datastores of the cluster of datastores, iron by none."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.held: dict[tuple[str, int], str] = {}

    def names(self) -> dict[str, str]:
        self.asked.append("names")
        return {"id-gold": "gold", "id-silver": "silver", "id-iron": "iron"}

    def satisfying(self, policy: str, stores: list[str]) -> set[str]:
        self.asked.append(policy)
        assert sorted(stores) == ["ds-fast", "ds-one", "ds-two"]
        return {"id-gold": {"ds-fast"}, "id-silver": {"ds-two"}, "id-iron": set()}[policy]

    def object(self, moid: str, disk: int) -> tuple[str, int]:
        return (moid, disk)

    def associated(self, objects: dict[tuple[str, int], Any]) -> dict[tuple[str, int], str]:
        self.asked.append(f"{len(objects)} objects")
        return {key: policy for key, policy in self.held.items() if key in objects}


def store(name: str, parent: str, free: int) -> Node:
    values = {"summary.freeSpace": free, "summary.accessible": True}
    return Node(SimpleNamespace(_moId=f"ds-{name}"), "Datastore", name, parent, values)


STORES = [store("fast", "folder", 10), store("one", "pod", 30), store("two", "pod", 20)]
TREE: Any = SimpleNamespace(nodes={node.reference._moId: node for node in STORES})


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def policies(service: FakeService) -> Policies:
    made = Policies(SimpleNamespace(), TREE)  # type: ignore[arg-type]
    made._service = service  # type: ignore[assignment]
    return made


def place(datastore: str = "fast") -> Place:
    return Place(None, None, TREE.nodes[f"ds-{datastore}"].reference, None, {})


@pytest.mark.parametrize(
    ("wish", "actual", "planned", "expected"),
    [
        (wished("gold"), None, "fast", "fast"),
        (wished("silver", datastore_cluster="pod"), None, "one", "two"),
        (wished("silver", datastore_cluster="pod"), None, "two", "two"),
        (wished("gold"), vm({}), "fast", "fast"),
        (wished("iron"), vm(dict.fromkeys(ALL_GOLD, "iron")), "fast", "fast"),  # has it: nobody asks for the datastore
    ],
)
def test_where_a_policy_is_satisfied(
    policies: Policies, wish: VmWish, actual: VmActual | None, planned: str, expected: str
) -> None:
    found, problems = policies.resolve(wish, actual, place(planned))
    assert problems == []
    assert found.datastore._moId == f"ds-{expected}"
    assert found.policy == f"id-{wish.placement.storage_policy}"


@pytest.mark.parametrize(
    ("wish", "actual", "planned", "parts"),
    [
        (wished("golden"), None, "fast", ["no storage policy 'golden'", "did you mean 'gold'?"]),
        (wished("gold"), None, "one", ["satisfies 'gold'", "'one', which does not", "these satisfy it: fast"]),
        (wished("gold", datastore_cluster="pod"), None, "one", ["'one', 'two', which does not"]),
        (wished("iron"), None, "fast", ["no datastore satisfies it: name another policy"]),
        (wished("silver"), vm(ALL_GOLD), "two", ["'fast', which does not", "these satisfy it: two"]),
    ],
)
def test_where_it_is_not(
    policies: Policies, wish: VmWish, actual: VmActual | None, planned: str, parts: list[str]
) -> None:
    _found, (problem,) = policies.resolve(wish, actual, place(planned))
    for part in ["a: vm_placement.storage_policy", *parts]:
        assert part in str(problem)


def test_the_service_is_asked_once_and_only_where_a_wish_names_a_policy(
    policies: Policies, service: FakeService
) -> None:
    assert policies.resolve(wished(""), vm(), place()) == (place(), [])
    assert policies.complete([(wished(""), vm()), (None, vm()), (wished(), None)]) == {}
    assert service.asked == []
    service.held = {("vm-1", VM_HOME): "id-gold", ("vm-1", 2016): "id-of-somebody"}
    twin = replace(vm(), moid="vm-2")
    found = policies.complete([(wished(), vm()), (wished(), twin), (wished(), replace(vm(), ready=False))])
    assert found["vm-1"].policies == {VM_HOME: "gold", 2016: "id-of-somebody"}
    assert found["vm-2"].policies == {}
    for _time in range(2):
        policies.resolve(wished(), None, place())
    assert service.asked == ["names", "6 objects", "id-gold"]


PLACED = replace(place(), policy="id-gold")
POLICY = Change("storage_policy", "none", "gold", cold=False)


def ids(profiles: Any) -> list[str]:
    return [item.profileId for item in profiles or ()]


def test_the_change_of_a_vm_names_its_files_and_each_disk_once() -> None:
    grown = Change("disks.d0", {"size_gb": 10}, {"size_gb": 20}, cold=False)
    added = Change("disks.d1", None, {"size_gb": 5}, cold=False)
    config = spec.config_spec(wished("gold", 20, 5), [POLICY, grown, added], vm(), PLACED)
    assert ids(config.vmProfile) == ["id-gold"]
    rows = [(str(item.operation), item.device.key, ids(item.profile)) for item in config.deviceChange]
    assert sorted(rows, key=lambda row: row[1]) == [
        ("add", -302, ["id-gold"]),
        ("edit", 2000, ["id-gold"]),
        ("edit", 2016, ["id-gold"]),
    ]


def test_a_new_disk_has_the_policy_and_others_are_left() -> None:
    grown = Change("disks.d0", {"size_gb": 10}, {"size_gb": 20}, cold=False)
    added = Change("disks.d1", None, {"size_gb": 5}, cold=False)
    config = spec.config_spec(wished("gold", 20, 5), [grown, added], vm(ALL_GOLD), PLACED)
    assert ids(config.vmProfile) == []
    assert [(str(item.operation), ids(item.profile)) for item in config.deviceChange] == [
        ("edit", []),
        ("add", ["id-gold"]),
    ]


def test_without_a_policy_nothing_names_one() -> None:
    added = Change("disks.d1", None, {"size_gb": 5}, cold=False)
    config = spec.config_spec(wished("", 10, 5), [added], vm(), place())
    assert not config.vmProfile
    assert not any(item.profile for item in config.deviceChange)


def test_a_clone_names_the_policy_for_its_files_and_the_disks_that_it_takes_over() -> None:
    source: Any = SimpleNamespace(actual=vm(), snapshot=None)
    store = vim.Datastore("ds-fast")
    placed = replace(PLACED, datastore=store, folder=vim.Folder("f-1"), pool=vim.ResourcePool("p-1"))
    cloning = spec.clone_spec(wished("gold", 10, 5), [POLICY, Change("disks.d1", None, {"size_gb": 5})], source, placed)
    placing.put_policy(cloning, placed, source)
    assert ids(cloning.location.profile) == ["id-gold"]
    disks = [(disk.diskId, disk.datastore, ids(disk.profile)) for disk in cloning.location.disk]
    assert disks == [(2000, store, ["id-gold"]), (2016, store, ["id-gold"])]
    assert [(item.device.key, ids(item.profile)) for item in cloning.config.deviceChange] == [(-302, ["id-gold"])]
