# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything goes, style by style: pure geometry in pixels. No drawing.

Whatever the counts and sizes, no unit, label or caption overlaps another or leaves the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nano_banana.geometry import Box, Point, best_columns, fit_units, grid, hull, rings, treemap
from nano_banana.phrases import EXPLODED, SCHEMATIC

# A picture shows a table of this length along its longer side, so that "2cm spacing" has a meaning.
SHEET_MM = 300.0
MIN_FONT = 8
MIN_LABELLED = 192  # shorter side in pixels from which labels are tried
LINE = 1.25  # height of a line of text, in font sizes


@dataclass(frozen=True)
class Item:
    """What is to be placed.

    aspect: width / height of one unit; count: units; weight: share of the room; turnable: may lie on its side;
    label_em: width of the label on one line, in font sizes.
    """

    aspect: float
    count: int = 1
    weight: float = 1.0
    turnable: bool = False
    label_em: float = 6.0


@dataclass(frozen=True)
class Slot:
    """The place of one item: its cell, its units, whether they lie on their side, its label, room for dimensions.

    align says where the label's text sits in its box: middle, left or right; dimension is the width in pixels
    of the free strips below and to the right of the units.
    """

    cell: Box
    units: tuple[Box, ...]
    turned: bool = False
    label: Box | None = None
    align: str = "middle"
    dimension: float = 0.0

    @property
    def hull(self) -> Box:
        """The smallest box around all units."""
        return hull(self.units)


@dataclass(frozen=True)
class Sheet:
    """A whole picture: slots in the order of the items, axes of an exploded view, the footer's two texts."""

    slots: tuple[Slot, ...]
    axes: tuple[tuple[Point, Point], ...]
    title: Box | None
    caption: Box
    font: int


@dataclass(frozen=True)
class _Frame:
    """What every style needs to know: the free body, the wished gap, the font, whether labels are drawn."""

    body: Box
    gap: float
    font: int
    labels: bool
    flip: tuple[bool, bool]


def plan(
    style: str,
    arrangement: str | None,
    items: Sequence[Item],
    size: tuple[int, int],
    *,
    spacing_mm: float | None = None,
    labels: bool = False,
    flip: tuple[bool, bool] = (False, False),
) -> Sheet:
    """Place at least one item on a sheet of `size` pixels; labels are left out where nobody could read them.

    flip mirrors the free knolling layout (left-right, top-bottom): the part of the layout that a seed may change.
    """
    width, height = size
    base = max(MIN_FONT, round(min(width, height) / 64 + 2.4))
    margin = max(3.0, 0.055 * min(width, height))
    footer_end = height - margin * 0.5
    footer = Box(margin, footer_end - base * LINE, width - margin, footer_end)
    body = Box(margin, margin, width - margin, footer.y0 - margin * 0.5)
    gap = _gap(spacing_mm, body, max(width, height), len(items))
    titled = labels and min(width, height) >= MIN_LABELLED
    fonts = [max(MIN_FONT, round(base * share)) for share in (1, 0.86, 0.74)] if titled else []
    slots: list[Slot] = []
    axes: list[tuple[Point, Point]] = []
    for font in [*fonts, 0]:
        frame = _Frame(body, gap, font or base, font > 0, flip)
        slots, axes = _place(style, arrangement, items, frame)
        strict = font != (fonts[-1] if fonts else 0)
        if font and all(_readable(s, i, font, strict) for s, i in zip(slots, items, strict=False)):
            break
    return Sheet(
        slots=tuple(slots),
        axes=tuple(axes),
        title=replace(footer, x1=footer.centre[0]) if titled else None,
        caption=replace(footer, x0=footer.centre[0] + base) if titled else footer,
        font=frame.font,
    )


def lines_needed(label_em: float, font: int, width: float) -> int:
    """1 or 2 lines for a label; a label that needs more is cut short."""
    return 1 if label_em * font * 1.06 <= width else 2


