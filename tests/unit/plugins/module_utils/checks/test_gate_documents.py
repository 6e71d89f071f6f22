# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's files: JSON with everything, JUnit that a CI reads, written whole."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import gate_documents
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gate import Row, Use, Verdict
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.waivers import Waiver
from ansible_collections.nanobanana.testbed.plugins.module_utils.report import junit

EVIL = "a \x00\x1b[31m <b> & \ud800 ]]> \uffff"
ROWS = (
    Row("h1", "guest.os", status="warned", detail="stands in", seconds=0.25),
    Row("h1", "model.import", status="failed", expected="e", actual=EVIL, detail="why", fix="Mend it.", seconds=1.5),
    Row("h1", "model.picture", status="blocked", detail="not run: it needs model.import, which is failed"),
    Row("h2", "guest.os"),
    Row("h2", "gpu.driver", status="not_applicable", detail="no GPU is wished"),
    Row(
        "h2",
        "guest.swap",
        status="warned",
        waived="waived until 2026-12-31: soon",
        detail="waived until 2026-12-31: soon",
    ),
)
WAIVER = Waiver("guest.swap", "h*", "soon", datetime.date(2026, 12, 31))
VERDICT = Verdict("guest", ROWS, (Use(WAIVER, "used", ("h2",)),), {"h1": {"os": "Debian"}})


def test_the_document_holds_verdict_targets_and_waivers() -> None:
    texts = gate_documents.documents(VERDICT, "2026-11-30T20:00:00Z")
    assert set(texts) == {"preflight-guest.json", "preflight-guest.xml"}
    found = json.loads(texts["preflight-guest.json"])
    assert {key: found[key] for key in ("schema", "stage", "verdict", "only_expired", "written")} == {
        "schema": 1,
        "stage": "guest",
        "verdict": "shut",
        "only_expired": False,
        "written": "2026-11-30T20:00:00Z",
    }
    assert found["summary"] == {
        "passed": 1,
        "warned": 2,
        "failed": 1,
        "blocked": 1,
        "skipped": 0,
        "not_applicable": 1,
    }
    assert {name: target["status"] for name, target in found["targets"].items()} == {"h1": "failed", "h2": "warned"}
    assert found["targets"]["h1"]["facts"] == {"os": "Debian"}
    assert found["targets"]["h1"]["checks"][1]["actual"] == EVIL
    assert found["targets"]["h2"]["checks"][2]["waived"] == "waived until 2026-12-31: soon"
    assert found["waivers"] == [
        {
            "check": "guest.swap",
            "hosts": "h*",
            "reason": "soon",
            "until": "2026-12-31",
            "state": "used",
            "covers": ["h2"],
        }
    ]


def test_junit_has_a_suite_a_target_and_a_case_a_check() -> None:
    root = ElementTree.fromstring(gate_documents.junit(VERDICT))
    counted = [{key: suite.get(key) for key in ("name", "tests", "failures", "skipped", "time")} for suite in root]
    assert counted == [
        {"name": "h1", "tests": "3", "failures": "1", "skipped": "1", "time": "1.750"},
        {"name": "h2", "tests": "3", "failures": "0", "skipped": "1", "time": "0.000"},
    ]
    cases = {(case.get("classname"), case.get("name")): case for case in root.iter("testcase")}
    failure = cases["guest.h1", "model.import"].find("failure")
    assert failure is not None
    assert failure.get("message") == "why"
    assert failure.text == "expected: e\nfound: a ??[31m <b> & ? ]]> ?\nwhy: why\nfix: Mend it."
    skipped = cases["guest.h1", "model.picture"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "blocked: not run: it needs model.import, which is failed"
    assert cases["guest.h2", "guest.swap"].findtext("system-out") == "warned: waived until 2026-12-31: soon"
    assert list(cases["guest.h2", "guest.os"]) == []


def test_our_own_reader_of_junit_understands_it() -> None:
    found = [(test.name, test.status) for test in junit.parse(gate_documents.junit(VERDICT))]
    assert found[1] == ("Model.import", "failed")
    assert [status for _name, status in found] == ["passed", "failed", "skipped", "passed", "skipped", "passed"]


def test_files_are_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    texts = gate_documents.documents(VERDICT, "now")
    written = gate_documents.write(folder, texts)
    assert written == [str(folder / name) for name in texts]
    assert sorted(path.name for path in folder.iterdir()) == sorted(texts)
    assert json.loads((folder / "preflight-guest.json").read_text())["written"] == "now"
    ElementTree.parse(folder / "preflight-guest.xml")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="File exists"):
        gate_documents.write(tmp_path / "a", {"b": "c"})


def test_plain_data_has_plain_types() -> None:
    class Tagged(str):
        """As Ansible hands texts over."""

    value = {Tagged("a"): (Tagged("b"), 1, 2.5, None, True, datetime.date(2026, 1, 2))}
    found = gate_documents.plain(value)
    assert found == {"a": ["b", 1, 2.5, None, True, "2026-01-02"]}
    assert {type(item) for item in found["a"]} == {str, int, float, type(None), bool}
