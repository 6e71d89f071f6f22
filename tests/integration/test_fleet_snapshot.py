# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet_snapshot against the lab's vCenter: create, revert, remove, in check mode and for real, first and repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup, snapshot_call
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import SNAPSHOT_DEFAULTS
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.outcome import Outcome
from pyVmomi import vim

from tests.integration.conftest import ROOT, Lab, wait_for, wish
from tests.integration.test_fleet import session, writes

pytestmark = pytest.mark.integration
check_and_real = pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
OFF = {"lifecycle": {"power": "off"}}
DIRECTPATH = [{"mode": "static", "model": "A10"}]


def snapshot(lab: Lab, name: str | None, *vms: str, check: bool = False, **options: Any) -> Outcome:
    """Call the module's logic as main() does, without a process of its own."""
    params = {key: option.get("default") for key, option in snapshot_call.argument_spec().items()}
    params |= {"owner": "tests", "limits": dict(SNAPSHOT_DEFAULTS), "name": name, "vms": list(vms or ["a"])}
    return snapshot_call.act({**params, **lab.connection(), **options}, check=check)[0]


def refusal(lab: Lab, name: str | None, *vms: str, **options: Any) -> TestbedError:
    """The error of a call that has to write nothing."""
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        snapshot(lab, name, *vms, **options)
    assert writes(lab, since) == []
    return caught.value


def names(lab: Lab, vm: str = "a") -> list[str]:
    """Read by a plain pyVmomi session."""
    with session(lab) as content:
        info = lookup.find_vms(content, [vm])[vm].snapshot
        todo, found = list(info.rootSnapshotList) if info else [], []
        while todo:
            node = todo.pop(0)
            found.append(node.name)
            todo += node.childSnapshotList
        return found


def machine(content: Any, name: str = "a") -> Any:
    return lookup.find_vms(content, [name])[name]


@check_and_real
def test_create(lab: Lab, check: bool) -> None:
    lab.fleet(wish("a"), wish("b", **OFF))
    since = len(lab.calls())
    first = snapshot(lab, "clean", "a", "b", check=check, description="before")
    assert first.changed
    assert first.before == {"a": {}, "b": {}}
    assert first.after == {"a": {"snapshots.clean": {"power": "off"}}, "b": {"snapshots.clean": {"power": "off"}}}
    assert first.vms["a"]["operations"] == ["take the snapshot clean"]
    if check:
        assert writes(lab, since) == []
        assert snapshot(lab, "clean", "a", "b", check=True).changed
        assert names(lab) == []
        return
    assert names(lab) == names(lab, "b") == ["clean"]
    assert first.vms["a"]["power"] == "poweredOn"
    (found,) = first.vms["a"]["snapshots"]
    with session(lab) as content:
        (node,) = machine(content).snapshot.rootSnapshotList
        assert found == {
            "name": "clean",
            "id": node.id,
            "description": "before",
            "created": node.createTime.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "power": "poweredOff",
            "quiesced": False,
            "parent": "",
            "current": True,
        }
    since = len(lab.calls())
    again = snapshot(lab, "clean", "a", "b")
    assert not again.changed
    assert again.before == {}
    assert again.vms["a"]["snapshots"] == [found]
    assert writes(lab, since) == []


@check_and_real
def test_revert_is_done_at_each_call(lab: Lab, check: bool) -> None:
    lab.fleet(wish("a"))
    snapshot(lab, "clean")
    lab.fleet(wish("a", **OFF))
    lab.fleet(wish("a", cpus=4, **OFF))
    snapshot(lab, "later")
    since = len(lab.calls())
    for _time in range(2):
        outcome = snapshot(lab, "clean", state="reverted", power="on", check=check)
        assert outcome.changed
        assert outcome.vms["a"]["operations"] == ["revert to the snapshot clean", "power on"]
        assert "as in snapshot clean" in outcome.after["a"]["state"]
    expected = [] if check else ["RevertToSnapshot_Task", "PowerOnVM_Task"] * 2
    assert writes(lab, since) == expected
    with session(lab) as content:
        vm = machine(content)
        assert vm.config.hardware.numCPU == (4 if check else 2)
        assert vm.runtime.powerState == ("poweredOff" if check else "poweredOn")
    current = {item["name"]: item["current"] for item in snapshot(lab, None, state="gathered").vms["a"]["snapshots"]}
    assert current == {"clean": not check, "later": check}


