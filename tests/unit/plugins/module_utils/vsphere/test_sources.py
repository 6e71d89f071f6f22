# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM is made from: each form of vm_template, its canonical text, what is refused, and what is then cloned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import (
    PVSCSI,
    DiskActual,
    NicActual,
    VmActual,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Place
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Marks, plan
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sources import Candidate, Source, pick
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.spec import clone_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.template import Template
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes
from pyVmomi import vim

MARKS = Marks("lab", "r1", "2030-01-01T00:00:00Z")
LINKED = {"vm": "golden", "snapshot": "clean", "linked": True}
GB = 1024 * 1024


def wished(template: Any, **fields: Any) -> VmWish:
    return parse_wishes([{"name": "nb-1", "template": template, "cpus": 2, "memory_mb": 2048} | fields])[0]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ({"library": "lib", "item": "base"}, "lib/base"),
        ({"library": "lib", "item": "base", "accept_eula": True}, "lib/base"),
        ({"inventory": "base"}, "inventory:base"),
        ({"inventory": "templates/base/"}, "inventory:templates/base"),
        ({"vm": "golden"}, "vm:golden"),
        ({"vm": "golden", "linked": False}, "vm:golden"),
        (LINKED, "linked:golden@clean"),
        (LINKED | {"linked": "yes"}, "linked:golden@clean"),
        # what AnsibleModule makes of a suboption that is not given
        (dict.fromkeys(("library", "item", "vm", "snapshot", "linked")) | {"inventory": "base"}, "inventory:base"),
    ],
)
def test_each_form_has_one_text(template: dict[str, Any], text: str) -> None:
    assert str(wished(template).template) == text


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ({}, ["vm_template: expected one of {library, item}"]),
        ("golden", ["vm_template: expected a mapping"]),
        ({"library": "lib"}, ["vm_template.item: expected a text; found nothing"]),
        ({"library": "lib", "item": "base", "vm": "golden"}, ["found 'item, library, vm'", "leave out"]),
        ({"inventory": "base", "accept_eula": True}, ["only an OVF item of a library has license agreements"]),
        (
            {"library": "lib", "item": "base", "accept_eula": "maybe"},
            ["vm_template.accept_eula: expected true or false"],
        ),
        ({"accept_eula": True}, ["vm_template: expected one of {library, item}"]),
        ({"inventory": "base", "vm": "golden"}, ["leave out what belongs to another form"]),
        ({"inventory": "base", "linked": True}, ["never from a template"]),
        ({"inventory": "base", "snapshot": "clean", "linked": True}, ["never from a template"]),
        ({"vm": "golden", "linked": True}, ["name the snapshot"]),
        ({"vm": "golden", "snapshot": "clean"}, ["add linked: true"]),
        ({"vm": "golden", "snapshot": "clean", "linked": False}, ["add linked: true"]),
        ({"vm": "golden", "snapshot": "clean", "linked": "perhaps"}, ["vm_template.linked: expected true or false"]),
        ({"vm": 7}, ["vm_template.vm: expected a text"]),
        ({"vm": "nb-1"}, ["another VM than the one that is made"]),
        ({"vms": "golden"}, ["vm_template.vms", "did you mean 'vm'?"]),
    ],
)
def test_everything_else_is_refused(template: Any, parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        wished(template)
    assert caught.value.error_code == "invalid_wish"
    for part in parts:
        assert part in str(caught.value)


INVENTORY = [
    Candidate("t1", "base", ("templates/base", "DC0/vm/templates/base"), True),
    Candidate("t2", "twice", ("a/twice", "DC0/vm/a/twice"), True),
    Candidate("t3", "twice", ("a/twice", "DC1/vm/a/twice"), True),
    Candidate("v1", "golden", ("golden", "DC0/vm/golden"), False),
    Candidate("v2", "inside-a-vapp", (), False),
]


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (Template(inventory="base"), "t1"),
        (Template(inventory="templates/base"), "t1"),
        (Template(inventory="/DC0/vm/templates/base"), "t1"),
        (Template(inventory="DC1/vm/a/twice"), "t3"),
        (Template(vm="golden"), "v1"),
        (Template(vm="inside-a-vapp"), "v2"),
        (Template(inventory="bas"), "did you mean 'base'?"),
        (Template(inventory="twice"), "found DC0/vm/a/twice, DC1/vm/a/twice"),
        (Template(inventory="golden"), "'golden' is a VM. Next: write vm_template: {vm: golden}"),
        (Template(vm="base"), "'base' is a template. Next: write vm_template: {inventory: base}"),
        (Template(vm="base", snapshot="clean", linked=True), "a linked clone is never made from a template"),
    ],
)
def test_a_source_is_found_by_name_and_by_path(template: Template, found: str) -> None:
    answer = pick(template, INVENTORY)
    if isinstance(answer, Problem):
        assert found in str(answer)
    else:
        assert answer.reference == found


