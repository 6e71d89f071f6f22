# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of owned VMs: which host gets which variables and groups."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.inventory import owned as plugin
from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.owned import group_names, host_variables

NOW = datetime.datetime(2030, 1, 31, tzinfo=datetime.UTC)
MARKS = {
    "owner": "lab",
    "run": "r-1",
    "template": "lib/base",
    "wish": "0123456789ab",
    "expires": "2030-02-01T00:00:00Z",
}
VM = VmActual(
    moid="vm-7",
    name="nb-1",
    power="poweredOn",
    instance_uuid="uuid-7",
    addresses=("169.254.1.1", "192.0.2.7"),
    extra_config={f"nanobanana.{key}": value for key, value in MARKS.items()} | {"guestinfo.userdata": "c2VjcmV0"},
)
BASE = {"baseline": "lib/base", "stress": "lib/other", "yardstick": "lib/base"}


def groups(actual: VmActual) -> list[str]:
    return group_names(host_variables(actual, NOW), BASE)


def without(*marks: str) -> VmActual:
    gone = {f"nanobanana.{mark}" for mark in marks}
    return replace(VM, extra_config={key: value for key, value in VM.extra_config.items() if key not in gone})


def test_a_host_tells_where_it_is_and_what_it_is() -> None:
    assert host_variables(VM, NOW) == {
        "ansible_host": "192.0.2.7",
        "testbed_address": "192.0.2.7",
        "testbed_moid": "vm-7",
        "testbed_instance_uuid": "uuid-7",
        "testbed_power": "poweredOn",
        "testbed_owner": "lab",
        "testbed_run": "r-1",
        "testbed_template": "lib/base",
        "testbed_wish": "0123456789ab",
        "testbed_expires": "2030-02-01T00:00:00Z",
        "testbed_expired": False,
    }


def test_a_vm_without_a_routable_address_has_no_ansible_host() -> None:
    assert "ansible_host" not in host_variables(replace(VM, addresses=("169.254.1.1",)), NOW)
    assert "ansible_host" not in host_variables(VM, NOW, ["10.0.0.0/8"])


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (VM, ["baseline", "yardstick", "template_base", "run_r-1", "power_on"]),
        (without("template"), ["run_r-1", "power_on"]),
        (without("run", "template"), ["power_on"]),
        (replace(without("run", "template"), power="poweredOff"), ["power_off"]),
        (replace(without("run", "template"), power="suspended"), ["power_suspended"]),
        (replace(without("run", "template"), power="odd"), ["power_unknown"]),
    ],
)
def test_groups(actual: VmActual, expected: list[str]) -> None:
    assert groups(actual) == expected


def test_an_expired_vm_says_so() -> None:
    later = NOW + datetime.timedelta(days=2)
    assert group_names(host_variables(VM, later), BASE)[-1] == "expired"
    assert "expired" not in group_names(host_variables(without("expires"), later), BASE)


def test_the_connection_is_that_of_the_modules() -> None:
    options = yaml.safe_load(plugin.DOCUMENTATION)["options"]
    for name, spec in vsphere_spec().items():
        documented = options[name]
        assert documented["type"] == spec["type"]
        assert documented.get("required", False) == spec.get("required", False)
        assert documented.get("default") == spec.get("default")
        assert [item["name"] for item in documented.get("env", ())] == list(spec.get("fallback", ((), ()))[1])
