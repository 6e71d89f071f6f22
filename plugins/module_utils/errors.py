# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that reaches an operator, and how its text is put together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what it is about, what was expected, what was found, what to type next."""

    what: str
    expected: str
    found: str
    next: str = ""

    def __str__(self) -> str:
        text = f"{self.what}: expected {self.expected}; found {self.found}."
        return f"{text} Next: {self.next}" if self.next else text


class TestbedError(Exception):
    """Raised by the logic in module_utils; only a module's main() or an action plugin turns it into a failed result.

    ``error_code`` is a stable word that playbooks and tests can test for; ``problems`` holds every problem of
    the same kind that was found, so that an operator mends them all in one go.
    """

    __test__ = False  # the name begins with Test: pytest must not collect it

    def __init__(self, error_code: str, problems: Iterable[Problem], outcome: str = "nothing was changed") -> None:
        self.error_code = error_code
        self.problems = tuple(problems)
        self.outcome = outcome
        super().__init__(str(self))

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"{len(self.problems)} problems, {self.outcome}:"]
        return "\n".join(lines + [f"  - {problem}" for problem in self.problems])


def one_problem(error_code: str, what: str, expected: str, found: str, next_step: str = "") -> TestbedError:
    """The usual case: an error with a single problem."""
    return TestbedError(error_code, [Problem(what, expected, found, next_step)])


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list them all when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known are {', '.join(names)}" if names else "there are none"
