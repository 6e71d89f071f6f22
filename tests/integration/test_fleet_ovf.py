# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet makes VMs from OVF items of the Content Library: deployed, then brought to the wish before they start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup, ownership
from pyVmomi import vim

from tests.integration.conftest import BIN, ROOT, Lab, give_role, wait_for, wish
from tests.integration.test_fleet import session, vm_names, writes
from tests.integration.test_fleet_storm import play

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def second_network(lab: Lab) -> Iterator[None]:
    """Packages with two networks are plugged into one more than the lab's login is granted."""
    with session(lab) as content:
        (network,) = [
            found
            for found, values in lookup.everything(content, {vim.Network: ["name"]})
            if values["name"] == "VM Network"
        ]
        give_role(content, network, "network")
        yield
        content.authorizationManager.RemoveEntityPermission(network, "VSPHERE.LOCAL\\testbed", False)


OFF = {"lifecycle": {"power": "off"}}
PLAIN = {"library": "nano-banana", "item": "nano-banana-baseline-ovf"}
APPLIANCE = {"library": "nano-banana", "item": "nano-banana-appliance-ovf"}
MARKS = {
    "nanobanana.owner": "tests",
    "nanobanana.run": "r0",
    "nanobanana.expires": "2030-01-01T00:00:00Z",
    "nanobanana.template": "nano-banana/nano-banana-baseline-ovf",
}


def packaged(name: str, template: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return wish(name, template=template or PLAIN, **fields)


def deployments(lab: Lab, since: int) -> int:
    return sum("action=deploy" in call["method"] for call in lab.calls()[since:])


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_create_change_and_delete(lab: Lab, check: bool) -> None:
    wanted = packaged("a")
    since = len(lab.calls())
    first = lab.fleet(wanted, check=check)
    assert first.changed
    assert first.before["a"] == {"state": "absent", "power": "off"}
    assert first.after["a"]["extra_config.nanobanana.template"] == "nano-banana/nano-banana-baseline-ovf"
    assert first.vms["a"]["operations"][0] == "deploy the OVF item"
    if check:
        assert writes(lab, since) == []
        assert vm_names(lab) == []
        assert "shows when it is deployed" in first.warnings[0]
        assert lab.fleet(wanted, check=True).changed
        lab.fleet(wanted)
    since = len(lab.calls())
    again = lab.fleet(wanted, check=check)
    assert not again.changed
    assert again.vms["a"]["address"]
    assert writes(lab, since) == []

    more = wanted | {"disks": [*wanted["disks"], {"name": "more", "size_gb": 5}]}
    assert lab.fleet(more, check=check).changed
    assert lab.fleet(more).changed is check
    assert not lab.fleet(more).changed

    assert lab.fleet({"name": "a"}, state="absent", check=check).changed
    assert lab.fleet({"name": "a"}, state="absent").changed is check
    assert not lab.fleet({"name": "a"}, state="absent").changed
    assert vm_names(lab) == []


def test_it_is_what_was_wished_before_it_starts(lab: Lab) -> None:
    since = len(lab.calls())
    outcome = lab.fleet(packaged("a"))
    assert outcome.error is None
    assert [method.split("?")[-1] for method in writes(lab, since)] == [
        "action=deploy",
        "ReconfigVM_Task",
        "PowerOnVM_Task",
    ]
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        (actual,) = lookup.read_vms(content, [machine], {}).values()
        notes = machine.config.annotation
    assert (actual.cpus, actual.memory_mb, actual.guest_id) == (2, 2048, "ubuntu64Guest")
    assert actual.memory_locked
    assert [disk.size_kb >> 20 for disk in actual.disks] == [40, 20]
    assert actual.owner == "tests"
    assert not actual.deployed
    assert notes == "The baseline image as an OVF package."
    assert actual.extra_config["guestinfo.userdata"] != "I2Nsb3VkLWNvbmZpZwo="


def test_what_the_package_tells_its_guest_is_not_for_this_one(lab: Lab) -> None:
    lab.fleet(packaged("a", customization={"method": "none"}, **OFF))
    with session(lab) as content:
        (actual,) = lookup.read_vms(content, lookup.find_vms(content, ["a"]).values(), {}).values()
    assert not actual.extra_config.get("guestinfo.userdata")


def test_two_networks_and_a_license(lab: Lab) -> None:
    both = packaged(
        "a", APPLIANCE | {"accept_eula": True}, networks=[{"network": "testbed"}, {"network": "VM Network"}], **OFF
    )
    assert lab.fleet(both).error is None
    with session(lab) as content:
        (actual,) = lookup.read_vms(content, lookup.find_vms(content, ["a"]).values(), {}).values()
    assert len(actual.nics) == 2
    assert not lab.fleet(both).changed


def test_networks_of_the_same_name_need_no_wish(lab: Lab) -> None:
    """The lab's vCenter has a "VM Network", as the package calls its own."""
    wanted = packaged("a", networks=[], **OFF)
    assert lab.fleet(wanted).error is None
    assert not lab.fleet(wanted).changed


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        (
            {"template": APPLIANCE | {"accept_eula": True}},
            ["vm_networks", "each of the 2", "'management', 'data'", "found 1"],
        ),
        ({"template": APPLIANCE | {"accept_eula": True}, "networks": []}, ["a target for 'management'"]),
        ({"template": APPLIANCE, "networks": [{"network": "testbed"}] * 2}, ["accept_eula", "1 license agreement"]),
        ({"customization": {"method": "spec", "spec": "any"}}, ["vm_customization.spec", "none named 'any'"]),
        ({"template": PLAIN | {"item": "nano-banana-baselin-ovf"}}, ["did you mean 'nano-banana-baseline-ovf'?"]),
    ],
    ids=["too few networks", "no networks", "license", "customization", "item"],
)
@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_defects_are_reported_before_anything_is_made(
    lab: Lab, fields: dict[str, Any], parts: list[str], check: bool
) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("good"), packaged("bad") | fields, check=check)
    for part in parts:
        assert part in str(caught.value)
    assert deployments(lab, since) == 0
    assert writes(lab, since) == []


