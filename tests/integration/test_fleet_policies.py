# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage policies against the lab's vCenter: the 12 cases, disks that come later, and what errors say."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import client, lookup
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.policies import PolicyService
from pyVmomi import vim

from tests.integration.conftest import Lab, wait_for, wish
from tests.integration.test_fleet import session, vm_names, writes
from tests.integration.test_fleet_placement import PLACE, POD, pod

__all__ = ["pod"]  # a fixture
pytestmark = pytest.mark.integration
check_and_real = pytest.mark.parametrize("check", [True, False], ids=["check", "real"])


def policy_wish(name: str, policy: str, **fields: Any) -> dict[str, Any]:
    return wish(name, placement=PLACE | {"folder": "nano-banana", "storage_policy": policy}, **fields)


def held(lab: Lab, name: str) -> dict[int, str]:
    """What the policy service itself says of the VM's files (0) and disks."""
    with client.connected(client.Connection.from_params(lab.connection())) as found:
        machine = lookup.find_vms(found.content, [name])[name]
        disks = [item.key for item in machine.config.hardware.device if isinstance(item, vim.vm.device.VirtualDisk)]
        service = PolicyService(found)
        names = service.names()
        objects = {(machine._moId, key): service.object(machine._moId, key) for key in (0, *disks)}
        policies = service.associated(objects)
        return {key: names.get(policies.get((machine._moId, key), ""), "") for key in (0, *disks)}


def calls(lab: Lab, since: int) -> list[str]:
    return [str(call["method"]) for call in lab.calls()[since:]]


@check_and_real
def test_create(lab: Lab, check: bool) -> None:
    vms = [policy_wish(name, "gold") for name in ("a", "b")]
    since = len(lab.calls())
    first = lab.fleet(*vms, check=check)
    assert first.changed
    assert first.after["a"]["storage_policy"] == "gold"
    if check:
        assert writes(lab, since) == []
        assert lab.fleet(*vms, check=True).changed
        return
    assert "ReconfigVM_Task" not in writes(lab, since), "the clone call itself carries the policy"
    assert len(held(lab, "a")) == 3, "the VM's files, the template's disk and the data disk"
    assert set(held(lab, "a").values()) == set(held(lab, "b").values()) == {"gold"}
    since = len(lab.calls())
    assert not lab.fleet(*vms).changed
    assert writes(lab, since) == []
    made = calls(lab, since)
    assert [made.count(f"Pbm{name}") for name in ("QueryProfile", "QueryAssociatedProfiles")] == [1, 1]
    assert "PbmCheckCompatibility" not in made, "what a VM has is not questioned again"


@check_and_real
@pytest.mark.parametrize("before", ["", "gold"])
def test_change(lab: Lab, before: str, check: bool) -> None:
    """On a VM that runs; the disk that grows at the same time is one edit with its policy."""
    lab.fleet(policy_wish("a", before) if before else wish("a"))
    new = policy_wish("a", "silver", disks=[{"name": "data", "size_gb": 30}, {"name": "more", "size_gb": 5}])
    since = len(lab.calls())
    first = lab.fleet(new, check=check)
    assert first.before["a"]["storage_policy"] == (before or "none")
    assert first.after["a"]["storage_policy"] == "silver"
    if check:
        assert writes(lab, since) == []
        assert set(held(lab, "a").values()) == {before}
        return
    assert first.vms["a"]["operations"][0] == "reconfigure storage_policy, disks.data, disks.more"
    assert list(held(lab, "a").values()) == ["silver"] * 4
    assert not lab.fleet(new).changed
    assert not lab.fleet(new, check=True).changed


@check_and_real
def test_delete(lab: Lab, check: bool) -> None:
    lab.fleet(policy_wish("a", "gold"))
    since = len(lab.calls())
    for again in (False, True):
        assert lab.fleet({"name": "a"}, state="absent", check=check).changed is (check or not again)
    assert not [method for method in calls(lab, since) if method.startswith("Pbm")]
    assert vm_names(lab) == (["a"] if check else [])


def test_a_disk_that_comes_later_has_the_policy_at_once(lab: Lab) -> None:
    lab.fleet(policy_wish("a", "gold", disks=[]))
    new = policy_wish("a", "gold", disks=[{"name": "data", "size_gb": 5}])
    since = len(lab.calls())
    assert lab.fleet(new).changed
    assert writes(lab, since).count("ReconfigVM_Task") == 1
    assert list(held(lab, "a").values()) == ["gold"] * 3


def test_what_somebody_changed_by_hand_is_changed_back(lab: Lab) -> None:
    lab.fleet(policy_wish("a", "gold"))
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        wait_for(machine.ReconfigVM_Task(vim.vm.ConfigSpec(vmProfile=[vim.vm.EmptyProfileSpec()])))
    first = lab.fleet(policy_wish("a", "gold"))
    assert first.before["a"]["storage_policy"] == "gold, none"
    assert set(held(lab, "a").values()) == {"gold"}


def test_a_wish_without_a_policy_leaves_it_and_asks_nothing(lab: Lab) -> None:
    lab.fleet(policy_wish("a", "gold"))
    since = len(lab.calls())
    assert not lab.fleet(wish("a")).changed
    assert not [method for method in calls(lab, since) if method.startswith("Pbm")]
    assert set(held(lab, "a").values()) == {"gold"}


@check_and_real
@pytest.mark.parametrize(
    ("policy", "parts"),
    [
        ("golf", ["a: vm_placement.storage_policy: expected an existing storage policy", "did you mean 'gold'?"]),
        (
            "vSAN Default Storage Policy",
            [
                "expected a datastore that satisfies 'vSAN Default Storage Policy'; found 'vmfs-01', which does not",
                "no datastore satisfies it",
            ],
        ),
    ],
)
@pytest.mark.parametrize("exists", [False, True], ids=["new", "existing"])
def test_what_cannot_be_is_refused_before_anything_is_made(
    lab: Lab, policy: str, parts: list[str], exists: bool, check: bool
) -> None:
    if exists:
        lab.fleet(wish("a"))
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(policy_wish("a", policy), wish("b"), check=check)
    for part in parts:
        assert part in str(caught.value)
    assert writes(lab, since) == []


def test_in_a_datastore_cluster(pod: Lab) -> None:
    vm = wish("a", placement=POD | {"storage_policy": "gold"})
    assert pod.fleet(vm).changed
    assert set(held(pod, "a").values()) == {"gold"}
    assert not pod.fleet(vm).changed
    pod.fleet({"name": "a"}, state="absent")
