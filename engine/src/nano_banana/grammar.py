# SPDX-License-Identifier: GPL-3.0-or-later
"""A small grammar for pictures of products taken apart: a specification to prompt text and back.

The text has the order of the prompt rules (see lint.py): the isometric projection in front, then product, style and
parts, layout, spacing, labels, background, whatever else, and `macro shot` last. The preview backend reads it alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nano_banana import phrases, prompt
from nano_banana.errors import BadInputError
from nano_banana.phrases import EXPLODED, KNOLLING, SCHEMATIC
from nano_banana.request import Request
from nano_banana.vocabulary import BACKGROUNDS

STYLES = (KNOLLING, EXPLODED, SCHEMATIC)
ARRANGEMENTS = ("grid", "row", "column", "concentric")
LABELS = (phrases.LABELED, phrases.ANNOTATED, phrases.UNLABELED)
PROJECTIONS = (phrases.ISOMETRIC, "orthographic projection")
UNITS = ("mm", "cm")
MAX_SPACING_MM = 1000.0
_EXAMPLE = "Type for example 'hair dryer knolling: motor, 4 screws, cable'."


@dataclass(frozen=True)
class Length:
    """A distance above 0 and up to a metre, in mm or cm, kept to two decimals. Raises BadInputError."""

    value: float
    unit: str = "cm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", round(float(self.value), 2))
        _one_of("spacing", self.unit, UNITS)
        if not 0 < self.mm <= MAX_SPACING_MM:
            raise _bad("spacing", "more than 0 and at most 1000 mm", f"{self.value:g}{self.unit}", "Type 2cm.")

    @property
    def mm(self) -> float:
        """The same in millimetres."""
        return self.value * (10 if self.unit == "cm" else 1)

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"


@dataclass(frozen=True)
class Piece:
    """A part by its name (without article and number) and how many of it, 1 to 999. Raises BadInputError."""

    name: str
    count: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _plain(self.name))
        if not 1 <= self.count <= prompt.MAX_COUNT:
            raise _bad("parts", f"a count from 1 to {prompt.MAX_COUNT}", str(self.count), "Type for example 4 screws.")
        spoilt = phrases.DIRECTIVE.search(self.name) or _strong_style(self.name)
        if spoilt:
            raise _bad("parts", "the name of a part", f"{self.name!r}, which says how to draw", "Name it otherwise.")
        if (
            not self.name
            or prompt.items(self.name) != [self.name]
            or _clauses(self.name) != [self.name]
            or not self.text
        ):
            raise _bad("parts", "one name without number, comma, colon and 'and'", repr(self.name), _EXAMPLE)

    @property
    def text(self) -> str:
        """As it stands in the list: `4 screws`, or `4 mm screw x2` where a number in front would be misread."""
        forms = (f"{self.count} {self.name}", f"{self.name} x{self.count}") if self.count > 1 else (self.name,)

        def kept(form: str) -> bool:
            return prompt.items(form) == [form] and prompt.count_of(form) == (self.count, self.name)

        return next(filter(kept, forms), "")


@dataclass(frozen=True)
class Disassembly:
    """What a picture of a product taken apart shows. Raises BadInputError on what no prompt text can say.

    `style` is one of STYLES, `arrangement` of ARRANGEMENTS, `labels` of LABELS, `projection` of PROJECTIONS and
    `background` of vocabulary.BACKGROUNDS; empty or None leaves it unsaid. `extras` are further clauses (lighting,
    finish), kept in their order. `macro` adds `macro shot`, meant for small devices.
    """

    product: str
    parts: tuple[Piece, ...] = ()
    style: str = KNOLLING
    arrangement: str = ""
    spacing: Length | None = None
    labels: str = ""
    background: str = ""
    projection: str = ""
    extras: tuple[str, ...] = ()
    macro: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "product", _plain(self.product))
        object.__setattr__(self, "extras", tuple(_plain(extra, articles=True) for extra in self.extras))
        object.__setattr__(self, "background", "grey" if self.background == "gray" else self.background)
        _one_of("style", self.style, STYLES)
        for name, value, known in (
            ("arrangement", self.arrangement, ARRANGEMENTS),
            ("labels", self.labels, LABELS),
            ("background", self.background, tuple(BACKGROUNDS)),
            ("projection", self.projection, PROJECTIONS),
        ):
            _one_of(name, value, ("", *known))
        if self.background == "blueprint" and self.style != SCHEMATIC:
            raise _bad(
                "background", f"blueprint with the style {SCHEMATIC} alone", self.style, "Type another background."
            )
        self._check_product()
        self._check_parts()
        for extra in self.extras:
            _check_extra(extra, self.style)

    def _check_product(self) -> None:
        head = f"{self.product} {self.style}"
        known = _recognise(self.product) or _loose(self.product) or _strong_style(self.product)
        spoilt = known or not self.product or _clauses(head) != [head]
        if spoilt or prompt.product_of(head) != self.product or prompt.split_list(head)[1]:
            raise _bad("product", "a product's name without style words, comma and colon", repr(self.product), _EXAMPLE)

    def _check_parts(self) -> None:
        names = [piece.name.lower() for piece in self.parts]
        twice = next((name for name in names if names.count(name) > 1), "")
        if twice:
            raise _bad("parts", "each part once, with its number", f"{twice!r} twice", "Add the numbers up.")
        if len(names) > prompt.MAX_PARTS:
            raise _bad("parts", f"at most {prompt.MAX_PARTS}", str(len(names)), "Name fewer parts.")


def compose(spec: Disassembly) -> str:
    """The prompt text of a specification, which read() gives back. Raises BadInputError when it is too long."""
    head = f"{spec.product} {spec.style}"
    if spec.projection == phrases.ISOMETRIC:
        head = f"{spec.projection}, {head}"
    tail = [
        phrases.LAYOUT_PHRASE.format(spec.arrangement) if spec.arrangement else "",
        phrases.SPACING_PHRASE.format(spec.spacing) if spec.spacing else "",
        spec.labels,
        f"{spec.background} background" if spec.background else "",
        spec.projection if spec.projection != phrases.ISOMETRIC else "",
        *spec.extras,
        phrases.MACRO if spec.macro else "",
    ]
    rest = ", ".join(clause for clause in tail if clause)
    if spec.parts:
        # A full stop ends the list: no later clause can be taken for a part.
        head += ": " + ", ".join(piece.text for piece in spec.parts)
        text = f"{head}. {rest}" if rest else head
    else:
        text = f"{head}, {rest}" if rest else head
    return Request(text).prompt


def read(text: str) -> Disassembly:
    """The specification that a prompt text says; clauses of no other meaning become extras.

    Raises BadInputError where there is no product, a list without parts, a distance without mm or cm, or two of a thing
    that can only be one.
    """
    text = " ".join(Request(text).prompt.split())
    head, listed, tail = _split(text)
    entries = prompt.items(listed)
    pieces = [prompt.count_of(entry) for entry in entries if not phrases.DIRECTIVE.search(entry)]
    if not pieces and (phrases.LIST_MARK.search(text) or phrases.COLON.search(text)):
        raise _bad("parts", "names after the colon", "none", _EXAMPLE)
    found = _Found()
    for clause in _clauses(head):
        found.take(clause, head=True)
    for clause in [entry for entry in entries if phrases.DIRECTIVE.search(entry)] + _clauses(tail):
        found.take(clause)
    styles = {name for name, pattern in phrases.STRONG_STYLES if re.search(pattern, text, re.IGNORECASE)}
    if len(styles) > 1:
        raise _bad("style", "one style", " and ".join(sorted(styles)), "Keep one of them.")
    style = next(iter(styles), "") or prompt.first_match(text, phrases.WEAK_STYLES) or KNOLLING
    if not found.product:
        raise _bad("product", "a product", repr(text), _EXAMPLE)
    parts = tuple(Piece(name, count) for count, name in pieces)
    return Disassembly(found.product, parts, style, extras=tuple(found.extras), **found.fields)


@dataclass
class _Found:
    """What read() has recognised so far."""

    product: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    extras: list[str] = field(default_factory=list)

    def take(self, clause: str, head: bool = False) -> None:
        if _loose(clause):
            raise _bad("spacing", "a number with mm or cm", repr(clause), "Type for example 2cm spacing between each.")
        known = _recognise(clause)
        if known:
            self._set(*known)
            return
        behind = _BEHIND.fullmatch(clause)
        if behind:
            self._set("background", _background(behind.group(2)))
            clause = behind.group(1)
        if head and not self.product and not phrases.PROJECTION.fullmatch(clause):
            product = prompt.product_of(clause)
            # A clause of style words alone leaves the preview's stand-in.
            self.product = "" if product == "assembly" and "assembly" not in clause.lower() else product
        else:
            self.extras.append(clause)

    def _set(self, name: str, value: Any) -> None:
        if name == "style":
            return
        earlier = self.fields.setdefault(name, value)
        if earlier != value:
            raise _bad(name, "one of a kind", f"{earlier} and {value}", "Keep one of them.")


_ON = r"(?:on |with )?(?:an? )?(?:(?:clean|plain|pure|solid) )?"
_TINT = "|".join(sorted(BACKGROUNDS, key=len, reverse=True))
_BEHIND = re.compile(rf"(.+?) on (?:an? )?(?:(?:clean|plain|pure|solid) )?({_TINT}) background", re.IGNORECASE)


def _length(match: re.Match[str]) -> Length:
    return Length(float(match.group(1).replace(",", ".")), match.group(2).lower())


def _arrangement(match: re.Match[str]) -> str:
    word = (match.group(1) or match.group(2)).lower()
    return "grid" if word == "rows" else word.rstrip("s")


def _background(word: str) -> str:
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
    ("background", rf"{_ON}({_TINT}) background", lambda match: _background(match.group(1))),
    ("macro", phrases.MACRO, lambda _: True),
    ("style", phrases.STYLE_WORDS.pattern, lambda _: None),
)
_PATTERNS = tuple((name, re.compile(pattern, re.IGNORECASE), value) for name, pattern, value in _GROUPS)


def _recognise(clause: str) -> tuple[str, Any] | None:
    """(field, its value) for a clause that is one of the grammar's own."""
    for name, pattern, value in _PATTERNS:
        match = pattern.fullmatch(clause)
        if match:
            return name, value(match)
    return None


