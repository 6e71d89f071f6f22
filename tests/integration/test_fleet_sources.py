# SPDX-License-Identifier: GPL-3.0-or-later
"""What VMs are made from: what a clone takes over, and sources that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup

from tests.integration.conftest import Lab, wait_for, wish
from tests.integration.test_fleet import session, writes
from tests.integration.test_fleet_policies import held, policy_wish

pytestmark = pytest.mark.integration

OFF = {"lifecycle": {"power": "off"}}
LINKED = {"vm": "golden", "snapshot": "clean", "linked": True}


@pytest.fixture(autouse=True)
def golden(lab: Lab) -> Iterator[None]:
    """A VM that somebody else prepared, with a snapshot below another one."""
    lab.fleet(wish("golden", **OFF), owner="somebody")
    with session(lab) as content:
        machine = lookup.find_vms(content, ["golden"])["golden"]
        for name in ("first", "clean"):
            wait_for(machine.CreateSnapshot_Task(name=name, description="", memory=False, quiesce=False))
    yield
    lab.fleet(state="absent", all_owned=True)
    lab.fleet(state="absent", all_owned=True, owner="somebody")


def test_a_linked_clone_takes_a_storage_policy(lab: Lab) -> None:
    wanted = policy_wish("a", "gold", template=LINKED, **OFF)
    since = len(lab.calls())
    assert lab.fleet(wanted).changed
    assert writes(lab, since) == ["CloneVM_Task"]
    assert set(held(lab, "a").values()) == {"gold"}
    assert not lab.fleet(wanted).changed


def test_a_clone_of_a_vm_is_another_machine(lab: Lab) -> None:
    lab.fleet(wish("a", template={"vm": "golden"}, customization={"method": "none"}, **OFF))
    with session(lab) as content:
        found = lookup.read_vms(content, lookup.find_vms(content, ["a", "golden"]).values(), {})
    clone, source = sorted(found.values(), key=lambda item: item.name)
    assert clone.owner == "tests"
    assert source.owner == "somebody"
    assert (clone.uuid, clone.instance_uuid) != (source.uuid, source.instance_uuid)
    assert not {nic.mac for nic in clone.nics} & {nic.mac for nic in source.nics}
    assert source.extra_config.get("guestinfo.userdata")
    assert not clone.extra_config.get("guestinfo.userdata"), "what the source's guest was told is not for this one"


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ({"inventory": "nano-banana-baselin-template"}, ["did you mean 'nano-banana-baseline-template'?"]),
        ({"inventory": "golden"}, ["'golden' is a VM", "{vm: golden}"]),
        ({"vm": "golde"}, ["none named 'golde'", "did you mean 'golden'?"]),
        ({"vm": "nano-banana-baseline-template"}, ["is a template", "{inventory: nano-banana-baseline-template}"]),
        ({"vm": "golden", "snapshot": "clear", "linked": True}, ["no snapshot 'clear'", "did you mean 'clean'?"]),
        (
            {"vm": "nano-banana-baseline-template", "snapshot": "clean", "linked": True},
            ["a linked clone is never made from a template"],
        ),
    ],
)
def test_what_cannot_be_cloned_is_refused_before_anything_is_made(
    lab: Lab, template: dict[str, Any], parts: list[str]
) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("good"), wish("bad", template=template))
    for part in parts:
        assert part in str(caught.value)
    assert writes(lab, since) == []


def test_a_linked_clone_cannot_grow_its_disks(lab: Lab) -> None:
    since = len(lab.calls())
    bigger = [{"name": "data", "size_gb": 40}]
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("a", template=LINKED, disks=bigger))
    assert caught.value.error_code == "linked_disk"
    assert writes(lab, since) == []


def test_a_linked_clone_shares_its_source_s_disks(lab: Lab) -> None:
    wanted = wish("a", template=LINKED)
    lab.fleet(wanted)
    with session(lab) as content:
        (clone,) = lookup.read_vms(content, lookup.find_vms(content, ["a"]).values(), {}).values()
    assert [disk.has_parent for disk in clone.disks] == [True, True]
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wanted | {"disks": [{"name": "data", "size_gb": 40}]})
    assert caught.value.error_code == "linked_disk"