def test_a_wrong_placement_is_told_together_with_a_wrong_item(lab: Lab) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(
            packaged("a", placement={"cluster": "gpu-clustr"}),
            packaged("b", PLAIN | {"item": "nano-banana-baselin-ovf"}, placement={"cluster": "gpu-clustr"}),
        )
    assert "did you mean 'gpu-cluster'?" in str(caught.value)
    assert "did you mean 'nano-banana-baseline-ovf'?" in str(caught.value)
    assert writes(lab, since) == []


def half_made(lab: Lab, name: str, marks: dict[str, str], **fields: Any) -> None:
    """The VM that a run leaves which is killed between deploy and reconfigure."""
    lab.fleet(packaged(name, **OFF, **fields), owner="elsewhere")
    with session(lab) as content:
        machine = lookup.find_vms(content, [name])[name]
        keys = [option for option in machine.config.extraConfig if option.key.startswith("nanobanana.")]
        for option in keys:
            option.value = ""
        config = vim.vm.ConfigSpec(extraConfig=keys, annotation=ownership.told(marks, "As it was."), numCPUs=4)
        wait_for(machine.ReconfigVM_Task(config))


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_a_run_that_was_killed_after_the_deployment_is_finished(lab: Lab, check: bool) -> None:
    half_made(lab, "a", MARKS)
    since = len(lab.calls())
    first = lab.fleet(packaged("a"), check=check)
    assert first.changed
    assert deployments(lab, since) == 0
    if check:
        assert writes(lab, since) == []
        lab.fleet(packaged("a"))
    found = lab.fleet(packaged("a"), state="gathered").vms["a"]
    assert (found["owner"], found["run"], found["expires"]) == ("tests", "r0", "2030-01-01T00:00:00Z")
    with session(lab) as content:
        assert lookup.find_vms(content, ["a"])["a"].config.annotation == "As it was."
    assert not lab.fleet(packaged("a")).changed


def test_somebody_else_s_unfinished_vm_is_left_alone(lab: Lab) -> None:
    half_made(lab, "a", MARKS | {"nanobanana.owner": "somebody"})
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(packaged("a"), adopt=True)
    assert caught.value.error_code == "not_owner"
    assert "'somebody'" in str(caught.value)
    assert writes(lab, since) == []
    lab.fleet(state="absent", all_owned=True, owner="somebody")
    assert vm_names(lab) == []


def test_an_unfinished_vm_is_removed_and_reaped_like_any_other(lab: Lab) -> None:
    half_made(lab, "a", MARKS | {"nanobanana.expires": "2020-01-01T00:00:00Z"})
    assert lab.fleet(state="absent", all_owned=True, expired_only=True).changed
    half_made(lab, "b", MARKS)
    assert not lab.fleet(state="absent", all_owned=True, expired_only=True).changed
    assert lab.fleet(state="absent", all_owned=True).changed
    assert vm_names(lab) == []


PLACE = wish("a")["placement"]


