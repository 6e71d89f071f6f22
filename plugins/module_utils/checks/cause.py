# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a known cause is, and how a table recognises it. Pure; runs on guests with Python >= 3.8."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Pattern

from .orders import PYTHON
from .result import GUEST, Fix

Facts = Mapping[str, Any]


def reboot(text: str) -> Fix:
    """Restart the guest."""
    return Fix(text, "systemctl reboot", GUEST)


def anew(text: str) -> Fix:
    """Make the environment anew: what does not belong into it only goes with it."""
    return Fix(f"{text} Take the environment away, then type: {PYTHON}.", "rm -rf {venv}", GUEST)


@dataclass(frozen=True)
class Cause:
    """Why something fails, for people: ``explanation`` is one paragraph, ``source`` says who knows it.

    ``trap`` is the name of the exercise that reproduces it, empty where there is none.
    """

    id: str
    title: str
    explanation: str
    fix: Fix
    source: str
    trap: str = ""


@dataclass(frozen=True)
class Rule:
    """A cause with the words that give it away, and what must hold besides: other words, or facts."""

    cause: Cause
    pattern: Pattern[str]
    also: Optional[Pattern[str]] = None
    when: Optional[Callable[[Facts], bool]] = None

    def fits(self, text: str, facts: Facts) -> bool:
        """Whether this is the cause of what the text tells."""
        if self.when and not self.when(facts):
            return False
        if not self.pattern.search(text):
            return False
        return self.also is None or self.also.search(text) is not None


def words(pattern: str) -> Pattern[str]:
    """A pattern for a text in small letters: several times as fast as ignoring case. ``.`` stays on its line."""
    return re.compile(re.sub(r"\\.|[A-Z]", lambda match: _small(match.group()), pattern), re.MULTILINE)


def _small(part: str) -> str:
    """Letters become small ones, but \\S must not become \\s."""
    return part if part.startswith("\\") else part.lower()


def number(facts: Facts, name: str) -> float:
    """A fact as a figure, 0 where it is missing or none."""
    try:
        return float(facts.get(name) or 0)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def word(facts: Facts, name: str) -> str:
    """A fact as text, empty where it is missing."""
    value = facts.get(name)
    return "" if value is None else str(value).strip()
