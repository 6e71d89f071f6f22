# SPDX-License-Identifier: GPL-3.0-or-later
"""Specification to prompt text and back, and the preview understands the same."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nano_banana import grammar, prompt
from nano_banana.errors import BadInputError
from nano_banana.grammar import Disassembly, Length, Piece, compose, read
from nano_banana.request import Request
from nano_banana.vocabulary import BACKGROUNDS, FAMILIES, GENERIC_PARTS

FULL = Disassembly(
    product="hair dryer",
    parts=(Piece("motor"), Piece("screws", 4), Piece("4 mm bolt", 2)),
    style=grammar.KNOLLING,
    arrangement="grid",
    spacing=Length(2, "cm"),
    labels="labeled with part names",
    background="white",
    projection="isometric projection",
    extras=("matte finish", "studio lighting"),
    macro=True,
)
TEXT = (
    "isometric projection, hair dryer knolling: motor, 4 screws, 4 mm bolt x2. parts arranged in grid layout, "
    "2cm spacing between each, labeled with part names, white background, matte finish, studio lighting, macro shot"
)
_PARTS = sorted({prompt.count_of(part)[1] for _, parts in FAMILIES for part in parts} | {*GENERIC_PARTS} - {"4 screws"})
_LENGTHS = st.builds(
    Length, st.floats(0.05, 99).map(lambda value: max(0.05, round(value, 2))), st.sampled_from(("mm", "cm"))
)


def specs(
    product: st.SearchStrategy[str], names: st.SearchStrategy[str], extras: st.SearchStrategy[str]
) -> st.SearchStrategy[Disassembly]:
    def build(**fields: object) -> Disassembly:
        try:
            fields["parts"] = tuple(Piece(name, count) for name, count in fields["parts"])  # type: ignore[attr-defined]
            return Disassembly(**fields)  # type: ignore[arg-type]
        except BadInputError:
            assume(False)
            raise

    return st.builds(
        build,
        product=product,
        parts=st.lists(st.tuples(names, st.integers(1, 999)), max_size=6, unique_by=lambda pair: pair[0].lower()),
        style=st.sampled_from(grammar.STYLES),
        arrangement=st.sampled_from(("", *grammar.ARRANGEMENTS)),
        spacing=st.none() | _LENGTHS,
        labels=st.sampled_from(("", *grammar.LABELS)),
        background=st.sampled_from(("", *BACKGROUNDS)),
        projection=st.sampled_from(("", *grammar.PROJECTIONS)),
        extras=st.lists(extras, max_size=3).map(tuple),
        macro=st.booleans(),
    )


_WORDS = st.sampled_from(
    [
        *("pump", "drill", "crane", "and", "of", "the", "2", "4mm", "x", "line", "drawing", "label", "grid"),
        *(
            "white",
            "technical",
            "product",
            "No.",
            "Größe",
            "background",
            "knolling",
            "Macro",
            "shot",
            "layout",
            "2cm",
            "spacing",
        ),
    ]
)
_MARKS = st.sampled_from([",", ";", ":", ".", "parts:", "top-down view", "isometric view"])
_NAMES = st.lists(_WORDS, min_size=1, max_size=3).map(" ".join)


def test_order_of_the_text() -> None:
    assert compose(FULL) == TEXT
    assert read(TEXT) == FULL


@settings(max_examples=80, deadline=None)
@given(specs(_NAMES, _NAMES, _NAMES))
def test_round_trip_of_awkward_words(spec: Disassembly) -> None:
    assert read(compose(spec)) == spec


@settings(max_examples=80, deadline=None)
@given(specs(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12)))
def test_round_trip_of_any_text(spec: Disassembly) -> None:
    try:
        text = compose(spec)
    except BadInputError as error:
        assert "control character" in str(error)
        return
    assert read(text) == spec


@settings(max_examples=80, deadline=None)
@given(
    specs(
        st.sampled_from(("hair dryer", "LEGO Technic crane set", "Dyson V11")),
        st.sampled_from(_PARTS),
        st.just("matte finish"),
    )
)
def test_the_preview_reads_the_same(spec: Disassembly) -> None:
    plan = prompt.parse(compose(spec), 0)
    assert plan.product == spec.product
    assert plan.style == spec.style
    assert plan.arrangement == (spec.arrangement or None)
    assert plan.spacing_mm == (pytest.approx(spec.spacing.mm) if spec.spacing else None)
    if spec.parts:
        assert [(part.name, part.count) for part in plan.parts] == [(piece.name, piece.count) for piece in spec.parts]
    if spec.labels:
        assert plan.labels is (spec.labels != "no labels")
    assert plan.background.replace("gray", "grey") == (spec.background or "plain")


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60) | st.lists(_WORDS | _MARKS, max_size=12).map(" ".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = read(text)
    except BadInputError:
        return
    assert read(compose(spec)) == spec


def test_free_text_is_understood() -> None:
    airpods = read(
        "AirPods Pro 2nd generation exploded view, all components laid flat on white background, matte finish, "
        "studio lighting, macro shot, ultra-detailed, labeled with part names"
    )
    assert airpods == Disassembly(
        "AirPods Pro 2nd generation",
        style="exploded view",
        labels="labeled with part names",
        background="white",
        extras=("all components laid flat", "matte finish", "studio lighting", "ultra-detailed"),
        macro=True,
    )
    assert read("technical schematic of a pump: shaft, 2 seals, white background") == Disassembly(
        "pump", (Piece("shaft"), Piece("seals", 2)), "technical schematic", background="white"
    )
    assert read("pump, in isometric view, arranged in rows, 8 mm apart") == Disassembly(
        "pump", arrangement="grid", spacing=Length(8, "mm"), projection="isometric projection"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "description"),
        ("knolling, white background", "product"),
        ("pump knolling, exploded view", "one style"),
        ("pump, grid layout, concentric layout", "one of a kind"),
        ("pump, white background, dark background", "one of a kind"),
        ("pump, 2 spacing between each", "mm or cm"),
        ("pump, 20px spacing", "mm or cm"),
        ("pump, spacing of 3", "mm or cm"),
        ("pump, 0cm spacing between each", "more than 0"),
        ("pump: ", "names after the colon"),
        ("pump, parts: white background", "names after the colon"),
        ("pump: gear, gear", "once"),
        ("pump: " + ", ".join(f"part{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(49)), "at most 48"),
        ("x" * 4001, "4000"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        read(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"product": ""},
        {"product": "a, b"},
        {"product": "pump: gear"},
        {"product": "exploded pump"},
        {"product": "white background"},
        {"product": "pump", "style": "cubism"},
        {"product": "pump", "arrangement": "heap"},
        {"product": "pump", "background": "infrared"},
        {"product": "pump", "background": "blueprint"},
        {"product": "pump", "labels": "labels"},
        {"product": "pump", "projection": "fisheye"},
        {"product": "pump", "extras": ("white background",)},
        {"product": "pump", "extras": ("exploded view of it",)},
        {"product": "pump", "extras": ("a, b",)},
        {"product": "pump", "extras": ("laid flat on white background",)},
        {"product": "pump", "parts": (Piece("gear"), Piece("Gear"))},
    ],
)
def test_what_no_text_can_say_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        Disassembly(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", "4 screws", "a pair of hinges", "gear and spring", "gear, spring", "label plate", "line art"]
)
def test_names_that_are_no_part(name: str) -> None:
    with pytest.raises(BadInputError):
        Piece(name)


@pytest.mark.parametrize(
    ("value", "unit"), [(0, "cm"), (-1, "mm"), (101, "cm"), (float("nan"), "mm"), (2, "inch"), (2, "")]
)
def test_lengths_that_are_none(value: float, unit: str) -> None:
    with pytest.raises(BadInputError):
        Length(value, unit)


def test_a_name_whose_number_would_split_it_is_refused() -> None:
    assert Piece("4mm and").text == "4mm and"
    with pytest.raises(BadInputError):
        Piece("4mm and", 2)


def test_the_text_is_a_valid_request() -> None:
    assert Request(compose(FULL)).prompt == TEXT