@check_and_real
def test_remove(lab: Lab, check: bool) -> None:
    lab.fleet(wish("a"))
    for name in ("one", "two", "three"):
        snapshot(lab, name)
    since = len(lab.calls())
    first = snapshot(lab, "two", state="absent", check=check)
    assert first.changed
    assert first.after == {"a": {"snapshots.two": None}}
    if check:
        assert writes(lab, since) == []
    assert snapshot(lab, "two", state="absent").changed is check
    assert not snapshot(lab, "two", state="absent").changed
    assert names(lab) == ["one", "three"]
    kept = {item["name"]: item for item in snapshot(lab, None, state="gathered").vms["a"]["snapshots"]}
    assert kept["three"]["current"]
    assert kept["three"]["parent"] == "one"


@check_and_real
def test_remove_all(lab: Lab, check: bool) -> None:
    lab.fleet(wish("a"), wish("b", **OFF))
    snapshot(lab, "one")
    snapshot(lab, "two")
    since = len(lab.calls())
    first = snapshot(lab, None, "a", "b", state="absent", all=True, check=check)
    assert first.vms["a"]["operations"] == ["remove all snapshots"]
    assert first.vms["b"]["status"] == "unchanged"
    assert writes(lab, since) == ([] if check else ["RemoveAllSnapshots_Task"])
    assert snapshot(lab, None, "a", "b", state="absent", all=True).changed is check
    assert not snapshot(lab, None, "a", "b", state="absent", all=True).changed
    assert names(lab) == []


def test_memory_ends_in_a_running_guest(lab: Lab) -> None:
    lab.fleet(wish("a"))
    taken = snapshot(lab, "loaded", memory=True)
    assert taken.after["a"] == {"snapshots.loaded": {"power": "on"}}
    lab.fleet(wish("a", **OFF))
    back = snapshot(lab, "loaded", state="reverted")
    assert back.vms["a"]["operations"] == ["revert to the snapshot loaded"]
    assert (back.before["a"]["power"], back.after["a"]["power"]) == ("off", "on")
    assert back.vms["a"]["power"] == "poweredOn"
    assert snapshot(lab, "loaded", state="reverted", power="off").vms["a"]["power"] == "poweredOff"


def test_a_vm_that_is_off_has_no_memory_to_take(lab: Lab) -> None:
    lab.fleet(wish("a", **OFF))
    taken = snapshot(lab, "cold", memory=True)
    assert taken.warnings == ["a: snapshot 'cold' has no memory, because the VM is off"]
    assert taken.vms["a"]["snapshots"][0]["power"] == "poweredOff"
    assert "was taken without memory" in snapshot(lab, "cold", memory=True).warnings[0]


def test_a_suspended_vm_is_suspended_again(lab: Lab) -> None:
    lab.fleet(wish("a", lifecycle={"power": "suspended"}))
    assert snapshot(lab, "asleep").after["a"] == {"snapshots.asleep": {"power": "suspended"}}
    lab.fleet(wish("a"))
    assert snapshot(lab, "asleep", state="reverted").vms["a"]["power"] == "suspended"
    assert snapshot(lab, "asleep", state="reverted", power="on").vms["a"]["power"] == "poweredOn"


def test_a_quiesced_snapshot(lab: Lab) -> None:
    lab.fleet(wish("a"))
    assert snapshot(lab, "quiet", quiesce=True).vms["a"]["snapshots"][0]["quiesced"]


