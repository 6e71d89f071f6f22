# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a VM has to be read again after what was done to it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.fleet import _has_new_keys, _is_steady
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.machine import Machine
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Change, Operation

KEYS = Operation("reconfigure", (Change("extra_config.a", "1", "2"), Change("extra_config.b", None, "3")))
MORE = Operation("reconfigure", (Change("extra_config.a", "1", "2"), Change("cpus", 1, 2)))
WHOLE: dict[str, Any] = {"moid": "vm-1", "name": "a", "change_version": "7"}


@pytest.mark.parametrize(
    ("operation", "succeeded", "actual", "read"),
    [
        (KEYS, True, {}, "keys"),
        (KEYS, False, {}, "whole"),  # a conflict: somebody else is changing it
        (MORE, True, {}, "whole"),
        (Operation("reconfigure"), False, {}, "whole"),
        (Operation("clone"), True, {}, "whole"),
        (Operation("power_on"), True, {}, "state"),
        (Operation("wait_address"), True, {}, "state"),
        (KEYS, True, {"change_version": ""}, "whole"),
        (KEYS, True, {"ready": False}, "whole"),
        (KEYS, True, {"deployed": {"nanobanana.owner": "o"}}, "whole"),
        (KEYS, True, {"gpus": (GpuActual(key=13000, mode="dynamic"),)}, "whole"),
        (Operation("power_on"), True, {"gpus": (GpuActual(key=13000, mode="dynamic"),)}, "whole"),
    ],
)
def test_only_what_can_have_changed_is_read(
    operation: Operation, succeeded: bool, actual: dict[str, Any], read: str
) -> None:
    machine = Machine("a", None, reference=object(), actual=VmActual(**WHOLE | actual), operation=operation)
    machine.done = [operation] if succeeded else []
    found = "keys" if _has_new_keys(machine) else "state" if _is_steady(machine) else "whole"
    assert found == read
