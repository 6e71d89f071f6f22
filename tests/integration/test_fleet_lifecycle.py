# SPDX-License-Identifier: GPL-3.0-or-later
"""Power states, power cycles and restarts against the lab's vCenter."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup

from tests.integration.conftest import Lab, wish
from tests.integration.test_fleet import session, vm_names, writes

pytestmark = pytest.mark.integration


def called(lab: Lab, since: int, *methods: str) -> list[str]:
    return [call["method"] for call in lab.calls()[since:] if call["method"] in methods]


def power(lab: Lab, name: str) -> str:
    with session(lab) as content:
        return str(lookup.find_vms(content, [name])[name].runtime.powerState)


def having(state: str, **more: Any) -> dict[str, Any]:
    return wish("a", lifecycle={"power": state, **more})


def test_the_guest_is_asked_to_shut_down(lab: Lab) -> None:
    lab.fleet(having("on"))
    since = len(lab.calls())
    assert lab.fleet(having("off")).vms["a"]["operations"] == ["shut down the guest"]
    assert called(lab, since, "ShutdownGuest", "PowerOffVM_Task") == ["ShutdownGuest"]


def test_before_removal_too_unless_told_otherwise(lab: Lab) -> None:
    lab.fleet(having("on"), wish("b"))
    since = len(lab.calls())
    impatient = {"name": "b", "lifecycle": {"shutdown_seconds": 0}}
    assert lab.fleet({"name": "a"}, impatient, state="absent").changed
    assert sorted(called(lab, since, "ShutdownGuest", "PowerOffVM_Task", "Destroy_Task")) == [
        "Destroy_Task",
        "Destroy_Task",
        "PowerOffVM_Task",
        "ShutdownGuest",
    ]
    assert vm_names(lab) == []


def test_a_cold_change_waits_for_permission(lab: Lab) -> None:
    lab.fleet(wish("a"))
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("a", cpus=4))
    assert caught.value.error_code == "needs_power_off"
    assert writes(lab, since) == []
    allowed = wish("a", cpus=4, lifecycle={"power_cycle": "allowed"})
    since = len(lab.calls())
    shown = lab.fleet(allowed, check=True)
    assert (shown.before["a"]["power"], shown.after["a"]["power"]) == ("on", "on again")
    assert writes(lab, since) == []
    done = lab.fleet(allowed)
    assert done.vms["a"]["operations"] == ["shut down the guest", "reconfigure cpus", "power on"]
    assert done.vms["a"]["cpus"] == 4
    assert done.vms["a"]["address"]
    assert not lab.fleet(allowed).changed


def test_a_hardware_upgrade_of_a_running_vm_is_such_a_change(lab: Lab) -> None:
    lab.fleet(wish("a"))
    newer = wish("a", tweaks={"hardware_version": 21}, lifecycle={"power_cycle": "allowed"})
    assert lab.fleet(newer).vms["a"]["operations"] == ["shut down the guest", "upgrade hardware_version", "power on"]
    assert not lab.fleet(newer).changed


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_a_reboot(lab: Lab, check: bool) -> None:
    lab.fleet(wish("a"))
    since = len(lab.calls())
    for _time in range(2):
        outcome = lab.fleet(wish("a"), state="rebooted", check=check)
        assert outcome.changed
        assert outcome.vms["a"]["operations"] == ["shut down the guest", "power on"]
        assert outcome.vms["a"]["address"]
    expected = [] if check else ["ShutdownGuest", "PowerOnVM_Task"] * 2
    assert called(lab, since, "ShutdownGuest", "PowerOnVM_Task", "PowerOffVM_Task") == expected
    assert lab.fleet({"name": "a"}, state="rebooted", check=check).changed, "without a wish"


def test_only_vms_that_exist_and_are_ours_are_rebooted(lab: Lab) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet({"name": "nobody"}, state="rebooted")
    assert "VM 'nobody': expected a VM to reboot; found none" in str(caught.value)
    with pytest.raises(TestbedError) as caught:
        lab.fleet({"name": "nano-banana-baseline-template"}, state="rebooted")
    assert caught.value.error_code == "not_owner"
    assert writes(lab, since) == []
