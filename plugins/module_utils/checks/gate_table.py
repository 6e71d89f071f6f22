# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's verdict as one table for the terminal: failures first, the same failure of many targets once. Pure."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Sequence, Tuple

from .gate import SHUT, Row, Verdict, counts, worst
from .result import BLOCKED, FAILED, WARNED

# Ansible shows a message eight columns further right; together that stays within 120 columns.
WIDTH = 112
MOST_LINES = 20
LABEL = 10
# A word of a shell's command: nothing is broken within quotes.
_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""")
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ORDER = {FAILED: 0, WARNED: 1}


@dataclass(frozen=True)
class Group:
    """One row for all targets that say the same; the row's texts name them all."""

    row: Row
    targets: Tuple[str, ...]


def table(verdict: Verdict, width: int = WIDTH) -> str:
    """What the operator reads: all of it where the gate is shut; warnings in a line each where it is open."""
    parts = ["\n".join(_wrapped("", headline(verdict), width, 2))]
    if verdict.word == SHUT:
        found = groups(verdict.rows)
        parts += ["\n".join(_block(group, width)) for group in found]
        blocked = _blocked(verdict.rows, width)
        parts += [blocked] if blocked else []
        parts.append("\n".join(_targets(verdict, width)))
        return "\n\n".join(parts)
    lines = [line for group in groups(verdict.rows) for line in _line(group, width)]
    blocked = _blocked(verdict.rows, width)
    return "\n".join(parts + lines + ([blocked] if blocked else []))


def headline(verdict: Verdict) -> str:
    """'Guest gate: shut. 2 checks failed on 1 of 3 targets: 40 passed, 1 warned, 2 failed.'"""
    begin = f"{verdict.stage.capitalize()} gate: {verdict.word}."
    if not verdict.rows:
        return f"{begin} No target was asked."
    shut = sum(worst(rows) == FAILED for rows in verdict.targets.values())
    targets = f"{len(verdict.targets)} target{'' if len(verdict.targets) == 1 else 's'}"
    return f"{begin} {f'{shut} of {targets} failed' if shut else targets}; checks: {_counted(verdict.rows)}."


def groups(rows: Iterable[Row]) -> List[Group]:
    """Failures, then warnings; what says the same of several targets is one group."""
    found: Dict[Tuple[str, ...], List[Row]] = {}
    for row in rows:
        if row.status in _ORDER:
            found.setdefault(_key(row), []).append(row)
    made = [_group(alike) for alike in found.values()]
    return sorted(made, key=lambda group: _ORDER[group.row.status])


def command_lines(command: str, width: int) -> List[str]:
    """A command that can be copied: broken between words alone, with a backslash. A longer word stays whole."""
    lines: List[str] = []
    for word in _WORD.findall(command) if _WORD.sub("", command).strip() == "" else [command]:
        if lines and len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _key(row: Row) -> Tuple[str, ...]:
    texts = (row.expected, row.actual, row.detail, row.fix)
    return (row.status, row.id, *(_named(row.target).sub("\0", text) for text in texts))


def _named(target: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-]){re.escape(target)}(?![\w-]|\.\w)")


def _group(rows: Sequence[Row]) -> Group:
    first, names = rows[0], tuple(row.target for row in rows)
    if len(rows) == 1:
        return Group(first, names)
    # --limit and the patterns of ansible take names like this, so the fix of many is still one command.
    every, pattern = ",".join(names), _named(first.target)
    texts = {name: getattr(first, name) for name in ("expected", "actual", "detail", "fix")}
    filled: Dict[str, Any] = {name: pattern.sub(lambda _match: every, text) for name, text in texts.items()}
    mend = dict(first.mend)
    if mend.get("run"):
        mend["run"] = pattern.sub(lambda _match: every, str(mend["run"]))
    return Group(replace(first, mend=mend, **filled), names)


def _block(group: Group, width: int) -> List[str]:
    row = group.row
    lines = _wrapped(f"{row.status.upper():<8} ", f"{row.id}: {row.title}" if row.title else row.id, width)
    pairs = (("on", ", ".join(group.targets)), ("found", row.actual), ("expected", row.expected), ("why", row.detail))
    for label, text in pairs:
        lines += _wrapped(f"  {label:<{LABEL}}", text, width) if text else []
    return lines + _fix(row, width)


def _fix(row: Row, width: int) -> List[str]:
    run = str(row.mend.get("run") or "")
    if not run or not row.fix.endswith(run):
        return _wrapped(f"  {'fix':<{LABEL}}", row.fix, width) if row.fix else []
    indent = " " * (LABEL + 2)
    commands = [part for line in run.splitlines() for part in command_lines(_printable(line), width - len(indent))]
    return _wrapped(f"  {'fix':<{LABEL}}", row.fix[: -len(run)], width) + [indent + line for line in commands]


def _line(group: Group, width: int) -> List[str]:
    names = ", ".join(group.targets) if len(group.targets) <= 3 else f"{len(group.targets)} targets"
    row = group.row
    return _wrapped(f"  {row.status:<{LABEL}}", f"{row.id} on {names}: {row.detail or row.actual}", width)


def _blocked(rows: Iterable[Row], width: int) -> str:
    found: Dict[str, List[str]] = {}
    for row in rows:
        if row.status == BLOCKED:
            found.setdefault(row.id, []).append(row.target)
    words = ", ".join(f"{id_} ({_many(targets)})" for id_, targets in found.items())
    return "\n".join(_wrapped("Not run because of that: ", f"{words}.", width, 2)) if found else ""


def _many(targets: Sequence[str]) -> str:
    return ", ".join(targets) if len(targets) <= 3 else f"{len(targets)} targets"


def _targets(verdict: Verdict, width: int) -> List[str]:
    """One line for each target; of more than 20 for those that failed, and one that counts the others."""
    by_target = verdict.targets
    bad = {target: rows for target, rows in by_target.items() if worst(rows) == FAILED}
    shown = by_target if len(by_target) <= MOST_LINES else bad
    column = max((len(target) for target in shown), default=0)
    lines = []
    for target, rows in shown.items():
        lines += _wrapped(f"{target:<{column}}  ", _counted(rows), width)
    if rest := len(by_target) - len(shown):
        lines.append(f"{rest} other targets: nothing that shuts the gate")
    return lines


def _counted(rows: Iterable[Row]) -> str:
    return ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in counts(rows).items() if number)


def _printable(text: str) -> str:
    """On one line, without what would move a terminal's cursor or colour it."""
    plain = "".join(letter if letter.isprintable() else " " for letter in _TERMINAL.sub("", text))
    return " ".join(plain.split())


def _wrapped(head: str, text: str, width: int, hang: int = -1) -> List[str]:
    """``head`` and the text's words, later lines under the first word (or at ``hang``); never wider than ``width``."""
    indent = " " * (len(head) if hang < 0 else hang)
    if len(indent) > width // 2:
        indent = "  "
    return textwrap.wrap(
        head + _printable(text), width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True
    ) or [head.rstrip()]
