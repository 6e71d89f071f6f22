# SPDX-License-Identifier: GPL-3.0-or-later
"""The wish is read strictly: each wrong input has one message that names the VM, the variable and the way out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import (
    FIELDS,
    Disk,
    VmWish,
    parse_names,
    parse_wishes,
)


def raw(**fields: Any) -> dict[str, Any]:
    """A complete wish with some fields replaced."""
    return {
        "name": "nb-1",
        "template": {"library": "lib", "item": "base"},
        "cpus": 4,
        "memory_mb": 6144,
    } | fields


def parsed(**fields: Any) -> VmWish:
    return parse_wishes([raw(**fields)])[0]


def refusal(*vms: dict[str, Any]) -> TestbedError:
    with pytest.raises(TestbedError) as caught:
        parse_wishes(vms)
    assert caught.value.error_code == "invalid_wish"
    return caught.value


def test_defaults_are_those_of_the_requirements() -> None:
    wish = parsed()
    assert (wish.tweaks.balloon, wish.tweaks.page_sharing, wish.tweaks.accel_3d) == (False, False, False)
    assert wish.tweaks.reserve_memory
    assert wish.lifecycle.power == "on"
    assert wish.hostname == "nb-1"


def test_numbers_from_the_command_line_are_texts() -> None:
    assert parsed(memory_mb="6144", cpus="2").memory_mb == 6144


def test_userdata_as_mapping_becomes_cloud_config() -> None:
    wish = parsed(customization={"userdata": {"users": ["x"]}})
    assert wish.customization.userdata == '#cloud-config\n{"users": ["x"]}'


def test_userdata_never_shows_in_the_representation() -> None:
    assert "s3cret" not in repr(parsed(customization={"userdata": "#cloud-config\npassword: s3cret"}))


def test_disks_keep_order_and_default_to_lazily_zeroed() -> None:
    wish = parsed(disks=[{"name": "data", "size_gb": 20}, {"name": "b", "size_gb": 1, "provisioning": "thin"}])
    assert wish.disks == (Disk("data", 20, "lazy_zeroed"), Disk("b", 1, "thin"))


@pytest.mark.parametrize("value", [True, "on", "yes"])
def test_power_on_survives_yaml_reading_on_as_a_boolean(value: Any) -> None:
    if value == "yes":
        refusal(raw(lifecycle={"power": value}))
    else:
        assert parsed(lifecycle={"power": value}).lifecycle.power == "on"


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"memory_mb": "6 GB of"}, ["nb-1: vm_memory_mb", "whole number of MB", "'6 GB of'", "6144"]),
        ({"memory_mb": 6145}, ["vm_memory_mb", "multiple of 4", "6145"]),
        ({"memory_mb": None}, ["vm_memory_mb", "found nothing"]),
        ({"memory_mb": True}, ["vm_memory_mb", "True"]),
        ({"cpus": 0}, ["vm_cpus", "from 1 to 768", "0"]),
        ({"cpus": -1}, ["vm_cpus", "-1"]),
        ({"memroy_mb": 4}, ["vm_memroy_mb", "did you mean 'vm_memory_mb'?"]),
        ({"template": None}, ["vm_template", "library and item"]),
        ({"template": "base"}, ["vm_template", "a mapping", "'base'"]),
        ({"template": {"library": "lib"}}, ["vm_template.item"]),
        ({"template": {"libary": "lib", "item": "x"}}, ["vm_template.libary", "did you mean 'library'?"]),
        ({"disks": {"name": "x"}}, ["vm_disks", "a list"]),
        ({"disks": [{"name": "x", "size_gb": "big"}]}, ["vm_disks[0].size_gb", "'big'"]),
        ({"disks": [{"name": "x", "size_gb": 1}, {"name": "x", "size_gb": 2}]}, ["vm_disks", "name of its own"]),
        ({"disks": [{"name": str(n), "size_gb": 1} for n in range(16)]}, ["at most 15 data disks", "16"]),
        ({"disks": [{"name": "x", "size_gb": 1, "provisioning": "thick"}]}, ["lazy_zeroed, eager_zeroed, thin"]),
        ({"networks": [{"network": "a", "adapter": "e1000"}]}, ["vm_networks[0].adapter", "vmxnet3"]),
        ({"gpu": [{"profile": "a10-4c"}]}, ["vm_gpu[0].mode", "one of static, dynamic, vgpu", "found nothing"]),
        ({"placement": {"cluser": "x"}}, ["vm_placement.cluser", "did you mean 'cluster'?"]),
        ({"placement": {"cluster": 3}}, ["vm_placement.cluster", "a text"]),
        ({"customization": {"method": "sysprep"}}, ["vm_customization.method", "cloud_init, spec, none"]),
        ({"customization": {"hostname": "a_b"}}, ["vm_customization.hostname", "'a_b'"]),
        ({"tweaks": {"balloon": "maybe"}}, ["vm_tweaks.balloon", "true or false"]),
        ({"tweaks": {"reserve_memory": False}}, ["vm_tweaks.balloon", "swaps", "reserve_memory to true"]),
        ({"tweaks": {"extra_config": {"guestinfo.x": 1}}}, ["extra_config.guestinfo.x"]),
        ({"tweaks": {"extra_config": {"nanobanana.owner": "me"}}}, ["extra_config.nanobanana.owner"]),
        ({"lifecycle": {"ttl_hours": 0}}, ["vm_lifecycle.ttl_hours", "1 to 8760"]),
        ({"lifecycle": {"address_networks": ["10.0.0.1/8"]}}, ["address_networks[0]", "10.20.0.0/16"]),
        ({"name": "a/b"}, ["VM name 'a/b'"]),
        ({"name": "x" * 81}, ["1 to 80 characters"]),
        ({"name": "under_score"}, ["vm_customization.hostname", "under_score"]),
    ],
)
def test_wrong_input_is_named(fields: dict[str, Any], parts: list[str]) -> None:
    message = str(refusal(raw(**fields)))
    for part in parts:
        assert part in message


def test_every_problem_of_every_vm_is_told_at_once() -> None:
    error = refusal(raw(name="a", cpus="x", memory_mb="y"), raw(name="b", foo=1))
    assert len(error.problems) == 3
    assert "3 problems, nothing was changed" in str(error)


def test_names_that_differ_in_case_only_are_duplicates() -> None:
    assert "nb-1 and NB-1" in str(refusal(raw(name="nb-1"), raw(name="NB-1")))


def test_names_alone_are_read_without_a_wish() -> None:
    assert parse_names([{"name": "a"}, {"name": "b", "cpus": "nonsense"}]) == ["a", "b"]
    with pytest.raises(TestbedError):
        parse_names([{"name": "a"}, {"name": "a"}])


def test_the_public_fields_are_those_of_the_design() -> None:
    assert set(FIELDS) == {
        *("template", "cpus", "memory_mb", "disks", "networks", "gpu"),
        *("placement", "customization", "tweaks", "lifecycle"),
    }
