# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/reference/support.md from support.yml beside it: `python tools/support_page.py`. A test compares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs/reference/support.yml"
PAGE = DATA.with_suffix(".md")
NOT_VERIFIED = "not verified on a real host"
HEAD = """# What was verified where

<!-- Written by `python tools/support_page.py` from support.yml beside it; edit that file. -->

A cell names the test that proves a role on that system, on a guest that boots it. "{not_verified}" means what it says:
nobody has run it there. What covers such code instead (unit tests of templates and programs, argument specifications,
syntax) is in the second table.

"""


def page(data: dict[str, Any]) -> str:
    """The page for the data. Raises ValueError that names what is missing or unknown."""
    systems = data["systems"]
    parts = [HEAD.format(not_verified=NOT_VERIFIED)]
    parts.append(_row("Role", *(f"{name}: {text}" for name, text in systems.items())))
    parts.append("|" + " --- |" * (len(systems) + 1) + "\n")
    for role, row in data["roles"].items():
        if unknown := (set(row["verified"]) | set(row.get("not_applicable", {}))) - set(systems):
            raise ValueError(f"{DATA.name}: {role} names systems that are not there: {', '.join(sorted(unknown))}")
        parts.append(_row(f"`{role}`", *(_cell(row, system) for system in systems)))
    parts.append("\n\n## What is not verified, and what covers it instead\n\n")
    parts.append(_row("Role", "Not verified on a real host", "Covered by") + "| --- | --- | --- |\n")
    for role, row in data["roles"].items():
        parts += [_row(f"`{role}`", item["what"], item["instead"]) for item in row["not_verified"]]
    return "".join(parts)


def _cell(row: dict[str, Any], system: str) -> str:
    if system in row["verified"]:
        return str(row["verified"][system])
    return str(row.get("not_applicable", {}).get(system, NOT_VERIFIED))


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(yaml.safe_load(DATA.read_text())))


if __name__ == "__main__":
    main()
