# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws one part on a transparent tile: as a softly lit solid, or as a line drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from nano_banana.vocabulary import Colour

# Paper, ink, line width in tile pixels.
Lines = tuple[Colour, Colour, float]


class Grid(NamedTuple):
    """Turns tile heights into the pixels of a cutting whose left top corner is at (left, top) of the tile."""

    scale: float
    left: int
    top: int

    def point(self, at: tuple[float, float]) -> tuple[float, float]:
        return at[0] * self.scale - self.left, at[1] * self.scale - self.top

    def box(self, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        return (*self.point(bounds[:2]), *self.point(bounds[2:]))


@dataclass(frozen=True)
class Ellipse:
    """Centre and half axes, in tile heights."""

    cx: float
    cy: float
    rx: float
    ry: float

    def paint(self, draw: ImageDraw.ImageDraw, grid: Grid, value: int) -> None:
        draw.ellipse(grid.box(_bounds(self)), fill=value)


@dataclass(frozen=True)
class Rect:
    """Left, top, right, bottom and corner radius, in tile heights."""

    x0: float
    y0: float
    x1: float
    y1: float
    radius: float = 0.0

    def paint(self, draw: ImageDraw.ImageDraw, grid: Grid, value: int) -> None:
        x0, y0, x1, y1 = (round(v) for v in grid.box(_bounds(self)))
        radius = min(round(self.radius * grid.scale), (x1 - x0) // 2 - 1, (y1 - y0) // 2 - 1)
        # Pillow before 10.2 fails on corners that leave no straight edge between them.
        if radius >= 1:
            draw.rounded_rectangle((x0, y0, x1, y1), radius=radius, fill=value)
        else:
            draw.rectangle((x0, y0, x1, y1), fill=value)


@dataclass(frozen=True)
class Polygon:
    """Corners in tile heights."""

    points: tuple[tuple[float, float], ...]

    def paint(self, draw: ImageDraw.ImageDraw, grid: Grid, value: int) -> None:
        draw.polygon([grid.point(p) for p in self.points], fill=value)


@dataclass(frozen=True)
class Stroke:
    """A thick line with round ends and joints; points and width in tile heights."""

    points: tuple[tuple[float, float], ...]
    width: float

    def paint(self, draw: ImageDraw.ImageDraw, grid: Grid, value: int) -> None:
        points = [grid.point(p) for p in self.points]
        width = max(1, round(self.width * grid.scale))
        draw.line(points, fill=value, width=width, joint="curve")
        r = (width - 1) / 2
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=value)


Shape = Ellipse | Rect | Polygon | Stroke


def _bounds(shape: Shape) -> tuple[float, float, float, float]:
    if isinstance(shape, Ellipse):
        return shape.cx - shape.rx, shape.cy - shape.ry, shape.cx + shape.rx, shape.cy + shape.ry
    if isinstance(shape, Rect):
        return shape.x0, shape.y0, max(shape.x1, shape.x0), max(shape.y1, shape.y0)
    reach = shape.width / 2 if isinstance(shape, Stroke) else 0.0
    xs, ys = [x for x, _ in shape.points], [y for _, y in shape.points]
    return min(xs) - reach, min(ys) - reach, max(xs) + reach, max(ys) + reach


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour in the one."""
    r, g, b = (round(p + (q - p) * share) for p, q in zip(one, other, strict=False))
    return r, g, b


def lighter(colour: Colour, share: float) -> Colour:
    """Towards white."""
    return mix(colour, (255, 255, 255), share)


def darker(colour: Colour, share: float) -> Colour:
    """Towards a cool black, which keeps shaded colours from looking dirty."""
    return mix(colour, (14, 16, 24), share)


class Brush:
    """A tile of `width` x `height` pixels; coordinates run from 0 to 1 downwards, 0 to `aspect` rightwards.

    With `lines` set, fills become paper with an outline in `ink`: what lies on top hides what is below.
    """

    def __init__(self, width: int, height: int, rng: Random, lines: Lines | None = None) -> None:
        self.image = Image.new("RGBA", (width, height))
        self.scale = float(height)
        self.aspect = width / height
        self.rng = rng
        self.lines = lines

    def fill(
        self,
        shape: Shape | Sequence[Shape],
        colour: Colour,
        holes: Sequence[Shape] = (),
        shade: str = "flat",
        bevel: float = 0.02,
        detail: bool = False,
    ) -> None:
        """Add a body. shade: flat, round (a lying cylinder's side), pipe (an upright one's), dome, dish.

        bevel is the width of the lit edge in tile heights; holes show what is behind the part; a detail is left
        out of line drawings.
        """
        shapes = [shape] if isinstance(shape, (Ellipse, Rect, Polygon, Stroke)) else list(shape)
        if self.lines and detail:
            return
        cutting = self._cutting(shapes, round(bevel * self.scale * 2) + 4)
        mask = self._mask(shapes, holes, cutting)
        if self.lines:
            self._outline(mask, cutting)
        else:
            self.image.paste(self._lit(mask, colour, shade, bevel), cutting[:2], mask)
        if holes:
            self._open(holes)

    def _cutting(self, shapes: Sequence[Shape], pad: int) -> tuple[int, int, int, int]:
        """The pixels that a body needs with some room around, which may lie outside the tile."""
        bounds = [_bounds(shape) for shape in shapes]
        return (
            math.floor(min(b[0] for b in bounds) * self.scale) - pad,
            math.floor(min(b[1] for b in bounds) * self.scale) - pad,
            math.ceil(max(b[2] for b in bounds) * self.scale) + pad,
            math.ceil(max(b[3] for b in bounds) * self.scale) + pad,
        )

    def _mask(self, shapes: Sequence[Shape], holes: Sequence[Shape], cutting: tuple[int, int, int, int]) -> Image.Image:
        left, top, right, bottom = cutting
        mask = Image.new("L", (right - left, bottom - top))
        draw = ImageDraw.Draw(mask)
        for body in shapes:
            body.paint(draw, Grid(self.scale, left, top), 255)
        for hole in holes:
            hole.paint(draw, Grid(self.scale, left, top), 0)
        return mask

    def _lit(self, mask: Image.Image, colour: Colour, shade: str, bevel: float) -> Image.Image:
        """The body's colour under a light from the top left: 128 is the colour itself."""
        tone = _tone(shade, mask.size)
        reach = bevel * self.scale
        if reach >= 1.5:
            soft = mask.filter(ImageFilter.GaussianBlur(reach * 0.6))
            step = max(1, round(reach * 0.5))
            down, up = ImageChops.offset(soft, step, step), ImageChops.offset(soft, -step, -step)
            tone = ImageChops.add(tone, ImageChops.subtract(up, down, scale=2.2))
            tone = ImageChops.subtract(tone, ImageChops.subtract(down, up, scale=2.6))
        return ImageOps.colorize(tone, black=darker(colour, 0.72), white=lighter(colour, 0.8), mid=colour)

    def _outline(self, mask: Image.Image, cutting: tuple[int, int, int, int]) -> None:
        assert self.lines is not None
        paper, ink, width = self.lines
        self.image.paste(ink, cutting[:2], mask)
        self.image.paste(paper, cutting[:2], mask.filter(ImageFilter.MinFilter(max(3, int(width) | 1))))

    def _open(self, holes: Sequence[Shape]) -> None:
        alpha = self.image.getchannel("A")
        draw = ImageDraw.Draw(alpha)
        for hole in holes:
            hole.paint(draw, Grid(self.scale, 0, 0), 0)
        self.image.putalpha(alpha)


def _tone(shade: str, size: tuple[int, int]) -> Image.Image:
    """Brightness over a body of `size` pixels, 128 in the middle."""
    down = Image.linear_gradient("L")
    if shade == "dome":
        tone = Image.radial_gradient("L").point([int(172 - v * 0.42) for v in range(256)])
        return ImageChops.offset(tone, -26, -34).resize(size)
    if shade == "dish":
        return down.point([int(84 + v * 0.3) for v in range(256)]).resize(size)
    if shade in ("pipe", "round"):
        curve = [_pipe(v / 255) for v in range(256)]
        tone = down.point(curve)
        return (tone.rotate(90) if shade == "pipe" else tone).resize(size)
    return down.point([int(146 - v * 0.15) for v in range(256)]).resize(size)


def _pipe(at: float) -> int:
    """Brightness across a cylinder: a soft highlight at a third, falling off to both sides."""
    light = max(0.0, 1 - ((at - 0.32) / 0.42) ** 2)
    shadow = max(0.0, (at - 0.55) / 0.45) ** 1.4 + max(0.0, (0.16 - at) / 0.16) * 0.5
    return int(112 + 74 * light - 66 * shadow)
