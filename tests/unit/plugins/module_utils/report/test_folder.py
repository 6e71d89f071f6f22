# SPDX-License-Identifier: GPL-3.0-or-later
"""The run's folder holds a whole report, and only evidence of this run gets into it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.folder import EMBEDDED, Folder

SUITE = '<testsuites><testsuite><testcase name="test_a" time="0"/></testsuite></testsuites>'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty run's folder."""
    made = Folder(tmp_path / "artifacts" / "r1")
    made.make()
    return made


def test_everything_is_written_and_latest_points_at_it(folder: Folder, good_run: Any) -> None:
    folder.write(good_run.report())
    names = {f"{name}.json" for name in ("platform", "provision", "machine", "guest", "verify", "run")} | {
        "report.html"
    }
    assert {path.name for path in folder.path.iterdir()} == names
    assert (folder.path.parent / "latest").readlink() == Path("r1")
    newer = Folder(folder.path.parent / "r2")
    newer.write(good_run.report())
    assert (folder.path.parent / "latest" / "report.html").samefile(newer.path / "report.html")


def test_something_else_called_latest_is_left_alone_with_a_warning(folder: Folder, good_run: Any) -> None:
    (folder.path.parent / "latest").mkdir()
    folder.write(good_run.report())
    assert (folder.path / "report.html").exists()
    assert len(folder.warnings) == 1
    assert "expected to link it to r1" in folder.warnings[0]
    assert sorted(path.name for path in folder.path.parent.iterdir()) == ["latest", "r1"]


def test_evidence_of_an_earlier_run_is_not_taken_for_this_ones(folder: Folder) -> None:
    for name in ("verify-old.xml", "verify-new.xml"):
        (folder.path / name).write_text(SUITE)
    for name in ("old.png", "new.png", "drawn.png"):
        (folder.path / name).write_bytes(b"picture")
    for name in ("verify-old.xml", "old.png", "drawn.png"):
        os.utime(folder.path / name, (1000, 1000))
    found = folder.evidence(5000.0, frozenset({"drawn"}))
    assert set(found.tests) == {"new"}
    assert set(found.pictures) == {"new", "drawn"}


def test_a_small_picture_stands_in_the_page_and_a_large_one_beside_it(folder: Folder) -> None:
    (folder.path / "small.png").write_bytes(b"abc")
    (folder.path / "a large one.png").write_bytes(b"x" * (EMBEDDED + 1))
    pictures = folder.evidence(0.0).pictures
    assert pictures == {"small": "data:image/png;base64,YWJj", "a large one": "a%20large%20one.png"}


def test_a_broken_junit_file_is_a_warning(folder: Folder) -> None:
    (folder.path / "verify-h.xml").write_text("<testsuites>")
    assert folder.evidence(0.0).tests == {}
    assert "verify-h.xml: expected a JUnit file" in folder.warnings[0]
