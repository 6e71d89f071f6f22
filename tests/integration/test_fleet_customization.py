# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests learn about themselves by cloud-init or by a customization specification, which ends on its event."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVmomi import vim

from tests.integration.conftest import Lab, wait_for, wish
from tests.integration.test_fleet import session, writes

pytestmark = pytest.mark.integration

LINUX = {"method": "spec", "spec": "vcsim-linux"}
WINDOWS = {"method": "spec", "spec": "vcsim-windows-static"}
STATIC = {"address": "192.0.2.11", "netmask": "255.255.255.0", "gateway": "192.0.2.1"}


@pytest.fixture(scope="module")
def failing(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab in which the guests of VMs named bad-* cannot be customized."""
    faults = tmp_path_factory.mktemp("lab") / "faults.json"
    refusal = {"vm": "bad-*", "method": "CustomizeVM_Task", "fault": "CustomizationFault", "times": 0}
    faults.write_text(json.dumps({"refuse": [refusal]}))
    return start_lab("fake", NANOBANANA_LAB_FAULTS=str(faults))


def marks(lab: Lab, name: str) -> dict[str, str]:
    with session(lab) as content:
        (actual,) = lookup.read_vms(content, lookup.find_vms(content, [name]).values(), {}).values()
    return dict(actual.extra_config)


def test_a_failed_customization_is_an_error_now_and_in_the_next_run(failing: Lab) -> None:
    good, bad = wish("good", customization=LINUX), wish("bad-1", customization=LINUX)
    for _run in range(2):
        outcome = failing.fleet(good, bad)
        assert outcome.error
        assert outcome.vms["good"]["error"] == ""
        assert outcome.vms["bad-1"]["error_code"] == "customization_failed"
        assert "CustomizationFailed" in outcome.vms["bad-1"]["error"]
        assert "toolsDeployPkg.log" in outcome.vms["bad-1"]["error"]
    failing.fleet(state="absent", all_owned=True)


def test_a_customization_without_an_event_ends_at_its_deadline(lab: Lab) -> None:
    """A VM that was off when it was marked: nobody tells that it was customized, as with a guest without tools."""
    wanted = wish("a", customization=LINUX | {"wait_seconds": 2})
    lab.fleet(wish("a", customization={"method": "none"}))
    with session(lab) as content:
        pending = vim.option.OptionValue(key="nanobanana.customization", value="pending vcsim-linux")
        machine = lookup.find_vms(content, ["a"])["a"]
        wait_for(machine.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[pending])))
    began = time.monotonic()
    outcome = lab.fleet(wanted)
    assert outcome.vms["a"]["error_code"] == "customization_timeout"
    assert "within 2 s; found none" in outcome.vms["a"]["error"]
    assert time.monotonic() - began < 15


def test_a_vm_that_is_kept_off_is_customized_when_it_is_switched_on(lab: Lab) -> None:
    lab.fleet(wish("a", customization=LINUX, lifecycle={"power": "off"}))
    assert marks(lab, "a")["nanobanana.customization"] == "pending vcsim-linux"
    assert not lab.fleet(wish("a", customization=LINUX, lifecycle={"power": "off"})).changed
    assert lab.fleet(wish("a", customization=LINUX)).changed
    assert marks(lab, "a")["nanobanana.customization"] == "done vcsim-linux"


@pytest.mark.parametrize(
    ("customization", "parts"),
    [
        (LINUX | {"spec": "vcsim-linus"}, ["none named 'vcsim-linus'", "did you mean 'vcsim-linux'?"]),
        (LINUX | {"addresses": [{}, STATIC]}, ["network cards: expected 1, as the VM has; found 2"]),
        (WINDOWS, ["vm_customization.addresses[0]: expected an address for this card"]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(
    lab: Lab, customization: dict[str, Any], parts: list[str]
) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("good"), wish("bad", customization=customization))
    for part in parts:
        assert part in str(caught.value)
    assert writes(lab, since) == []


def test_two_windows_guests_never_share_a_computer_name(lab: Lab) -> None:
    names = [f"compatibility-windows-{number:02}" for number in range(3)]
    vms = [wish(name, customization=WINDOWS | {"addresses": [STATIC]}) for name in names]
    assert lab.fleet(*vms, check=True).changed
    for vm in vms:
        vm["customization"] = vm["customization"] | {"hostname": "the-same-for-everybody"}
    with pytest.raises(TestbedError) as caught:
        lab.fleet(*vms, check=True)
    assert "a Windows computer name of its own" in str(caught.value)
