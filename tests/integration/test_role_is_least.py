# SPDX-License-Identifier: GPL-3.0-or-later
"""Each privilege of the role is needed on each of its places: without it some call of fleet's ends with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.integration.conftest import ROOT, Lab, give_role, wish
from tests.integration.test_fleet import session
from tests.integration.test_fleet_snapshot import snapshot

pytestmark = pytest.mark.integration
ROLE = yaml.safe_load((ROOT / "playbooks/files/vcenter_role.yml").read_text())
OFF = {"lifecycle": {"power": "off"}}
BIGGER = {
    "cpus": 4,
    "memory_mb": 4096,
    "disks": [{"name": "data", "size_gb": 30}, {"name": "more", "size_gb": 1}],
    "networks": [{"network": "testbed"}, {"network": "testbed"}],
    "tweaks": {"cpu_shares": "high", "extra_config": {"user.one": "1"}},
}
SPEC = {"customization": {"method": "spec", "spec": "vcsim-linux"}}
PLACE = wish("a")["placement"]
DEEP = PLACE | {"folder": "nano-banana/deep", "create_folder": True}
# the first is asked for in words of its own (test_fleet_overrides.py), the second of no call of the lab
UNPROVEN = {
    ("StorageProfile.View", "root"),
    ("ContentLibrary.DownloadSession", "library"),
}
ROWS = [(row["id"], place) for row in ROLE["privileges"] for place in row["where"]]


@contextmanager
def without(lab: Lab, privilege: str, place: str) -> Iterator[None]:
    """The administrator takes one privilege out of the role of one place."""
    name = f"{ROLE['name']}-{place}"
    with session(lab) as content:
        manager = content.authorizationManager
        (role,) = [item for item in manager.roleList if item.name == name]
        manager.UpdateAuthorizationRole(role.roleId, name, [item for item in role.privilege if item != privilege])
    try:
        yield
    finally:
        with session(lab) as content:
            content.authorizationManager.UpdateAuthorizationRole(role.roleId, name, role.privilege)


def plain(lab: Lab) -> Iterator[Any]:
    """Made, changed, switched on and off, removed: what every wish needs."""
    yield lab.fleet(wish("a", **OFF))
    yield lab.fleet(wish("a", **BIGGER, **OFF))
    yield lab.fleet(wish("a", **BIGGER))
    yield lab.fleet(wish("a", **BIGGER, **OFF))
    yield lab.fleet({"name": "a"}, state="absent")


def from_a_vm(lab: Lab) -> Iterator[Any]:
    yield lab.fleet(wish("source", **OFF))
    yield lab.fleet(wish("a", template={"vm": "source"}, **OFF, **SPEC))


def from_a_vm_elsewhere(lab: Lab) -> Iterator[Any]:
    """The source is named to the playbook, so it holds the template's role itself."""
    yield lab.fleet(wish("source", **OFF))
    with session(lab) as content:
        give_role(content, lookup.find_vms(content, ["source"])["source"], "template")
    yield lab.fleet(wish("a", template={"vm": "source"}, **OFF, **SPEC))


def customized(lab: Lab) -> Iterator[Any]:
    yield lab.fleet(wish("a", **SPEC))


def newer_hardware(lab: Lab) -> Iterator[Any]:
    yield lab.fleet(wish("a", tweaks={"hardware_version": 21}))


def back_to_2d(lab: Lab) -> Iterator[Any]:
    """Somebody switched a VM's video card to 3D."""
    yield lab.fleet(wish("a", **OFF))
    with session(lab) as content:
        machine = lookup.find_vms(content, ["a"])["a"]
        cards = machine.config.hardware.device
        (card,) = [item for item in cards if isinstance(item, vim.vm.device.VirtualVideoCard)]
        card.enable3DSupport = True
        edit = vim.vm.device.VirtualDeviceSpec(operation="edit", device=card)
        WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))
    yield lab.fleet(wish("a", **OFF))


def in_a_new_folder(lab: Lab) -> Iterator[Any]:
    yield lab.fleet(wish("a", placement=DEEP))


