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
TUNED = {
    "cores_per_socket": 2,
    "cpu_shares": "high",
    "cpu_limit_mhz": "unlimited",
    "cpu_reservation_mhz": 100_000,
    "latency_sensitivity": "high",
    "firmware": "efi",
    "boot_controller": "pvscsi",
}


def config(lab: Lab, name: str) -> Any:
    """What somebody else reads, detached from the session."""
    with session(lab) as content:
        return lookup.find_vms(content, [name])[name].config


def keys(lab: Lab, name: str) -> dict[str, str]:
    return {option.key: option.value for option in config(lab, name).extraConfig}


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_create(lab: Lab, check: bool) -> None:
    since = len(lab.calls())
    first = lab.fleet(wish("a", tweaks=TUNED), check=check)
    assert first.after["a"]["cpu_shares"] == "high"
    if check:
        assert writes(lab, since) == []
        assert lab.fleet(wish("a", tweaks=TUNED), check=True).changed
        return
    found = config(lab, "a")
    allocation = found.cpuAllocation
    assert (allocation.shares.level, allocation.limit, allocation.reservation) == ("high", -1, 100_000)
    assert found.hardware.numCoresPerSocket == 2
    assert found.latencySensitivity.level == "high"
    since = len(lab.calls())
    assert not lab.fleet(wish("a", tweaks=TUNED)).changed
    assert writes(lab, since) == []


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_change(lab: Lab, check: bool) -> None:
    lab.fleet(wish("a", lifecycle=OFF))
    tuned = wish("a", lifecycle=OFF, tweaks={"cpu_shares": 1234, "cpu_limit_mhz": 5000, "cores_per_socket": 2})
    since = len(lab.calls())
    first = lab.fleet(tuned, check=check)
    assert first.before["a"] == {"cores_per_socket": 1, "cpu_shares": "normal", "cpu_limit_mhz": -1}
    assert first.after["a"] == {"cores_per_socket": 2, "cpu_shares": "1234", "cpu_limit_mhz": 5000}
    if check:
        assert writes(lab, since) == []
    assert lab.fleet(tuned).changed is check
    assert not lab.fleet(tuned).changed
    assert config(lab, "a").cpuAllocation.shares.shares == 1234


def test_one_share_leaves_the_rest_of_the_allocation(lab: Lab) -> None:
    lab.fleet(wish("a", tweaks={"cpu_limit_mhz": 5000, "cpu_reservation_mhz": 300}))
    lab.fleet(wish("a", tweaks={"cpu_shares": "low"}))
    allocation = config(lab, "a").cpuAllocation
    assert (allocation.shares.level, allocation.limit, allocation.reservation) == ("low", 5000, 300)


def test_the_hardware_version_is_upgraded_while_off_and_never_lowered(lab: Lab) -> None:
    newest = wish("a", tweaks={"hardware_version": 21})
    assert lab.fleet(newest).vms["a"]["operations"] == [
        "clone from the template",
        "upgrade hardware_version",
        "power on",
    ]
    assert config(lab, "a").version == "vmx-21"
    assert not lab.fleet(newest).changed
    with pytest.raises(TestbedError) as caught:
        lab.fleet(wish("a", tweaks={"hardware_version": 20}))
    assert caught.value.error_code == "hardware_downgrade"


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


def test_reserved_memory_is_given_back(lab: Lab) -> None:
    lab.fleet(wish("a", lifecycle=OFF))
    free = wish("a", lifecycle=OFF, tweaks={"reserve_memory": False, "balloon": True})
    assert lab.fleet(free).changed
    found = config(lab, "a")
    assert (found.memoryReservationLockedToMax, found.memoryAllocation.reservation) == (False, 0)
    assert not lab.fleet(free).changed


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
