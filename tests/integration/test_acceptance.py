# SPDX-License-Identifier: GPL-3.0-or-later
"""The acceptance run, against the lab's vCenter in place of a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Lab, wish
from tests.integration.test_fleet import vm_names, writes

pytestmark = pytest.mark.integration


def accept(lab: Lab, folder: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    env = {"NANOBANANA_ARTIFACTS": str(folder)}
    done = lab.playbook("-i", "inventories/lab", "playbooks/acceptance.yml", *arguments, env=env)
    output = done.stdout + done.stderr
    found = max(folder.rglob("acceptance.json"), key=lambda file: file.stat().st_mtime, default=None)
    text = found.read_text() if found else "{}"
    for name in (lab.password, lab.vcenter["username"], lab.vcenter["hostname"], "nb-baseline-01", "gpu-cluster"):
        assert name not in text
    return done.returncode, output, json.loads(text)


def test_it_reads_and_reports(lab: Lab, tmp_path: Path) -> None:
    since = len(lab.calls())
    code, output, report = accept(lab, tmp_path)
    assert code == 0, output
    assert writes(lab, since) == []
    assert report["passed"]
    assert report["vcenter"]["version"] == "8.0.3"
    rows = {row["name"]: row for row in report["checks"]}
    assert rows["templates and placement"]["operations"] == {"clone": 3, "power on": 3}
    assert len(rows) == 5


def test_what_cannot_be_resolved_fails_and_is_told(lab: Lab, tmp_path: Path) -> None:
    since = len(lab.calls())
    wrong = json.dumps({"vm_placement": {"cluster": "nope"}})
    code, output, report = accept(lab, tmp_path, "-e", wrong)
    assert code == 2
    assert "no cluster 'nope'" in output
    assert not report["passed"]
    assert [row["error_code"] for row in report["checks"][1:]] == ["", "unknown_object", "unknown_object", ""]
    assert writes(lab, since) == []


def test_the_writing_part_is_asked_for_and_cleans_up(lab: Lab, tmp_path: Path) -> None:
    lab.fleet(wish("bystander", lifecycle={"power": "off"}))
    write = ["-e", "acceptance_write=true"]
    code, output, _report = accept(lab, tmp_path, *write)
    assert code == 2
    assert "acceptance_folder: expected the folder" in output
    code, output, report = accept(lab, tmp_path, *write, "-e", "acceptance_folder=nano-banana")
    assert code == 0, output
    changed = {row["name"]: row["changed"] for row in report["checks"][5:]}
    assert changed == {
        "create": True,
        "create again": False,
        "change": True,
        "change again": False,
        "remove": True,
        "remove again": False,
    }
    assert vm_names(lab) == ["bystander"]
