# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/reference/checks.md from the catalogue and the known causes: `python tools/checks_page.py`.

With `--check` it writes nothing and ends with 1 when the page is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/checks.md"
sys.path[:0] = [str(ROOT / ".collections")]

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue import CATALOGUE  # noqa: E402 - path
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.causes import CAUSES, Cause  # noqa: E402 - path
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import STAGES, Check, Fix  # noqa: E402

TITLES = {
    "platform": "The platform gate: before anything is created",
    "machine": "The machine gate: after the VMs are made, before a guest is touched",
    "guest": "The guest gate: after the guests are configured",
}
HEAD = """# What the gates check, and what failures mean

<!-- Written by `python tools/checks_page.py` from catalogues and causes in plugins/module_utils/checks; edit those. -->

A check that needs another one is *blocked* when that one gave no answer to build on. A check of the severity *warning*
never shuts a gate. *Where* says who types the command: `control` in the checkout on the control node, `guest` as root
on the guest. Words in braces are filled in: `{name}` is the host's name in the inventory. A command that is marked
automatic is run by `preflight_only_fix=true`. [Waive a check](../how-to/waive-a-check.md) says how to let one pass for
a time.
On Windows some checks are mended in another way; the gate prints the right one.
"""
CAUSES_HEAD = """## Known causes

A failure's text and the facts about the host are compared with these, in this order, and the first that fits is named.
Those with a trap are exercises: `make preflight-drill TRAP=name`, see [the five traps](../how-to/the-five-traps.md).
"""


def page(checks: Iterable[Check], causes: Iterable[Cause]) -> str:
    """The page. Raises ValueError that names a row of an unknown stage."""
    rows = list(checks)
    if unknown := [row.id for row in rows if row.stage not in STAGES]:
        raise ValueError(f"rows of no stage: {', '.join(unknown)}; expected one of {', '.join(STAGES)}")
    parts = [HEAD]
    for stage in STAGES:
        if of_stage := [row for row in rows if row.stage == stage]:
            parts.append(f"\n## {TITLES[stage]}\n\n")
            titles = ("Check", "Title", "Severity", "Environments", "Needs", "How it is mended", "Command", "Where")
            parts += [_row(*titles), _rule(len(titles))]
            parts += [_check(row) for row in of_stage]
    parts += [
        f"\n{CAUSES_HEAD}\n",
        _row("Cause", "Title", "Why", "How it is mended", "Command", "Trap", "Source"),
        _rule(7),
    ]
    parts += [_cause(cause) for cause in causes]
    return "".join(parts)


def _check(row: Check) -> str:
    needs = ", ".join(f"`{name}`" for name in (*row.needs, *row.after))
    return _row(
        f"`{row.id}`",
        row.title,
        row.severity,
        ", ".join(row.environments) or "all",
        needs,
        row.fix.text,
        *_command(row.fix),
    )


def _cause(cause: Cause) -> str:
    trap = f"`{cause.trap}`" if cause.trap else ""
    command = _command(cause.fix)[0]
    return _row(f"`{cause.id}`", cause.title, cause.explanation, cause.fix.text, command, trap, cause.source)


def _command(fix: Fix) -> tuple[str, str]:
    """The command, and who types it; both empty where there is none."""
    if not fix.run:
        return "", ""
    return f"`{fix.run}`", f"{fix.where}, automatic" if fix.automatic else fix.where


def _row(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _rule(columns: int) -> str:
    return "|" + " --- |" * columns + "\n"


def _cell(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|")
    return plain if plain.startswith("`") else plain.replace("*", "\\*").replace("<", "&lt;")


def main(arguments: list[str]) -> int:
    """Write the page, or with --check compare it; returns the exit status."""
    wanted = page(CATALOGUE, CAUSES.values())
    if "--check" in arguments:
        if PAGE.exists() and PAGE.read_text() == wanted:
            return 0
        sys.stderr.write(f"{PAGE.relative_to(ROOT)}: stale. Next: .venv/bin/python tools/checks_page.py\n")
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
