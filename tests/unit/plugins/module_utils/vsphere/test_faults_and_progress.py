# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fault means, what a slot is, and what the person who watches is told."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import faults, progress
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import Slots
from pyVmomi import vim, vmodl


def test_every_row_of_the_table_is_a_fault_of_vsphere() -> None:
    """A misspelt name would never match; TooManyConcurrentNativeClones and the like are looked up as they are."""
    for name in faults.TABLE:
        known = [getattr(space, name, None) for space in (vim.fault, vmodl.fault)]
        assert any(known), name


@pytest.mark.parametrize(
    ("fault", "code", "retry"),
    [
        (vim.fault.DuplicateName(), "conflict", True),
        (vmodl.fault.ManagedObjectNotFound(), "conflict", True),
        (vmodl.fault.HostNotConnected(), "host_unavailable", True),
        (vim.fault.NoPermission(), "no_permission", False),
        (vim.fault.InsufficientMemoryResourcesFault(), "no_resources", False),
        (vim.fault.InsufficientResourcesFault(), "no_resources", False),
        (vim.fault.AlreadyExists(), "task_failed", False),
    ],
)
def test_a_fault_means_what_its_nearest_row_says(fault: Any, code: str, retry: bool) -> None:
    found = faults.meaning(fault)
    assert (found.error_code, found.retry) == (code, retry)
    assert found.advice


def test_a_missing_privilege_is_named_with_its_object() -> None:
    machine = vim.VirtualMachine("vm-7", None)
    fault = vim.fault.NoPermission(object=machine, privilegeId="VirtualMachine.Interact.PowerOn", msg="no")
    assert faults.describe(fault) == "NoPermission: no; privilege VirtualMachine.Interact.PowerOn on vm-7"


def test_clones_count_by_their_source_and_place() -> None:
    slots = Slots({"clone": 2, "power": 1, "host": 1, "datastore": 3})
    first = slots.keys("clone", "template-a", "", "ds-1")
    assert first == {"clone of template-a": 2, "datastore ds-1": 3}
    assert slots.take(first)
    assert slots.take(first)
    assert not slots.take(first)
    other = slots.keys("clone", "template-b", "", "ds-1")
    assert slots.take(other)
    assert not slots.take(slots.keys("clone", "template-c", "", "ds-1")), "the datastore is full"
    slots.give_back(other)
    assert slots.take(slots.keys("clone", "template-c", "", "ds-1"))
    assert slots.keys("power_on", "template-a", "esx-1", "ds-1") == {"power": 1, "host esx-1": 1}
    assert Slots({}).keys("power_off") == {}


def test_progress_is_one_line_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    file = tmp_path / "progress.jsonl"
    told = progress.Progress(str(file))
    for now[0] in (1.0, 6.0, 7.0, 12.0):
        told.tell(3, 1, 0, [("nb_1", "wait_address", 4.2), ("nb_2", "clone", 9.9), ("nb_3", "clone", 1.0)])
    lines = file.read_text().splitlines()
    assert len(lines) == 2
    assert progress.readable(lines[0]) == (
        "1 of 3 VMs done after 6 s; 2 clone, 1 wait address; longest: nb_2 clone 10 s"
    )
    assert json.loads(lines[1])["longest"] == {"name": "nb_2", "kind": "clone", "seconds": 9.9}
    progress.Progress(None).tell(1, 0, 0, [])


def test_the_watchdog_sees_its_process_end() -> None:
    with subprocess.Popen(["sleep", "30"]) as process:
        watchdog = progress.Watchdog(process.pid)
        assert not watchdog.alone()
        process.kill()
        for _look in range(50):
            if watchdog.alone():
                break
            time.sleep(0.05)
        assert watchdog.alone(), "a zombie is not alive"
    assert not progress.Watchdog(0).alone()
