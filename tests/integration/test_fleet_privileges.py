# SPDX-License-Identifier: GPL-3.0-or-later
"""What fleet says where its login lacks a privilege. All other tests show that the role is enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Lab, lab_whose_role_lacks, wish
from tests.integration.test_fleet import vm_names

pytestmark = pytest.mark.integration


MISSING = ("VirtualMachine.Interact.PowerOn", "VirtualMachine.Config.DiskExtend", "VirtualMachine.Config.AddNewDisk")


@pytest.fixture(scope="module")
def poor(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vCenter whose administrator forgot some privileges of the role."""
    return lab_whose_role_lacks(start_lab, tmp_path_factory.mktemp("poor"), MISSING)


def test_every_write_is_made_by_the_role_s_login(lab: Lab) -> None:
    since = len(lab.calls())
    vms = [wish("a"), wish("b", "stress", lifecycle={"power": "off"})]
    assert lab.fleet(*vms).changed
    assert lab.fleet(state="absent", all_owned=True).changed
    assert vm_names(lab) == []
    calls = lab.calls()[since:]
    assert not [call for call in calls if call["fault"]]
    assert {call["user"] for call in calls if call["write"]} == {lab.vcenter["username"]}
    assert lab.vcenter["username"] != lab.vcenter["admin_username"]


@pytest.mark.parametrize(
    ("missing", "vm"),
    [
        ("VirtualMachine.Config.AddNewDisk", wish("a", lifecycle={"power": "off"})),
        ("VirtualMachine.Interact.PowerOn", wish("a", disks=[])),
        ("VirtualMachine.Config.DiskExtend", wish("a", disks=[{"name": "data", "size_gb": 30}])),
    ],
)
def test_a_missing_privilege_is_named(poor: Lab, missing: str, vm: dict[str, Any]) -> None:
    if missing.endswith("DiskExtend"):
        poor.fleet(wish("a", lifecycle={"power": "off"}), **poor.administrator())
    began = time.monotonic()
    outcome = poor.fleet(vm)
    assert outcome.error is not None
    assert outcome.error.error_code == "no_permission"
    assert f"privilege {missing} on " in str(outcome.error)
    assert "grant the privilege" in str(outcome.error)
    assert time.monotonic() - began < 30, "what nobody may do is not tried again and again"
    poor.fleet(state="absent", all_owned=True)
