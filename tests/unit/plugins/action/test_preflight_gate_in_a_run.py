# SPDX-License-Identifier: GPL-3.0-or-later
"""The gates' playbooks in a real ansible-playbook: this checkout's role, gate and report, with modules that ask nobody.

What the stand-in modules answer stands in answers.json: by stage, by host, the rows of its checks.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).parents[4]
ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
LINKED = ("callback", "filter", "module_utils", "plugin_utils", "doc_fragments")
OURS = ("preflight_gate", "preflight_inventory")
HOSTS = ["h1", "h2", "h3"]

# WANT_JSON makes Ansible hand over the arguments as they are, so that a stand-in takes every option.
BEGIN = """#!/usr/bin/python
# WANT_JSON
import json, os, sys
from pathlib import Path
args = json.loads(Path(sys.argv[1]).read_text())
here = Path(os.environ["GATE_TEST"])
answers = json.loads((here / "answers.json").read_text())
def rows(stage, host, good):
    found = answers.get(stage, {}).get(host) or [{"id": good, "title": "Good", "status": "passed"}]
    for row in found if found != "crash" else ():
        if row.get("mended_by") and Path(row["mended_by"]).exists():
            row.update(status="passed", detail="", fix="", mend={})
    return found
"""
FLEET = """
names = [vm["name"] for vm in args["vms"]]
check, state = args["_ansible_check_mode"], args.get("state", "present")
with (here / "fleet.log").open("a") as log:
    log.write(f"{state} {'check' if check else 'real'} {' '.join(names)}\\n")
if state == "present" and not check:
    (here / "provisioned").touch()
made = answers.get("exist", True)
vm = {"exists": made, "address": "127.0.0.1" if made else "", "power": "poweredOn", "operations": []}
print(json.dumps({"changed": False, "vms": dict.fromkeys(names, vm), "vcenter": {}}))
"""
VSPHERE = """
stage, crash = args["stage"], answers.get("crash")
if crash:
    print(json.dumps({"failed": True, "msg": crash}))
    sys.exit(1)
good = {"platform": "wish.gpu", "machine": "vm.exists"}[stage]
hosts = {vm["name"]: {"checks": rows(stage, vm["name"], good)} for vm in args["vms"]}
if stage == "platform":
    hosts["vcenter.example"] = {"checks": rows(stage, "vcenter.example", "vcenter.version")}
assert args["environments"] == {"h1": "baseline", "h2": "baseline", "h3": "stress"}, args["environments"]
assert args["fail_on"] == "never"
print(json.dumps({"changed": False, "hosts": hosts, "vcenter": {}}))
"""
GUEST = """
found = rows("guest", args["name"], "guest.os")
if found == "crash":
    sys.exit("Segmentation fault")
print(json.dumps({"changed": False, "checks": found, "summary": {}, "facts": {"os": "Debian 12"}}))
"""
INVENTORY = """
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    testbed_owner: me
    testbed_run_id: r1
    testbed_artifacts_dir: "{{ lookup('ansible.builtin.env', 'NANOBANANA_ARTIFACTS_DIR') }}"
    vsphere_hostname: vcenter.example
    vsphere_username: u
    vsphere_password: hunter2
    preflight_user: "{{ lookup('ansible.builtin.pipe', 'id -un') }}"
    ansible_become: false
    vm_template: {library: l, item: i}
    vm_cpus: 2
    vm_memory_mb: 1024
  children:
    baseline: {hosts: {h1: , h2: }}
    stress: {hosts: {h3: }}
