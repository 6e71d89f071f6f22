# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a prompt: text in, a plan of the picture out. No drawing, no files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nano_banana import phrases
from nano_banana.errors import BadInputError
from nano_banana.phrases import EXPLODED, KNOLLING, SCHEMATIC
from nano_banana.vocabulary import (
    BACKGROUNDS,
    FAMILIES,
    GENERIC_PARTS,
    KIND_OF_WORD,
    MATERIAL_OF_WORD,
)

__all__ = [
    "EXPLODED",
    "KNOLLING",
    "SCHEMATIC",
    "Part",
    "Plan",
    "background_word",
    "count_of",
    "first_match",
    "items",
    "kind_of",
    "material_of",
    "parse",
    "product_of",
    "split_list",
    "tidy",
]

MAX_PARTS = 48
MAX_COUNT = 999
MAX_DRAWN = 24
FEW = 4
# Of other kinds a plural is one thing to look at: windings, electronics.
_COUNTABLE = ("brick", "chip", "gear", "knob", "ring", "rod", "screw", "seal", "spring", "wheel")


@dataclass(frozen=True)
class Part:
    """A named part: how many of it, its shape in the vocabulary, and its material where the prompt says one."""

    name: str
    count: int = 1
    kind: str = "generic"
    material: str | None = None
    several: bool = False

    @property
    def drawn(self) -> int:
        """How many of it the picture shows: a plural without a number is a few, a crowd is cut short."""
        return min(self.count, MAX_DRAWN) if self.count > 1 or not self.several else FEW

    @property
    def label(self) -> str:
        """What stands beside it in the picture."""
        return self.name if self.count == 1 else f"{self.name} x{self.count}"


@dataclass(frozen=True)
class Plan:
    """What the prompt asks for. spacing_mm is None where it leaves the distance to the layout."""

    product: str
    style: str
    arrangement: str | None
    parts: tuple[Part, ...]
    spacing_mm: float | None
    labels: bool
    background: str


def parse(prompt: str, seed: int) -> Plan:
    """Read `prompt`; `seed` matters only where the prompt names no parts. Raises BadInputError on too many parts."""
    text = " ".join(prompt.split())
    style = _style(text)
    head, listed = split_list(text)
    product = product_of(head)
    parts = _merge([_part(item) for item in items(listed) if not phrases.DIRECTIVE.search(item)])
    if not parts:
        parts = _derived_parts(product, _implied(head), seed)
    if len(parts) > MAX_PARTS:
        raise BadInputError(
            "--prompt",
            expected=f"at most {MAX_PARTS} parts",
            found=f"{len(parts)}",
            fix="Name fewer parts, or give equal ones a number: 4 screws.",
        )
    return Plan(
        product=product,
        style=style,
        arrangement=first_match(text, phrases.ARRANGEMENTS),
        parts=tuple(parts),
        spacing_mm=_spacing(text),
        labels=_wants_labels(text, style),
        background=_background(text),
    )


def kind_of(name: str) -> str:
    """The shape for a part's name: its last known word decides, as in 'motor housing'."""
    for word in reversed(words_of(name)):
        for form in _singular_forms(word):
            if form in KIND_OF_WORD:
                return KIND_OF_WORD[form]
    return "generic"


def material_of(name: str) -> str | None:
    """The first material or colour word of a name, if there is one; 'colorful' asks for several."""
    for word in words_of(name):
        if word in ("colorful", "colourful", "multicolored", "multicoloured"):
            return "vivid"
        if word in MATERIAL_OF_WORD:
            return MATERIAL_OF_WORD[word]
    return None


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:-[^\W_]+)*", text.lower())


def _singular_forms(word: str) -> list[str]:
    forms = [word]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s"):
        forms.append(word[:-1])
    return forms


def first_match(text: str, table: Sequence[tuple[str, str]]) -> str | None:
    """The first name of `table` whose pattern is somewhere in the text."""
    for name, pattern in table:
        if re.search(pattern, text, re.IGNORECASE):
            return name
    return None


def _style(text: str) -> str:
    for table in (phrases.STRONG_STYLES, phrases.WEAK_STYLES):
        found = []
        for name, pattern in table:
            match = re.search(pattern, text, re.IGNORECASE)
            if match:
                found.append((match.start(), name))
        if found:
            return min(found)[1]
    return KNOLLING


def split_list(text: str) -> tuple[str, str]:
    """(what comes before the part list, the part list); the second is empty where there is none."""
    match = phrases.LIST_MARK.search(text) or phrases.COLON.search(text)
    if not match:
        return text, ""
    listed = phrases.SENTENCE_END.split(text[match.end() :], maxsplit=1)[0]
    return text[: match.start()], listed


