# SPDX-License-Identifier: GPL-3.0-or-later
"""Hardware settings and VMX keys against the lab's vCenter, read back by a plain session."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.integration.conftest import Lab, wish
from tests.integration.test_fleet import session, writes

pytestmark = pytest.mark.integration
OFF = {"power": "off"}


def config(lab: Lab, name: str) -> Any:
    """What somebody else reads, detached from the session."""
    with session(lab) as content:
        return lookup.find_vms(content, [name])[name].config


def keys(lab: Lab, name: str) -> dict[str, str]:
    return {option.key: option.value for option in config(lab, name).extraConfig}


def test_one_share_leaves_the_rest_of_the_allocation(lab: Lab) -> None:
    lab.fleet(wish("a", tweaks={"cpu_limit_mhz": 5000, "cpu_reservation_mhz": 300}))
    lab.fleet(wish("a", tweaks={"cpu_shares": "low"}))
    allocation = config(lab, "a").cpuAllocation
    assert (allocation.shares.level, allocation.limit, allocation.reservation) == ("low", 5000, 300)


@pytest.mark.parametrize(
    ("tweaks", "code", "parts"),
    [
        ({"hardware_version": 22}, "unsupported_hardware", ["host esx-01.lab", "at most 21 (ESXi 8.0 U2)"]),
        (
            {"latency_sensitivity": "high", "cpu_reservation_mhz": 10},
            "unsupported_hardware",
            ["MHz of host esx-01.lab"],
        ),
        ({"firmware": "bios"}, "wrong_firmware", ["expected bios; found efi"]),
        ({"boot_controller": "nvme"}, "wrong_boot_controller", ["expected nvme; found pvscsi"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    lab: Lab, tweaks: dict[str, Any], code: str, parts: list[str]
) -> None:
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("good"), wish("bad", tweaks=tweaks))
    assert caught.value.error_code == code
    for part in parts:
        assert part in str(caught.value)
    assert writes(lab, since) == []


def test_a_key_that_leaves_the_wish_leaves_the_vm_and_no_other(lab: Lab) -> None:
    lab.fleet(wish("a", lifecycle=OFF, tweaks={"extra_config": {"user.one": "1", "user.two": "2"}}))
    with session(lab) as content:
        foreign = vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key="their.key", value="x")])
        WaitForTask(lookup.find_vms(content, ["a"])["a"].ReconfigVM_Task(foreign))
    less = wish("a", lifecycle=OFF, tweaks={"balloon": True, "page_sharing": True, "extra_config": {"user.two": "2"}})
    since = len(lab.calls())
    assert lab.fleet(less, check=True).after["a"]["extra_config.user.one"] is None
    assert writes(lab, since) == []
    assert lab.fleet(less).changed
    found = keys(lab, "a")
    assert found["user.two"] == "2"
    assert found["their.key"] == "x"
    gone = {"user.one", "sched.mem.maxmemctl", "mem.memballoon", "sched.mem.pshare.enable"}
    assert gone.isdisjoint(found)
    assert not lab.fleet(less).changed
