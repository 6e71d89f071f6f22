# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet against the lab's vCenter: many VMs, other owners, errors; capabilities are in test_twelve_cases.py."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.integration.conftest import Lab, wish

pytestmark = pytest.mark.integration


@contextmanager
def session(lab: Lab) -> Iterator[Any]:
    """A plain pyVmomi session of somebody else: what he would see and do."""
    context = ssl.create_default_context(cafile=lab.vcenter["ca_file"])
    login = lab.administrator()
    instance = SmartConnect(
        host=lab.vcenter["hostname"],
        port=lab.vcenter["port"],
        user=login["vsphere_username"],
        pwd=login["vsphere_password"],
        sslContext=context,
    )
    try:
        yield instance.content
    finally:
        Disconnect(instance)


def writes(lab: Lab, since: int) -> list[str]:
    return [call["method"] for call in lab.calls()[since:] if call["write"]]


def vm_names(lab: Lab) -> list[str]:
    with session(lab) as content:
        found = lookup.everything(content, {vim.VirtualMachine: ["name", "config.template"]})
        return sorted(values["name"] for _reference, values in found if not values["config.template"])


def test_removal_leaves_the_others(lab: Lab) -> None:
    lab.fleet(wish("a"), wish("b"))
    assert lab.fleet({"name": "a"}, state="absent").after == {"a": {"power": "off", "state": "absent"}}
    assert vm_names(lab) == ["b"]


def test_the_vm_is_what_was_wished(lab: Lab) -> None:
    """Read by a plain pyVmomi session, property by property."""
    lab.fleet(wish("a", tweaks={"extra_config": {"svga.vramSize": "8388608"}}))
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        config, keys = machine.config, {option.key: option.value for option in machine.config.extraConfig}
        assert (config.hardware.numCPU, config.hardware.memoryMB) == (2, 2048)
        assert config.memoryReservationLockedToMax
        assert config.memoryAllocation.reservation == 2048
        assert not config.template
        assert keys["sched.mem.maxmemctl"] == "0"
        assert keys["sched.mem.pshare.enable"] == "FALSE"
        assert keys["mks.enable3d"] == "FALSE"
        assert keys["nanobanana.owner"] == "tests"
        assert keys["svga.vramSize"] == "8388608"
        assert machine.parent.name == "nano-banana"
        assert machine.runtime.powerState == "poweredOn"
        devices = config.hardware.device
        data = next(
            disk
            for disk in devices
            if isinstance(disk, vim.vm.device.VirtualDisk) and disk.unitNumber == 0 and disk.controllerKey != 1000
        )
        controller = next(device for device in devices if device.key == data.controllerKey)
        assert isinstance(controller, vim.vm.device.ParaVirtualSCSIController)
        assert (data.capacityInKB, data.backing.thinProvisioned, data.backing.eagerlyScrub) == (20 << 20, False, False)
        cards = [device for device in devices if isinstance(device, vim.vm.device.VirtualEthernetCard)]
        assert [type(card) for card in cards] == [vim.vm.device.VirtualVmxnet3]
        assert cards[0].backing.port.portgroupKey


def test_the_result_carries_the_disks_uuid(lab: Lab) -> None:
    disks = lab.fleet(wish("a")).vms["a"]["disks"]
    assert disks[0]["name"] == "data"
    assert len(disks[0]["uuid"]) == 36
    assert lab.fleet(wish("a"), state="gathered").vms["a"]["disks"] == disks


def test_a_vm_that_was_powered_off_is_powered_on_again(lab: Lab) -> None:
    lab.fleet(wish("a"))
    with session(lab) as content:
        WaitForTask(lookup.find_vms(content, ["a"])["a"].PowerOffVM_Task())
    assert lab.fleet(wish("a")).vms["a"]["operations"] == ["power on"]


def test_somebody_elses_vm_is_left_alone(lab: Lab) -> None:
    lab.fleet(wish("theirs"), owner="somebody")
    try:
        for options in ({"state": "present"}, {"state": "absent"}):
            since = len(lab.calls())
            with pytest.raises(TestbedError) as caught:
                lab.fleet(wish("theirs"), wish("mine"), **options)
            assert caught.value.error_code == "not_owner"
            assert "'somebody'" in str(caught.value)
            assert writes(lab, since) == []
        lab.fleet(wish("mine"))
        assert lab.fleet(state="absent", all_owned=True).changed
        assert vm_names(lab) == ["theirs"]
    finally:
        lab.fleet(state="absent", all_owned=True, owner="somebody")


