# SPDX-License-Identifier: GPL-3.0-or-later
"""The phrases that prompts are made of, as patterns: the preview, the grammar and the lint read with the same ones."""

from __future__ import annotations

import re

KNOLLING = "knolling"
EXPLODED = "exploded view"
SCHEMATIC = "technical schematic"

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
STRONG_STYLES = (
    (KNOLLING, r"\bknoll(?:ing|ed)?\b"),
    (EXPLODED, r"\bexploded?\b|\bexplosion (?:view|drawing)\b"),
    (SCHEMATIC, r"\bschematics?\b|\bline (?:drawing|art)\b|\bblueprint\b|\btechnical drawing\b"),
)
WEAK_STYLES = (
    (KNOLLING, r"\bflat[- ]?lay\b|\blaid (?:out )?flat\b|\bneatly arranged\b"),
    (SCHEMATIC, r"\btechnical (?:diagram|illustration)\b|\bannotated diagram\b|\bdimension lines?\b"),
)
ARRANGEMENTS = (
    ("grid", r"\bgrid\b"),
    ("concentric", r"\bconcentric(?:ally)?\b|\bin (?:a )?circles?\b"),
    ("column", r"\bcolumns?\b"),
    ("row", r"\b(?:single|one|a) row\b|\brow layout\b|\bin row\b"),
    ("grid", r"\brows\b"),
)
LABELS = r"\blabel(?:l?ed|s)?\b|\bannotat(?:ed|ions?)\b|\bpart names\b|\bcall-?outs?\b"
NO_LABELS = r"\b(?:no|without(?: any)?) (?:labels?|text|annotations?|call-?outs?)\b|\bunlabell?ed\b"
SPACING = r"(\d+(?:[.,]\d+)?)\s*(mm|cm)\s+(?:of\s+)?(?:spac(?:ing|e|es)|gaps?|apart|between)\b"
SPACING_AFTER = r"\b(?:spacing|gaps?|spaced)(?:\s+(?:of|is|by))?[\s:]+(\d+(?:[.,]\d+)?)\s*(mm|cm)\b"
# A clause with one of these says how to draw, and names no part.
DIRECTIVE = re.compile(
    r"\b(?:background|backdrop|lighting|finish|styles?|views?|macro shot|close-?up|layout|arrang\w+|spacing|spaced"
    r"|apart|label\w*|annotat\w+|unlabel\w+|detail(?:ed|s)|aesthetic|perspective|projection|isometric|top-?down"
    r"|photo\w*|render\w*|diagram|knoll\w*|explod\w+|schematics?|drawing|blueprint|minimal\w*|[48]k"
    r"|resolution|laid|in (?:a )?(?:grid|rows?|columns?|circles?)|concentric\w*|without|no text|white space|clean"
    r"|components|dimension lines?|part names|studio|disassembl\w+)\b"
    r"|^(?:grid|rows?|columns?|parts|top down)$",
    re.IGNORECASE,
)
STYLE_WORDS = re.compile(
    r"\b(?:(?:technical |product )?(?:exploded?|knoll(?:ing|ed)?|schematics?|flat[- ]?lay|disassembl(?:y|ed)"
    r"|teardown|blueprint)(?: (?:view|drawing|style|layout|photo(?:graph)?|diagram|picture|image|shot))*"
    r"|(?:technical|line|annotated) (?:drawing|diagram|illustration))\b",
    re.IGNORECASE,
)
LIST_MARK = re.compile(r"\b(?:parts?|components?|pieces|items?)(?: list)?\s*:(?!//)", re.IGNORECASE)
COLON = re.compile(r":(?!//|\d)")
SENTENCE_END = re.compile(r"\.(?:\s|$)")
UNIT = r"(?:mm|cm|m|inch|v|w|mah)\b"
COUNT_FIRST = re.compile(
    rf"^(?:(\d{{1,9}})\s*(?:x|\u00d7|pcs\.?|pieces of)?\s+(?!{UNIT})|(\d{{1,9}})[x\u00d7]\s*)(?=\D)",
    re.IGNORECASE,
)
COUNT_LAST = re.compile(r"\s*(?:[x\u00d7]\s*(\d{1,9})|\((\d{1,9})\s*[x\u00d7]?\))$", re.IGNORECASE)
COUNT_WORD = re.compile(rf"^({'|'.join(NUMBERS)})\s+(?=\w)", re.IGNORECASE)
ARTICLE = re.compile(r"^(?:and|with|plus|an?|the|its|some|of|for|showing)\s+", re.IGNORECASE)

# What the grammar writes, and the lint suggests.
LAYOUT_PHRASE = "parts arranged in {} layout"
SPACING_PHRASE = "{} spacing between each"
ISOMETRIC = "isometric projection"
MACRO = "macro shot"
LABELED = "labeled with part names"
ANNOTATED = "annotated diagram"
UNLABELED = "no labels"
# Such a clause in front of the product does not name it.
PROJECTION = re.compile(
    r"(?:isometric|orthographic|top-?\s?down) (?:projection|view|perspective)",
    re.IGNORECASE,
)
BACKGROUND = re.compile(r"((?:[\w-]+\s+){0,3})(?:background|backdrop|surface|table)\b", re.IGNORECASE)
SCATTERED = re.compile(
    r"(?:\b(?:not|no|without)\s+)?(?:\b(?:all\s+)?(?:the\s+)?(?:parts|components|pieces)\s+(?:are\s+)?)?"
    r"(?:\brandomly\s+)?\b(?:scattered|strewn|spread (?:all )?(?:around|about|everywhere))\b"
    r"(?:\s+(?:all\s+)?(?:around|about|everywhere|randomly|across|over))*(?:\s+(?:the|a)\s+(?:table|floor|desk|surface))?"
    r"(?:\s+(?:parts|components|pieces)\b)?",
    re.IGNORECASE,
)
_LOOSE = r"(\d+(?:[.,]\d+)?)\s*(inch(?:es)?|in|px|pixels?|m|meters?|metres?|ft|feet)?"
# Distances whose unit is missing, or neither cm nor mm.
LOOSE_SPACING = re.compile(rf"(?<![\d.,])\b{_LOOSE}\s+(?:of\s+)?(?:spacing|gaps?|apart|between each)\b", re.IGNORECASE)
LOOSE_SPACING_AFTER = re.compile(
    r"\b(?:spacing|gaps?|spaced)(?:\s+(?:of|is|by))?[\s:]+(?![\d.,]+\s*(?:mm|cm)\b)"
    rf"{_LOOSE}(?=\s*(?:$|[,;]|\.(?:\s|$)|between\b|apart\b))",
    re.IGNORECASE,
)
