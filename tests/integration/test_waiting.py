# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for tasks and VMs: one filter for all of one kind, and nothing that happened is missed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.waiting import (
    GUEST_PROPERTIES,
    TASK_PROPERTIES,
    Watcher,
)
from pyVim.task import WaitForTask

from tests.integration.conftest import Lab, wish
from tests.integration.test_fleet import session

pytestmark = pytest.mark.integration
PATIENCE = 20.0


def until(watcher: Watcher, key: str, wanted: Any) -> dict[str, Any]:
    """Wait until ``wanted`` says yes to the values of one object."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        values = watcher.wait(1).get(key)
        if values is not None and wanted(values):
            return values
    raise AssertionError(f"{key} did not get there in {PATIENCE} s")


def is_gone(values: dict[str, Any]) -> bool:
    return bool(values.get("gone"))


def is_on(values: dict[str, Any]) -> bool:
    return bool(values.get("runtime.powerState") == "poweredOn" and values.get("guest.ipAddress"))


def test_tasks_share_one_filter(lab: Lab) -> None:
    since = len(lab.calls())
    lab.fleet(*(wish(f"vm-{number}", lifecycle={"wait_seconds": 0}) for number in range(12)))
    methods = [call["method"] for call in lab.calls()[since:]]
    assert methods.count("CloneVM_Task") == methods.count("PowerOnVM_Task") == 12
    assert methods.count("CreateFilter") == 1
    assert methods.count("DestroyView") == methods.count("CreateContainerView") + methods.count("CreateListView")
    assert methods.count("CreatePropertyCollector") == methods.count("DestroyPropertyCollector")


def test_a_task_that_ended_before_it_was_watched_is_reported(lab: Lab) -> None:
    lab.fleet(wish("a"))
    with session(lab) as content:
        task = lookup.find_vms(content, ["a"])["a"].PowerOffVM_Task()
        WaitForTask(task)
        watcher = Watcher(content)
        watcher.watch(task, TASK_PROPERTIES)
        assert until(watcher, task._moId, lambda values: values.get("info.state") == "success")
        watcher.close()


def test_a_vm_that_is_watched_again_is_reported_as_it_is(lab: Lab) -> None:
    lab.fleet(wish("a"), wish("b"))
    with session(lab) as content:
        found = lookup.find_vms(content, ["a", "b"])
        watcher = Watcher(content)
        for machine in found.values():
            watcher.watch(machine, GUEST_PROPERTIES)
            until(watcher, machine._moId, is_on)
        watcher.forget(found["a"])
        watcher.watch(found["a"], GUEST_PROPERTIES)
        until(watcher, found["a"]._moId, is_on)
        watcher.close()


def test_a_vm_that_goes_is_reported_and_one_that_left_is_not(lab: Lab) -> None:
    lab.fleet(wish("a", lifecycle={"power": "off"}), wish("b", lifecycle={"power": "off"}))
    with session(lab) as content:
        found = lookup.find_vms(content, ["a", "b"])
        watcher = Watcher(content)
        for machine in found.values():
            watcher.watch(machine, GUEST_PROPERTIES)
        watcher.wait(1)
        watcher.forget(found["b"])
        watcher.wait(0)  # the simulator loses what goes between a change of the list and the next wait
        for machine in found.values():
            WaitForTask(machine.Destroy_Task())
        until(watcher, found["a"]._moId, is_gone)
        assert found["b"]._moId not in watcher.wait(0)
        watcher.watch(found["a"], GUEST_PROPERTIES)
        until(watcher, found["a"]._moId, is_gone)
        watcher.close()
