# SPDX-License-Identifier: GPL-3.0-or-later
"""Overrides of DRS and HA against the lab's vCenter: the 12 cases, one call for many VMs, and logins that may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.overrides_desk import read_cluster
from pyVmomi import vim

from tests.integration.conftest import Lab, lab_whose_role_lacks, wait_for, wish
from tests.integration.test_fleet import session, writes
from tests.integration.test_fleet_gpu import ANY_A10, MODES, gpu_wish
from tests.integration.test_fleet_placement import PLACE, named

pytestmark = pytest.mark.integration
check_and_real = pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
BOTH_OFF = {"drs": "disabled", "ha": "disabled"}
NEITHER = {"drs": "inherit", "ha": "inherit"}
METHOD = "ReconfigureComputeResource_Task"


def override_wish(name: str, **placement: str) -> dict[str, Any]:
    return wish(name, disks=[], placement=PLACE | {"folder": "nano-banana"} | placement)


def overrides(lab: Lab, name: str) -> dict[str, str]:
    with session(lab) as content:
        cluster = named(content, vim.ClusterComputeResource, "gpu-cluster")
        found = read_cluster(cluster, {"configurationEx": cluster.configurationEx})
        machine = lookup.find_vms(content, [name])[name]._moId
        return {setting: found.of(setting, machine) for setting in ("drs", "ha")}


@check_and_real
def test_static_passthrough_is_overridden_before_it_is_on(lab: Lab, check: bool) -> None:
    vm = gpu_wish("a", ANY_A10)
    since = len(lab.calls())
    first = lab.fleet(vm, check=check)
    assert first.error is None
    assert {key: first.after["a"][f"placement.{key}"] for key in BOTH_OFF} == BOTH_OFF
    assert first.warnings == []
    if check:
        assert writes(lab, since) == []
        assert lab.fleet(vm, check=True).changed
        return
    assert writes(lab, since) == ["CloneVM_Task", METHOD, "PowerOnVM_Task"]
    assert overrides(lab, "a") == BOTH_OFF
    since = len(lab.calls())
    assert not lab.fleet(vm).changed
    assert not lab.fleet(vm, check=True).changed
    assert writes(lab, since) == []


@pytest.mark.parametrize("mode", ["dynamic", "vgpu", ""])
def test_other_vms_stay_with_their_cluster(lab: Lab, mode: str) -> None:
    since = len(lab.calls())
    lab.fleet(gpu_wish("a", MODES.get(mode, [])))
    assert METHOD not in writes(lab, since)
    assert overrides(lab, "a") == NEITHER


CHANGES = [
    ({}, {"drs": "manual"}, {"drs": "manual", "ha": "inherit"}),
    ({"drs": "manual", "ha": "low"}, {"drs": "disabled", "ha": "high"}, {"drs": "disabled", "ha": "high"}),
    ({"drs": "disabled"}, {"drs": "partially_automated"}, {"drs": "partially_automated", "ha": "inherit"}),
    ({"drs": "disabled", "ha": "disabled"}, {"drs": "inherit", "ha": "inherit"}, NEITHER),
    ({"drs": "disabled", "ha": "disabled"}, {}, BOTH_OFF),  # not named: left as it is
]


@check_and_real
@pytest.mark.parametrize(("before", "after", "expected"), CHANGES)
def test_change_while_the_vm_runs(
    lab: Lab, before: dict[str, str], after: dict[str, str], expected: dict[str, str], check: bool
) -> None:
    lab.fleet(override_wish("a", **before))
    had = overrides(lab, "a")
    new = override_wish("a", **after)
    since = len(lab.calls())
    first = lab.fleet(new, check=check)
    assert first.changed is (had != expected)
    shown = {key: value for key, value in expected.items() if had[key] != value}
    assert first.after.get("a", {}) == {f"placement.{key}": value for key, value in shown.items()}
    assert first.before.get("a", {}) == {f"placement.{key}": had[key] for key in shown}
    if check:
        assert writes(lab, since) == []
        assert overrides(lab, "a") == had
        return
    assert writes(lab, since) == ([METHOD] if first.changed else [])
    assert overrides(lab, "a") == expected
    assert not lab.fleet(new).changed
    assert not lab.fleet(new, check=True).changed


@check_and_real
def test_delete(lab: Lab, check: bool) -> None:
    """vCenter itself forgets the overrides of a VM that goes."""
    lab.fleet(gpu_wish("a", ANY_A10))
    since = len(lab.calls())
    for again in (False, True):
        assert lab.fleet({"name": "a"}, state="absent", check=check).changed is (check or not again)
    assert METHOD not in writes(lab, since)
    if not check:
        with session(lab) as content:
            config = named(content, vim.ClusterComputeResource, "gpu-cluster").configurationEx
            assert not config.drsVmConfig
            assert not config.dasVmConfig


def test_many_vms_share_one_call(lab: Lab) -> None:
    names = [f"vm-{number}" for number in range(4)]
    lab.fleet(*(override_wish(name) for name in names))
    since = len(lab.calls())
    outcome = lab.fleet(*(override_wish(name, drs="disabled") for name in names))
    assert writes(lab, since) == [METHOD]
    assert {vm["status"] for vm in outcome.vms.values()} == {"changed"}
    assert all(overrides(lab, name)["drs"] == "disabled" for name in names)


def test_new_vms_that_come_one_after_the_other_are_all_overridden(lab: Lab) -> None:
    names = [f"vm-{number}" for number in range(4)]
    outcome = lab.fleet(*(override_wish(name, ha="disabled") for name in names), limits={"clone": 2})
    assert outcome.error is None
    assert all(overrides(lab, name)["ha"] == "disabled" for name in names)


def test_what_somebody_changed_by_hand_is_changed_back(lab: Lab) -> None:
    lab.fleet(gpu_wish("a", ANY_A10))
    with session(lab) as content:
        cluster = named(content, vim.ClusterComputeResource, "gpu-cluster")
        machine = lookup.find_vms(content, ["a"])["a"]
        row = vim.cluster.DrsVmConfigSpec(operation="remove", removeKey=machine)
        wait_for(cluster.ReconfigureComputeResource_Task(vim.cluster.ConfigSpecEx(drsVmConfigSpec=[row]), True))
    first = lab.fleet(gpu_wish("a", ANY_A10))
    assert first.after["a"] == {"placement.drs": "disabled"}
    assert overrides(lab, "a") == BOTH_OFF


@pytest.fixture
def drs_off(lab: Lab) -> Iterator[None]:
    def switch(enabled: bool) -> None:
        with session(lab) as content:
            cluster = named(content, vim.ClusterComputeResource, "gpu-cluster")
            spec = vim.cluster.ConfigSpecEx(drsConfig=vim.cluster.DrsConfigInfo(enabled=enabled))
            wait_for(cluster.ReconfigureComputeResource_Task(spec, True))

    switch(False)
    yield
    switch(True)


def test_where_drs_is_off_nothing_is_overridden(lab: Lab, drs_off: None) -> None:
    first = lab.fleet(gpu_wish("a", ANY_A10), override_wish("b", drs="manual"))
    assert first.warnings == [
        "b: vm_placement.drs does nothing, because cluster 'gpu-cluster' has DRS, or its overrides, switched off"
    ]
    assert overrides(lab, "a") == {"drs": "inherit", "ha": "disabled"}
    assert overrides(lab, "b") == NEITHER


@pytest.fixture(scope="module")
def poor(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vCenter whose role lacks what its file calls optional."""
    missing = ("Host.Inventory.EditCluster", "StorageProfile.View")
    return lab_whose_role_lacks(start_lab, tmp_path_factory.mktemp("poor"), missing)


