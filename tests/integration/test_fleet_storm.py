# SPDX-License-Identifier: GPL-3.0-or-later
"""144 VMs through random faults, an expired session and SIGKILLs: exactly 144 matching VMs, and no orphan."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVmomi import vim

from tests.integration.conftest import BIN, ROOT, Lab, wish
from tests.integration.test_fleet import session, vm_names

pytestmark = pytest.mark.integration

MANY = 144
STORM = {
    "delays": {"CloneVM_Task": "0.2s", "PowerOnVM_Task": "0.05s"},
    "random": {"seed": 7, "rate": 0.05},
    "sessions": {"expire_after_calls": 150, "times": 1},
}


def settings(folder: Path, content: object) -> str:
    file = folder / "faults.json"
    file.write_text(json.dumps(content))
    return str(file)


@pytest.fixture(scope="module")
def stormy(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return start_lab("fake", NANOBANANA_LAB_FAULTS=settings(tmp_path_factory.mktemp("storm"), STORM))


def play(lab: Lab, folder: Path, vms: list[dict[str, object]]) -> Path:
    task = {"name": "Make them", "nanobanana.testbed.fleet": {**lab.connection(), "owner": "tests", "vms": vms}}
    file = folder / "many.yml"
    file.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    return file


def clones(lab: Lab) -> int:
    return sum(call["method"] == "CloneVM_Task" for call in lab.calls())


def start(lab: Lab, file: Path) -> subprocess.Popen[bytes]:
    command = [str(BIN / "ansible-playbook"), "-i", "/dev/null", str(file)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=lab.env, stdout=quiet, stderr=quiet)


def workers(parent: int) -> list[int]:
    """The processes that a process has forked."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(file.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(file.parent.name))
    return found


def wait_for_clones(lab: Lab, count: int) -> None:
    for _look in range(600):
        if clones(lab) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{clones(lab)} clones after 30 s, expected {count}")


def test_a_fleet_gets_through_a_storm_and_a_sigkill(stormy: Lab, tmp_path: Path) -> None:
    vms = [wish(f"vm-{number:03}", "stress", memory_mb=256) for number in range(MANY)]
    file = play(stormy, tmp_path, list(vms))
    killed = start(stormy, file)
    wait_for_clones(stormy, 40)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    done = stormy.playbook("-i", "/dev/null", str(file))  # at once, while the old module and its clones still run
    assert done.returncode == 0, done.stdout + done.stderr
    assert vm_names(stormy) == [vm["name"] for vm in vms]
    with session(stormy) as content:
        found = list(lookup.everything(content, {vim.VirtualMachine: ["name", "config", "runtime.powerState"]}))
        machines = [values for _reference, values in found if not values["config"].template]
        for values in machines:
            keys = {option.key: option.value for option in values["config"].extraConfig}
            disks = [
                device for device in values["config"].hardware.device if isinstance(device, vim.vm.device.VirtualDisk)
            ]
            assert keys["nanobanana.owner"] == "tests"
            assert values["runtime.powerState"] == "poweredOn"
            assert len(disks) == 2, f"{values['name']} has {len(disks)} disks"
    faults = [call["method"] for call in stormy.calls() if call["fault"] == "NotAuthenticated"]
    assert faults, "the session never expired: this test proved less than it says"
    assert not stormy.fleet(*vms).changed
    stormy.fleet(state="absent", all_owned=True)
    assert vm_names(stormy) == []


def test_a_module_whose_ansible_was_killed_stops_starting_operations(stormy: Lab, tmp_path: Path) -> None:
    vms = [wish(f"vm-{number:03}", "baseline", memory_mb=256) for number in range(MANY)]
    since = clones(stormy)
    killed = start(stormy, play(stormy, tmp_path, list(vms)))
    wait_for_clones(stormy, since + 10)
    left = workers(killed.pid)
    assert left, "the worker is not there: nothing is proven about its end"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    time.sleep(6)  # the module looks at its parent every few seconds
    stopped_at = clones(stormy)
    time.sleep(4)
    assert clones(stormy) == stopped_at, "it still clones"
    assert stopped_at - since < MANY, "it was done before it could stop"
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()], "a worker waits for ever"
    stormy.fleet(state="absent", all_owned=True)
    assert vm_names(stormy) == []


def test_faults_that_stay_fail_exactly_their_vms(start_lab: Callable[..., Lab], tmp_path: Path) -> None:
    refusals = [
        {"vm": "no-space", "method": "CloneVM_Task", "fault": "NoDiskSpace"},
        {"vm": "no-start", "method": "PowerOnVM_Task", "fault": "InsufficientMemoryResourcesFault"},
        {"vm": "twice", "method": "CloneVM_Task", "fault": "TaskInProgress", "times": 2},
    ]
    lab = start_lab("fake", NANOBANANA_LAB_FAULTS=settings(tmp_path, {"refuse": refusals}))
    names = ["good-1", "no-space", "no-start", "twice", "good-2"]
    outcome = lab.fleet(*(wish(name) for name in names))
    assert outcome.error is not None
    assert len(outcome.error.problems) == 2
    assert {name: vm["error_code"] for name, vm in outcome.vms.items() if vm["status"] == "failed"} == {
        "no-space": "no_space",
        "no-start": "no_resources",
    }
    assert vm_names(lab) == ["good-1", "good-2", "no-start", "twice"]
    assert "the other 3 VMs are as wished" in str(outcome.error)


@pytest.mark.parametrize("executed", [True, False], ids=["after", "before"])
def test_a_lost_connection_costs_no_vm_and_makes_no_twin(
    start_lab: Callable[..., Lab], tmp_path: Path, executed: bool
) -> None:
    drop = {"after_calls": 3, "methods": ["CloneVM_Task"], "executed": executed, "times": 2}
    lab = start_lab("fake", NANOBANANA_LAB_FAULTS=settings(tmp_path, {"drop_connection": drop}))
    vms = [wish(f"vm-{number}") for number in range(6)]
    outcome = lab.fleet(*vms)
    assert outcome.error is None, str(outcome.error)
    assert vm_names(lab) == [vm["name"] for vm in vms]
    assert not lab.fleet(*vms).changed
