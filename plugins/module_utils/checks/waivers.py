# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waivers: failures that somebody accepts, until a day, for a reason. Read strictly; runs on the control node."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Collection, List, Mapping, Optional, Sequence, Tuple

from ..errors import Problem, TestbedError, nearest

VARIABLE = "preflight_waivers"
KEYS = ("check", "hosts", "reason", "until")
MEANING = {
    "check": "the id of a check",
    "hosts": "a pattern of host names, such as nb-stress-*",
    "reason": "why the failure is accepted",
    "until": "the last day on which it is accepted, as YYYY-MM-DD",
}


@dataclass(frozen=True)
class Waiver:
    """One entry of preflight_waivers. ``until`` is the last day on which it covers a failure."""

    check: str
    hosts: str
    reason: str
    until: datetime.date

    def names(self, check: str, target: str) -> bool:
        """Whether it speaks of this check on this target."""
        return self.check == check and self.matches(target)

    def matches(self, target: str) -> bool:
        """Whether its pattern takes the target in."""
        return fnmatchcase(target, self.hosts)

    def expired(self, today: datetime.date) -> bool:
        """Whether its last day is over."""
        return today > self.until

    def words(self) -> str:
        """'waived until 2026-12-31: why'."""
        return f"waived until {self.until.isoformat()}: {self.reason}"


def parse(raw: Sequence[Any], known: Collection[str]) -> Tuple[Waiver, ...]:
    """Read the inventory's list; ``known`` are the ids of all checks.

    Raises TestbedError (``invalid_waiver``) that names everything that is wrong in all entries.
    """
    problems: List[Problem] = []
    found = [_entry(f"{VARIABLE}[{number}]", entry, known, problems) for number, entry in enumerate(raw)]
    if problems:
        raise TestbedError("invalid_waiver", problems, "no check was judged")
    return tuple(dict.fromkeys(waiver for waiver in found if waiver))


def _entry(where: str, entry: Any, known: Collection[str], problems: List[Problem]) -> Optional[Waiver]:
    before = len(problems)
    if not isinstance(entry, Mapping):
        problems.append(Problem(where, f"a mapping with {', '.join(KEYS)}", repr(entry)))
        return None
    problems += [
        Problem(f"{where}.{key}", "no such key", repr(entry[key]), nearest(str(key), KEYS))
        for key in entry
        if key not in KEYS
    ]
    problems += [
        Problem(f"{where}.{key}", MEANING[key], "nothing", f"add {key}: to the entry")
        for key in KEYS
        if entry.get(key) is None or not str(entry[key]).strip()
    ]
    if len(problems) > before:
        return None
    texts = {key: str(entry[key]).strip() for key in ("check", "hosts", "reason")}
    if texts["check"] not in known:
        problems.append(Problem(f"{where}.check", MEANING["check"], texts["check"], nearest(texts["check"], known)))
    until = _day(entry["until"])
    if until is None:
        problems.append(Problem(f"{where}.until", MEANING["until"], str(entry["until"]), "write it as 2026-12-31"))
    return Waiver(until=until, **texts) if until and len(problems) == before else None


def _day(value: Any) -> Optional[datetime.date]:
    """YAML reads an unquoted day as a date, and one with a time as a datetime."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    text = str(value).strip()
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        return None
    # Python 3.11 and newer also read 20261231 and 2026-W53-4, which nobody means here.
    return day if day.isoformat() == text else None