def _gap(spacing_mm: float | None, body: Box, longer_side: int, count: int) -> float:
    """The gap between cells in pixels, never so large that little is left for the parts."""
    pitch = math.sqrt(body.width * body.height / count)
    narrowest = min(body.width, body.height)
    if spacing_mm is None:
        return min(0.16 * pitch, 0.06 * narrowest)
    return min(spacing_mm / SHEET_MM * longer_side, 0.36 * pitch, 0.3 * narrowest)


def _readable(slot: Slot, item: Item, font: int, strict: bool) -> bool:
    if slot.label is None:
        return False
    # Two lines rarely break in the middle of a text, hence the reserve.
    wanted = item.label_em * 0.62 if strict else 4.0
    large_enough = max(slot.hull.width, slot.hull.height) >= 1.2 * font
    return large_enough and slot.label.width >= min(wanted, item.label_em) * font


def _place(
    style: str, arrangement: str | None, items: Sequence[Item], frame: _Frame
) -> tuple[list[Slot], list[tuple[Point, Point]]]:
    if style == EXPLODED:
        return _exploded(items, frame)
    if style == SCHEMATIC:
        return _cells(_grid_cells(arrangement, items, frame, 1.15), items, frame, dimensions=True), []
    if arrangement is None:
        return _free(items, frame), []
    if arrangement == "concentric":
        return _cells(rings(frame.body, len(items)), items, frame), []
    return _cells(_grid_cells(arrangement, items, frame, 1.0), items, frame), []


def _grid_cells(arrangement: str | None, items: Sequence[Item], frame: _Frame, aspect: float) -> list[Box]:
    count = len(items)
    if arrangement == "concentric":
        return rings(frame.body, count)
    fixed = {"row": count, "column": 1}
    columns = fixed.get(arrangement or "") or best_columns(frame.body, count, frame.gap, aspect)
    return grid(frame.body, count, columns, frame.gap)


def _cells(cells: Sequence[Box], items: Sequence[Item], frame: _Frame, dimensions: bool = False) -> list[Slot]:
    """Equal cells: small things stay smaller than large ones, labels of a row stand on one line."""
    heaviest = max(item.weight for item in items)
    lines = max(lines_needed(i.label_em, frame.font, c.width) for i, c in zip(items, cells, strict=False))
    slots = []
    for cell, item in zip(cells, items, strict=False):
        label_h = frame.font * LINE * lines if frame.labels else 0.0
        strip = min(2.1 * frame.font, 0.2 * min(cell.width, cell.height)) if dimensions else 0.0
        below = min(label_h + (0.4 * frame.font if frame.labels else 0), 0.6 * cell.height)
        room = Box(cell.x0 + strip, cell.y0, cell.x1 - strip, max(cell.y1 - below - strip, cell.y0))
        room = room.scaled(min(1.0, max(0.68, (item.weight / heaviest) ** 0.4)))
        units, turned = fit_units(room, item.aspect, item.count, frame.gap, item.turnable)
        label = Box(cell.x0, cell.y1 - label_h, cell.x1, cell.y1) if below > label_h > 0 else None
        slots.append(Slot(cell, units, turned, label, dimension=strip))
    return slots


def _free(items: Sequence[Item], frame: _Frame) -> list[Slot]:
    """Knolling proper: a map of cells by size, flush at the outer edges, everything square to everything."""
    slots = []
    for cell, item in zip(_map_cells(items, frame), items, strict=False):
        label_h = 0.0
        if frame.labels:
            label_h = frame.font * LINE * lines_needed(item.label_em, frame.font, cell.width)
        below = label_h * 1.35
        if below > 0.5 * cell.height:
            label_h = below = 0.0
        room = Box(cell.x0, cell.y0, cell.x1, cell.y1 - below)
        units, turned = fit_units(room, item.aspect, item.count, frame.gap, item.turnable)
        slot = Slot(cell, units, turned)
        if label_h:
            top = slot.hull.y1 + label_h * 0.35
            slot = replace(slot, label=Box(cell.x0, top, cell.x1, top + label_h))
        slots.append(slot)
    return slots


