# SPDX-License-Identifier: GPL-3.0-or-later
"""Geometry holds for any count, size and style: nothing overlaps, nothing leaves the picture."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from nano_banana.geometry import Box, fit_units, grid, rings, treemap
from nano_banana.layout import SHEET_MM, Item, Sheet, plan
from nano_banana.prompt import EXPLODED, KNOLLING, SCHEMATIC

SIZES = [(64, 64), (64, 4096), (4096, 64), (128, 96), (256, 256), (512, 512), (1024, 1024), (1920, 1080), (768, 1600)]
LAYOUTS = [
    (KNOLLING, None),
    (KNOLLING, "grid"),
    (KNOLLING, "row"),
    (KNOLLING, "column"),
    (KNOLLING, "concentric"),
    (EXPLODED, None),
    (SCHEMATIC, None),
    (SCHEMATIC, "concentric"),
]


def some_items(rng: Random, count: int) -> list[Item]:
    return [
        Item(
            aspect=rng.choice((0.15, 0.36, 0.5, 1.0, 1.25, 1.55)),
            count=rng.choice((1, 1, 1, 2, 4, 24)),
            weight=rng.uniform(0.5, 2.2),
            turnable=rng.random() < 0.4,
            label_em=rng.uniform(1.0, 24.0),
        )
        for _ in range(count)
    ]


def assert_sound(sheet: Sheet, size: tuple[int, int], items: list[Item]) -> None:
    picture = Box(0, 0, *size)
    assert len(sheet.slots) == len(items)
    for slot, item in zip(sheet.slots, items, strict=False):
        shape = 1 / item.aspect if slot.turned else item.aspect
        assert all(unit.width / unit.height == pytest.approx(shape, rel=1e-3) for unit in slot.units)
    taken = [sheet.caption, *([sheet.title] if sheet.title else [])]
    for slot in sheet.slots:
        assert all(slot.cell.contains(unit, 1e-3) for unit in slot.units)
        if slot.label:
            assert slot.cell.contains(slot.label, 1e-3)
        strips = Box(slot.hull.x0, slot.hull.y0, slot.hull.x1 + slot.dimension, slot.hull.y1 + slot.dimension)
        assert slot.cell.contains(strips, 1e-3)
        taken += [*slot.units, *([slot.label] if slot.label else [])]
    for box in taken:
        assert box.width > 0
        assert box.height > 0
        assert picture.contains(box, 1e-3)
    for one, other in combinations([slot.cell for slot in sheet.slots] + taken[: 2 if sheet.title else 1], 2):
        assert not one.overlaps(other, 1e-3)
    for slot in sheet.slots:
        for one, other in combinations([*slot.units, *([slot.label] if slot.label else [])], 2):
            assert not one.overlaps(other, 1e-3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("style", "arrangement"), LAYOUTS)
def test_nothing_overlaps_and_nothing_leaves_the_picture(
    style: str, arrangement: str | None, size: tuple[int, int]
) -> None:
    rng = Random(f"{style}{arrangement}{size}")
    for count in (1, 2, 3, 5, 7, 8, 12, 19, 48):
        for labels in (False, True):
            spacing = rng.choice((None, 0.0, 5.0, 20.0, 400.0))
            flip = rng.random() < 0.5, rng.random() < 0.5
            items = some_items(rng, count)
            sheet = plan(style, arrangement, items, size, spacing_mm=spacing, labels=labels, flip=flip)
            assert_sound(sheet, size, items)


@pytest.mark.parametrize(("style", "arrangement"), LAYOUTS)
def test_labels_are_there_where_there_is_room(style: str, arrangement: str | None) -> None:
    items = [Item(1.0, label_em=5.0)] * 9
    assert all(slot.label for slot in plan(style, arrangement, items, (1024, 1024), labels=True).slots)
    assert not any(slot.label for slot in plan(style, arrangement, items, (1024, 1024)).slots)
    assert not any(slot.label for slot in plan(style, arrangement, items, (64, 64), labels=True).slots)


def test_spacing_in_millimetres_is_kept_between_grid_cells() -> None:
    sheet = plan(KNOLLING, "grid", [Item(1.0)] * 9, (1500, 1500), spacing_mm=20)
    first, second = sheet.slots[0].cell, sheet.slots[1].cell
    assert second.x0 - first.x1 == pytest.approx(20 / SHEET_MM * 1500)


def test_a_row_is_a_row_and_a_column_a_column() -> None:
    row = plan(KNOLLING, "row", [Item(1.0)] * 5, (1024, 512)).slots
    column = plan(KNOLLING, "column", [Item(1.0)] * 5, (512, 1024)).slots
    assert len({slot.cell.y0 for slot in row}) == 1
    assert len({slot.cell.x0 for slot in column}) == 1


def test_exploded_parts_stand_centred_on_an_axis() -> None:
    sheet = plan(EXPLODED, None, [Item(1.5)] * 8, (1024, 1024), labels=True)
    axes = {round(axis[0][0], 3) for axis in sheet.axes}
    assert {round(slot.hull.centre[0], 3) for slot in sheet.slots} == axes


def test_flip_mirrors_the_free_layout() -> None:
    items = [Item(1.0, weight=3.0), Item(1.0), Item(1.0), Item(1.0)]
    plain = plan(KNOLLING, None, items, (512, 512)).slots[0].cell
    mirrored = plan(KNOLLING, None, items, (512, 512), flip=(True, False)).slots[0].cell
    assert mirrored.x0 > plain.x0
    assert mirrored.y0 == plain.y0


def test_treemap_fills_its_area_in_proportion() -> None:
    boxes = treemap(Box(10, 20, 410, 320), [1, 5, 2, 2])
    areas = [box.width * box.height for box in boxes]
    assert areas == pytest.approx([12000, 60000, 24000, 24000])


def test_grid_centres_its_last_row() -> None:
    assert grid(Box(0, 0, 100, 100), 3, 2, 0)[2].centre[0] == pytest.approx(50)


def test_units_turn_where_that_makes_them_larger() -> None:
    units, turned = fit_units(Box(0, 0, 200, 50), 0.2, 1, 0, turnable=True)
    assert turned
    assert (units[0].width, units[0].height) == pytest.approx((200, 40))
    assert not fit_units(Box(0, 0, 200, 50), 0.2, 1, 0, turnable=False)[1]


@pytest.mark.parametrize("count", range(1, 49))
def test_rings_do_not_meet(count: int) -> None:
    boxes = rings(Box(0, 0, 300, 200), count)
    assert len(boxes) == count
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