def test_a_template_of_that_name_is_never_removed(lab: Lab) -> None:
    with pytest.raises(TestbedError) as caught:
        lab.fleet({"name": "nano-banana-baseline-template"}, state="absent")
    assert "a template" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            {"template": {"library": "nano-banan", "item": "x"}},
            ["no library 'nano-banan'", "did you mean 'nano-banana'?"],
        ),
        (
            {"template": {"library": "nano-banana", "item": "nano-banana-baselin-template"}},
            ["no item", "did you mean 'nano-banana-baseline-template'?"],
        ),
        ({"networks": [{"network": "testbedd"}]}, ["vm_networks[0].network", "did you mean 'testbed'?"]),
        ({"placement": {"cluster": "gpu"}}, ["vm_placement.cluster", "no cluster 'gpu'"]),
        ({"placement": {"datastore": "vmfs-1"}}, ["vm_placement.datastore", "did you mean 'vmfs-01'?"]),
        ({"placement": {"folder": "nope/deep"}}, ["vm_placement.folder"]),
        ({"placement": {"datacenter": "DC9"}}, ["vm_placement.datacenter", "'DC0'"]),
        ({"placement": {"host": "esx-99"}}, ["vm_placement.host"]),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_made(
    lab: Lab, change: dict[str, Any], parts: list[str]
) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("good"), wish("bad", **change))
    assert "bad" in str(caught.value) or "template" in str(caught.value)
    for part in parts:
        assert part in str(caught.value)
    assert writes(lab, since) == []


def test_many_vms_at_once(lab: Lab) -> None:
    vms = [wish(f"vm-{number:02}", disks=[]) for number in range(24)]
    made = lab.fleet(*vms)
    addresses = {made.vms[vm["name"]]["address"] for vm in vms}
    assert len(addresses) == 24
    assert not lab.fleet(*vms).changed


def test_one_session_and_no_other_is_left_behind(lab: Lab) -> None:
    since = len(lab.calls())
    lab.fleet(wish("a"))
    methods = [call["method"] for call in lab.calls()[since:]]
    assert methods.count("Login") == 1
    assert methods.count("Logout") == 1
    assert methods.count("POST /api/session") == 1
    assert methods.count("DELETE /api/session") == 1


def test_two_runs_at_once_end_in_one_set_of_vms(lab: Lab) -> None:
    from concurrent.futures import ThreadPoolExecutor

    vms = [wish(f"vm-{number}") for number in range(6)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = [future.result() for future in [pool.submit(lab.fleet, *vms) for _turn in range(2)]]
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert vm_names(lab) == [vm["name"] for vm in vms]
    with session(lab) as content:
        for machine in lookup.find_vms(content, [vm["name"] for vm in vms]).values():
            disks = [
                device for device in machine.config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)
            ]
            assert len(disks) == 2, "the boot disk and one data disk"
    assert not lab.fleet(*vms).changed


def test_outcome_keeps_user_data_out(lab: Lab) -> None:
    outcome = lab.fleet(wish("a"))
    assert "s3cret-userdata" not in str(dataclasses.asdict(outcome))
    assert "s3cret-userdata" not in "\n".join(str(call) for call in lab.calls())


def test_one_module_default_gives_the_connection_to_the_whole_group(lab: Lab, tmp_path: Path) -> None:
    task = {
        "name": "Read",
        "nanobanana.testbed.fleet": {"state": "gathered", "owner": "tests", "vms": [{"name": "nobody"}]},
        "register": "found",
    }
    check = {"name": "See", "ansible.builtin.assert": {"that": "not found.vms.nobody.exists"}}
    defaults = {"group/nanobanana.testbed.vsphere": lab.connection()}
    play = {"hosts": "localhost", "gather_facts": False, "module_defaults": defaults, "tasks": [task, check]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = lab.playbook("-i", "/dev/null", str(tmp_path / "play.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