@pytest.mark.parametrize(
    ("fields", "does"),
    [
        ({"placement": PLACE | {"storage_policy": "gold"}}, "storage_policy"),
        ({"placement": PLACE | {"drs": "manual"}}, "override the cluster's placement.drs"),
        (
            {"disks": [], "gpu": [{"mode": "static", "model": "A10"}]},
            "override the cluster's placement.drs, placement.ha",
        ),
    ],
    ids=["policy", "override", "static GPU"],
)
def test_what_a_clone_call_carries_comes_before_the_first_power_on(lab: Lab, fields: dict[str, Any], does: str) -> None:
    wanted = packaged("a", **fields)
    assert lab.fleet(wanted, check=True).changed
    outcome = lab.fleet(wanted)
    assert outcome.error is None
    operations = outcome.vms["a"]["operations"]
    assert operations[0] == "deploy the OVF item"
    assert does in ", ".join(operations[1:-1])
    assert operations[-1] == "power on"
    assert not lab.fleet(wanted).changed


CUSTOM = {"method": "spec", "spec": "vcsim-linux"}
CUSTOM_MARKS = MARKS | {"nanobanana.customization": "planned vcsim-linux"}


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_a_customization_specification_is_given_after_the_deployment(lab: Lab, check: bool) -> None:
    wanted = packaged("a", customization=CUSTOM)
    since = len(lab.calls())
    first = lab.fleet(wanted, check=check)
    assert first.before["a"] == {"state": "absent", "power": "off"}
    assert first.after["a"]["extra_config.nanobanana.customization"] == "pending vcsim-linux"
    if check:
        assert writes(lab, since) == []
        lab.fleet(wanted)
    assert [method.split("?")[-1] for method in writes(lab, since)] == [
        "action=deploy", "ReconfigVM_Task", "CustomizeVM_Task", "ReconfigVM_Task", "PowerOnVM_Task", "ReconfigVM_Task",
    ]  # fmt: skip
    with session(lab) as content:
        (actual,) = lookup.read_vms(content, lookup.find_vms(content, ["a"]).values(), {}).values()
    assert actual.extra_config["nanobanana.customization"] == "done vcsim-linux"
    assert not lab.fleet(wanted).changed


@pytest.mark.parametrize(
    "fields",
    [
        {"gpu": [{"mode": "static", "model": "A10"}], "disks": []},
        {"gpu": [{"mode": "vgpu", "profile": "nvidia_a10-4c"}], "disks": []},
        {"tweaks": {"firmware": "efi", "hardware_version": 21, "cores_per_socket": 2}},
    ],
    ids=["static", "vgpu", "hardware"],
)
@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_gpus_and_hardware_come_after_the_deployment(lab: Lab, fields: dict[str, Any], check: bool) -> None:
    wanted = packaged("a", **fields)
    assert lab.fleet(wanted, check=check).changed
    if check:
        assert vm_names(lab) == []
        return
    again = lab.fleet(wanted)
    assert again.error is None
    assert not again.changed
    assert len(again.vms["a"]["gpu"]) == len(fields.get("gpu", []))


def test_what_only_the_deployed_vm_shows_is_told_then(lab: Lab) -> None:
    wanted = packaged("a", tweaks={"firmware": "bios"})
    outcome = lab.fleet(wanted)
    assert outcome.error is not None
    assert outcome.error.error_code == "wrong_firmware"
    assert lab.fleet(state="absent", all_owned=True).changed, "it is ours, although it is not finished"


@pytest.mark.parametrize("given", [True, False], ids=["given", "not given"])
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
def test_a_run_that_was_killed_around_the_customization_is_finished(lab: Lab, given: bool, marked: bool) -> None:
    """With the specification given or not, and its mark among the keys or still in the notes."""
    wanted = packaged("a", customization=CUSTOM)
    half_made(lab, "a", CUSTOM_MARKS, customization={"method": "none"})
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        if marked:
            keys = [vim.option.OptionValue(key=key, value=value) for key, value in CUSTOM_MARKS.items()]
            wait_for(machine.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=keys, annotation="As it was.")))
        if given:
            wait_for(
                machine.CustomizeVM_Task(content.customizationSpecManager.GetCustomizationSpec("vcsim-linux").spec)
            )
    since = len(lab.calls())
    outcome = lab.fleet(wanted)
    assert outcome.error is None, str(outcome.error)
    assert ("CustomizeVM_Task" in writes(lab, since)) is not given
    assert not lab.fleet(wanted).changed


