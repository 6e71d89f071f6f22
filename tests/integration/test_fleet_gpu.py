# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs against the lab's vCenter: whole hosts, races, and what errors say (D1-D10)."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.integration.conftest import Lab, wish
from tests.integration.test_fleet import session, vm_names, writes

pytestmark = pytest.mark.integration

Gpus = list[dict[str, str]]
ANY_A10: Gpus = [{"mode": "static", "model": "A10"}]
MODES: dict[str, Gpus] = {
    "address": [{"mode": "static", "address": "0000:86:00.0"}],
    "model": ANY_A10,
    "dynamic": [{"mode": "dynamic", "vendor_id": "10de", "device_id": "2236"}],
    "vgpu": [{"mode": "vgpu", "profile": "nvidia_a10-4c"}],
}
OFF = {"lifecycle": {"power": "off"}}


def gpu_wish(name: str, gpus: Gpus, **fields: Any) -> dict[str, Any]:
    return wish(name, gpu=gpus, disks=[], **fields)


def on_host(name: str) -> dict[str, str]:
    return {"datacenter": "DC0", "folder": "nano-banana", "host": name}


def devices(lab: Lab, name: str) -> list[Any]:
    with session(lab) as content:
        config = lookup.find_vms(content, [name])[name].config
        return [device for device in config.hardware.device if isinstance(device, vim.vm.device.VirtualPCIPassthrough)]


def refusal(lab: Lab, *vms: dict[str, Any]) -> TestbedError:
    """The error of a call that has to write nothing."""
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(*vms)
    assert writes(lab, since) == []
    return caught.value


def test_the_vm_is_what_was_wished(lab: Lab) -> None:
    """Read by a plain pyVmomi session, property by property."""
    lab.fleet(gpu_wish("a", MODES["address"] + ANY_A10))
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        keys = {option.key: option.value for option in machine.config.extraConfig}
        assert machine.config.memoryReservationLockedToMax
        assert machine.config.memoryAllocation.reservation == 2048
        assert machine.runtime.host.name == "esx-01.lab"
        offered = machine.runtime.host.parent.environmentBrowser.QueryConfigTarget(machine.runtime.host).pciPassthrough
        systems = {item.systemId for item in offered}
    assert (keys["pciPassthru.use64bitMMIO"], keys["pciPassthru.64bitMMIOSizeGB"]) == ("TRUE", "128")
    backings = [device.backing for device in devices(lab, "a")]
    assert [backing.id for backing in backings] == ["0000:86:00.0", "0000:3b:00.0"]
    assert {(backing.vendorId, backing.deviceId) for backing in backings} == {(4318, "2236")}
    assert {backing.systemId for backing in backings} == systems


def test_every_device_of_a_model_is_given_out_once_and_then_there_is_an_error(lab: Lab) -> None:
    vms = [gpu_wish(name, ANY_A10) for name in "abc"]
    made = lab.fleet(*vms)
    assert made.error is None
    found = {(row["host"], row["address"]) for vm in made.vms.values() for row in vm["gpu"]}
    assert found == {("esx-01.lab", "0000:3b:00.0"), ("esx-01.lab", "0000:86:00.0"), ("esx-02.lab", "0000:3b:00.0")}
    error = refusal(lab, *vms, gpu_wish("d", ANY_A10))
    assert error.error_code == "no_gpu"
    for part in (
        "d: vm_gpu[0]: expected a free device of model 'A10' on a host of cluster 'gpu-cluster'",
        "0000:86:00.0 NVIDIA A10 [10de:2236] held by",
        "esx-02.lab: 0000:3b:00.0 NVIDIA A10",
        "remove a VM that holds one",
    ):
        assert part in str(error)
    for name in "abc":
        assert f"'{name}'" in str(error)


@pytest.mark.parametrize(
    ("gpus", "fields", "parts"),
    [
        (
            [{"mode": "static", "address": "0000:af:00.0"}],
            {},
            ["0000:af:00.0 NVIDIA T4 [10de:1eb8] passthrough enabled but not active", "Next: reboot host esx-02.lab"],
        ),
        (
            [{"mode": "vgpu", "profile": "nvidia_t4-16c"}],
            {},
            [
                "graphics type 'shared', vGPU needs 'sharedDirect'",
                "Next: set the graphics type of 0000:5e:00.0 on host esx-03",
            ],
        ),
        ([{"mode": "static", "model": "H100"}], {}, ["model 'H100'", "Next: wish for a device from this list"]),
        (
            ANY_A10,
            {"placement": {"host": "esx-03.lab"}},
            ["on host 'esx-03.lab'", "0000:3b:00.0 NVIDIA A10 [10de:2236] serves vGPUs"],
        ),
        (
            [{"mode": "dynamic", "vendor_id": "10de", "device_id": "20f1"}],
            {},
            ["device 10de:20f1", "esx-01.lab: 0000:3b"],
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    lab: Lab, gpus: Gpus, fields: dict[str, Any], parts: list[str]
) -> None:
    error = refusal(lab, gpu_wish("good", ANY_A10), gpu_wish("bad", gpus, **fields))
    assert error.error_code == "no_gpu"
    for part in ["bad: vm_gpu[0]", *parts]:
        assert part in str(error)


def test_a_running_vm_needs_to_be_powered_off(lab: Lab) -> None:
    lab.fleet(gpu_wish("a", []))
    with session(lab) as content:
        host = lookup.find_vms(content, ["a"])["a"].runtime.host.name
    error = refusal(lab, gpu_wish("a", ANY_A10))
    if host == "esx-03.lab":
        assert "power the VM off" in str(error)
    else:
        assert error.error_code == "needs_power_off"


def test_bios_firmware_is_refused(lab: Lab) -> None:
    lab.fleet(gpu_wish("a", [], **OFF))
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(firmware="bios")))
    error = refusal(lab, gpu_wish("a", ANY_A10, **OFF))
    assert error.error_code == "gpu_needs_efi"
    assert "BIOS firmware in VM 'a'" in str(error)


