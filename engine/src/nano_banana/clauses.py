# SPDX-License-Identifier: GPL-3.0-or-later
"""What the clauses of a disassembly prompt mean by themselves: grammar.py puts them together."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nano_banana import phrases, prompt
from nano_banana.errors import BadInputError
from nano_banana.vocabulary import BACKGROUNDS

UNITS = ("mm", "cm")
MAX_SPACING_MM = 1000.0


@dataclass(frozen=True)
class Length:
    """A distance above 0 and up to a metre, in mm or cm, kept to two decimals. Raises BadInputError."""

    value: float
    unit: str = "cm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", round(float(self.value), 2))
        one_of("spacing", self.unit, UNITS)
        if not 0 < self.mm <= MAX_SPACING_MM:
            raise bad("spacing", "more than 0 and at most 1000 mm", f"{self.value:g}{self.unit}", "Type 2cm.")

    @property
    def mm(self) -> float:
        """The same in millimetres."""
        return self.value * (10 if self.unit == "cm" else 1)

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"


_ON = r"(?:on |with )?(?:an? )?(?:(?:clean|plain|pure|solid) )?"
_TINT = "|".join(sorted(BACKGROUNDS, key=len, reverse=True))
BEHIND = re.compile(rf"(.+?) on (?:an? )?(?:(?:clean|plain|pure|solid) )?({_TINT}) background", re.IGNORECASE)


def _length(match: re.Match[str]) -> Length:
    return Length(float(match.group(1).replace(",", ".")), match.group(2).lower())


def _arrangement(match: re.Match[str]) -> str:
    word = (match.group(1) or match.group(2)).lower()
    return "grid" if word == "rows" else word.rstrip("s")


def background(word: str) -> str:
    """The background's name as vocabulary.BACKGROUNDS has it."""
    return "grey" if word.lower() == "gray" else word.lower()


_GROUPS: tuple[tuple[str, str, Callable[[re.Match[str]], Any]], ...] = (
    (
        "projection",
        r"(?:in )?(isometric|orthographic) (?:projection|view|perspective)",
        lambda match: f"{match.group(1).lower()} projection",
    ),
    (
        "arrangement",
        r"(?:(?:all )?(?:parts|components|pieces) )?(?:(?:neatly )?(?:arranged|laid out) )?"
        r"(?:in (?:an? )?(grid|rows?|columns?|concentric)(?: layout)?|(grid|row|column|concentric) layout)",
        _arrangement,
    ),
    (
        "spacing",
        r"(?:with )?(\d+(?:[.,]\d+)?)\s?(mm|cm) (?:of )?(?:spacing|gaps?|apart)(?: between (?:each(?: part)?|parts))?",
        _length,
    ),
    ("labels", r"label(?:l?ed) with part names", lambda _: phrases.LABELED),
    ("labels", rf"{phrases.ANNOTATED}", lambda _: phrases.ANNOTATED),
    ("labels", rf"(?:{phrases.NO_LABELS})", lambda _: phrases.UNLABELED),
    ("background", rf"{_ON}({_TINT}) background", lambda match: background(match.group(1))),
    ("macro", phrases.MACRO, lambda _: True),
    ("style", phrases.STYLE_WORDS.pattern, lambda _: None),
)
_PATTERNS = tuple((name, re.compile(pattern, re.IGNORECASE), value) for name, pattern, value in _GROUPS)


def recognise(clause: str) -> tuple[str, Any] | None:
    """(field, its value) for a clause that is one of the grammar's own."""
    for name, pattern, value in _PATTERNS:
        match = pattern.fullmatch(clause)
        if match:
            return name, value(match)
    return None


def loose(clause: str) -> bool:
    """Whether it tells a distance without a unit, or in another one than mm and cm."""
    return bool(phrases.LOOSE_SPACING.search(clause) or phrases.LOOSE_SPACING_AFTER.search(clause))


def split(text: str) -> tuple[str, str, str]:
    """(before the part list, the list, after it)."""
    head, listed = prompt.split_list(text)
    match = phrases.LIST_MARK.search(text) or phrases.COLON.search(text)
    if not match:
        return text, "", ""
    after = phrases.SENTENCE_END.split(text[match.end() :], maxsplit=1)
    return head, listed, after[1] if len(after) > 1 else ""


def clauses(text: str) -> list[str]:
    """Between commas, semicolons, colons and full stops, without the marks around them."""
    return [clause for clause in (c.strip(" .,;:-") for c in re.split(r"[,;:]|\.(?:\s|$)", text)) if clause]


def plain(text: str, articles: bool = False) -> str:
    """One line without marks around it; articles in front are kept on wish."""
    line = " ".join(text.split())
    return line.strip(" .,;:-") if articles else prompt.tidy(line)


def strong_style(text: str) -> str | None:
    """The style that its words leave no doubt of."""
    return prompt.first_match(text, phrases.STRONG_STYLES)


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raises BadInputError with the words that are known; an empty one means that the field may be left away."""
    if value not in known:
        names = ", ".join(word for word in known if word)
        raise bad(name, f"one of: {names}", repr(value), "Type one of these.")


def bad(what: str, expected: str, found: str, fix: str) -> BadInputError:
    """The error for one field of a specification."""
    return BadInputError(what, expected=expected, found=found, fix=fix)
