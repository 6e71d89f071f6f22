# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of variables in the roles' README files, made from meta/argument_specs.yml.

Run this file to write them anew; a test fails where they are stale.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parents[3] / "roles"
BEGIN, END = "<!-- variables: generated from meta/argument_specs.yml -->", "<!-- end of variables -->"
# Markup of Ansible's documentation: V(value), O(option), E(variable), C(code), M(module).
MARKUP = re.compile(r"\b[VOECM]\(([^)]*)\)")


def options(role: Path) -> dict[str, dict[str, Any]]:
    """The variables of all entry points of a role."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    return {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}


def table(role: Path) -> str:
    """A Markdown table: variable, type, default, meaning."""
    lines = ["| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
    for name, option in options(role).items():
        kind = f"list of {option['elements']}" if option["type"] == "list" else option["type"]
        default = option.get("default", "")
        shown = default if isinstance(default, str) else json.dumps(default)
        description = option["description"]
        meaning = MARKUP.sub(r"`\1`", description if isinstance(description, str) else " ".join(description))
        cells = [f"`{name}`", kind, f"`{shown}`" if shown else "empty", meaning]
        # A bar ends a cell, even inside code.
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def updated(role: Path) -> str:
    """The role's README with its table as it should be. Raises ValueError when the README has no place for it."""
    text = (role / "README.md").read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{role.name}/README.md: expected the lines {BEGIN} and {END}; found not both")
    head, _begin, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table(role)}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    for folder in sorted(path for path in ROLES.iterdir() if path.is_dir()):
        (folder / "README.md").write_text(updated(folder), encoding="utf-8")