def _loose(clause: str) -> bool:
    return bool(phrases.LOOSE_SPACING.search(clause) or phrases.LOOSE_SPACING_AFTER.search(clause))


def _split(text: str) -> tuple[str, str, str]:
    """(before the part list, the list, after it)."""
    head, listed = prompt.split_list(text)
    match = phrases.LIST_MARK.search(text) or phrases.COLON.search(text)
    if not match:
        return text, "", ""
    after = phrases.SENTENCE_END.split(text[match.end() :], maxsplit=1)
    return head, listed, after[1] if len(after) > 1 else ""


def _clauses(text: str) -> list[str]:
    """Between commas, semicolons, colons and full stops, without the marks around them."""
    return [clause for clause in (c.strip(" .,;:-") for c in re.split(r"[,;:]|\.(?:\s|$)", text)) if clause]


def _plain(text: str, articles: bool = False) -> str:
    """One line without marks around it; articles in front are kept on wish."""
    line = " ".join(text.split())
    return line.strip(" .,;:-") if articles else prompt.tidy(line)


def _strong_style(text: str) -> str | None:
    return prompt.first_match(text, phrases.STRONG_STYLES)


def _check_extra(extra: str, style: str) -> None:
    if not extra or _clauses(extra) != [extra]:
        raise _bad("extras", "clauses without comma, colon and full stop", repr(extra), "Give each clause by itself.")
    if _recognise(extra) or _BEHIND.fullmatch(extra) or _loose(extra):
        raise _bad("extras", "what no other field says", repr(extra), "Set that field instead.")
    others = [n for n, p in phrases.STRONG_STYLES if n != style and re.search(p, extra, re.IGNORECASE)]
    if others:
        raise _bad("extras", f"nothing but the style {style}", repr(extra), "Keep one style.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        names = ", ".join(word for word in known if word)
        raise _bad(name, f"one of: {names}", repr(value), "Type one of these.")


def _bad(what: str, expected: str, found: str, fix: str) -> BadInputError:
    return BadInputError(what, expected=expected, found=found, fix=fix)
