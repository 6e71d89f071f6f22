# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the inventory one that a run can start from? Pure questions, asked by the action plugin preflight_inventory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem

PLACEHOLDER = "FILL_IN"
_MARK = re.compile(rf"^\s*(?:-\s+)?(?:(?P<name>[\w.-]+)\s*:)?[^#]*\b{PLACEHOLDER}\b")


def unfilled(sources: Iterable[str]) -> list[Problem]:
    """Every line of an inventory that still holds the template's placeholder."""
    problems = []
    for source in sources:
        path = Path(source)
        files = sorted(path.rglob("*.yml")) if path.is_dir() else [path] if path.is_file() else []
        for file in files:
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                found = _MARK.match(line)
                if found:
                    problems.append(_problem(file, number, found["name"] or "(list item)"))
    return problems


def _problem(file: Path, number: int, name: str) -> Problem:
    here = Path.cwd()
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    return Problem(f"{shown}:{number} {name}", "your own value", f"the template's {PLACEHOLDER}", "fill it in")


def targets(groups: Mapping[str, Iterable[str]], environments: Iterable[str], play_hosts: Iterable[str]) -> list[str]:
    """The hosts of the environments that this run is limited to, in the order of the play."""
    wanted = {host for name in environments for host in groups.get(name, ())}
    return [host for host in play_hosts if host in wanted]


def nobody(
    groups: Mapping[str, Iterable[str]], environments: Iterable[str], sources: Iterable[str], limit: str
) -> Problem:
    """Why there is nothing to do: a limit that hits no host, or an inventory without any."""
    names = list(environments)
    known = sorted({host for name in names for host in groups.get(name, ())})
    where = ", ".join(sources) or "(none)"
    expected = f"at least one host in the groups {', '.join(names)}"
    if known:
        return Problem(f"limit '{limit}'", expected, "no host of them", f"use one of {', '.join(known)}")
    return Problem(f"inventory {where}", expected, "none", "add hosts there, or name another inventory with -i")
