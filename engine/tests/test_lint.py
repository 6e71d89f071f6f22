# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule finds what it is for, leaves the rest alone, and mends what needs no decision."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano_banana.grammar import STYLES, Disassembly, Length, Piece, compose
from nano_banana.lint import RULES, estimate_tokens, fix, lint
from nano_banana.presets import PRESETS

GOOD = "pump knolling: gear, 4 screws. parts arranged in grid layout, 2cm spacing between each, white background"
_FRAGMENTS = st.sampled_from(
    [
        *(
            "pump",
            "hair dryer",
            "pump:",
            "parts:",
            "parts:,",
            "gear",
            "4 screws",
            ",",
            ",",
            ",",
            ";",
            ".",
            ". ",
            ":",
            "-",
        ),
        *(
            "scattered around",
            "parts scattered",
            "randomly scattered",
            "strewn across the table",
            "not scattered parts",
        ),
        *(
            "2 spacing between each",
            "spacing of 3",
            "2 inch gaps",
            "20px apart",
            "spaced 12",
            "2cm spacing",
            "0.5 m spacing",
        ),
        *(
            "grid",
            "in a row",
            "row layout",
            "columns",
            "concentric",
            "knolling",
            "exploded view",
            "technical schematic",
        ),
        *("isometric", "isometric projection", "in isometric view", "isometric view of the", "a", "of", "in", "macro"),
        *("macro shot", "macro shot of a", "extreme macro photo", "view", "shot", "labeled", "labeled with part names"),
        *("annotated diagram", "no labels", "with text", "white background", "on a dark background", "projection"),
    ]
)
PROMPTS = st.lists(_FRAGMENTS | st.text(max_size=4), max_size=14).map(" ".join) | st.text(max_size=60)


def rules(text: str) -> list[str]:
    return [finding.rule for finding in lint(text)]


def test_a_good_prompt_has_no_findings() -> None:
    assert lint(GOOD) == []
    assert fix(GOOD) == GOOD


@pytest.mark.parametrize(
    ("rule", "text", "found", "better"),
    [
        ("scattered", "pump knolling, parts scattered around", "parts scattered around",
         "pump knolling, parts arranged in grid layout, 2cm spacing between each"),
        ("scattered", "pump, screws strewn across the table, row layout, white background", "strewn across the table",
         "pump, screws, 2cm spacing between each, row layout, white background"),
        ("scattered", "pump: gear, spring scattered randomly, grid layout, 5mm spacing", "scattered randomly",
         "pump: gear, spring, grid layout, 5mm spacing"),
        ("spacing-unit", "pump, grid layout, 2 spacing between each", "2 spacing",
         "pump, grid layout, 2cm spacing between each"),
        ("spacing-unit", "pump, grid layout, spacing of 15", "spacing of 15", "pump, grid layout, spacing of 15mm"),
        ("spacing-unit", "pump, grid layout, 2 inch gaps", "2 inch gaps", "pump, grid layout, 51mm gaps"),
        ("layout-word", "pump knolling, macro shot", "none of grid, row, column, concentric",
         "pump knolling, parts arranged in grid layout, 2cm spacing between each, macro shot"),
        ("label-phrase", "pump, grid layout, labels", "labels", "pump, grid layout, labels, labeled with part names"),
        ("label-phrase", "technical schematic of a pump, row layout, macro shot", "technical schematic without labels",
         "technical schematic of a pump, row layout, labeled with part names, macro shot"),
        ("macro-last", "macro shot of a pump, grid layout", "macro shot of a", "pump, grid layout, macro shot"),
        ("macro-last", "pump, macro shot, grid layout.", "macro shot", "pump, grid layout, macro shot"),
        ("isometric-first", "crane exploded view, isometric projection", "isometric projection",
         "isometric projection, crane exploded view"),
        ("isometric-first", "crane in isometric view on white, exploded view", "in isometric view",
         "isometric projection, crane on white, exploded view"),
    ],
)  # fmt: skip
def test_mechanical_findings(rule: str, text: str, found: str, better: str) -> None:
    findings = lint(text)
    assert [(f.rule, f.found, f.rewritten) for f in findings] == [(rule, found, better)]
    assert fix(text) == better
    assert 0 <= findings[0].position <= len(text)