def moved_to_a_gpu(lab: Lab) -> Iterator[Any]:
    """A VM that is there and off goes to the host of the device that it gets."""
    yield lab.fleet(wish("a", disks=[], placement=PLACE | {"host": "esx-03.lab"}, **OFF))
    yield lab.fleet(wish("a", disks=[], gpu=[{"mode": "static", "model": "A10"}], **OFF))


def from_a_package(lab: Lab) -> Iterator[Any]:
    yield lab.fleet(wish("a", template={"library": "nano-banana", "item": "nano-banana-baseline-ovf"}, **OFF))


def without_drs(lab: Lab) -> Iterator[Any]:
    yield lab.fleet(wish("a", placement=wish("a")["placement"] | {"drs": "manual"}))


def suspended(lab: Lab) -> Iterator[Any]:
    yield lab.fleet(wish("a"))
    yield lab.fleet(wish("a", lifecycle={"power": "suspended"}))


def with_a_snapshot(lab: Lab) -> Iterator[Any]:
    yield lab.fleet(wish("a"))
    for state in ("present", "reverted", "absent"):
        yield snapshot(lab, "clean", state=state)


SCENARIOS: dict[tuple[str, str], Callable[[Lab], Iterator[Any]]] = {
    ("Folder.Create", "folder"): in_a_new_folder,
    ("Resource.ColdMigrate", "folder"): moved_to_a_gpu,
    ("VirtualMachine.Provisioning.Clone", "folder"): from_a_vm,
    ("VirtualMachine.Provisioning.Clone", "template"): from_a_vm_elsewhere,
    ("VirtualMachine.Provisioning.Customize", "folder"): from_a_vm,
    ("VirtualMachine.Provisioning.Customize", "template"): customized,
    ("VirtualMachine.Provisioning.ReadCustSpecs", "root"): customized,
    ("VirtualMachine.Config.UpgradeVirtualHardware", "folder"): newer_hardware,
    ("VirtualMachine.Config.EditDevice", "folder"): back_to_2d,
    ("VirtualMachine.Config.Annotation", "folder"): from_a_package,
    ("VApp.Import", "folder"): from_a_package,
    ("VApp.Import", "compute"): from_a_package,
    ("Host.Inventory.EditCluster", "compute"): without_drs,
    ("VirtualMachine.Interact.Suspend", "folder"): suspended,
    ("VirtualMachine.State.CreateSnapshot", "folder"): with_a_snapshot,
    ("VirtualMachine.State.RevertToSnapshot", "folder"): with_a_snapshot,
    ("VirtualMachine.State.RemoveSnapshot", "folder"): with_a_snapshot,
}


def first_error(outcomes: Iterator[Any]) -> str:
    try:
        return next((str(item.error) for item in outcomes if item.error), "")
    except TestbedError as error:
        return str(error)


@pytest.fixture
def cleaned(lab: Lab) -> Iterator[None]:
    yield
    lab.fleet(state="absent", all_owned=True, **lab.administrator())
    with session(lab) as content:
        for folder, values in lookup.everything(content, {vim.Folder: ["name"]}):
            if values["name"] == "deep":
                WaitForTask(folder.Destroy_Task())


@pytest.mark.parametrize(("privilege", "place"), [row for row in ROWS if row not in UNPROVEN])
def test_each_privilege_is_needed_on_its_place(lab: Lab, cleaned: None, privilege: str, place: str) -> None:
    scenario = SCENARIOS.get((privilege, place), plain)
    with without(lab, privilege, place):
        assert f"{privilege} on " in first_error(scenario(lab))


@pytest.mark.parametrize("scenario", [plain, *dict.fromkeys(SCENARIOS.values())])
def test_the_whole_role_is_enough(lab: Lab, cleaned: None, scenario: Callable[[Lab], Iterator[Any]]) -> None:
    assert first_error(scenario(lab)) == ""


def test_what_is_unproven_is_in_the_role() -> None:
    assert set(ROWS) >= UNPROVEN | set(SCENARIOS)
