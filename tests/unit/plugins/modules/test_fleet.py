# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's own check of its arguments, as Ansible does it before anything runs."""

from __future__ import annotations

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import fleet_call


def test_several_vms_may_leave_out_the_same_things() -> None:
    connection = {"vsphere_hostname": "h", "vsphere_username": "u", "vsphere_password": "p"}
    template = {"library": "l", "item": "i"}
    vms = [{"name": name, "template": template, "cpus": 1, "memory_mb": 4} for name in ("a", "b", "c")]
    checked = ArgumentSpecValidator(fleet_call.argument_spec()).validate({**connection, "owner": "o", "vms": vms})
    assert checked.error_messages == []
    assert fleet_call.wish.parse_wishes(checked.validated_parameters["vms"])[2].name == "c"
