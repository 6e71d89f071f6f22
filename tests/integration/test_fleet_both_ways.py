# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet in Ansible's own worker and as a module in an interpreter of its own: the same result, no secret in either."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import BIN, Lab, wish

pytestmark = pytest.mark.integration
SECRET = "s3cret-userdata"


def played(lab: Lab, folder: Path, python: str, *vms: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The result of the task, as the callback for machines shows it; ``module`` says which way it went."""
    arguments = {"owner": "tests", "vms": list(vms)} | lab.connection() | options
    tasks = [{"nanobanana.testbed.fleet": arguments}]
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    env = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.timer"}
    host = f"localhost ansible_connection=local ansible_python_interpreter={python}"
    (folder / "hosts").write_text(host + "\n")
    done = lab.playbook("-vvv", "-i", str(folder / "hosts"), str(folder / "play.yml"), env=env)
    assert SECRET not in done.stdout + done.stderr
    assert lab.password not in done.stdout + done.stderr
    told, _end = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("\n{\n") + 1)
    return dict(told["plays"][0]["tasks"][0]["hosts"]["localhost"])


@pytest.fixture
def other_python(tmp_path: Path) -> str:
    """The same interpreter by another name, which is all that Ansible sees of it."""
    link = tmp_path / "python3"
    link.write_text(f'#!/bin/sh\nexec {BIN / "python"} "$@"\n')
    link.chmod(0o755)
    return str(link)


# What differs from run to run, and what Ansible adds to a module's result.
OWN = ("invocation", "seconds", "_ansible_no_log", "action", "exception")


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in OWN}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("vms", "options"),
    [
        ([wish("a")], {}),
        ([wish("a", cpus="x")], {}),
        ([wish("a", template={"library": "nano-banana", "item": "none"})], {}),
        ([wish("a")], {"concurrency": "many"}),
        ([{"name": "a"}], {"state": "gathered"}),
    ],
    ids=["nothing to do", "bad wish", "no template", "bad option", "gathered"],
)
def test_both_ways_tell_the_same(
    lab: Lab, tmp_path: Path, other_python: str, vms: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    lab.fleet(wish("a"))
    if "none" in str(vms):
        lab.fleet(state="absent", all_owned=True)
    here = played(lab, tmp_path, sys.executable, *vms, **options)
    module = played(lab, tmp_path, other_python, *vms, **options)
    assert plain(here) == plain(module)


def test_the_module_s_way_is_taken_for_another_interpreter(lab: Lab, tmp_path: Path, other_python: str) -> None:
    lab.fleet(wish("a"))
    assert "invocation" not in played(lab, tmp_path, sys.executable, wish("a"))
    assert "invocation" in played(lab, tmp_path, other_python, wish("a"))