def test_fleet_mends_what_a_revert_brought_back(lab: Lab) -> None:
    """Marks and settings of the snapshot return; nobody but fleet's wish knows what differs."""
    lab.fleet(wish("a"))
    snapshot(lab, "clean")
    more = wish("a", cpus=4, tweaks={"extra_config": {"svga.vramSize": "8388608"}})
    more |= {"lifecycle": {"power_cycle": "allowed"}}
    lab.fleet(more)
    back = snapshot(lab, "clean", state="reverted")
    assert (back.before["a"]["power"], back.after["a"]["power"]) == ("on", "off")
    seen = lab.fleet(more, check=True)
    assert seen.vms["a"]["owner"] == "tests"
    assert {"cpus", "extra_config.svga.vramSize", "power"} <= set(seen.after["a"])
    assert lab.fleet(more).changed
    assert not lab.fleet(more).changed
    assert lab.fleet({"name": "a"}, state="absent").changed


def test_refusals_name_everything_at_once(lab: Lab) -> None:
    lab.fleet(wish("nb-01"), wish("nb-02"))
    snapshot(lab, "clean", "nb-01")
    error = refusal(lab, "claen", "nb-01", "nb-02", state="reverted")
    assert error.error_code == "unknown_snapshot"
    assert "nb-01: snapshot 'claen': expected a snapshot; found none. Next: did you mean 'clean'?" in str(error)
    assert "nb-02: snapshot 'claen': expected a snapshot; found none. Next: there are none" in str(error)
    error = refusal(lab, "clean", "nb-1", "nb-02")
    assert str(error) == "VM 'nb-1': expected a VM of that name; found none. Next: did you mean 'nb-01'?"
    assert refusal(lab, "clean", "nb-01", owner="somebody").error_code == "not_owner"
    assert refusal(lab, "clean", "nano-banana-baseline-template").error_code == "not_owner"
    assert refusal(lab, "x", "nb-01", all=True).error_code == "invalid_snapshot"
    assert snapshot(lab, None, "nano-banana-baseline-template", state="gathered").vms


def test_directpath_has_no_snapshots(lab: Lab) -> None:
    lab.fleet(wish("a", gpu=DIRECTPATH, disks=[], **OFF), wish("b", **OFF))
    error = refusal(lab, "clean", "a", "b", check=True)
    assert error.error_code == "passthrough"
    assert "a DirectPath device" in str(error)
    assert "make the VM anew from its template instead: state absent, then present" in str(error)
    assert refusal(lab, "clean", "a", "b").error_code == "passthrough"


def test_a_wish_that_suspends_directpath_is_refused_before_the_vm_is_made(lab: Lab) -> None:
    since = len(lab.calls())
    for gpus in (DIRECTPATH, [{"mode": "dynamic", "vendor_id": "10de", "device_id": "2236"}]):
        for check in (True, False):
            with pytest.raises(TestbedError) as caught:
                lab.fleet(wish("a", gpu=gpus, disks=[], lifecycle={"power": "suspended"}), check=check)
            assert caught.value.error_code == "passthrough"
    assert writes(lab, since) == []


def vgpu(name: str, profile: str, power: str = "on") -> dict[str, Any]:
    gpus = [{"mode": "vgpu", "profile": f"nvidia_a10-{profile}"}]
    return wish(name, gpu=gpus, disks=[], lifecycle={"power": power, "wait_seconds": 0})


def test_vgpu_asks_the_host(lab: Lab) -> None:
    """By lab/inventory.yml, 2c can do everything, 8c no snapshots, 24c no memory snapshots and no suspend."""
    assert not lab.fleet(vgpu("a", "2c")).error
    assert snapshot(lab, "clean", "a", memory=True).changed
    lab.fleet(state="absent", all_owned=True)
    assert not lab.fleet(vgpu("b", "8c")).error
    error = refusal(lab, "clean", "b")
    assert "vGPU nvidia_a10-8c, whose snapshot its host does not support. Next: power the VM off first" in str(error)
    lab.fleet(vgpu("b", "8c", "off"))
    assert snapshot(lab, "clean", "b").changed, "while it is off it always works"