def items(listed: str) -> list[str]:
    """The entries of a part list, each without its article."""
    items = re.split(r"[,;]|\s+(?:and|&|plus)\s+", listed)
    return [item for item in (tidy(item) for item in items) if item]


def tidy(item: str) -> str:
    """Without the marks around it and the small words in front of it."""
    item = item.strip(" .,;:-")
    while phrases.ARTICLE.match(item):
        item = phrases.ARTICLE.sub("", item, count=1)
    return item


def _part(item: str) -> Part:
    count, name = count_of(item)
    kind = kind_of(name)
    several = count == 1 and kind in _COUNTABLE and bool(re.search(r"[^s]s$", name.lower()))
    return Part(name, min(max(count, 1), MAX_COUNT), kind, material_of(name), several)


def count_of(item: str) -> tuple[int, str]:
    """(how many, of what): '4 screws', 'washer x5', 'a pair of hinges'; one where no number is given."""
    pair = re.match(r"^pairs? of\s+(?=\w)", item, re.IGNORECASE)
    if pair:
        return 2, item[pair.end() :]
    for pattern in (phrases.COUNT_FIRST, phrases.COUNT_LAST):
        match = pattern.search(item)
        rest = pattern.sub("", item, count=1).strip() if match else ""
        if match and rest:
            return int(match.group(1) or match.group(2)), rest
    word = phrases.COUNT_WORD.match(item)
    if word:
        return phrases.NUMBERS.index(word.group(1).lower()) + 1, item[word.end() :]
    return 1, item


def _merge(parts: Sequence[Part]) -> list[Part]:
    merged: dict[str, Part] = {}
    for part in parts:
        key = part.name.lower()
        earlier = merged.get(key)
        count = min(part.count + (earlier.count if earlier else 0), MAX_COUNT)
        merged[key] = replace(earlier or part, count=count)
    return list(merged.values())


def product_of(head: str) -> str:
    """What is taken apart: the first clause that is no projection, without its words of style."""
    clauses = [c for c in re.split(r"[,;]|\.\s", head) if not phrases.PROJECTION.fullmatch(c.strip())]
    clause = re.sub(r"\s+", " ", phrases.STYLE_WORDS.sub(" ", clauses[0] if clauses else ""))
    return tidy(clause) or "assembly"


def _implied(head: str) -> list[Part]:
    """Parts that a prompt names in passing: 'brushed aluminum housing, copper windings visible'."""
    found = []
    for clause in items(head.partition(",")[2]):
        if phrases.DIRECTIVE.search(clause):
            continue
        words = clause.split()
        known = [at for at, word in enumerate(words) if kind_of(word) != "generic"]
        if known:
            found.append(_part(" ".join(words[: known[-1] + 1])))
    return _merge(found)


def _derived_parts(product: str, named: Sequence[Part], seed: int) -> list[Part]:
    """Named parts first, then the product family's own, then generic ones; which of them, the seed decides."""
    words = set(words_of(product))
    family: tuple[str, ...] = next((parts for keys, parts in FAMILIES if words & set(keys)), ())

    def order(item: str) -> bytes:
        return hashlib.sha256(f"{product.lower()}|{seed}|{item}".encode()).digest()

    pool = sorted(family, key=order) + ([] if family else sorted(GENERIC_PARTS, key=order))
    wanted = 8 + order("how many")[0] % 4
    parts = list(named)
    taken = {part.kind for part in named}
    for item in pool:
        part = _part(item)
        if len(parts) < wanted and part.kind not in taken:
            parts.append(part)
            taken |= {part.kind} if not family else set()
    return parts


def _spacing(text: str) -> float | None:
    match = re.search(phrases.SPACING, text, re.IGNORECASE) or re.search(phrases.SPACING_AFTER, text, re.IGNORECASE)
    if not match:
        return None
    length = float(match.group(1).replace(",", "."))
    return length * (10 if match.group(2).lower() == "cm" else 1)


def _wants_labels(text: str, style: str) -> bool:
    if re.search(phrases.NO_LABELS, text, re.IGNORECASE):
        return False
    return style == SCHEMATIC or re.search(phrases.LABELS, text, re.IGNORECASE) is not None


def background_word(match: re.Match[str]) -> str:
    """The known background that a match of phrases.BACKGROUND names, empty where it is none."""
    return next((word for word in reversed(words_of(match.group(1))) if word in BACKGROUNDS), "")


def _background(text: str) -> str:
    match = phrases.BACKGROUND.search(text)
    word = background_word(match) if match else ""
    return word or ("blueprint" if re.search(r"\bblueprint\b", text, re.IGNORECASE) else "plain")
