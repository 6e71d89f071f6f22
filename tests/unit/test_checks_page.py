# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference/checks.md: every check and every cause, nothing stale."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue import CATALOGUE
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.causes import CAUSES
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import Check, Fix

from tests.unit.programs import loaded

ROOT = Path(__file__).parents[2]
TRAPS = ROOT / "docs/how-to/the-five-traps.md"


@pytest.fixture(scope="module")
def checks_page() -> ModuleType:
    return loaded(ROOT / "tools/checks_page.py")


def test_the_page_is_what_the_catalogue_says(checks_page: ModuleType) -> None:
    wanted = checks_page.page(CATALOGUE, CAUSES.values())
    assert checks_page.PAGE.read_text() == wanted, "stale; run: .venv/bin/python tools/checks_page.py"


def test_every_check_and_every_cause_has_a_row(checks_page: ModuleType) -> None:
    text = checks_page.PAGE.read_text()
    for name in (*(row.id for row in CATALOGUE), *CAUSES):
        assert text.count(f"\n| `{name}` |") == 1, name


def test_every_row_has_as_many_cells_as_its_heading(checks_page: ModuleType) -> None:
    rows = re.findall(r"^\|.*\|$", checks_page.PAGE.read_text(), re.MULTILINE)
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert widths == {8, 9}


def test_check_tells_a_stale_page_by_its_exit_status(
    checks_page: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks_page, "ROOT", tmp_path)
    monkeypatch.setattr(checks_page, "PAGE", tmp_path / "checks.md")
    assert checks_page.main(["--check"]) == 1
    assert capsys.readouterr().err == "checks.md: stale. Next: .venv/bin/python tools/checks_page.py\n"
    assert checks_page.main([]) == 0
    assert checks_page.main(["--check"]) == 0


def test_what_would_break_the_table_is_escaped(checks_page: ModuleType) -> None:
    row = Check("a.b", "guest", "Title | with *signs* <x>", Fix("Do it.", "a | b < c", "guest", automatic=True))
    wanted = (
        "| `a.b` | Title \\| with \\*signs\\* &lt;x> | error | all |  | Do it. | `a \\| b < c` | guest, automatic |\n"
    )
    assert checks_page.page([row], []).count(wanted) == 1


def test_a_row_of_no_stage_is_named(checks_page: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"rows of no stage: a\.b; expected one of platform, machine, guest"):
        checks_page.page([Check("a.b", "later", "Title", Fix("Do it."))], [])


def test_the_exercise_has_a_section_for_each_trap_and_names_only_causes_that_exist() -> None:
    text = TRAPS.read_text()
    traps = {cause.trap for cause in CAUSES.values() if cause.trap}
    assert set(re.findall(r"^## `([\w-]+)`", text, re.MULTILINE)) == traps
    named = set(re.findall(r"cause `([\w-]+)`", text))
    assert named <= set(CAUSES)
    assert {CAUSES[name].trap for name in named if CAUSES[name].trap} == traps
    for trap in traps:
        assert f"make preflight-drill TRAP={trap}" in text
