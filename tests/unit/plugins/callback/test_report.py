# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback turns what Ansible tells it into a report, lets no secret in and never breaks a run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.callback import report

SECRET = "hunter2"
WISHES = {"h1": {"testbed_os": "Ubuntu 22.04"}, "h2": {}}


class Screen:
    """What the operator sees."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.verbosity = 0

    def display(self, text: str, color: str | None = None) -> None:
        self.lines.append(text)

    def banner(self, text: str) -> None:
        self.lines.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class Stats:
    """Ansible's recap."""

    processed = ("h1", "h2")

    def summarize(self, host: str) -> dict[str, int]:
        return {"ok": 3, "failures": 0, "unreachable": 0, "changed": 1, "skipped": 0, "rescued": 0, "ignored": 0}


def play(file: str = "provision.yml") -> Any:
    """A play over two hosts of baseline and one of no environment."""
    variables = {"groups": {"baseline": ["h1", "h2"]}, "ansible_play_hosts_all": ["h1", "h2", "x"], "hostvars": WISHES}
    manager = SimpleNamespace(get_vars=lambda play: variables)
    return SimpleNamespace(
        get_path=lambda: f"/repo/playbooks/{file}:3", get_name=lambda: "A play", get_variable_manager=lambda: manager
    )


def result(action: str, content: dict[str, Any], host: str = "h1", loop: Any = None, **fields: Any) -> Any:
    """A task result as ansible-core 2.19 hands it to callbacks."""
    task = SimpleNamespace(action=action, resolved_action=action, loop=loop, get_name=lambda **_: "role : The task")
    where = SimpleNamespace(get_name=lambda: host)
    return SimpleNamespace(result=content, task=task, host=where, task_fields=fields, task_name="The task")


FLEET = {
    "vms": {"h1": {"exists": True, "power": "poweredOn", "address": "192.0.2.1", "operations": []}},
    "vcenter": {"full_name": "VMware vCenter Server 8.0.3 (simulated)", "version": "8.0.3"},
    "invocation": {"module_args": {"vsphere_password": SECRET}},
}
ANSWER = {"checks": [{"id": "guest.os", "title": "OS", "status": "passed"}], "facts": {"os": "Ubuntu 22.04"}}
GATE = {"stage": "guest", "verdict": "open", "targets": {"h1": ANSWER}}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., report.CallbackModule]:
    """Starts a playbook with the callback in an empty folder; returns the callback."""
    monkeypatch.chdir(tmp_path)
    for name in ("NANOBANANA_RUN_ID", "NANOBANANA_ARTIFACTS_DIR"):
        monkeypatch.setenv(name, "")  # so that what the callback sets is taken back after the test
    monkeypatch.setattr(report.atexit, "register", lambda *_: None)

    def started(run_id: str = "", artifacts: Path = tmp_path / "artifacts", **arguments: Any) -> report.CallbackModule:
        monkeypatch.setattr(report.context, "CLIARGS", {"inventory": (str(tmp_path / "inv"),), **arguments})
        callback = report.CallbackModule()
        callback._display = Screen()
        callback._plugin_options = {"run_id": run_id, "artifacts": str(artifacts)}
        callback.v2_playbook_on_start(None)
        return callback

    return started


def run_json(folder: Path, name: str = "run") -> Any:
    """A document of the newest run."""
    return json.loads((folder / "artifacts" / "latest" / f"{name}.json").read_text())


def test_the_run_has_its_id_and_folder_in_the_environment_from_the_start(start: Any, tmp_path: Path) -> None:
    start()
    run_id = os.environ["NANOBANANA_RUN_ID"]
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", run_id)
    assert os.environ["NANOBANANA_ARTIFACTS_DIR"] == str(tmp_path / "artifacts" / run_id)
    assert not (tmp_path / "artifacts").exists()


def test_a_run_id_that_is_set_is_kept(start: Any) -> None:
    start("ci-42.1")
    assert os.environ["NANOBANANA_RUN_ID"] == "ci-42.1"


@pytest.mark.parametrize("wished", ["../elsewhere", "latest", ".hidden", "a b", "x" * 65])
def test_a_run_id_that_is_no_folders_name_is_refused_with_a_warning(start: Any, wished: str) -> None:
    callback = start(wished)
    assert os.environ["NANOBANANA_RUN_ID"] != wished
    assert "NANOBANANA_RUN_ID: expected at most 64 letters" in callback._display.warnings[0]


def test_a_run_leaves_report_documents_and_a_short_block(start: Any, tmp_path: Path) -> None:
    callback = start("r1")
    callback.v2_playbook_on_play_start(play())
    callback.v2_playbook_on_task_start(SimpleNamespace(get_name=lambda **_: "Make VMs"), False)
    callback.v2_runner_on_ok(result(report.FLEET, FLEET))
    callback.v2_playbook_on_play_start(play("preflight_guest.yml"))
    callback.v2_runner_on_ok(result(report.GATE, GATE))
    callback.v2_playbook_on_stats(Stats())
    document = run_json(tmp_path)
    assert (document["run_id"], document["state"], document["status"]) == ("r1", "ended", "passed")
    assert (document["inventory"], list(document["hosts"])) == (["inv"], ["h1", "h2"])
    assert document["hosts"]["h1"]["wished_os"] == "Ubuntu 22.04"
    assert run_json(tmp_path, "provision")["vms"]["h1"]["address"] == "192.0.2.1"
    assert run_json(tmp_path, "guest")["hosts"]["h1"]["checks"][0]["id"] == "guest.os"
    assert callback._display.warnings == []
    assert callback._display.lines == [
        "TESTBED",
        "h1  passed    1 check",
        "h2  passed    3 tasks",
        "Passed with stand-ins. Report: artifacts/r1/report.html",
    ]


