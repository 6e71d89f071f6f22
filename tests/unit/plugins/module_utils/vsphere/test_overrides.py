# SPDX-License-Identifier: GPL-3.0-or-later
"""Overrides of DRS and HA: who gets which, where they stand in the plan, and what is written to the cluster."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import overrides, overrides_desk
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import Change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.overrides import ClusterActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation, diff
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes
from pyVmomi import vim

STATIC = [{"mode": "static", "model": "A10"}]
VGPU = [{"mode": "vgpu", "profile": "nvidia_a10-4c"}]
DYNAMIC = [{"mode": "dynamic", "vendor_id": "10de", "device_id": "2236"}]
OFF = {"drs": "disabled", "ha": "disabled"}


def wished(gpu: Any = (), **placement: Any) -> VmWish:
    base = {"name": "nb-1", "template": {"library": "l", "item": "i"}, "cpus": 1, "memory_mb": 1024}
    return parse_wishes([base | {"gpu": list(gpu), "placement": placement}])[0]


@pytest.mark.parametrize(
    ("gpu", "placement", "expected"),
    [
        ([], {}, {}),
        (VGPU, {}, {}),
        (DYNAMIC, {}, {}),
        (STATIC, {}, OFF),
        (DYNAMIC + STATIC, {}, OFF),
        (STATIC, {"ha": "inherit"}, {"drs": "disabled", "ha": "inherit"}),
        (STATIC, {"drs": "inherit", "ha": "low"}, {"drs": "inherit", "ha": "low"}),
        ([], {"drs": "manual"}, {"drs": "manual"}),
        (VGPU, {"drs": "partially_automated", "ha": "highest"}, {"drs": "partially_automated", "ha": "highest"}),
    ],
)
def test_only_what_passthrough_needs_is_wanted_by_itself(gpu: Any, placement: Any, expected: dict[str, str]) -> None:
    assert overrides.wanted(wished(gpu, **placement)) == expected


@pytest.mark.parametrize(
    ("placement", "part"),
    [
        ({"drs": "off"}, "vm_placement.drs: expected one of inherit, disabled, manual, partially_automated"),
        ({"ha": "never"}, "vm_placement.ha: expected one of inherit, disabled, lowest"),
        ({"storage_policy": 3}, "vm_placement.storage_policy: expected a text"),
    ],
)
def test_what_is_no_override_is_refused(placement: dict[str, Any], part: str) -> None:
    with pytest.raises(TestbedError) as caught:
        wished(**placement)
    assert part in str(caught.value)


BARE = ClusterActual("domain-c1", "gpu-cluster")
SET = ClusterActual("domain-c1", "gpu-cluster", drs={"vm-1": "disabled"}, ha={"vm-1": "disabled"})


@pytest.mark.parametrize(
    ("wish", "vm", "cluster", "may", "expected"),
    [
        (wished(STATIC), "", BARE, True, [("drs", None, "disabled"), ("ha", None, "disabled")]),
        (wished(STATIC), "vm-1", BARE, True, [("drs", "inherit", "disabled"), ("ha", "inherit", "disabled")]),
        (wished(STATIC), "vm-1", SET, True, []),
        (wished(STATIC), "vm-2", SET, True, [("drs", "inherit", "disabled"), ("ha", "inherit", "disabled")]),
        (wished(), "vm-1", SET, True, []),
        (
            wished(drs="inherit", ha="inherit"), "vm-1", SET, True,
            [("drs", "disabled", "inherit"), ("ha", "disabled", "inherit")],
        ),
        (wished(drs="inherit"), "", BARE, True, []),
        (wished(STATIC), "", BARE, False, []),
        (wished(STATIC, ha="disabled"), "", BARE, False, [("ha", None, "disabled")]),
        (wished(STATIC), "", ClusterActual("c", "c", frozenset({"ha"})), True, [("drs", None, "disabled")]),
        (wished(drs="manual"), "", ClusterActual("c", "c", frozenset({"drs", "ha"})), True, []),
    ],
)  # fmt: skip
def test_changes(
    wish: VmWish, vm: str, cluster: ClusterActual, may: bool, expected: list[tuple[str, Any, Any]]
) -> None:
    found = overrides.changes(wish, vm, cluster, may=may)
    assert [(item.what, item.before, item.after) for item in found] == [
        (f"placement.{name}", before, after) for name, before, after in expected
    ]
    assert not any(item.cold for item in found), "an override never needs the VM to be off"


def test_an_override_that_a_cluster_ignores_is_told() -> None:
    off = ClusterActual("c", "c", frozenset({"drs"}))
    assert overrides.idle(wished(drs="manual", ha="low"), off) == ["drs"]
    assert overrides.idle(wished(STATIC), off) == [], "nobody asked for it by name"
    assert overrides.idle(wished(drs="inherit"), off) == []


ROWS = (Change("placement.drs", None, "disabled", cold=False),)
MARKED = (Change("extra_config.nanobanana.owner", None, "lab"),)


@pytest.mark.parametrize(
    ("operations", "rows", "expected"),
    [
        ([], (), []),
        ([Operation("power_on")], (), ["power_on"]),
        ([Operation("clone", MARKED), Operation("power_on")], ROWS, ["clone", "override", "power_on"]),
        (
            [Operation("clone", MARKED), Operation("upgrade"), Operation("reconfigure")],
            ROWS,
            ["clone", "override", "upgrade", "reconfigure"],
        ),
        ([Operation("power_on")], ROWS, ["override", "power_on"]),
        ([], ROWS, ["override"]),
        (
            [Operation("reconfigure", MARKED), Operation("reconfigure")],
            ROWS,
            ["reconfigure", "override", "reconfigure"],
        ),
        ([Operation("wait_settled")], ROWS, ["wait_settled"]),
    ],
)
def test_the_override_comes_once_the_vm_is_ours_and_before_it_is_on(
    operations: list[Operation], rows: tuple[Change, ...], expected: list[str]
) -> None:
    assert [item.kind for item in overrides.with_overrides(operations, rows)] == expected


def test_diff_and_text() -> None:
    change = Change("placement.drs", "inherit", "disabled", cold=False)
    assert diff("a", [Operation("override", (change,))]) == (
        {"a": {"placement.drs": "inherit"}},
        {"a": {"placement.drs": "disabled"}},
    )
    assert str(Operation("override", (change,))) == "override the cluster's placement.drs"


def reference(name: str) -> Any:
    return vim.VirtualMachine(name)


def entries() -> Any:
    drs, das = vim.cluster.DrsVmConfigInfo, vim.cluster.DasVmConfigInfo
    settings = vim.cluster.DasVmSettings
    return vim.cluster.ConfigInfoEx(
        drsConfig=vim.cluster.DrsConfigInfo(enabled=True),
        dasConfig=vim.cluster.DasConfigInfo(enabled=True),
        drsVmConfig=[
            drs(key=reference("vm-1"), enabled=False),
            drs(key=reference("vm-2"), enabled=True, behavior="partiallyAutomated"),
            drs(key=reference("vm-3"), behavior="manual"),
            drs(key=reference("vm-4")),
        ],
        dasVmConfig=[
            das(key=reference("vm-1"), dasSettings=settings(restartPriority="disabled")),
            das(key=reference("vm-2"), dasSettings=settings(isolationResponse="none")),
            das(key=reference("vm-3"), dasSettings=settings(restartPriority="clusterRestartPriority")),
            das(key=reference("vm-4"), restartPriority="low"),
        ],
    )


def cluster(config: Any) -> ClusterActual:
    node = vim.ClusterComputeResource("domain-c1")
    return overrides_desk.read_cluster(node, {"name": "gpu-cluster", "configurationEx": config})


def test_a_cluster_is_read() -> None:
    found = cluster(entries())
    assert found.off == frozenset()
    assert [found.of("drs", f"vm-{n}") for n in range(1, 6)] == [
        "disabled", "partially_automated", "manual", "inherit", "inherit",
    ]  # fmt: skip
    assert [found.of("ha", f"vm-{n}") for n in range(1, 6)] == ["disabled", "inherit", "inherit", "low", "inherit"]


@pytest.mark.parametrize(
    ("drs", "das", "off"),
    [
        ({"enabled": True}, {"enabled": True}, set()),
        ({"enabled": False}, {"enabled": False}, {"drs", "ha"}),
        ({}, {}, {"drs", "ha"}),
        ({"enabled": True, "enableVmBehaviorOverrides": False}, {"enabled": True}, {"drs"}),
    ],
)
def test_where_an_override_does_nothing(drs: dict[str, bool], das: dict[str, bool], off: set[str]) -> None:
    config = vim.cluster.ConfigInfoEx(
        drsConfig=vim.cluster.DrsConfigInfo(**drs), dasConfig=vim.cluster.DasConfigInfo(**das)
    )
    assert cluster(config).off == off


@pytest.mark.parametrize(
    ("vm", "setting", "value", "operation", "written"),
    [
        ("vm-9", "drs", "disabled", "add", (False, None)),
        ("vm-9", "drs", "manual", "add", (True, "manual")),
        ("vm-2", "drs", "disabled", "edit", (False, None)),
        ("vm-1", "drs", "fully_automated", "edit", (True, "fullyAutomated")),
        ("vm-9", "ha", "disabled", "add", ("disabled", None)),
        ("vm-2", "ha", "disabled", "edit", ("disabled", "none")),
        ("vm-1", "ha", "inherit", "edit", ("clusterRestartPriority", None)),
    ],
)
def test_what_is_written(vm: str, setting: str, value: str, operation: str, written: tuple[Any, Any]) -> None:
    spec = overrides_desk.cluster_spec(
        cluster(entries()), [(reference(vm), [Change(f"placement.{setting}", "x", value)])]
    )
    (row,) = spec.drsVmConfigSpec or spec.dasVmConfigSpec
    assert row.operation == operation
    assert row.info.key._moId == vm
    if setting == "drs":
        assert (row.info.enabled, row.info.behavior) == written
    else:
        assert (row.info.dasSettings.restartPriority, row.info.dasSettings.isolationResponse) == written


def test_an_override_of_drs_is_taken_out_again() -> None:
    rows = [(reference(vm), [Change("placement.drs", "manual", "inherit")]) for vm in ("vm-1", "vm-9")]
    (row,) = overrides_desk.cluster_spec(cluster(entries()), rows).drsVmConfigSpec
    assert (row.operation, row.removeKey._moId) == ("remove", "vm-1"), "vm-9 has none any more"
