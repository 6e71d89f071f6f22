# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet makes VMs from every kind of source: create, change and delete, checked and real, first and repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup

from tests.integration.conftest import Lab, wait_for, wish
from tests.integration.test_fleet import session, vm_names, writes
from tests.integration.test_fleet_policies import held, policy_wish

pytestmark = pytest.mark.integration

OFF = {"lifecycle": {"power": "off"}}
SOURCES: dict[str, dict[str, Any]] = {
    "inventory:nano-banana-baseline-template": {"inventory": "nano-banana-baseline-template"},
    "inventory:nano-banana/nano-banana-baseline-template": {"inventory": "nano-banana/nano-banana-baseline-template"},
    "vm:golden": {"vm": "golden"},
    "linked:golden@clean": {"vm": "golden", "snapshot": "clean", "linked": True},
}


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


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
@pytest.mark.parametrize("text", SOURCES)
def test_create_change_and_delete(lab: Lab, text: str, check: bool) -> None:
    wanted = wish("a", template=SOURCES[text])
    since = len(lab.calls())
    first = lab.fleet(wanted, check=check)
    assert first.changed
    assert first.after["a"]["extra_config.nanobanana.template"] == text
    if check:
        assert writes(lab, since) == []
        assert vm_names(lab) == ["golden"]
        lab.fleet(wanted)
    assert lab.fleet(wanted, state="gathered").vms["a"]["template"] == text
    since = len(lab.calls())
    assert not lab.fleet(wanted, check=check).changed
    assert writes(lab, since) == []

    more = wanted | {"disks": [*wanted["disks"], {"name": "more", "size_gb": 5}]}
    assert lab.fleet(more, check=check).changed
    assert lab.fleet(more).changed is check
    assert not lab.fleet(more).changed

    assert lab.fleet({"name": "a"}, state="absent", check=check).changed
    assert lab.fleet({"name": "a"}, state="absent").changed is check
    assert not lab.fleet({"name": "a"}, state="absent").changed
    assert vm_names(lab) == ["golden"], "the source stays as it was"


def test_a_linked_clone_takes_a_storage_policy(lab: Lab) -> None:
    wanted = policy_wish("a", "gold", template=SOURCES["linked:golden@clean"], **OFF)
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
        lab.fleet(wish("a", template=SOURCES["linked:golden@clean"], disks=bigger))
    assert caught.value.error_code == "linked_disk"
    assert writes(lab, since) == []


def test_a_linked_clone_shares_its_source_s_disks(lab: Lab) -> None:
    wanted = wish("a", template=SOURCES["linked:golden@clean"])
    lab.fleet(wanted)
    with session(lab) as content:
        (clone,) = lookup.read_vms(content, lookup.find_vms(content, ["a"]).values(), {}).values()
    assert [disk.has_parent for disk in clone.disks] == [True, True]
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wanted | {"disks": [{"name": "data", "size_gb": 40}]})
    assert caught.value.error_code == "linked_disk"


def test_another_source_is_no_change_but_an_error(lab: Lab) -> None:
    lab.fleet(wish("a", template={"vm": "golden"}))
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("a", template=SOURCES["linked:golden@clean"]))
    assert caught.value.error_code == "other_template"
    assert "vm:golden, from which the VM was made" in str(caught.value)