def test_vgpu_with_disks_only(lab: Lab) -> None:
    with pytest.raises(TestbedError) as caught:
        lab.fleet(vgpu("c", "24c", "suspended"), check=True)
    assert "whose suspend its host does not support" in str(caught.value)
    assert not lab.fleet(vgpu("c", "2c", "suspended"), check=True).error
    assert not lab.fleet(vgpu("c", "24c")).error
    error = refusal(lab, "clean", "c", memory=True)
    assert "whose memory snapshot its host does not support. Next: take it without memory" in str(error)
    assert snapshot(lab, "clean", "c").changed


def test_two_of_one_name_are_never_guessed(lab: Lab) -> None:
    lab.fleet(wish("a", **OFF))
    with session(lab) as content:
        for _time in range(2):
            wait_for(machine(content).CreateSnapshotEx_Task(name="twin", memory=False))
    for state in ("present", "reverted", "absent"):
        error = refusal(lab, "twin", state=state)
        assert error.error_code == "ambiguous_snapshot"
        assert "rename one of them in vCenter" in str(error)
    assert len(snapshot(lab, None, state="gathered").vms["a"]["snapshots"]) == 2
    assert snapshot(lab, None, state="absent", all=True).changed


def test_a_revert_never_loses_the_owner(lab: Lab) -> None:
    """A snapshot from before the VM was taken over has no mark in its settings."""
    lab.fleet(wish("a", **OFF))
    with session(lab) as content:
        vm = machine(content)
        kept = [option for option in vm.config.extraConfig if option.key.startswith("nanobanana.")]
        bare = [vim.option.OptionValue(key=option.key, value="") for option in kept]
        wait_for(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=bare)))
        wait_for(vm.CreateSnapshotEx_Task(name="before", memory=False))
        wait_for(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=kept)))
    error = refusal(lab, "before", state="reverted")
    assert error.error_code == "not_owner"
    assert "because a revert brings them back" in str(error)


def test_a_disk_with_snapshots_does_not_grow(lab: Lab) -> None:
    lab.fleet(wish("a", **OFF))
    snapshot(lab, "clean")
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("a", disks=[{"name": "data", "size_gb": 30}], **OFF))
    assert writes(lab, since) == []
    assert caught.value.error_code == "linked_disk"
    snapshot(lab, "clean", state="absent")
    assert lab.fleet(wish("a", disks=[{"name": "data", "size_gb": 30}], **OFF)).changed


def test_33_on_top_of_each_other_are_refused(lab: Lab) -> None:
    lab.fleet(wish("a", **OFF))
    with session(lab) as content:
        vm = machine(content)
        for number in range(32):
            wait_for(vm.CreateSnapshotEx_Task(name=f"s{number}", memory=False))
        task = vm.CreateSnapshotEx_Task(name="s32", memory=False)
        with pytest.raises(AssertionError, match="TooManySnapshotLevels"):
            wait_for(task)
    error = refusal(lab, "s32")
    assert "expected at most 32 snapshots on top of each other; found 32" in str(error)


MISHAPS = {
    "delays": {"CreateSnapshotEx_Task": "0.4s"},
    "random": {
        "seed": 3,
        "rate": 0.3,
        "methods": ["RevertToSnapshot_Task", "RemoveSnapshot_Task"],
        "faults": ["TaskInProgress"],
    },
    "sessions": {"expire_after_calls": 60, "times": 1},
    "refuse": [{"vm": "nb-03", "method": "CreateSnapshotEx_Task", "fault": "NoDiskSpace", "times": 1}],
}