def test_a_run_without_the_testbed_leaves_nothing(start: Any, tmp_path: Path) -> None:
    callback = start()
    callback.v2_playbook_on_play_start(play())
    callback.v2_runner_on_ok(result("ansible.builtin.command", {"cmd": ["true"], "rc": 0}))
    callback.v2_runner_on_failed(result("ansible.builtin.fail", {"msg": "no"}))
    callback.v2_playbook_on_stats(Stats())
    assert not (tmp_path / "artifacts").exists()
    assert callback._display.lines == []


@pytest.mark.parametrize(
    "hidden",
    [
        {**FLEET, "msg": SECRET, "_ansible_no_log": True},
        {"msg": SECRET, "stderr": SECRET, "vms": {SECRET: {}}, "censored": "the output has been hidden"},
    ],
)
def test_no_secret_gets_in(start: Any, tmp_path: Path, hidden: dict[str, Any]) -> None:
    callback = start("r1")
    callback.v2_playbook_on_play_start(play())
    callback.v2_runner_on_ok(result(report.FLEET, FLEET, args={"state": "present", "vsphere_password": SECRET}))
    callback.v2_runner_on_failed(result(report.FLEET, hidden))
    callback.v2_playbook_on_stats(Stats())
    texts = [path.read_text() for path in (tmp_path / "artifacts" / "r1").iterdir()]
    assert len(texts) == 7
    assert SECRET not in "".join(texts)
    assert run_json(tmp_path)["failures"][0]["message"] == "The result is hidden (no_log)."


@pytest.mark.parametrize(
    ("file", "args", "stage"),
    [
        ("preflight_platform.yml", {}, "platform"),
        ("provision.yml", {"state": "present"}, "provision"),
        ("my_own.yml", {}, "provision"),
        ("configure.yml", {"state": "gathered"}, ""),
        ("teardown.yml", {"state": "absent"}, "teardown"),
    ],
)
def test_what_fleet_did_goes_to_the_stage_that_it_did_it_in(start: Any, file: str, args: Any, stage: str) -> None:
    callback = start()
    callback.v2_playbook_on_play_start(play(file))
    callback.v2_runner_on_ok(result(report.FLEET, FLEET, args=args))
    assert callback._events[-1].stage == stage


def test_a_failure_that_is_ignored_is_none_and_one_for_all_is_one(start: Any) -> None:
    callback = start()
    callback.v2_playbook_on_play_start(play())
    callback.v2_runner_on_failed(result("x", {"msg": "a"}), ignore_errors=True)
    callback.v2_runner_on_unreachable(result("x", {"msg": "b"}, ignore_unreachable=True))
    before = len(callback._events)
    callback.v2_runner_on_failed(result("x", {"msg": "c"}, run_once=True))
    callback.v2_runner_on_unreachable(result("x", {"msg": "d"}))
    found = callback._events[before:]
    assert before == 1
    assert [(each.message, each.for_all, each.unreachable) for each in found] == [
        ("c", True, False),
        ("d", False, True),
    ]


def test_a_run_that_is_broken_off_leaves_what_was_known(start: Any, tmp_path: Path) -> None:
    callback = start()
    callback.v2_playbook_on_play_start(play())
    callback.v2_runner_on_ok(result(report.FLEET, FLEET))
    callback.v2_playbook_on_play_start(play("configure.yml"))
    assert run_json(tmp_path)["state"] == "unfinished"
    callback._break_off(os.getpid() + 1)  # a forked worker must not write
    assert run_json(tmp_path)["state"] == "unfinished"
    callback._break_off(os.getpid())
    assert run_json(tmp_path)["state"] == "broken off"
    assert callback._display.lines[-1].startswith("Broken off. Report: artifacts/")


def test_a_run_that_ended_is_not_broken_off_when_the_program_leaves(start: Any, tmp_path: Path) -> None:
    callback = start()
    callback.v2_runner_on_ok(result(report.GATE, GATE))
    callback.v2_playbook_on_stats(Stats())
    callback._break_off(os.getpid())
    assert run_json(tmp_path)["state"] == "ended"


def test_a_report_that_cannot_be_written_is_a_warning_with_its_reason(start: Any, tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file where a folder should be")
    callback = start("r1", occupied)
    callback.v2_runner_on_ok(result(report.GATE, GATE))
    callback.v2_playbook_on_stats(Stats())
    assert len(callback._display.warnings) == 1
    assert re.search(r"occupied/r1: the run's report was not written: \w+Error: ", callback._display.warnings[0])