@pytest.fixture(scope="module")
def deaf(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vCenter whose answer to the first deployment is lost on the way, after it was carried out."""
    faults = tmp_path_factory.mktemp("deaf") / "faults.json"
    drop = {"methods": ["ImportVApp"], "after_calls": 1, "executed": True, "times": 1}
    faults.write_text(json.dumps({"drop_connection": drop}))
    return start_lab("fake", NANOBANANA_LAB_FAULTS=str(faults))


def test_an_answer_that_is_lost_makes_no_second_vm(deaf: Lab) -> None:
    outcome = deaf.fleet(packaged("a", **OFF))
    try:
        assert outcome.error is None, str(outcome.error)
        assert deployments(deaf, 0) == 1
        assert vm_names(deaf) == ["a"]
        assert not deaf.fleet(packaged("a", **OFF)).changed
    finally:
        deaf.fleet(state="absent", all_owned=True)


@pytest.fixture(scope="module")
def slow(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vCenter that takes three seconds for a deployment, and refuses one of them."""
    faults = tmp_path_factory.mktemp("slow") / "faults.json"
    settings = {
        "delays": {"ImportVApp": "3s"},
        "refuse": [{"vm": "bad", "method": "ImportVApp", "fault": "NoDiskSpace"}],
    }
    faults.write_text(json.dumps(settings))
    return start_lab("fake", NANOBANANA_LAB_FAULTS=str(faults))


def test_deployments_run_beside_each_other_and_beside_clones(slow: Lab) -> None:
    outcome = slow.fleet(packaged("a", **OFF), packaged("b", **OFF), packaged("bad", **OFF), wish("c", **OFF))
    try:
        assert {name: vm["status"] for name, vm in outcome.vms.items()} == {
            "a": "changed", "b": "changed", "bad": "failed", "c": "changed",
        }  # fmt: skip
        assert outcome.error is not None
        assert outcome.error.error_code == "deploy_failed"
        spent = [vm["seconds"].get("deploy", 0) for vm in outcome.vms.values()]
        assert max(spent) < 6
        assert outcome.vms["c"]["seconds"]["clone"] < 3
        ends = {call["method"].split("?")[-1]: call["time"] for call in slow.calls()}
        assert ends["CloneVM_Task"] < ends["ReconfigVM_Task"]
    finally:
        slow.fleet(state="absent", all_owned=True)


def test_a_deadline_ends_the_call_and_the_next_one_goes_on(slow: Lab) -> None:
    outcome = slow.fleet(packaged("a", **OFF), deadline_seconds=1)
    assert outcome.error is not None
    assert outcome.error.error_code == "deadline"
    assert "deploy the OVF item" in str(outcome.error)
    since = len(slow.calls())
    checked = slow.fleet(packaged("a", **OFF), check=True)
    assert checked.error is None
    again = slow.fleet(packaged("a", **OFF))
    assert again.error is None, str(again.error)
    assert vm_names(slow) == ["a"]
    assert deployments(slow, since) <= 1, "that of the run before, which is noted when it ends"
    assert writes(slow, since).count("ReconfigVM_Task") == 1, "nothing is tried before the disks are copied"
    assert not slow.fleet(packaged("a", **OFF)).changed
    slow.fleet(state="absent", all_owned=True)


@pytest.mark.parametrize("everything", [True, False], ids=["module too", "its module lives on"])
def test_after_a_sigkill_each_vm_is_there_once_and_complete(slow: Lab, tmp_path: Path, everything: bool) -> None:
    vms = [packaged(name, disks=[]) for name in "abc"]
    file = play(slow, tmp_path, vms)
    command = [str(BIN / "ansible-playbook"), "-i", "/dev/null", str(file)]
    quiet = subprocess.DEVNULL
    killed = subprocess.Popen(command, cwd=ROOT, env=slow.env, stdout=quiet, stderr=quiet, start_new_session=True)
    for _look in range(300):
        if vm_names(slow):
            break
        time.sleep(0.1)
    with session(slow) as content:
        for machine in lookup.find_vms(content, vm_names(slow)).values():
            assert ownership.read_told(machine.config.annotation)[0]["nanobanana.owner"] == "tests"
    (os.killpg if everything else os.kill)(killed.pid, signal.SIGKILL)
    killed.wait()
    done = slow.playbook("-i", "/dev/null", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        assert vm_names(slow) == ["a", "b", "c"]
        again = slow.fleet(*vms)
        assert not again.changed
        assert {vm["owner"] for vm in again.vms.values()} == {"tests"}
    finally:
        slow.fleet(state="absent", all_owned=True)
