# SPDX-License-Identifier: GPL-3.0-or-later
"""The acceptance report tells what happened and names nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.filter.acceptance_report import acceptance_report

ABOUT = {"full_name": "VMware vCenter Server 8.0.3 build-1", "version": "8.0.3", "build": "1", "api_version": "8.0.3.0"}
NAMES = ("secret-vm", "10.1.2.3", "admin@corp.example", "vcenter.corp.example", "secret-disk", "uuid-of-vcenter")


def result(**fields: Any) -> dict[str, Any]:
    vm = {"address": "10.1.2.3", "operations": ["clone from the template", "reconfigure disks.secret-disk", "power on"]}
    about = ABOUT | {"instance_uuid": "uuid-of-vcenter", "name": "vcenter.corp.example"}
    return {"changed": True, "vms": {"secret-vm": vm}, "vcenter": about, "warnings": ["secret-vm"]} | fields


def test_no_name_gets_into_the_report() -> None:
    failed = {"msg": "vCenter vcenter.corp.example: admin@corp.example refused", "error_code": "login_refused"}
    text = json.dumps(acceptance_report([{"name": "a", "result": result()}, {"name": "b", "result": failed}]))
    for name in NAMES:
        assert name not in text
    assert "login_refused" in text
    assert "8.0.3 build-1" in text


def test_a_row_counts_vms_and_operations() -> None:
    row = acceptance_report([{"name": "plan", "result": result(), "changed": True}])["checks"][1]
    assert row == {
        "name": "plan",
        "vms": 1,
        "operations": {"clone": 1, "reconfigure": 1, "power on": 1},
        "changed": True,
        "error_code": "",
        "status": "passed",
    }


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        ({"result": result()}, True),
        ({"result": result(), "changed": True}, True),
        ({"result": result(), "changed": False}, False),
        ({"result": result(), "same_as": result()}, True),
        ({"result": result(), "same_as": result(vms={})}, False),
        ({"result": result(error_code="task_failed")}, False),
        ({"result": {"msg": "MODULE FAILURE"}}, False),
        ({"result": result(vcenter=ABOUT | {"version": "7.0.3"})}, True),
        ({"result": result(vcenter=ABOUT | {"version": "7.0.2"})}, False),
        ({"result": result(vcenter={})}, False),
    ],
)
def test_passed_only_when_everything_is_as_expected(check: dict[str, Any], passed: bool) -> None:
    assert acceptance_report([{"name": "x"} | check])["passed"] is passed
