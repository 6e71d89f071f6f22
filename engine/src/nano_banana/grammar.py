# SPDX-License-Identifier: GPL-3.0-or-later
"""A small grammar for pictures of products taken apart: a specification to prompt text and back.

The text has the order of the prompt rules (see lint.py): the isometric projection in front, then product, style and
parts, layout, spacing, labels, background, whatever else, and `macro shot` last. The preview backend reads it alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from nano_banana import phrases, prompt
from nano_banana.clauses import (
    BEHIND,
    Length,
    background,
    bad,
    clauses,
    loose,
    one_of,
    plain,
    recognise,
    split,
    strong_style,
)
from nano_banana.phrases import EXPLODED, KNOLLING, SCHEMATIC
from nano_banana.request import Request
from nano_banana.vocabulary import BACKGROUNDS

STYLES = (KNOLLING, EXPLODED, SCHEMATIC)
ARRANGEMENTS = ("grid", "row", "column", "concentric")
LABELS = (phrases.LABELED, phrases.ANNOTATED, phrases.UNLABELED)
PROJECTIONS = (phrases.ISOMETRIC, "orthographic projection")
_EXAMPLE = "Type for example 'hair dryer knolling: motor, 4 screws, cable'."


@dataclass(frozen=True)
class Piece:
    """A part by its name (without article and number) and how many of it, 1 to 999. Raises BadInputError."""

    name: str
    count: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", plain(self.name))
        if not 1 <= self.count <= prompt.MAX_COUNT:
            raise bad("parts", f"a count from 1 to {prompt.MAX_COUNT}", str(self.count), "Type for example 4 screws.")
        spoilt = phrases.DIRECTIVE.search(self.name) or strong_style(self.name)
        if spoilt:
            raise bad("parts", "the name of a part", f"{self.name!r}, which says how to draw", "Name it otherwise.")
        if (
            not self.name
            or prompt.items(self.name) != [self.name]
            or clauses(self.name) != [self.name]
            or not self.text
        ):
            raise bad("parts", "one name without number, comma, colon and 'and'", repr(self.name), _EXAMPLE)

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
        object.__setattr__(self, "product", plain(self.product))
        object.__setattr__(self, "extras", tuple(plain(extra, articles=True) for extra in self.extras))
        object.__setattr__(self, "background", "grey" if self.background == "gray" else self.background)
        one_of("style", self.style, STYLES)
        for name, value, known in (
            ("arrangement", self.arrangement, ARRANGEMENTS),
            ("labels", self.labels, LABELS),
            ("background", self.background, tuple(BACKGROUNDS)),
            ("projection", self.projection, PROJECTIONS),
        ):
            one_of(name, value, ("", *known))
        if self.background == "blueprint" and self.style != SCHEMATIC:
            raise bad(
                "background", f"blueprint with the style {SCHEMATIC} alone", self.style, "Type another background."
            )
        self._check_product()
        self._check_parts()
        for extra in self.extras:
            _check_extra(extra, self.style)

    def _check_product(self) -> None:
        head = f"{self.product} {self.style}"
        known = recognise(self.product) or loose(self.product) or strong_style(self.product)
        spoilt = known or not self.product or clauses(head) != [head]
        if spoilt or prompt.product_of(head) != self.product or prompt.split_list(head)[1]:
            raise bad("product", "a product's name without style words, comma and colon", repr(self.product), _EXAMPLE)

    def _check_parts(self) -> None:
        names = [piece.name.lower() for piece in self.parts]
        twice = next((name for name in names if names.count(name) > 1), "")
        if twice:
            raise bad("parts", "each part once, with its number", f"{twice!r} twice", "Add the numbers up.")
        if len(names) > prompt.MAX_PARTS:
            raise bad("parts", f"at most {prompt.MAX_PARTS}", str(len(names)), "Name fewer parts.")


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
    head, listed, tail = split(text)
    entries = prompt.items(listed)
    pieces = [prompt.count_of(entry) for entry in entries if not phrases.DIRECTIVE.search(entry)]
    if not pieces and (phrases.LIST_MARK.search(text) or phrases.COLON.search(text)):
        raise bad("parts", "names after the colon", "none", _EXAMPLE)
    found = _Found()
    for clause in clauses(head):
        found.take(clause, head=True)
    for clause in [entry for entry in entries if phrases.DIRECTIVE.search(entry)] + clauses(tail):
        found.take(clause)
    styles = {name for name, pattern in phrases.STRONG_STYLES if re.search(pattern, text, re.IGNORECASE)}
    if len(styles) > 1:
        raise bad("style", "one style", " and ".join(sorted(styles)), "Keep one of them.")
    style = next(iter(styles), "") or prompt.first_match(text, phrases.WEAK_STYLES) or KNOLLING
    if not found.product:
        raise bad("product", "a product", repr(text), _EXAMPLE)
    parts = tuple(Piece(name, count) for count, name in pieces)
    return Disassembly(found.product, parts, style, extras=tuple(found.extras), **found.fields)


@dataclass
class _Found:
    """What read() has recognised so far."""

    product: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    extras: list[str] = field(default_factory=list)

    def take(self, clause: str, head: bool = False) -> None:
        if loose(clause):
            raise bad("spacing", "a number with mm or cm", repr(clause), "Type for example 2cm spacing between each.")
        known = recognise(clause)
        if known:
            self._set(*known)
            return
        behind = BEHIND.fullmatch(clause)
        if behind:
            self._set("background", background(behind.group(2)))
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
            raise bad(name, "one of a kind", f"{earlier} and {value}", "Keep one of them.")


def _check_extra(extra: str, style: str) -> None:
    if not extra or clauses(extra) != [extra]:
        raise bad("extras", "clauses without comma, colon and full stop", repr(extra), "Give each clause by itself.")
    if recognise(extra) or BEHIND.fullmatch(extra) or loose(extra):
        raise bad("extras", "what no other field says", repr(extra), "Set that field instead.")
    others = [n for n, p in phrases.STRONG_STYLES if n != style and re.search(p, extra, re.IGNORECASE)]
    if others:
        raise bad("extras", f"nothing but the style {style}", repr(extra), "Keep one style.")
