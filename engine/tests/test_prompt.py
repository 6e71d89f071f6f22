# SPDX-License-Identifier: GPL-3.0-or-later
"""What a prompt is understood to ask for."""

from __future__ import annotations

import pytest

from nano_banana import prompt
from nano_banana.errors import BadInputError
from nano_banana.parts import DRAW
from nano_banana.vocabulary import BACKGROUNDS, FAMILIES, GENERIC_PARTS, KINDS, MATERIALS

AIRPODS = (
    "AirPods Pro 2nd generation exploded view, all components laid flat on white background, matte finish, "
    "studio lighting, macro shot, ultra-detailed, labeled with part names"
)
DYSON = (
    "Dyson V11 motor module disassembly, knolling style, brushed aluminum housing, copper windings visible, "
    "clean layout, technical diagram aesthetic"
)
LEGO = (
    "LEGO Technic crane set exploded view, colorful bricks separated by type, top-down perspective, "
    "clean white background, isometric projection"
)


@pytest.mark.parametrize(
    ("text", "style", "product"),
    [
        (AIRPODS, prompt.EXPLODED, "AirPods Pro 2nd generation"),
        (DYSON, prompt.KNOLLING, "Dyson V11 motor module"),
        (LEGO, prompt.EXPLODED, "LEGO Technic crane set"),
        ("technical schematic of a pump: shaft", prompt.SCHEMATIC, "pump"),
        ("pump, line drawing", prompt.SCHEMATIC, "pump"),
        ("blueprint of the pump", prompt.SCHEMATIC, "pump"),
        ("flat lay of a pump", prompt.KNOLLING, "pump"),
        ("a pump, knolling, exploded", prompt.KNOLLING, "pump"),
        ("a pump", prompt.KNOLLING, "pump"),
        ("exploded view", prompt.EXPLODED, "assembly"),
        ("hair\n  dryer\tknolling", prompt.KNOLLING, "hair dryer"),
    ],
)
def test_style_and_product(text: str, style: str, product: str) -> None:
    plan = prompt.parse(text, 0)
    assert (plan.style, plan.product) == (style, product)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("dryer: motor, housing, 4 screws, cable", [("motor", 1), ("housing", 1), ("screws", 4), ("cable", 1)]),
        ("dryer, parts: motor and a housing & the cable", [("motor", 1), ("housing", 1), ("cable", 1)]),
        ("x: 2 x seal, 3x bolts, four nuts", [("seal", 2), ("bolts", 3), ("nuts", 4)]),
        ("x: washer x5, pin (6), \u00d7", [("washer", 5), ("pin", 6), ("\u00d7", 1)]),
        ("x: a pair of hinges", [("hinges", 2)]),
        ("x: 4 mm screw, 3.5 mm jack, 12 V motor", [("4 mm screw", 1), ("3.5 mm jack", 1), ("12 V motor", 1)]),
        ("x: gear, 2 Gear, gear", [("gear", 4)]),
        ("x: gear, white background, labeled with part names, 2cm spacing between each", [("gear", 1)]),
        ("x: gear; spring. Exploded view on white background", [("gear", 1), ("spring", 1)]),
        ("x: 0 gears, 1000000 screws", [("gears", 1), ("screws", 999)]),
        ("ratio 16:9 pump, parts: gear", [("gear", 1)]),
        ("x: Dichtung, Größe, \u8f6e", [("Dichtung", 1), ("Größe", 1), ("\u8f6e", 1)]),
    ],
)
def test_named_parts(text: str, parts: list[tuple[str, int]]) -> None:
    assert [(part.name, part.count) for part in prompt.parse(text, 0).parts] == parts


def test_parts_named_in_passing_come_first() -> None:
    names = [part.name for part in prompt.parse(DYSON, 0).parts]
    assert names[:2] == ["brushed aluminum housing", "copper windings"]
    assert len(names) >= 8


def test_without_a_list_the_seed_chooses_the_parts() -> None:
    by_seed = {seed: prompt.parse("toaster", seed).parts for seed in range(6)}
    assert by_seed[3] == prompt.parse("toaster", 3).parts
    assert len(set(by_seed.values())) > 3
    assert all(6 <= len(parts) <= 11 for parts in by_seed.values())


def test_with_a_list_the_seed_changes_no_part() -> None:
    assert prompt.parse("x: gear, lens", 1) == prompt.parse("x: gear, lens", 2)


@pytest.mark.parametrize(
    ("name", "kind", "material"),
    [
        ("screws", "screw", None),
        ("batteries", "battery", None),
        ("switches", "knob", None),
        ("motor housing", "housing", None),
        ("brushed aluminum housing", "housing", "aluminium"),
        ("copper windings", "motor", "copper"),
        ("Red Brick", "brick", "red"),
        ("colorful bricks", "brick", "vivid"),
        ("o-ring", "seal", None),
        ("flux compensator", "generic", None),
        ("", "generic", None),
    ],
)
def test_shape_and_material_by_name(name: str, kind: str, material: str | None) -> None:
    assert (prompt.kind_of(name), prompt.material_of(name)) == (kind, material)


@pytest.mark.parametrize(
    ("words", "millimetres"),
    [
        ("2cm spacing between each", 20.0),
        ("15 mm spacing", 15.0),
        ("2.5 cm apart", 25.0),
        ("1,5 cm gap", 15.0),
        ("spacing of 8mm", 8.0),
        ("spacing: 3 cm", 30.0),
        ("a 4 mm screw", None),
        ("tight spacing", None),
    ],
)
def test_spacing_has_units(words: str, millimetres: float | None) -> None:
    assert prompt.parse(f"pump, {words}", 0).spacing_mm == millimetres


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ("labeled with part names", True),
        ("labelled", True),
        ("annotated diagram", True),
        ("technical schematic", True),
        ("technical schematic without labels", False),
        ("no labels", False),
        ("knolling", False),
    ],
)
def test_label_wish(words: str, labels: bool) -> None:
    assert prompt.parse(f"pump, {words}", 0).labels is labels


@pytest.mark.parametrize(
    ("words", "arrangement"),
    [
        ("parts arranged in grid layout", "grid"),
        ("in a single row", "row"),
        ("in one column", "column"),
        ("concentric rings of parts", "concentric"),
        ("knolling", None),
    ],
)
def test_arrangement_words(words: str, arrangement: str | None) -> None:
    assert prompt.parse(f"pump, {words}", 0).arrangement == arrangement


@pytest.mark.parametrize(
    ("words", "background"),
    [
        ("white background", "white"),
        ("clean white studio background", "white"),
        ("on a dark surface", "dark"),
        ("black backdrop", "black"),
        ("blueprint", "blueprint"),
        ("white housing", "plain"),
    ],
)
def test_background(words: str, background: str) -> None:
    assert prompt.parse(f"pump, {words}", 0).background == background


def test_too_many_parts_are_refused_with_their_number() -> None:
    with pytest.raises(BadInputError, match=r"at most 48 parts; found 49"):
        prompt.parse("x: " + ", ".join(f"part {letter}{i}" for i in range(7) for letter in "abcdefg"), 0)


def test_tables_agree_with_each_other() -> None:
    assert set(KINDS) == set(DRAW)
    assert {kind.material for kind in KINDS.values()} - {"accent", "shell"} <= set(MATERIALS)
    assert "plain" in BACKGROUNDS
    for item in [*GENERIC_PARTS, *(part for _, parts in FAMILIES for part in parts)]:
        assert prompt.kind_of(item) != "generic", item
