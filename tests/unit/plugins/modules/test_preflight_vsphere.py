# SPDX-License-Identifier: GPL-3.0-or-later
"""preflight_vsphere: documentation and options agree, and what its commands are made of."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.nanobanana.testbed.plugins.action import preflight_vsphere as action
from ansible_collections.nanobanana.testbed.plugins.doc_fragments import vms as vms_fragment
from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import MachineFacts
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import preflight_call
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish
from ansible_collections.nanobanana.testbed.plugins.modules import preflight_vsphere

from tests.unit.plugins.module_utils.checks.vsphere_examples import machine, wish
from tests.unit.test_project import documented, specified

LOGIN = {"vsphere_hostname": "localhost", "vsphere_port": 1, "vsphere_username": "u@v.local", "vsphere_password": "p"}


def test_the_options_are_documented_as_they_are() -> None:
    own = {name: option for name, option in preflight_call.argument_spec().items() if name not in vsphere_spec()}
    fragment = yaml.safe_load(vms_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert documented(yaml.safe_load(preflight_vsphere.DOCUMENTATION)["options"] | fragment) == specified(own)


def test_the_list_of_privileges_passes_the_modules_own_check() -> None:
    given = {**LOGIN, "stage": "platform", "owner": "o", "privileges": action._privileges()}
    checked = ArgumentSpecValidator(preflight_call.argument_spec()).validate(given)
    assert checked.error_messages == []
    assert len(checked.validated_parameters["privileges"]) > 20


def test_a_list_that_is_not_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(action, "ROLE", tmp_path / "vcenter_role.yml")
    with pytest.raises(TestbedError) as caught:
        action._privileges()
    assert caught.value.error_code == "no_role"


FULL: dict[str, Any] = {"ttl_hours": 7, "address_networks": ["10.0.0.0/8"], "wait_seconds": 9}


@pytest.mark.parametrize(
    ("wished", "facts", "lifecycle"),
    [
        (wish(), machine(), {"power_cycle": "allowed"}),
        (wish(lifecycle=FULL), machine(), FULL | {"power_cycle": "allowed"}),
        (wish(), machine(actual={"power": "suspended"}), {"power_cycle": "allowed"}),
        (wish(), machine(actual={"power": "poweredOff"}), None),
        (wish(lifecycle={"power_cycle": "allowed"}), machine(), None),
        (wish(lifecycle={"power": "off"}), machine(), None),
        (wish(), MachineFacts(wish(), "me"), None),
        (wish(), None, None),
    ],
)
def test_the_option_that_allows_a_power_cycle_keeps_the_rest_of_the_wish(
    wished: VmWish, facts: MachineFacts | None, lifecycle: dict[str, Any] | None
) -> None:
    words = shlex.split(preflight_call.cycle(wished, facts))
    assert (json.loads(words[1])["vm_lifecycle"] if words else None) == lifecycle
    if lifecycle:
        assert wish(lifecycle=lifecycle).lifecycle.power_cycle == "allowed"


@pytest.mark.parametrize("stage", ["platform", "machine"])
@pytest.mark.parametrize("fail_on", ["failed", "never"])
def test_no_vcenter_is_a_failed_check_and_no_error(stage: str, fail_on: str) -> None:
    given = {**LOGIN, "stage": stage, "owner": "o", "vms": [], "fail_on": fail_on}
    checked = ArgumentSpecValidator(preflight_call.argument_spec()).validate(given).validated_parameters
    answer = preflight_call.run(checked)
    row = answer["hosts"]["localhost"]["checks"][0]
    assert (row["id"], row["status"]) == ("vcenter.login", "failed")
    assert answer["failed"] is (fail_on == "failed")
    assert ("msg" in answer) is (fail_on == "failed")


def test_a_wish_that_cannot_be_read_is_refused() -> None:
    given = {**LOGIN, "stage": "machine", "owner": "o", "vms": [{"name": "a"}]}
    checked = ArgumentSpecValidator(preflight_call.argument_spec()).validate(given).validated_parameters
    assert preflight_call.run(checked)["error_code"] == "invalid_wish"
