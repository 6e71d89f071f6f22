# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of other people's making see what fleet made, change it, and fleet puts it right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.build import go_program
from tests.integration.conftest import BIN, ROOT, Lab, wish

pytestmark = pytest.mark.integration
KEY = "sched.mem.pshare.enable"
Govmomi = Callable[..., str]


@pytest.fixture(scope="module")
def govmomi(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Govmomi:
    """The Go program of tests/integration/govmomi, built with the environment's toolchain."""
    program = tmp_path_factory.mktemp("peer") / "govmomi"
    environ = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    command = [str(go_program()), "build", "-trimpath", "-o", str(program), "."]
    folder = ROOT / "tests/integration/govmomi"
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def run(*arguments: str) -> str:
        address = f"{lab.vcenter['hostname']}:{lab.vcenter['port']}"
        login = lab.administrator()
        environ = {"PEER_PASSWORD": login["vsphere_password"], "SSL_CERT_FILE": lab.vcenter["ca_file"]}
        call = [str(program), address, login["vsphere_username"], *arguments]
        answer = subprocess.run(call, env=environ, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    return run


def listed(govmomi: Govmomi) -> dict[str, dict[str, Any]]:
    return {vm["name"]: vm for vm in json.loads(govmomi("list")) if not vm["template"]}


def test_govmomi_sees_what_fleet_made(lab: Lab, govmomi: Govmomi) -> None:
    made = lab.fleet(wish("a"), wish("b", "stress", cpus=4, memory_mb=4096, disks=[], lifecycle={"power": "off"}))
    seen = listed(govmomi)
    assert sorted(seen) == ["a", "b"]
    for name, vm in seen.items():
        ours = made.vms[name]
        shared = ("moid", "instance_uuid", "power", "address", "cpus", "memory_mb")
        assert {key: vm[key] for key in shared} == {key: ours[key] for key in shared}
        for mark in ("owner", "run", "expires", "template", "wish"):
            assert vm["keys"][f"nanobanana.{mark}"] == ours[mark]
        assert vm["keys"][KEY] == "FALSE"
    assert (seen["a"]["cpus"], seen["a"]["memory_mb"], seen["a"]["power"]) == (2, 2048, "poweredOn")
    assert (seen["b"]["cpus"], seen["b"]["memory_mb"], seen["b"]["power"]) == (4, 4096, "poweredOff")
    assert len(seen["b"]["disks_kb"]) == 1, "the template's disk"
    assert 20 * 1024 * 1024 in seen["a"]["disks_kb"]
    assert len(seen["a"]["disks_kb"]) == 2


def test_fleet_puts_right_what_govmomi_changed(lab: Lab, govmomi: Govmomi) -> None:
    lab.fleet(wish("a"))
    govmomi("power-off", "a")
    govmomi("set-key", "a", KEY, "TRUE")
    govmomi("set-key", "a", "somebody.note", "mine")
    first = lab.fleet(wish("a"))
    assert first.vms["a"]["operations"] == [f"reconfigure extra_config.{KEY}", "power on"]
    assert first.before["a"] == {f"extra_config.{KEY}": "TRUE", "power": "off"}
    seen = listed(govmomi)["a"]
    assert (seen["power"], seen["keys"][KEY]) == ("poweredOn", "FALSE")
    assert seen["keys"]["somebody.note"] == "mine", "a key that nobody wished away stays"
    assert not lab.fleet(wish("a")).changed


def test_a_vm_whose_mark_govmomi_changed_is_somebody_elses(lab: Lab, govmomi: Govmomi) -> None:
    lab.fleet(wish("a", lifecycle={"power": "off"}))
    govmomi("set-key", "a", "nanobanana.owner", "somebody")
    try:
        assert not lab.fleet(state="absent", all_owned=True).changed
        assert "a" in listed(govmomi)
    finally:
        govmomi("set-key", "a", "nanobanana.owner", "tests")


def test_fleet_puts_right_what_community_vmware_changed(lab: Lab, govmomi: Govmomi, tmp_path: Path) -> None:
    lab.fleet(wish("a"))
    tasks = [
        {"name": "Off", "community.vmware.vmware_guest_powerstate": {"name": "a", "state": "powered-off"}},
        {
            "name": "More CPUs and a key",
            "community.vmware.vmware_guest": {
                "name": "a",
                "datacenter": "DC0",
                "hardware": {"num_cpus": 4},
                "advanced_settings": [{"key": KEY, "value": "TRUE"}],
            },
        },
    ]
    (tmp_path / "peer.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    env = lab.env | lab.peer()
    interpreter = f"ansible_python_interpreter={sys.executable}"
    command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", "-e", interpreter]
    done = subprocess.run(
        [*command, str(tmp_path / "peer.yml")], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    changed = listed(govmomi)["a"]
    assert (changed["cpus"], changed["keys"][KEY], changed["power"]) == (4, "TRUE", "poweredOff")
    first = lab.fleet(wish("a"))
    assert first.before["a"] == {"cpus": 4, f"extra_config.{KEY}": "TRUE", "power": "off"}
    seen = listed(govmomi)["a"]
    assert (seen["cpus"], seen["keys"][KEY], seen["power"]) == (2, "FALSE", "poweredOn")
    assert not lab.fleet(wish("a")).changed
