# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a prompt: text in, a plan of the picture out. No drawing, no files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Sequence, Tuple

from nano_banana.errors import BadInputError
from nano_banana.vocabulary import (
    BACKGROUNDS,
    FAMILIES,
    GENERIC_PARTS,
    KIND_OF_WORD,
    MATERIAL_OF_WORD,
)

KNOLLING = "knolling"
EXPLODED = "exploded view"
SCHEMATIC = "technical schematic"
MAX_PARTS = 48
MAX_COUNT = 999
MAX_DRAWN = 24
FEW = 4
# Of other kinds a plural is one thing to look at: windings, electronics.
_COUNTABLE = ("brick", "chip", "gear", "knob", "ring", "rod", "screw", "seal", "spring", "wheel")

_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_STRONG_STYLES = (
    (KNOLLING, r"\bknoll(?:ing|ed)?\b"),
    (EXPLODED, r"\bexploded?\b|\bexplosion (?:view|drawing)\b"),
    (SCHEMATIC, r"\bschematics?\b|\bline (?:drawing|art)\b|\bblueprint\b|\btechnical drawing\b"),
)
_WEAK_STYLES = (
    (KNOLLING, r"\bflat[- ]?lay\b|\blaid (?:out )?flat\b|\bneatly arranged\b"),
    (SCHEMATIC, r"\btechnical (?:diagram|illustration)\b|\bannotated diagram\b|\bdimension lines?\b"),
)
_ARRANGEMENTS = (
    ("grid", r"\bgrid\b"),
    ("concentric", r"\bconcentric(?:ally)?\b|\bin (?:a )?circles?\b"),
    ("column", r"\bcolumns?\b"),
    ("row", r"\b(?:single|one|a) row\b|\brow layout\b|\bin row\b"),
    ("grid", r"\brows\b"),
)
_LABELS = r"\blabel(?:l?ed|s)?\b|\bannotat(?:ed|ions?)\b|\bpart names\b|\bcall-?outs?\b"
_NO_LABELS = r"\b(?:no|without(?: any)?) (?:labels?|text|annotations?|call-?outs?)\b|\bunlabell?ed\b"
_SPACING = r"(\d+(?:[.,]\d+)?)\s*(mm|cm)\s+(?:of\s+)?(?:spac(?:ing|e|es)|gaps?|apart|between)\b"
_SPACING_AFTER = r"\b(?:spacing|gaps?|spaced)(?:\s+(?:of|is|by))?[\s:]+(\d+(?:[.,]\d+)?)\s*(mm|cm)\b"
# A clause with one of these says how to draw, and names no part.
_DIRECTIVE = re.compile(
    r"\b(?:background|backdrop|lighting|finish|styles?|views?|macro shot|close-?up|layout|arrang\w+|spacing|spaced"
    r"|apart|label\w*|annotat\w+|unlabel\w+|detail(?:ed|s)|aesthetic|perspective|projection|isometric|top-?down"
    r"|photo\w*|render\w*|diagram|knoll\w*|explod\w+|schematics?|drawing|blueprint|minimal\w*|[48]k"
    r"|resolution|laid|in (?:a )?(?:grid|rows?|columns?|circles?)|concentric\w*|without|no text|white space|clean"
    r"|components|dimension lines?|part names|studio|disassembl\w+)\b"
    r"|^(?:grid|rows?|columns?|parts|top down)$",
    re.IGNORECASE,
)
_STYLE_WORDS = re.compile(
    r"\b(?:(?:technical |product )?(?:exploded?|knoll(?:ing|ed)?|schematics?|flat[- ]?lay|disassembl(?:y|ed)"
    r"|teardown|blueprint)(?: (?:view|drawing|style|layout|photo(?:graph)?|diagram|picture|image|shot))*"
    r"|(?:technical|line|annotated) (?:drawing|diagram|illustration))\b",
    re.IGNORECASE,
)
_LIST_MARK = re.compile(r"\b(?:parts?|components?|pieces|items?)(?: list)?\s*:(?!//)", re.IGNORECASE)
_COLON = re.compile(r":(?!//|\d)")
_SENTENCE_END = re.compile(r"\.(?:\s|$)")
_UNIT = r"(?:mm|cm|m|inch|v|w|mah)\b"
_COUNT_FIRST = re.compile(
    rf"^(?:(\d{{1,9}})\s*(?:x|\u00d7|pcs\.?|pieces of)?\s+(?!{_UNIT})|(\d{{1,9}})[x\u00d7]\s*)(?=\D)",
    re.IGNORECASE,
)
_COUNT_LAST = re.compile(r"\s*(?:[x\u00d7]\s*(\d{1,9})|\((\d{1,9})\s*[x\u00d7]?\))$", re.IGNORECASE)
_COUNT_WORD = re.compile(rf"^({'|'.join(_NUMBERS)})\s+(?=\w)", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:and|with|plus|an?|the|its|some|of|for|showing)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A named part: how many of it, its shape in the vocabulary, and its material where the prompt says one."""

    name: str
    count: int = 1
    kind: str = "generic"
    material: Optional[str] = None
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
    arrangement: Optional[str]
    parts: Tuple[Part, ...]
    spacing_mm: Optional[float]
    labels: bool
    background: str


def parse(prompt: str, seed: int) -> Plan:
    """Read `prompt`; `seed` matters only where the prompt names no parts. Raises BadInputError on too many parts."""
    text = " ".join(prompt.split())
    style = _style(text)
    head, listed = _split_list(text)
    product = _product(head)
    parts = _merge([_part(item) for item in _items(listed) if not _DIRECTIVE.search(item)])
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
        arrangement=_first_match(text, _ARRANGEMENTS),
        parts=tuple(parts),
        spacing_mm=_spacing(text),
        labels=_wants_labels(text, style),
        background=_background(text),
    )


def kind_of(name: str) -> str:
    """The shape for a part's name: its last known word decides, as in 'motor housing'."""
    for word in reversed(_words(name)):
        for form in _singular_forms(word):
            if form in KIND_OF_WORD:
                return KIND_OF_WORD[form]
    return "generic"


