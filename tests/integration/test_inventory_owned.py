# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-inventory with the plugin nanobanana.testbed.owned against the lab's vCenter."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import BIN, ROOT, Lab, wish
from tests.integration.test_fleet import writes

pytestmark = pytest.mark.integration


def ask(lab: Lab, file: Path, **config: Any) -> subprocess.CompletedProcess[str]:
    file.write_text(yaml.safe_dump({"plugin": "nanobanana.testbed.owned"} | config))
    command = [str(BIN / "ansible-inventory"), "-i", str(file), "--list"]
    return subprocess.run(command, cwd=ROOT, env=lab.env, capture_output=True, text=True, check=False)


def listed(done: subprocess.CompletedProcess[str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Variables by host, hosts by group."""
    assert done.returncode == 0, done.stderr
    # what comes from vCenter is never taken for a template, which Ansible writes as {"__ansible_unsafe": text}
    answer = json.loads(done.stdout, object_hook=lambda item: item.get("__ansible_unsafe", item))
    hosts = answer.pop("_meta")["hostvars"]
    return hosts, {name: sorted(group.get("hosts", ())) for name, group in answer.items() if name != "all"}


def test_the_vms_of_one_owner_are_hosts(lab: Lab, tmp_path: Path) -> None:
    made = lab.fleet(wish("a"), wish("b", "stress", lifecycle={"power": "off"}))
    lab.fleet(wish("theirs"), owner="somebody")
    try:
        since = len(lab.calls())
        done = ask(lab, tmp_path / "tests.owned.yml", owner="tests", **lab.connection())
        hosts, groups = listed(done)
    finally:
        lab.fleet(state="absent", all_owned=True, owner="somebody")
    assert sorted(hosts) == ["a", "b"]
    for name in hosts:
        for key in ("moid", "instance_uuid", "address", "expires", "run", "wish", "owner", "power"):
            assert hosts[name][f"testbed_{key}"] == made.vms[name][key], key
    assert hosts["a"]["ansible_host"] == made.vms["a"]["address"]
    assert "ansible_host" not in hosts["b"]
    assert groups == {
        "baseline": ["a"],
        "stress": ["b"],
        "template_nano_banana_baseline_template": ["a"],
        "template_nano_banana_stress_template": ["b"],
        "run_r1": ["a", "b"],
        "power_on": ["a"],
        "power_off": ["b"],
    }
    assert lab.password not in done.stdout + done.stderr
    assert "s3cret" not in done.stdout
    assert set(writes(lab, since)) <= {"Destroy_Task", "PowerOffVM_Task", "ShutdownGuest"}, "only our clean-up writes"


def test_the_connection_comes_from_the_environment_and_templates(lab: Lab, tmp_path: Path) -> None:
    lab.fleet(wish("a", lifecycle={"power": "off"}))
    env = {"VMWARE_HOST": lab.vcenter["hostname"], "VMWARE_PORT": str(lab.vcenter["port"]), "WHO": "tests"}
    env |= {"VMWARE_USER": lab.vcenter["username"], "VMWARE_PASSWORD": lab.password}
    elsewhere = Lab(lab.state, lab.env | env)
    config = {"owner": "{{ lookup('ansible.builtin.env', 'WHO') }}", "vsphere_ca_file": lab.vcenter["ca_file"]}
    config |= {"compose": {"ansible_user": "'tester'"}, "groups": {"idle": "testbed_power == 'poweredOff'"}}
    hosts, groups = listed(ask(elsewhere, tmp_path / "owned.yml", **config))
    assert hosts["a"]["ansible_user"] == "tester"
    assert groups["idle"] == ["a"]


def test_a_cache_is_asked_in_place_of_vcenter(lab: Lab, tmp_path: Path) -> None:
    lab.fleet(wish("a", lifecycle={"power": "off"}))
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    config = {"owner": "tests"} | lab.connection() | cache
    first, _groups = listed(ask(lab, tmp_path / "owned.yml", **config))
    since = len(lab.calls())
    second, _groups = listed(ask(lab, tmp_path / "owned.yml", **config))
    assert first == second
    assert lab.calls()[since:] == []
    kept = "".join(file.read_text() for file in (tmp_path / "cache").iterdir())
    assert "a" in first
    assert lab.password not in kept


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"vsphere_password": "wrong"}, "user or password refused"),
        ({"vsphere_ca_file": None}, "a certificate that is trusted here"),
        ({"owner": None}, "owner"),
        ({"vsphere_hostname": None}, "vsphere_hostname"),
    ],
)
def test_one_clear_error(lab: Lab, tmp_path: Path, change: dict[str, Any], part: str) -> None:
    config = {"owner": "tests"} | lab.connection() | change
    strict = Lab(lab.state, lab.env | {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"})
    done = ask(strict, tmp_path / "owned.yml", **{key: value for key, value in config.items() if value is not None})
    assert done.returncode != 0
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert lab.password not in done.stderr