def _map_cells(items: Sequence[Item], frame: _Frame) -> list[Box]:
    """The cells of the map with the gap between them, which shrinks until even the narrowest cell keeps half."""
    weights = [item.weight * item.count**0.55 for item in items]
    floor = 0.4 * sum(weights) / len(weights)
    weights = [max(weight, floor) for weight in weights]
    gap = frame.gap
    while True:
        outer = frame.body.inset(-gap / 2, -gap / 2)
        cells = treemap(outer, weights)
        if min(min(cell.width, cell.height) for cell in cells) >= 2 * gap:
            return [_mirrored(cell, outer, frame.flip).inset(gap / 2, gap / 2) for cell in cells]
        gap *= 0.75


def _mirrored(box: Box, area: Box, flip: tuple[bool, bool]) -> Box:
    x0, x1, y0, y1 = box.x0, box.x1, box.y0, box.y1
    if flip[0]:
        x0, x1 = area.x0 + area.x1 - x1, area.x0 + area.x1 - x0
    if flip[1]:
        y0, y1 = area.y0 + area.y1 - y1, area.y0 + area.y1 - y0
    return Box(x0, y0, x1, y1)


def _exploded(items: Sequence[Item], frame: _Frame) -> tuple[list[Slot], list[tuple[Point, Point]]]:
    """Parts one above another along upright axes, as many axes as give the parts the most room."""
    count = len(items)
    art_share = 0.5 if frame.labels else 0.9

    def size_with(columns: int) -> float:
        return min(frame.body.width / columns * art_share, frame.body.height / math.ceil(count / columns) * 1.5)

    columns = max(range(1, count + 1), key=lambda c: (round(size_with(c), 3), -c))
    slots: list[Slot] = []
    axes = []
    start = 0
    for column, area in enumerate(grid(frame.body, columns, columns, frame.gap)):
        taken = count // columns + (1 if column < count % columns else 0)
        slots += _stack(area, items[start : start + taken], frame, art_share)
        axes.append(((area.centre[0], area.y0), (area.centre[0], area.y1)))
        start += taken
    return slots, axes


def _stack(area: Box, items: Sequence[Item], frame: _Frame, art_share: float) -> list[Slot]:
    wishes = [min(1.5, max(0.62, math.sqrt(1.6 / item.aspect * item.weight / 1.3))) for item in items]
    gap = min(frame.gap, 0.28 * area.height / len(items))
    free = area.height - gap * (len(items) - 1)
    cx = area.centre[0]
    slots = []
    y = area.y0
    for index, (item, wish) in enumerate(zip(items, wishes, strict=False)):
        height = free * wish / sum(wishes)
        band = Box(area.x0, y, area.x1, y + height)
        half = area.width * art_share / 2
        units, _ = fit_units(Box(cx - half, y, cx + half, y + height), item.aspect, item.count, gap, False)
        slot = Slot(band, units)
        if frame.labels:
            slot = _beside(slot, item, frame.font, area.width * art_share / 2, right=index % 2 == 0)
        slots.append(slot)
        y += height + gap
    return slots


def _beside(slot: Slot, item: Item, font: int, half: float, right: bool) -> Slot:
    """A label at the side of its band, all labels of a side starting on one line."""
    cx, cy = slot.cell.centre
    pad = 1.4 * font
    x0, x1 = (cx + half + pad, slot.cell.x1) if right else (slot.cell.x0, cx - half - pad)
    height = font * LINE * lines_needed(item.label_em, font, x1 - x0)
    if x1 - x0 < 3 * font or height > slot.cell.height:
        return slot
    box = Box(x0, cy - height / 2, x1, cy + height / 2)
    return replace(slot, label=box, align="left" if right else "right")