def material_of(name: str) -> Optional[str]:
    """The first material or colour word of a name, if there is one; 'colorful' asks for several."""
    for word in _words(name):
        if word in ("colorful", "colourful", "multicolored", "multicoloured"):
            return "vivid"
        if word in MATERIAL_OF_WORD:
            return MATERIAL_OF_WORD[word]
    return None


def _words(text: str) -> List[str]:
    return re.findall(r"[^\W_]+(?:-[^\W_]+)*", text.lower())


def _singular_forms(word: str) -> List[str]:
    forms = [word]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s"):
        forms.append(word[:-1])
    return forms


def _first_match(text: str, table: Sequence[Tuple[str, str]]) -> Optional[str]:
    for name, pattern in table:
        if re.search(pattern, text, re.IGNORECASE):
            return name
    return None


def _style(text: str) -> str:
    for table in (_STRONG_STYLES, _WEAK_STYLES):
        found = []
        for name, pattern in table:
            match = re.search(pattern, text, re.IGNORECASE)
            if match:
                found.append((match.start(), name))
        if found:
            return min(found)[1]
    return KNOLLING


def _split_list(text: str) -> Tuple[str, str]:
    """(what comes before the part list, the part list); the second is empty where there is none."""
    match = _LIST_MARK.search(text) or _COLON.search(text)
    if not match:
        return text, ""
    listed = _SENTENCE_END.split(text[match.end() :], maxsplit=1)[0]
    return text[: match.start()], listed


def _items(listed: str) -> List[str]:
    items = re.split(r"[,;]|\s+(?:and|&|plus)\s+", listed)
    return [item for item in (_tidy(item) for item in items) if item]


def _tidy(item: str) -> str:
    item = item.strip(" .,;:-")
    while _ARTICLE.match(item):
        item = _ARTICLE.sub("", item, count=1)
    return item


def _part(item: str) -> Part:
    count, name = _count(item)
    kind = kind_of(name)
    several = count == 1 and kind in _COUNTABLE and bool(re.search(r"[^s]s$", name.lower()))
    return Part(name, min(max(count, 1), MAX_COUNT), kind, material_of(name), several)


def _count(item: str) -> Tuple[int, str]:
    pair = re.match(r"^pairs? of\s+(?=\w)", item, re.IGNORECASE)
    if pair:
        return 2, item[pair.end() :]
    for pattern in (_COUNT_FIRST, _COUNT_LAST):
        match = pattern.search(item)
        rest = pattern.sub("", item, count=1).strip() if match else ""
        if match and rest:
            return int(match.group(1) or match.group(2)), rest
    word = _COUNT_WORD.match(item)
    if word:
        return _NUMBERS.index(word.group(1).lower()) + 1, item[word.end() :]
    return 1, item


def _merge(parts: Sequence[Part]) -> List[Part]:
    merged: Dict[str, Part] = {}
    for part in parts:
        key = part.name.lower()
        earlier = merged.get(key)
        count = min(part.count + (earlier.count if earlier else 0), MAX_COUNT)
        merged[key] = replace(earlier or part, count=count)
    return list(merged.values())


def _product(head: str) -> str:
    clause = re.split(r"[,;]|\.\s", head, maxsplit=1)[0]
    clause = re.sub(r"\s+", " ", _STYLE_WORDS.sub(" ", clause))
    return _tidy(clause) or "assembly"


def _implied(head: str) -> List[Part]:
    """Parts that a prompt names in passing: 'brushed aluminum housing, copper windings visible'."""
    found = []
    for clause in _items(head.partition(",")[2]):
        if _DIRECTIVE.search(clause):
            continue
        words = clause.split()
        known = [at for at, word in enumerate(words) if kind_of(word) != "generic"]
        if known:
            found.append(_part(" ".join(words[: known[-1] + 1])))
    return _merge(found)


def _derived_parts(product: str, named: Sequence[Part], seed: int) -> List[Part]:
    """Named parts first, then the product family's own, then generic ones; which of them, the seed decides."""
    words = set(_words(product))
    family: Tuple[str, ...] = next((parts for keys, parts in FAMILIES if words & set(keys)), ())

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


def _spacing(text: str) -> Optional[float]:
    match = re.search(_SPACING, text, re.IGNORECASE) or re.search(_SPACING_AFTER, text, re.IGNORECASE)
    if not match:
        return None
    length = float(match.group(1).replace(",", "."))
    return length * (10 if match.group(2).lower() == "cm" else 1)


def _wants_labels(text: str, style: str) -> bool:
    if re.search(_NO_LABELS, text, re.IGNORECASE):
        return False
    return style == SCHEMATIC or re.search(_LABELS, text, re.IGNORECASE) is not None


def _background(text: str) -> str:
    match = re.search(r"((?:[\w-]+\s+){0,3})(?:background|backdrop|surface|table)\b", text, re.IGNORECASE)
    for word in reversed(_words(match.group(1)) if match else []):
        if word in BACKGROUNDS:
            return word
    return "blueprint" if re.search(r"\bblueprint\b", text, re.IGNORECASE) else "plain"
