# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference/support.md: every role, nothing stale, and no proof that does not exist."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.unit.programs import loaded

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def support() -> ModuleType:
    return loaded(ROOT / "tools/support_page.py")


def test_the_page_is_what_the_data_says(support: ModuleType) -> None:
    data = yaml.safe_load(support.DATA.read_text())
    assert support.PAGE.read_text() == support.page(data), "stale; run: .venv/bin/python tools/support_page.py"


def test_every_role_has_its_row_and_a_scenario(support: ModuleType) -> None:
    roles = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    data = yaml.safe_load(support.DATA.read_text())
    assert set(data["roles"]) == roles
    scenarios = {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")}
    assert roles - {"preflight"} <= scenarios, "the guest gate is tested by site.yml"


def test_every_proof_exists(support: ModuleType) -> None:
    data = yaml.safe_load(support.DATA.read_text())
    named = {path for row in data["roles"].values() for text in row["verified"].values() for path in files(text)}
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def files(text: str) -> list[str]:
    return re.findall(r"\b(?:molecule|tests|lab)/[\w./]+", text)


def test_a_system_that_is_not_there_is_named(support: ModuleType) -> None:
    row = {"verified": {"Plan 9": "tests/unit"}, "not_verified": []}
    with pytest.raises(ValueError, match="x names systems that are not there: Plan 9"):
        support.page({"systems": {"Debian 12": "container"}, "roles": {"x": row}})