def test_dynamic_devices_raise_the_hardware_version(lab: Lab) -> None:
    wanted = gpu_wish("old", MODES["dynamic"])
    keys = {"nanobanana.owner": "tests", "nanobanana.template": "nano-banana/nano-banana-baseline-template"}
    with session(lab) as content:
        center = next(item for item in content.rootFolder.childEntity if item.name == "DC0")
        folder = next(item for item in center.vmFolder.childEntity if item.name == "nano-banana")
        pool = center.hostFolder.childEntity[0].resourcePool
        spec = vim.vm.ConfigSpec(
            name="old",
            version="vmx-15",
            firmware="efi",
            guestId="ubuntu64Guest",
            numCPUs=1,
            memoryMB=1024,
            files=vim.vm.FileInfo(vmPathName="[vmfs-01]"),
            extraConfig=[vim.option.OptionValue(key=key, value=value) for key, value in keys.items()],
        )
        WaitForTask(folder.CreateVM_Task(config=spec, pool=pool))
    made = lab.fleet(wanted)
    assert made.error is None
    assert made.vms["old"]["operations"][0].startswith("upgrade")
    with session(lab) as content:
        assert lookup.find_vms(content, ["old"])["old"].config.version == "vmx-17"
    assert not lab.fleet(wanted).changed


def test_two_plays_with_the_same_wish_end_in_the_same_place(lab: Lab) -> None:
    vms = [gpu_wish(name, ANY_A10) for name in "abc"]
    with ThreadPoolExecutor(2) as pool:
        outcomes = [item.result() for item in [pool.submit(lab.fleet, *vms) for _play in range(2)]]
    assert [item.error for item in outcomes] == [None, None]
    assert not lab.fleet(*vms).changed
    assert vm_names(lab) == ["a", "b", "c"]


def test_a_sources_own_gpu_is_taken_out_in_the_clone_call(lab: Lab) -> None:
    """D10: the VM never has the GPU, not even for the time of a second call, and check mode says so."""
    lab.fleet(gpu_wish("source", MODES["vgpu"], **OFF), owner="somebody")
    wanted = gpu_wish("a", [], template={"vm": "source"}, **OFF)
    try:
        shown = lab.fleet(wanted, check=True)
        assert shown.before["a"]["gpu[0]"]["profile"] == "nvidia_a10-4c"
        assert shown.after["a"]["gpu[0]"] is None
        assert lab.fleet(wanted).vms["a"]["operations"] == ["clone from the template"]
        assert devices(lab, "a") == []
    finally:
        lab.fleet(state="absent", all_owned=True)
        lab.fleet(state="absent", all_owned=True, owner="somebody")


