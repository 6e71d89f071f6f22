# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the JUnit file that the testinfra suite leaves for a host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from .events import MESSAGE_LIMIT, clean


@dataclass(frozen=True)
class Test:
    """One test: its name as a sentence, its verdict (passed, failed or skipped), seconds, and why it failed."""

    __test__ = False  # the name begins with Test: pytest must not collect it

    name: str
    status: str
    seconds: float = 0.0
    message: str = ""


def parse(text: str) -> tuple[Test, ...]:
    """The tests in the order in which they ran. Raises ValueError when the text is no JUnit file."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - written a moment ago by our own pytest run
    except ElementTree.ParseError as error:
        raise ValueError(f"expected a JUnit file; found text that is no XML ({error})") from error
    return tuple(_test(case) for case in root.iter("testcase"))


def sentence(name: str) -> str:
    """'test_the_user_owns_a_home[ssh://...]' -> 'The user owns a home'."""
    words = re.sub(r"^test_", "", name.partition("[")[0]).replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _test(case: ElementTree.Element) -> Test:
    status, message = "passed", ""
    for tag, meaning in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            status = meaning
            message = clean(found.get("message") or found.text, MESSAGE_LIMIT).replace("AssertionError: ", "", 1)
            break
    name = sentence(case.get("name", "")) or sentence(case.get("classname", "")) or "A test without a name"
    try:
        seconds = float(case.get("time", "0"))
    except ValueError:
        seconds = 0.0
    return Test(clean(name), status, seconds, message)