"""
SETTINGS = """
[defaults]
collections_path = c
inventory = inventory.yml
fact_caching = memory
callbacks_enabled = nanobanana.testbed.report
callback_result_format = yaml
"""


@dataclass
class Run:
    """A finished ansible-playbook."""

    returncode: int
    output: str
    folder: Path

    def document(self, name: str) -> Any:
        return json.loads((self.folder / "artifacts" / "latest" / f"{name}.json").read_text())

    def fleet(self) -> list[str]:
        log = self.folder / "fleet.log"
        return log.read_text().splitlines() if log.exists() else []


Play = Callable[..., Run]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs a playbook of the collection; ``answers`` is what the stand-ins find."""
    collection = tmp_path / "c" / "ansible_collections" / "nanobanana" / "testbed"
    for folder in ("modules", "action"):
        (collection / "plugins" / folder).mkdir(parents=True)
        for name in OURS:
            (collection / "plugins" / folder / f"{name}.py").symlink_to(REPOSITORY / "plugins" / folder / f"{name}.py")
    for name in LINKED:
        (collection / "plugins" / name).symlink_to(REPOSITORY / "plugins" / name)
    for name in ("roles", "playbooks", "meta", "galaxy.yml"):
        (collection / name).symlink_to(REPOSITORY / name)
    modules = {"fleet": FLEET, "preflight_vsphere": VSPHERE, "preflight_guest": GUEST, "win_preflight": GUEST}
    for name, text in modules.items():
        (collection / "plugins" / "modules" / f"{name}.py").write_text(BEGIN + text)
    (tmp_path / "inventory.yml").write_text(INVENTORY)
    (tmp_path / "ansible.cfg").write_text(SETTINGS)

    def played(name: str, *arguments: str, answers: dict[str, Any] | None = None, **variables: Any) -> Run:
        (tmp_path / "answers.json").write_text(json.dumps(answers or {}))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "NANOBANANA_"))}
        done = subprocess.run(
            [ANSIBLE_PLAYBOOK, f"nanobanana.testbed.{name}", *arguments, "-e", json.dumps(variables)],
            cwd=tmp_path,
            env={**kept, "GATE_TEST": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        output = done.stdout + done.stderr
        assert "Traceback" not in output, output
        assert "hunter2" not in output
        return Run(done.returncode, output, tmp_path)

    return played


def failed(id_: str, **more: Any) -> dict[str, Any]:
    """A row that failed."""
    fix = {"expected": "good", "actual": "bad", "detail": f"{id_} is bad", "fix": "Mend it.", "mend": {}}
    return {"id": id_, "title": "A check", "status": "failed", "severity": "error", **fix, **more}


def mend(run: str, where: str) -> dict[str, Any]:
    return {"fix": f"Mend it. Type: {run}", "mend": {"run": run, "where": where, "automatic": True}}


def waiver(check: str, until: str = "2999-12-31", hosts: str = "*") -> dict[str, str]:
    return {"check": check, "hosts": hosts, "reason": "a new board comes", "until": until}


def changed(run: Run) -> set[int]:
    return {int(number) for number in re.findall(r"changed=(\d+)", run.output)}


def test_the_tag_runs_the_three_gates_alone_and_changes_nothing(play: Play) -> None:
    run = play("site", "--tags", "preflight")
    assert run.returncode == 0, run.output
    assert [line for line in run.output.splitlines() if " gate: open." in line] == [
        "    msg: 'Platform gate: open. 4 targets; checks: 4 passed.'",
        "    msg: 'Machine gate: open. 3 targets; checks: 3 passed.'",
        "    msg: 'Guest gate: open. 3 targets; checks: 3 passed.'",
    ]
    assert changed(run) == {0}
    assert run.fleet() == ["present check h1 h2 h3", "gathered real h1 h2 h3"]
    for stage in ("platform", "machine", "guest"):
        assert run.document(f"preflight-{stage}")["verdict"] == "open"
        assert sorted(run.document(stage)["hosts"]) == HOSTS
    assert list(run.document("platform")["common"]) == ["vcenter.example"]
    assert run.document("guest")["hosts"]["h1"]["facts"]["os"] == "Debian 12"
    words = (run.folder / "artifacts" / "latest" / "report.html").read_text()
    assert words.count("vcenter.example") == 1
    assert words.count("Checks of the machine gate") == 3


def test_one_table_names_every_host_that_failed_or_did_not_answer(play: Play, tmp_path: Path) -> None:
    (tmp_path / "inventory.yml").write_text(
        INVENTORY.replace("{h3: }", "{h3: {ansible_connection: ssh, ansible_port: 1}}")
    )
    blocked = {"id": "model.picture", "title": "P", "status": "blocked", "detail": "not run"}
    answers = {
        "guest": {
            "h1": [failed("model.import"), {**blocked, "evidence": {"needs": "model.import"}}],
            "h2": "crash",
        }
    }
    run = play("preflight_guest", answers=answers, preflight_waivers=[waiver("model.import", hosts="h1")])
    assert run.returncode == 2, run.output
    document = run.document("preflight-guest")
    found = {
        (target, check["id"]): check["status"]
        for target, answer in document["targets"].items()
        for check in answer["checks"]
    }
    assert found == {
        ("h1", "model.import"): "warned",
        ("h1", "model.picture"): "blocked",
        ("h2", "gate.answer"): "failed",
        ("h3", "gate.answer"): "failed",
    }
    assert "Segmentation fault" in document["targets"]["h2"]["checks"][0]["detail"]
    assert "Connection refused" in document["targets"]["h3"]["checks"][0]["detail"]
    message = run.output[run.output.rindex("Guest gate: shut. 2 of 3 targets failed") :]
    assert message.index("gate.answer") < message.index("waived until 2999-12-31: a new board comes")
    assert max(len(line) for line in message[: message.index("PLAY RECAP")].splitlines()) <= 120
    assert {name: host["status"] for name, host in run.document("run")["hosts"].items()} == {
        "h1": "blocked",
        "h2": "failed",
        "h3": "failed",
    }
    assert run.document("guest")["hosts"]["h1"]["checks"][0]["waived"] == "waived until 2999-12-31: a new board comes"
    suites = ElementTree.parse(tmp_path / "artifacts" / "latest" / "preflight-guest.xml").getroot()
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [("h1", "0"), ("h2", "1"), ("h3", "1")]


def test_a_shut_platform_gate_stops_all_hosts_before_anything_else(play: Play) -> None:
    answers = {"platform": {"vcenter.example": [failed("vcenter.version")]}, "machine": {"h1": [failed("vm.gpu")]}}
    run = play("preflight", answers=answers)
    assert run.returncode == 2
    assert run.fleet() == []
    assert "Machine gate" not in run.output
    report = run.document("run")
    assert {host["status"] for host in report["hosts"].values()} == {"blocked"}
    assert report["stages"][0]["status"] == "failed"
    assert run.document("platform")["common"]["vcenter.example"]["checks"][0]["status"] == "failed"


def test_a_module_that_breaks_is_a_failed_row_of_every_host(play: Play) -> None:
    run = play("preflight_machine", answers={"crash": "the connection was reset"})
    assert run.returncode == 2, run.output
    targets = run.document("preflight-machine")["targets"]
    assert {name: answer["checks"][0]["id"] for name, answer in targets.items()} == dict.fromkeys(HOSTS, "gate.answer")
    assert targets["h2"]["checks"][0]["detail"] == "the connection was reset"


def test_a_waiver_that_cannot_be_read_stops_the_gate_with_its_reason(play: Play) -> None:
    run = play("preflight_machine", preflight_waivers=[waiver("vm.gpus")])
    assert run.returncode == 2
    found = "preflight_waivers[0].check: expected the id of a check; found vm.gpus. Next: did you mean 'vm.gpu'?"
    assert found in " ".join(run.output.split())


@pytest.fixture
def mendable(tmp_path: Path) -> dict[str, Any]:
    """Failures that may be mended unasked: of a machine, of a guest, and of one whose fix does not work."""
    flag, provisioned = tmp_path / "mended", tmp_path / "provisioned"
    return {
        "machine": {"h2": [failed("vm.cpu_shares", mended_by=str(provisioned), **mend("provision again", "control"))]},
        "guest": {
            "h1": [failed("guest.swap", mended_by=str(flag), **mend(f"echo off > {flag}", "guest"))],
            "h3": [failed("guest.share", **mend("echo no such device >&2; exit 3", "guest"))],
        },
    }


def test_without_being_told_nothing_is_mended(play: Play, mendable: dict[str, Any], tmp_path: Path) -> None:
    run = play("preflight_guest", answers=mendable)
    assert run.returncode == 2, run.output
    assert changed(run) == {0}
    assert not (tmp_path / "mended").exists()


def test_what_is_safe_is_mended_and_asked_again(play: Play, mendable: dict[str, Any], tmp_path: Path) -> None:
    run = play("preflight", answers=mendable, preflight_only_fix=True)
    assert run.returncode == 2, run.output
    assert run.fleet()[1] == "present real h2", "only the host that needs it"
    assert "h2: vm.cpu_shares: provision again" in run.output
    assert run.document("preflight-machine")["verdict"] == "open"
    assert (tmp_path / "mended").read_text() == "off\n"
    targets = run.document("preflight-guest")["targets"]
    assert {name: answer["status"] for name, answer in targets.items()} == {
        "h1": "passed",
        "h2": "passed",
        "h3": "failed",
    }
    assert "h3: a fix did not work" in run.output


def test_in_check_mode_a_fix_is_only_named(play: Play, mendable: dict[str, Any], tmp_path: Path) -> None:
    run = play("preflight_guest", "--check", answers=mendable, preflight_only_fix=True)
    assert run.returncode == 2, run.output
    assert "check mode: only named, not run" in run.output
    assert f"h1: guest.swap: echo off > {tmp_path}/mended" in run.output
    assert not (tmp_path / "mended").exists()


def test_check_mode_of_vms_that_are_not_made_yet_fails_nothing(play: Play) -> None:
    run = play("site", "--check", answers={"exist": False})
    assert run.returncode == 0, run.output
    assert run.output.count("not created yet (check mode)") >= 2 * len(HOSTS)
    assert run.document("preflight-platform")["verdict"] == "open"
    assert {host["status"] for host in run.document("run")["hosts"].values()} == {"skipped"}


def test_a_gate_that_only_advises_stops_nothing(play: Play) -> None:
    run = play("preflight_machine", "--check", answers={"machine": {"h1": [failed("vm.gpu")]}}, preflight_advisory=True)
    assert run.returncode == 0, run.output
    assert "Machine gate: shut. 1 of 3 targets failed" in run.output
    assert "so it does not stop the run" in run.output
    assert run.document("run")["status"] == "warned"