@pytest.fixture(scope="module")
def slow(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab whose clones take so long that two processes choose before either of them has made anything."""
    faults = tmp_path_factory.mktemp("lab") / "faults.json"
    faults.write_text(json.dumps({"delays": {"CloneVM_Task": "5s"}}))
    return start_lab("fake", NANOBANANA_LAB_FAULTS=str(faults))


def test_two_plays_that_race_for_the_same_devices_never_share_one(slow: Lab) -> None:
    plays = [[gpu_wish(f"{play}{number}", ANY_A10) for number in range(2)] for play in "ab"]
    try:
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(lambda vms: slow.fleet(*vms), plays))
    finally:
        slow.fleet(state="absent", all_owned=True)
    rows = [
        (row["host"], row["address"])
        for item in outcomes
        for vm in item.vms.values()
        for row in vm.get("gpu", ())
        if vm["power"] == "poweredOn"
    ]
    assert len(rows) == len(set(rows)) == 3, "three devices, each in one running VM"
    errors = [str(item.error) for item in outcomes if item.error]
    assert len(errors) == 1
    assert "vm_gpu[0]: expected a free device of model 'A10'" in errors[0]


def play_of(path: Path, lab: Lab, *vms: dict[str, Any]) -> str:
    task = {"name": "Make", "nanobanana.testbed.fleet": {**lab.connection(), "owner": "tests", "vms": list(vms)}}
    path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    return str(path)


@pytest.mark.parametrize(
    ("gpus", "each", "winners"), [(ANY_A10, 2, 3), (MODES["address"], 1, 1)], ids=["any of three", "one by its address"]
)
def test_two_processes_that_race_for_devices_of_vms_that_stay_off(
    slow: Lab, tmp_path: Path, gpus: Gpus, each: int, winners: int
) -> None:
    """vCenter lets two VMs that are off name one device: the runs themselves have to see it, and one gives way."""
    since = len(slow.calls())
    plays = [[gpu_wish(f"{play}{number}", gpus, **OFF) for number in range(each)] for play in "ab"]
    files = [play_of(tmp_path / f"{vms[0]['name']}.yml", slow, *vms) for vms in plays]
    try:
        with ThreadPoolExecutor(2) as pool:
            ended = list(pool.map(lambda file: slow.playbook("-i", "/dev/null", file), files))
        names = [vm["name"] for vms in plays for vm in vms]
        found = slow.fleet(*({"name": name} for name in names), state="gathered").vms
        rows = [(row["host"], row["address"]) for vm in found.values() for row in vm["gpu"]]
        assert len(rows) == len(set(rows)) == winners
        assert "ReconfigVM_Task" in writes(slow, since), "both chose before either knew, so one has given way"
        text = "".join(item.stdout + item.stderr for item in ended)
        assert sorted(item.returncode for item in ended) == [0, 2], text
        assert "vm_gpu[0]: expected a free device" in text
        holding = [vm for vms in plays for vm in vms if found[vm["name"]]["gpu"]]
        assert not slow.fleet(*holding).changed
    finally:
        slow.fleet(state="absent", all_owned=True)


def test_a_device_taken_by_somebody_else_before_power_on_is_replaced(lab: Lab) -> None:
    """The loser of a race finds its device in use at power-on; the next free one is on another host."""
    lab.fleet(gpu_wish("a", ANY_A10, placement=on_host("esx-02.lab"), **OFF))
    lab.fleet(gpu_wish("theirs", ANY_A10, placement=on_host("esx-01.lab"), **OFF), owner="somebody")
    try:
        with session(lab) as content:
            machine = lookup.find_vms(content, ["theirs"])["theirs"]
            loser = lookup.find_vms(content, ["a"])["a"]
            stolen = next(
                item for item in loser.config.hardware.device if isinstance(item, vim.vm.device.VirtualPCIPassthrough)
            )
            own = next(
                item for item in machine.config.hardware.device if isinstance(item, vim.vm.device.VirtualPCIPassthrough)
            )
            change = vim.vm.device.VirtualDeviceSpec
            WaitForTask(
                machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change(operation="remove", device=own)]))
            )
            WaitForTask(machine.RelocateVM_Task(vim.vm.RelocateSpec(host=loser.runtime.host)))
            new = vim.vm.device.VirtualPCIPassthrough(key=-1, backing=stolen.backing)
            WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change(operation="add", device=new)])))
            WaitForTask(machine.PowerOnVM_Task())
        made = lab.fleet(gpu_wish("a", ANY_A10))
        assert made.error is None
        assert made.vms["a"]["gpu"][0]["host"] == "esx-01.lab"
        assert made.vms["a"]["power"] == "poweredOn"
        assert not lab.fleet(gpu_wish("a", ANY_A10)).changed
        named = gpu_wish("a", [{"mode": "static", "address": "0000:3b:00.0"}], placement=on_host("esx-02.lab"))
        assert "'theirs'" in str(refusal(lab, named | {"name": "b"}))
    finally:
        lab.fleet(state="absent", all_owned=True, owner="somebody")


def test_a_playbook_gives_a_gpu_and_shows_which(lab: Lab, tmp_path: Path) -> None:
    """Through Ansible's own reading of arguments, which fills in what an entry does not name."""
    vms = [gpu_wish("a", MODES["dynamic"]), gpu_wish("b", [{"mode": "static", "model": "T4"}])]
    task = {
        "name": "Make",
        "nanobanana.testbed.fleet": {**lab.connection(), "owner": "tests", "vms": vms},
        "register": "made",
    }
    wanted = ["made.vms.a.gpu[0].device_id == '2236'", "made.vms.b.gpu[0].address == '0000:5e:00.0'"]
    check = {"name": "See", "ansible.builtin.assert": {"that": wanted}}
    (tmp_path / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task, check]}])
    )
    done = lab.playbook("-i", "/dev/null", str(tmp_path / "play.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_gpu_means_that_no_host_is_asked(lab: Lab) -> None:
    since = len(lab.calls())
    lab.fleet(gpu_wish("a", []))
    without = [call["method"] for call in lab.calls()[since:]]
    assert "QueryConfigTarget" not in without
    since = len(lab.calls())
    lab.fleet(gpu_wish("b", ANY_A10), check=True)
    assert "QueryConfigTarget" in [call["method"] for call in lab.calls()[since:]]