@check_and_real
def test_without_the_privilege_passthrough_is_made_with_a_warning(poor: Lab, check: bool) -> None:
    vm = gpu_wish("a", ANY_A10)
    since = len(poor.calls())
    for again in (False, True):
        outcome = poor.fleet(vm, check=check)
        assert outcome.error is None
        assert outcome.changed is (check or not again)
        (warning,) = outcome.warnings
        assert warning.startswith("a: DRS and HA stay on although a device of the host holds the VM there")
        assert "the privilege Host.Inventory.EditCluster on cluster 'gpu-cluster'" in warning
    assert METHOD not in [call["method"] for call in poor.calls()[since:]]
    poor.fleet(state="absent", all_owned=True)


@check_and_real
@pytest.mark.parametrize(
    ("placement", "parts"),
    [
        (
            {"drs": "manual"},
            ["b: vm_placement.drs: expected the privilege Host.Inventory.EditCluster on cluster 'gpu-cluster'"],
        ),
        ({"storage_policy": "gold"}, ["SecurityError", "grant StorageProfile.View on vCenter's root"]),
    ],
)
def test_what_a_wish_names_is_refused_without_the_privilege(
    poor: Lab, placement: dict[str, str], parts: list[str], check: bool
) -> None:
    since = len(poor.calls())
    with pytest.raises(TestbedError) as caught:
        poor.fleet(wish("a"), override_wish("b", **placement), check=check)
    for part in parts:
        assert part in str(caught.value)
    assert writes(poor, since) == []
