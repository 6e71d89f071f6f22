# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback inside a real ansible-playbook: the environment reaches workers, the report tells what happened.

The collection is the checkout's callback, logic and gate beside a ``fleet`` that asks no vCenter.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[4]
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
SECRET = "hunter2"

FLEET = f"""
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({{"vsphere_password": {{"no_log": True}}}}, supports_check_mode=True)
vm = {{"exists": True, "address": "192.0.2.7", "power": "poweredOn", "operations": ["power on"], "key": "{SECRET}"}}
vcenter = {{"full_name": "vCenter 8 (simulated)", "version": "8.0.3"}}
module.exit_json(changed=True, vms={{"h1": vm, "h2": vm}}, vcenter=vcenter)
"""
INVENTORY = """
baseline:
  hosts: {h1: , h2: }
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    version: "22.04"
    testbed_os: "Ubuntu {{ version }}"
    testbed_run_id: "{{ lookup('ansible.builtin.env', 'NANOBANANA_RUN_ID') | default('manual', true) }}"
    testbed_artifacts_dir: "{{ lookup('ansible.builtin.env', 'NANOBANANA_ARTIFACTS_DIR') | default('/nowhere', true) }}"
"""
PROVISION = f"""
- name: Provision
  hosts: baseline
  gather_facts: false
  tasks:
    - nanobanana.testbed.fleet: {{vsphere_password: {SECRET}}}
      run_once: true
    - name: Tell what a worker sees
      ansible.builtin.copy:
        content: "{{{{ testbed_run_id }}}} {{{{ lookup('ansible.builtin.pipe', 'echo $NANOBANANA_RUN_ID') }}}}"
        dest: "{{{{ testbed_artifacts_dir }}}}/seen-{{{{ inventory_hostname }}}}"
- name: Nap
  hosts: h1
  gather_facts: false
  tasks:
    - ansible.builtin.command: sleep {{{{ nap | default(0) }}}}
"""
GATE = """
- name: Gate
  hosts: baseline
  gather_facts: false
  tasks:
    - nanobanana.testbed.preflight_gate:
        stage: guest
        hosts: {h1: "{{ answer }}", h2: "{{ answer }}"}
      run_once: true
  vars:
    answer:
      facts: {os: No Such System 2}
      checks:
        - {id: guest.os, title: OS, status: warned, expected: No Such System 1, actual: No Such System 2, detail: other}
        - {id: guest.python, title: Python, status: failed, expected: Python, actual: none, detail: no Python}
        - {id: model.import, title: Import, status: blocked, detail: not run}
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with an inventory, two playbooks, a configuration and the stub collection."""
    plugins = tmp_path / "c" / "ansible_collections" / "nanobanana" / "testbed" / "plugins"
    for folder in ("modules", "action"):
        (plugins / folder).mkdir(parents=True)
    for name in ("callback", "module_utils", "action/preflight_gate.py", "modules/preflight_gate.py"):
        (plugins / name).symlink_to(REPOSITORY / "plugins" / name)
    (plugins / "modules" / "fleet.py").write_text("#!/usr/bin/python\n" + FLEET)
    for name, text in (("inventory.yml", INVENTORY), ("provision.yml", PROVISION), ("preflight_guest.yml", GATE)):
        (tmp_path / name).write_text(text)
    (tmp_path / "ansible.cfg").write_text(
        "[defaults]\ncollections_path = c\ninventory = inventory.yml\nfact_caching = memory\n"
        "callbacks_enabled = nanobanana.testbed.report\n"
    )
    return tmp_path


def environment() -> dict[str, str]:
    """This process's environment without what belongs to another run of Ansible."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "NANOBANANA_"))}


def play(workplace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook there."""
    return subprocess.run(
        [ANSIBLE_PLAYBOOK, *arguments],
        cwd=workplace,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def latest(workplace: Path, name: str = "run") -> Any:
    """A document of the newest run."""
    return json.loads((workplace / "artifacts" / "latest" / f"{name}.json").read_text())


def test_a_run_is_reported_and_its_id_reaches_the_workers(workplace: Path) -> None:
    done = play(workplace, "provision.yml", "preflight_guest.yml")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "report" not in done.stderr.lower(), done.stderr
    run_id = latest(workplace)["run_id"]
    folder = workplace / "artifacts" / run_id
    assert {(folder / f"seen-{host}").read_text() for host in ("h1", "h2")} == {f"{run_id} {run_id}"}
    gate = latest(workplace, "guest")["hosts"]["h2"]["checks"]
    assert [check["status"] for check in gate] == ["warned", "failed", "blocked"]
    assert latest(workplace)["hosts"]["h1"]["wished_os"] == "No Such System 1"
    assert [failure["host"] for failure in latest(workplace)["failures"]] == [""], "one for all"
    # Ansible ends each playbook of the command line with its own recap; the last block speaks of both.
    block = done.stdout[done.stdout.rindex("\nTESTBED ") :].strip().splitlines()
    assert [line[:10] for line in block[1:3]] == ["h1  failed", "h2  failed"]
    assert block[3] == f"Failed. Report: artifacts/{run_id}/report.html"
    assert SECRET not in "".join(path.read_text() for path in folder.iterdir())


def test_what_ctrl_c_breaks_off_is_reported_as_broken_off(workplace: Path) -> None:
    with subprocess.Popen(
        [ANSIBLE_PLAYBOOK, "provision.yml", "-e", "nap=60"],
        cwd=workplace,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        until = time.monotonic() + 60
        while not (workplace / "artifacts" / "latest").exists():
            assert time.monotonic() < until, "the play with the nap did not begin"
            time.sleep(0.1)
        assert latest(workplace)["state"] == "unfinished"
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 99, output
    found = latest(workplace)
    assert (found["state"], found["status"], found["hosts"]["h1"]["address"]) == ("broken off", "failed", "192.0.2.7")
    assert "Broken off. Report: artifacts/" in output


@pytest.mark.parametrize(
    "arguments", [("--syntax-check", "provision.yml"), ("--list-tasks", "provision.yml"), ("plain.yml",)]
)
def test_what_is_no_run_of_the_testbed_leaves_no_files(workplace: Path, arguments: tuple[str, ...]) -> None:
    (workplace / "plain.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug: {msg: hi}\n"
    )
    done = play(workplace, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (workplace / "artifacts").exists()
    assert "TESTBED" not in done.stdout
