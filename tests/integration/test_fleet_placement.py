# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that are made, datastore clusters, and plans that are refused because they cannot fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVmomi import vim

from tests.integration.conftest import Lab, wait_for, wish
from tests.integration.test_fleet import session, vm_names, writes

pytestmark = pytest.mark.integration

PLACE = {"datacenter": "DC0", "cluster": "gpu-cluster", "datastore": "vmfs-01"}
DEEP = PLACE | {"folder": "nano-banana/deep/deeper", "create_folder": True}
POD = {"datacenter": "DC0", "cluster": "gpu-cluster", "folder": "nano-banana", "datastore_cluster": "pod-01"}


def named(content: Any, kind: Any, name: str) -> Any:
    return next(
        (found for found, values in lookup.everything(content, {kind: ["name"]}) if values["name"] == name), None
    )


@pytest.fixture
def no_folder_left(lab: Lab) -> Iterator[None]:
    yield
    lab.fleet(state="absent", all_owned=True)
    with session(lab) as content:
        if folder := named(content, vim.Folder, "deep"):
            wait_for(folder.Destroy_Task())


@pytest.fixture(scope="module")
def pod(start_lab: Callable[..., Lab]) -> Lab:
    """A lab of its own whose datastore is in a cluster: the simulator cannot move it out again."""
    made = start_lab("fake")
    with session(made) as content:
        home, store = named(content, vim.Folder, "datastore"), named(content, vim.Datastore, "vmfs-01")
        wait_for(home.CreateStoragePod("pod-01").MoveIntoFolder_Task([store]))
    return made


def test_a_folder_is_made_with_the_first_vm_in_it(lab: Lab, no_folder_left: None) -> None:
    vms = [wish(name, placement=DEEP) for name in ("a", "b")]
    since = len(lab.calls())
    first = lab.fleet(*vms)
    assert first.before["a"]["folder"] == "absent"
    assert first.after["a"]["folder"] == "nano-banana/deep/deeper"
    assert writes(lab, since).count("CreateFolder") == 2
    with session(lab) as content:
        machine = lookup.find_vms(content, ["b"])["b"]
        assert [machine.parent.name, machine.parent.parent.name] == ["deeper", "deep"]
    lab.fleet({"name": "a"}, {"name": "b"}, state="absent")
    with session(lab) as content:
        assert named(content, vim.Folder, "deeper"), "nobody removes a folder"


def test_without_leave_a_folder_is_not_made(lab: Lab) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("a", placement=PLACE | {"folder": "nano-banana/deep"}))
    assert "vm_placement.folder: expected an existing folder; found no folder 'nano-banana/deep'" in str(caught.value)
    assert writes(lab, since) == []


def test_a_datastore_cluster(pod: Lab) -> None:
    wanted = wish("a", placement=POD)
    since = len(pod.calls())
    assert list(pod.fleet(wanted).cost["datastores"]) == ["vmfs-01"]
    assert [call["method"] for call in pod.calls()[since:]].count("RecommendDatastores") == 1
    pod.fleet({"name": "a"}, state="absent")


@pytest.mark.parametrize(
    ("placement", "parts"),
    [
        (POD | {"datastore_cluster": "pod-1"}, ["vm_placement.datastore_cluster", "did you mean 'pod-01'?"]),
        (POD | {"datastore": "vmfs-01"}, ["either a datastore or a datastore_cluster"]),
    ],
)
def test_a_datastore_cluster_that_is_not_there(pod: Lab, placement: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        pod.fleet(wish("a", placement=placement))
    for part in parts:
        assert part in str(caught.value)


def test_the_cost_is_told_before(lab: Lab) -> None:
    planned = lab.fleet(wish("a"), wish("b", disks=[{"name": "d", "size_gb": 50, "provisioning": "thin"}]), check=True)
    assert planned.cost["datastores"]["vmfs-01"]["needed_gb"] == pytest.approx(20, abs=0.1)
    assert planned.cost["clusters"] == {"gpu-cluster": {"needed_memory_mb": 4096, "free_memory_mb": 3 * 262144}}
    lab.fleet(wish("a"))
    assert lab.fleet(wish("a"), check=True).cost == {}


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            {"disks": [{"name": name, "size_gb": 60000} for name in "xy"]},
            ["datastore 'vmfs-01': expected 120020.0 GB free for this plan; found 6", "GB"],
        ),
        (
            {"memory_mb": 262144 + 4},
            ["bad: vm_memory_mb: expected at most 262144 MB, the memory of the largest host", "found 262148 MB"],
        ),
    ],
)
def test_what_cannot_fit_is_refused_before_anything_is_made(
    lab: Lab, change: dict[str, Any], parts: list[str], check: bool
) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("good"), wish("bad", **change), check=check)
    assert caught.value.error_code == "no_room"
    for part in parts:
        assert part in str(caught.value)
    assert writes(lab, since) == []
    assert vm_names(lab) == []


def test_many_vms_that_fit_alone_but_not_together(lab: Lab) -> None:
    vms = [wish(f"vm-{number}", memory_mb=200_000, disks=[]) for number in range(5)]
    with pytest.raises(TestbedError) as caught:
        lab.fleet(*vms)
    text = "cluster 'gpu-cluster': expected 1000000 MB of memory free to reserve for this plan; found 786432 MB"
    assert text in str(caught.value)


def test_check_mode_shows_the_cost_to_a_person(lab: Lab) -> None:
    done = lab.playbook("playbooks/provision.yml", "--check", "--diff")
    assert "datastore vmfs-01: needs" in done.stdout, done.stdout + done.stderr
    assert "cluster gpu-cluster: reserves" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