def test_the_position_is_where_the_words_are() -> None:
    text = "crane exploded view,  parts scattered around, isometric projection"
    for finding in lint(text):
        assert text[finding.position :].startswith(finding.found)
    assert rules(text) == ["scattered", "isometric-first"]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("one-style", "pump knolling exploded view"),
        ("one-layout", "pump, grid layout, concentric layout"),
        ("one-background", "pump, grid layout, white background, on a dark background"),
        ("empty-list", "pump, grid layout, parts: "),
        ("empty-list", "pump, grid layout, parts: white background"),
        ("spacing-unit", "pump, grid layout, 20px spacing"),
        ("too-long", "pump, grid layout" + ", shiny red metal" * 20),
    ],
)
def test_findings_that_only_the_author_can_mend(rule: str, text: str) -> None:
    (finding,) = lint(text)
    assert (finding.rule, finding.rewritten) == (rule, None)
    assert fix(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "isometric projection, crane exploded view",
        "an isometric view of a crane, exploded view",
        "pump, grid layout, grey background, clean grey background",
        "pump, grid layout, 2cm spacing, macro shot.",
        "pump, grid layout, spacing 20 mm, 4 screws apart from it",
        "pump, grid layout, no labels",
        "technical schematic of a pump, grid layout, annotated diagram",
        "technical schematic of a pump, row layout, labelled with part names",
    ],
)
def test_what_is_fine_is_left_alone(text: str) -> None:
    assert lint(text) == []


@settings(max_examples=150, deadline=None)
@given(PROMPTS)
def test_fixing_settles_and_leaves_nothing_mechanical(text: str) -> None:
    fixed = fix(text)
    assert fix(fixed) == fixed
    assert [finding for finding in lint(fixed) if finding.rewritten is not None] == []


@settings(max_examples=100, deadline=None)
@given(PROMPTS)
def test_every_finding_is_inside_and_of_a_known_rule(text: str) -> None:
    known = {rule.id for rule in RULES}
    for finding in lint(text):
        assert finding.rule in known
        assert finding.found
        assert finding.suggestion
        assert 0 <= finding.position <= len(text)
        assert finding.rewritten != text


@pytest.mark.parametrize("style", STYLES)
def test_what_the_grammar_writes_needs_no_fix(style: str) -> None:
    spec = Disassembly(
        "hair dryer",
        (Piece("motor"), Piece("screws", 4)),
        style,
        "grid",
        Length(2),
        "labeled with part names",
        "white",
        "isometric projection",
        ("matte finish",),
        macro=True,
    )
    assert lint(compose(spec)) == []


# Counted once with CLIP's own vocabulary (bpe_simple_vocab_16e6), start and end marks included.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (PRESETS["airpods"].prompt, 36),
        (PRESETS["dyson"].prompt, 31),
        ("LEGO Technic crane set exploded view, colorful bricks separated by type, top-down perspective, clean white "
         "background, isometric projection", 27),
        ("wristwatch, technical schematic, annotated diagram: crown, dial, mainspring barrel, escapement wheel, "
         "12 jewels, sapphire crystal", 31),
        ("mechanical keyboard knolling: 61 keycaps, aluminium case, polycarbonate plate, hotswap board, 5 stabilisers, "
         "coiled cable. parts arranged in row layout, 8mm spacing between each", 46),
        ("x: Dichtung, Größe", 12),
    ],
)  # fmt: skip
def test_the_estimate_is_near(text: str, tokens: int) -> None:
    assert 0.9 * tokens <= estimate_tokens(text) <= 1.25 * tokens
