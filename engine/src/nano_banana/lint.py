# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for prompts of disassembly pictures: what is found, where, what to write instead.

The rules are what authors of such prompts hand down; no model has been asked here whether it agrees.

>>> fix("pump, parts scattered around")
'pump, parts arranged in grid layout, 2cm spacing between each'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nano_banana import phrases, prompt
from nano_banana.phrases import EXPLODED, SCHEMATIC

CLIP_TOKENS = 77  # what CLIP's text encoders read, start and end mark included; the rest is cut off unseen
GRID = phrases.LAYOUT_PHRASE.format("grid")
SPACING = phrases.SPACING_PHRASE.format("2cm")
# A bare number up to this is taken for cm, above for mm: 11 cm would be a third of the preview's 30 cm table.
LARGEST_CM = 10.0
MM_PER_INCH = 25.4
# Each round mends at least one of the at most 4000 characters; a rule that never settles must not hang.
_ROUNDS = 4000


@dataclass(frozen=True)
class Finding:
    """One remark: the rule's id, the words found, what to write, and where (0-based character; the end for a lack).

    `rewritten` is the whole prompt with this one thing mended, None where only the author can decide.
    """

    rule: str
    found: str
    suggestion: str
    position: int
    rewritten: str | None = None


@dataclass(frozen=True)
class Rule:
    """A rule's id, why it exists, and how it looks for its findings."""

    id: str
    why: str
    find: Callable[[str], Iterator[Finding]]


def lint(text: str) -> list[Finding]:
    """All findings by position; none means that every rule is content."""
    return sorted((finding for rule in RULES for finding in rule.find(text)), key=lambda f: (f.position, f.rule))


def fix(text: str) -> str:
    """The prompt with everything mended that needs no decision; fixing it again changes nothing."""
    for _ in range(_ROUNDS):
        better = next((f.rewritten for rule in RULES for f in rule.find(text) if f.rewritten is not None), None)
        if better is None:
            break
        text = better
    return text


def estimate_tokens(text: str) -> int:
    """About how many tokens CLIP's tokenizer makes of it, both marks included.

    An estimate, as its vocabulary is not here: against it the prompts of the tests come out 7 % low to 22 % high. CLIP
    splits into words, single digits and runs of marks; words up to 7 letters are mostly one token, longer ones often
    two, and words with letters beyond ASCII about one a letter.
    """
    tokens = 2
    for match in re.finditer(r"[^\W\d_]+|\d|[^\s\w]+|_+", text):
        word = match.group()
        tokens += 1 + len(word) // 8 if word.isascii() else len(word)
    return tokens


def _scattered(text: str) -> Iterator[Finding]:
    match = phrases.SCATTERED.search(text)
    if match:
        rest = text[: match.start()] + " " + text[match.end() :]
        wanted = [] if prompt.first_match(rest, phrases.ARRANGEMENTS) else [GRID]
        wanted += [] if _has_spacing(rest) else [SPACING]
        words = ", ".join(wanted)
        yield Finding(
            "scattered", match.group().strip(), words or "leave it out", match.start(), _cut(text, match, words)
        )


def _spacing_unit(text: str) -> Iterator[Finding]:
    for pattern in (phrases.LOOSE_SPACING, phrases.LOOSE_SPACING_AFTER):
        for match in pattern.finditer(text):
            length = _metric(match.group(1), match.group(2))
            if length:
                start, end = match.start(1), max(match.end(1), match.end(2))
                better = text[:start] + length + text[end:]
                yield Finding("spacing-unit", match.group(), f"{length} (say cm or mm)", start, better)
            else:
                yield Finding("spacing-unit", match.group(), "a length in cm or mm", match.start(1))


def _layout_word(text: str) -> Iterator[Finding]:
    # An exploded view has its axis; everything else falls into a heap without a word for the layout.
    if prompt.first_match(text, phrases.ARRANGEMENTS) or EXPLODED in _styles(text) or phrases.SCATTERED.search(text):
        return
    words = GRID if _has_spacing(text) else f"{GRID}, {SPACING}"
    yield Finding("layout-word", "none of grid, row, column, concentric", words, len(text), _append(text, words))


def _label_phrase(text: str) -> Iterator[Finding]:
    if re.search(phrases.NO_LABELS, text, re.IGNORECASE) or _LABEL_PHRASE.search(text):
        return
    wish = _WISH.search(text)
    if wish or SCHEMATIC in _styles(text):
        found = wish.group() if wish else f"{SCHEMATIC} without labels"
        position = wish.start() if wish else len(text)
        yield Finding("label-phrase", found, phrases.LABELED, position, _append(text, phrases.LABELED))


def _macro_last(text: str) -> Iterator[Finding]:
    match = next((m for m in _MACRO.finditer(text) if text[m.end() :].strip(_MARKS)), None)
    if match:
        better = _cut_all(text, _MACRO)
        better = _join(better, phrases.MACRO)
        yield Finding("macro-last", match.group().strip(), f"{phrases.MACRO} as the last words", match.start(), better)


def _isometric_first(text: str) -> Iterator[Finding]:
    match = next((m for m in _ISOMETRIC.finditer(text) if text[: m.start()].strip(_MARKS)), None)
    if match:
        better = _join(phrases.ISOMETRIC, _cut_all(text, _ISOMETRIC))
        words = f"{phrases.ISOMETRIC} as the first words"
        yield Finding("isometric-first", match.group().strip(), words, match.start(), better)


def _one_style(text: str) -> Iterator[Finding]:
    yield from _conflict("one-style", text, phrases.STRONG_STYLES)


def _one_layout(text: str) -> Iterator[Finding]:
    yield from _conflict("one-layout", text, phrases.ARRANGEMENTS)