def card(key: int, address_type: str) -> Any:
    return vim.vm.device.VirtualVmxnet3(key=key, addressType=address_type, macAddress="00:50:56:00:00:01")


def golden(**fields: Any) -> VmActual:
    base = VmActual(
        moid="vm-7",
        name="golden",
        cpus=2,
        memory_mb=2048,
        controllers={0: PVSCSI, 1: PVSCSI},
        controller_keys={0: 1000, 1: 1001},
        disks=(DiskActual(2000, 0, 0, 40 * GB), DiskActual(2016, 1, 0, 20 * GB)),
        nics=(NicActual(4000, "vmxnet3", "testbed"),),
        devices={4000: card(4000, "manual")},
        extra_config={"guestinfo.userdata": "c2VjcmV0", "guestinfo.userdata.encoding": "base64"},
    )
    return replace(base, **fields)


def made(wish: VmWish, source: Source) -> Any:
    clone = plan(wish, None, source.actual, MARKS)[0]
    place = Place(None, None, None, None, {"testbed": vim.vm.device.VirtualEthernetCard.NetworkBackingInfo()})
    return clone_spec(wish, clone.changes, source, place)


def test_a_full_clone_of_a_vm_gets_a_mac_of_its_own_and_not_what_the_other_guest_was_told() -> None:
    spec = made(wished({"vm": "golden"}), Source(golden(), None))
    assert spec.snapshot is None
    assert spec.location.diskMoveType is None
    keys = {option.key: option.value for option in spec.config.extraConfig}
    assert keys["guestinfo.userdata"] == ""
    assert keys["guestinfo.userdata.encoding"] == ""
    assert keys["guestinfo.metadata"]
    assert keys["nanobanana.template"] == "vm:golden"
    (edit,) = spec.config.deviceChange
    assert (edit.operation, edit.device.addressType, edit.device.macAddress) == ("edit", "assigned", None)


def test_guest_data_of_the_wish_replaces_the_source_s() -> None:
    spec = made(wished({"vm": "golden"}, customization={"userdata": "#cloud-config\n{}"}), Source(golden(), None))
    values = [option.value for option in spec.config.extraConfig if option.key == "guestinfo.userdata"]
    assert values == ["I2Nsb3VkLWNvbmZpZwp7fQ=="]


def test_a_card_that_is_plugged_elsewhere_is_edited_once() -> None:
    source = Source(golden(nics=(NicActual(4000, "vmxnet3", "elsewhere"),)), None)
    spec = made(wished({"vm": "golden"}, networks=[{"network": "testbed"}]), source)
    (edit,) = spec.config.deviceChange
    assert edit.device.macAddress is None


def test_a_generated_mac_is_left_to_vcenter() -> None:
    source = Source(golden(devices={4000: card(4000, "assigned")}), None)
    assert list(made(wished({"vm": "golden"}), source).config.deviceChange) == []


def test_a_linked_clone_builds_on_the_snapshot() -> None:
    snapshot = vim.vm.Snapshot("snapshot-3")
    spec = made(wished(LINKED), Source(golden(), None, snapshot))
    assert spec.snapshot == snapshot
    assert spec.location.diskMoveType == "createNewChildDiskBacking"


@pytest.mark.parametrize(
    ("size_gb", "has_parent", "refused"), [(20, True, False), (30, True, True), (30, False, False)]
)
def test_a_disk_with_a_parent_never_grows(size_gb: int, has_parent: bool, refused: bool) -> None:
    wish = wished(LINKED, disks=[{"name": "data", "size_gb": size_gb}])
    disks = tuple(replace(disk, has_parent=has_parent) for disk in golden().disks)
    if not refused:
        assert plan(wish, None, golden(disks=disks), MARKS)
        return
    with pytest.raises(TestbedError) as caught:
        plan(wish, None, golden(disks=disks), MARKS)
    assert caught.value.error_code == "linked_disk"
    assert "size_gb of disk 'data'" in str(caught.value)
