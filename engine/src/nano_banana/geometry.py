# SPDX-License-Identifier: GPL-3.0-or-later
"""Boxes, and ways to divide one: grid, squarified map, rings, and equal units inside a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
# An unturned unit is preferred unless turning makes it this much larger in area.
_TURN_GAIN = 1.25


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels from the top left corner; x1 and y1 are just outside."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def centre(self) -> Point:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def inset(self, dx: float, dy: float) -> Box:
        """Smaller by dx and dy on each side (larger where negative), never turned inside out."""
        dx, dy = min(dx, self.width / 2), min(dy, self.height / 2)
        return Box(self.x0 + dx, self.y0 + dy, self.x1 - dx, self.y1 - dy)

    def scaled(self, share: float) -> Box:
        """The same centre, both sides times `share`."""
        return self.inset(self.width * (1 - share) / 2, self.height * (1 - share) / 2)

    def overlaps(self, other: Box, tolerance: float = 1e-6) -> bool:
        """True if the two share more than an edge."""
        return (
            min(self.x1, other.x1) - max(self.x0, other.x0) > tolerance
            and min(self.y1, other.y1) - max(self.y0, other.y0) > tolerance
        )

    def contains(self, other: Box, tolerance: float = 1e-6) -> bool:
        """True if `other` lies wholly inside."""
        return (
            other.x0 >= self.x0 - tolerance
            and other.y0 >= self.y0 - tolerance
            and other.x1 <= self.x1 + tolerance
            and other.y1 <= self.y1 + tolerance
        )


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around at least one box."""
    return Box(min(b.x0 for b in boxes), min(b.y0 for b in boxes), max(b.x1 for b in boxes), max(b.y1 for b in boxes))


def grid(area: Box, count: int, columns: int, gap: float) -> list[Box]:
    """`count` equal cells row by row, the last row centred; a gap never takes more room than a cell."""
    rows = math.ceil(count / columns)
    return _lattice(area, count, columns, min(gap, area.width / columns / 2), min(gap, area.height / rows / 2))


def _lattice(area: Box, count: int, columns: int, gap_x: float, gap_y: float) -> list[Box]:
    rows = math.ceil(count / columns)
    width, height = (area.width + gap_x) / columns, (area.height + gap_y) / rows
    cells = []
    for index in range(count):
        row, column = divmod(index, columns)
        in_row = min(columns, count - row * columns)
        x = area.x0 + column * width + (columns - in_row) * width / 2
        y = area.y0 + row * height
        cells.append(Box(x, y, x + width - gap_x, y + height - gap_y))
    return cells


def best_columns(area: Box, count: int, gap: float, aspect: float = 1.0) -> int:
    """The number of grid columns that gives things of this aspect the most room; ties prefer full rows."""

    def score(columns: int) -> tuple[float, int]:
        cell = grid(area, count, columns, gap)[0]
        return round(min(cell.width, cell.height * aspect), 3), -((-count) % columns)

    return max(range(1, count + 1), key=score)


def treemap(area: Box, weights: Sequence[float]) -> list[Box]:
    """Divide `area` completely into boxes of sizes in proportion to positive weights, as square as they can be.

    The squarified map of Bruls, Huizing and van Wijk; largest first from the top left.
    """
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    scale = area.width * area.height / sum(weights)
    left = [(i, weights[i] * scale) for i in order]
    boxes: list[Box] = [area] * len(weights)
    while left:
        side = min(area.width, area.height)
        take = 1
        while take < len(left) and _worst(left[: take + 1], side) <= _worst(left[:take], side):
            take += 1
        area = _lay_strip(area, left[:take], boxes)
        left = left[take:]
    return boxes


def _worst(strip: Sequence[tuple[int, float]], side: float) -> float:
    total = sum(size for _, size in strip)
    thickness = total / side
    return max(max(thickness**2 / size, size / thickness**2) for _, size in strip)


def _lay_strip(area: Box, strip: Sequence[tuple[int, float]], boxes: list[Box]) -> Box:
    """Put a strip along the shorter side of `area`; returns what remains."""
    total = sum(size for _, size in strip)
    upright = area.width >= area.height
    thickness = total / (area.height if upright else area.width)
    at = area.y0 if upright else area.x0
    for index, size in strip:
        end = at + size / thickness
        boxes[index] = (
            Box(area.x0, at, area.x0 + thickness, end) if upright else Box(at, area.y0, end, area.y0 + thickness)
        )
        at = end
    if upright:
        return Box(min(area.x0 + thickness, area.x1), area.y0, area.x1, area.y1)
    return Box(area.x0, min(area.y0 + thickness, area.y1), area.x1, area.y1)


def rings(area: Box, count: int) -> list[Box]:
    """One box in the middle, then rings of 6, 12, 18 ... around it, stretched to the area's shape."""
    needed = 0
    while 1 + 3 * needed * (needed + 1) < count:
        needed += 1
    # In units where neighbours are 1 apart, boxes of 1/sqrt(2) cannot meet whichever way they lie.
    side = 0.7
    reach = needed + side / 2
    centres: list[Point] = [(0.0, 0.0)]
    for ring in range(1, needed + 1):
        # Evenly filled rings look calmer than full inner ones and a rest outside.
        share = math.ceil((count - 1) * ring / (needed * (needed + 1) / 2))
        in_ring = min(6 * ring, share, count - len(centres)) if ring < needed else count - len(centres)
        for step in range(in_ring):
            turn = 2 * math.pi * (step + (ring - 1) / 2) / in_ring - math.pi / 2
            centres.append((ring * math.cos(turn), ring * math.sin(turn)))
    cx, cy = area.centre
    sx, sy = area.width / 2 / reach, area.height / 2 / reach
    half = side / 2
    return [
        Box(cx + (x - half) * sx, cy + (y - half) * sy, cx + (x + half) * sx, cy + (y + half) * sy)
        for x, y in centres[:count]
    ]


def fit_units(area: Box, aspect: float, count: int, gap: float, turnable: bool) -> tuple[tuple[Box, ...], bool]:
    """The largest `count` equal boxes of that aspect in neat rows, centred; and whether they are turned."""
    best: tuple[float, Box, int, float, bool] = (-1.0, area, 1, 0.0, False)
    cx, cy = area.centre
    narrowest = min(area.width, area.height)
    for turned in (False, True) if turnable else (False,):
        shape = 1 / aspect if turned else aspect
        for columns in range(1, count + 1):
            rows = math.ceil(count / columns)
            inner = min(gap * 0.45, 0.1 * narrowest, 0.2 * area.width / columns, 0.2 * area.height / rows)
            cell = grid(area, count, columns, inner)[0]
            width = min(cell.width, cell.height * shape)
            score = width * width / shape / (_TURN_GAIN if turned else 1.0)
            # A little more room is not worth a taller block.
            if score > best[0] * 1.02:
                half_w = (columns * (width + inner) - inner) / 2
                half_h = (rows * (width / shape + inner) - inner) / 2
                block = Box(cx - half_w, cy - half_h, cx + half_w, cy + half_h)
                best = (score, block, columns, inner, turned)
    _, block, columns, inner, turned = best
    return tuple(_lattice(block, count, columns, inner, inner)), turned