def _one_background(text: str) -> Iterator[Finding]:
    found: dict[str, int] = {}
    for match in phrases.BACKGROUND.finditer(text):
        word = prompt.background_word(match)
        if word:
            found.setdefault(word, match.start())
    if len(found) > 1:
        yield Finding("one-background", " and ".join(found), f"keep one: {next(iter(found))}", list(found.values())[1])


def _empty_list(text: str) -> Iterator[Finding]:
    match = phrases.LIST_MARK.search(text) or phrases.COLON.search(text)
    if match:
        entries = prompt.items(prompt.split_list(text)[1])
        if all(phrases.DIRECTIVE.search(entry) for entry in entries):
            yield Finding("empty-list", match.group(), "name the parts after it: motor, 4 screws", match.start())


def _too_long(text: str) -> Iterator[Finding]:
    tokens = estimate_tokens(text)
    if tokens > CLIP_TOKENS:
        found = f"about {tokens} tokens (an estimate)"
        yield Finding("too-long", found, f"at most {CLIP_TOKENS}: what comes last is not read", len(text))


RULES = (
    Rule("scattered", "a model takes it by its word and piles the parts up", _scattered),
    Rule("spacing-unit", "a bare number is no distance; cm and mm are understood", _spacing_unit),
    Rule("isometric-first", "the projection decides the picture's geometry, so it leads", _isometric_first),
    Rule("layout-word", "grid, row, column or concentric keep parts apart", _layout_word),
    Rule("label-phrase", "two phrases give readable names: labeled with part names, annotated diagram", _label_phrase),
    Rule("macro-last", "in front it makes one part fill the picture", _macro_last),
    Rule("one-style", "two styles are mixed into neither", _one_style),
    Rule("one-layout", "two layouts are mixed into neither", _one_layout),
    Rule("one-background", "two backgrounds give a stained one", _one_background),
    Rule("empty-list", "a list without parts leaves the parts to chance", _empty_list),
    Rule("too-long", "CLIP reads 77 tokens", _too_long),
)
_MARKS = " .,;:-\t\n"
_LABEL_PHRASE = re.compile(rf"\blabel(?:l?ed) with part names\b|\b{phrases.ANNOTATED}\b", re.IGNORECASE)
_WISH = re.compile(rf"{phrases.LABELS}|\b(?:with|show\w*|readable) (?:the )?(?:part )?(?:names|text)\b", re.IGNORECASE)
_MACRO = re.compile(
    r"(?:\b(?:in|as)\s+)?(?:\ban?\s+)?(?:\bextreme\s+)?\bmacro (?:shot|photo(?:graph(?:y)?)?|view)\b"
    r"(?:\s+of\b(?:\s+(?:an?|the)\b)?)?",
    re.IGNORECASE,
)
_ISOMETRIC = re.compile(
    r"(?:\b(?:in|as|with)\s+)?(?:\ban?\s+)?\bisometric(?:\s+(?:projection|view|perspective)\b|(?=\s*(?:$|[,;.])))"
    r"(?:\s+of\b(?:\s+(?:an?|the)\b)?)?",
    re.IGNORECASE,
)


def _styles(text: str) -> set[str]:
    return {name for name, pattern in phrases.STRONG_STYLES if re.search(pattern, text, re.IGNORECASE)}


def _has_spacing(text: str) -> bool:
    known = (phrases.SPACING, phrases.SPACING_AFTER, phrases.LOOSE_SPACING, phrases.LOOSE_SPACING_AFTER)
    return any(re.search(pattern, text, re.IGNORECASE if isinstance(pattern, str) else 0) for pattern in known)


def _conflict(rule: str, text: str, table: tuple[tuple[str, str], ...]) -> Iterator[Finding]:
    found: dict[str, int] = {}
    for name, pattern in table:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            found[name] = min(found.get(name, len(text)), match.start())
    names = sorted(found, key=lambda name: found[name])
    if len(names) > 1:
        yield Finding(rule, " and ".join(names), f"keep one: {names[0]}", found[names[1]])


def _metric(number: str, unit: str | None) -> str | None:
    value = float(number.replace(",", "."))
    unit = (unit or "").lower()
    if unit in ("in", "inch", "inches"):
        return f"{round(value * MM_PER_INCH):d}mm"
    if unit in ("m", "meter", "meters", "metre", "metres"):
        return f"{value * 100:.10g}cm" if value < 1000 else None
    if unit:
        return None
    return f"{number}cm" if value <= LARGEST_CM else f"{number}mm"


def _join(left: str, right: str) -> str:
    """Two clauses as one text; a colon before the right one stays."""
    left, right = left.rstrip(" ,;.\t\n"), right.strip(" ,;.\t\n")
    if not left or not right:
        return left or right
    return f"{left} {right}" if left.endswith(":") else f"{left}, {right}"


def _cut(text: str, match: re.Match[str], words: str = "") -> str:
    """The text with `words` in the place of the match, as a clause of their own."""
    left, right = text[: match.start()], text[match.end() :]
    if words:
        return _join(_join(left, words), right)
    if left.rstrip().endswith((",", ";")) or right.lstrip().startswith((",", ";", ".")):
        return _join(left, right)
    return f"{left.rstrip()} {right.lstrip()}".strip()


def _cut_all(text: str, pattern: re.Pattern[str]) -> str:
    while match := pattern.search(text):
        text = _cut(text, match)
    return text


def _append(text: str, words: str) -> str:
    """At the end, and before a closing macro shot, whose place the end is."""
    last = next((m for m in _MACRO.finditer(text) if not text[m.end() :].strip(_MARKS)), None)
    if last:
        return _join(_join(text[: last.start()], words), phrases.MACRO)
    return _join(text, words)