def test_one_vm_fails_and_the_others_go_on(start_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """With the retries, the renewed session and the limits that fleet has."""
    (tmp_path / "faults.json").write_text(json.dumps(MISHAPS))
    poor = start_lab("fake", NANOBANANA_LAB_FAULTS=str(tmp_path / "faults.json"))
    vms = [f"nb-{number:02}" for number in range(6)]
    poor.fleet(*(wish(name, disks=[], **OFF) for name in vms))
    began = time.monotonic()
    first = snapshot(poor, "clean", *vms, limits={"snapshot": 2, "power": 0})
    assert time.monotonic() - began > 1.1, "six tasks of 0.4 s, two at a time"
    assert first.error is not None
    assert first.error.error_code == "no_space"
    assert {name: row["status"] for name, row in first.vms.items()} == {
        name: "failed" if name == "nb-03" else "changed" for name in vms
    }
    assert first.vms["nb-03"]["error_code"] == "no_space"
    assert first.vms["nb-00"]["seconds"]["snapshot"] >= 0.4
    again = snapshot(poor, "clean", *vms)
    assert {name for name, row in again.vms.items() if row["status"] == "changed"} == {"nb-03"}
    for state in ("reverted", "absent"):
        assert snapshot(poor, "clean", *vms, state=state).error is None
    assert not snapshot(poor, "clean", *vms, state="absent").changed
    late = snapshot(poor, "late", *vms, limits={"snapshot": 1, "power": 0}, deadline_seconds=1)
    assert late.error is not None
    assert late.error.error_code == "deadline"


HOSTS = """
baseline:
  hosts:
    nb-gpu: {vm_gpu: [{mode: static, model: A10}], vm_lifecycle: {wait_seconds: 0}}
    nb-kept: {vm_lifecycle: {wait_seconds: 0}}
    nb-missing: {vm_lifecycle: {after_case: power_off}}
compatibility:
  hosts:
    nb-asleep: {vm_lifecycle: {wait_seconds: 0, after_case: suspend}}
    nb-off: {vm_lifecycle: {wait_seconds: 0, after_case: suspend}}
stress:
  hosts:
    nb-back: {vm_lifecycle: {wait_seconds: 0, after_case: revert, snapshot: clean}}
"""

MAKE = """
- hosts: all
  gather_facts: false
  tasks:
    - nanobanana.testbed.fleet:
        owner: lab
        vms: "{{ ansible_play_hosts_all | nanobanana.testbed.wishes(hostvars) }}"
      delegate_to: localhost
      run_once: true
    - nanobanana.testbed.fleet_snapshot:
        owner: lab
        name: clean
        memory: true
        vms: [nb-back]
      delegate_to: localhost
      run_once: true
"""


def test_after_a_case(lab: Lab, tmp_path: Path) -> None:
    """Each VM is left as its wish says; one that does not exist is not made, and one that is off is not suspended."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text(HOSTS)
    (inventory / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    command = ["-i", str(inventory), "playbooks/after_case.yml"]
    wanted = ["nb-gpu", "nb-kept", "nb-asleep", "nb-off", "nb-back"]
    try:
        (tmp_path / "make.yml").write_text(MAKE)
        made = lab.playbook("-i", str(inventory), str(tmp_path / "make.yml"), "--limit", ",".join(wanted))
        assert made.returncode == 0, made.stdout + made.stderr
        with session(lab) as content:
            wait_for(machine(content, "nb-off").PowerOffVM_Task())
        since = len(lab.calls())
        shown = lab.playbook(*command, "--check", "--diff")
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert writes(lab, since) == []
        done = lab.playbook(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        with session(lab) as content:
            powers = {name: str(machine(content, name).runtime.powerState) for name in wanted}
        assert powers == {
            "nb-gpu": "poweredOff",
            "nb-kept": "poweredOn",
            "nb-asleep": "suspended",
            "nb-off": "poweredOff",
            "nb-back": "poweredOn",
        }
        assert sorted(writes(lab, since)) == ["RevertToSnapshot_Task", "ShutdownGuest", "SuspendVM_Task"]
        since = len(lab.calls())
        assert lab.playbook(*command).returncode == 0
        assert writes(lab, since) == ["RevertToSnapshot_Task"]
    finally:
        lab.fleet(state="absent", all_owned=True, owner="lab")


def test_a_wish_that_cannot_be_after_a_case_is_refused_by_the_gate(lab: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text(HOSTS.replace("{wait_seconds: 0}", "{after_case: revert, snapshot: clean}", 1))
    (inventory / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    since = len(lab.calls())
    done = lab.playbook("-i", str(inventory), "playbooks/after_case.yml")
    assert done.returncode == 2
    assert "nb-gpu: vm_lifecycle.after_case: expected keep or power_off" in " ".join(done.stdout.split())
    assert writes(lab, since) == []
