# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody else's client must see the same VMs: lab and fleet have the same authors."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from tests.integration.conftest import BIN, ROOT, Lab, wish

pytestmark = pytest.mark.integration


def test_community_vmware_sees_the_same_vms(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    names = ["nb-baseline-01", "nb-compat-01", "nb-stress-01"]
    made = lab.fleet(*(wish(name) for name in names))
    task = {
        "name": "Ask community.vmware",
        "community.vmware.vmware_guest_info": {"datacenter": "DC0", "name": "{{ item }}"},
        "loop": names,
        "register": "found",
    }
    answer = tmp_path_factory.mktemp("peer") / "answer.json"
    keep = {
        "name": "Keep the answer",
        "ansible.builtin.copy": {"dest": str(answer), "mode": "0600", "content": "{{ found.results | to_json }}"},
    }
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task, keep]}]
    file = answer.with_name("peer.yml")
    file.write_text(yaml.safe_dump(play))
    env = lab.env | lab.peer()
    interpreter = f"ansible_python_interpreter={sys.executable}"
    command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", "-e", interpreter, str(file)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = {result["instance"]["hw_name"]: result["instance"] for result in json.loads(answer.read_text())}
    assert sorted(seen) == names
    for name, vm in seen.items():
        ours = made.vms[name]
        assert vm["moid"] == ours["moid"]
        assert vm["instance_uuid"] == ours["instance_uuid"]
        assert vm["ipv4"] == ours["address"]
        assert vm["hw_processor_count"] == 2
        assert vm["hw_memtotal_mb"] == 2048
        assert vm["hw_power_status"] == "poweredOn"
        assert vm["advanced_settings"]["nanobanana.owner"] == "tests"
