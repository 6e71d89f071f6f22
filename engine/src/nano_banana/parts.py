# SPDX-License-Identifier: GPL-3.0-or-later
"""The vocabulary of shapes: each function draws one kind of part, upright, on a Brush.

Coordinates: y from 0 (top) to 1, x from 0 to the kind's aspect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from nano_banana.brush import Brush, Ellipse, Polygon, Rect, Shape, Stroke, darker, lighter
from nano_banana.vocabulary import MATERIALS, Colour

STEEL = MATERIALS["steel"]
COPPER = MATERIALS["copper"]
GOLD = MATERIALS["gold"]
DARK = MATERIALS["graphite"]
BLACK = MATERIALS["rubber"]


def _polar(cx: float, cy: float, radius: float, turn: float) -> tuple[float, float]:
    return cx + radius * math.cos(turn), cy + radius * math.sin(turn)


def _around(count: int, start: float = 0.0) -> list[float]:
    return [start + 2 * math.pi * i / count for i in range(count)]


def _dots(at: Sequence[tuple[float, float]], radius: float) -> list[Shape]:
    return [Ellipse(x, y, radius, radius) for x, y in at]


def _toothed(teeth: int, inner: float, outer: float) -> Polygon:
    points = []
    for turn in _around(teeth):
        pitch = 2 * math.pi / teeth
        for radius, share in ((inner, -0.5), (inner, -0.3), (outer, -0.17), (outer, 0.17), (inner, 0.3)):
            points.append(_polar(0.5, 0.5, radius, turn + share * pitch))
    return Polygon(tuple(points))


def screw(b: Brush, c: Colour) -> None:
    w = b.aspect
    mid = w / 2
    for i in range(13):
        y = 0.31 + i * 0.048
        r = w * (0.27 if i < 11 else 0.27 - 0.09 * (i - 10))
        thread = ((mid - r, y + 0.012), (mid + r, y - 0.012), (mid + r, y + 0.022), (mid - r, y + 0.046))
        b.fill(Polygon(thread), darker(c, 0.06), shade="pipe", bevel=0.008)
    b.fill(Rect(mid - w * 0.2, 0.2, mid + w * 0.2, 0.32), c, shade="pipe", bevel=0.0)
    b.fill(Polygon(((mid - w * 0.17, 0.9), (mid + w * 0.17, 0.9), (mid, 0.99))), c, shade="pipe", bevel=0.0)
    b.fill(Rect(0.01, 0.02, w - 0.01, 0.21, 0.07), c, shade="pipe", bevel=0.02)
    b.fill(Rect(mid - 0.025, 0.02, mid + 0.025, 0.1, 0.01), darker(c, 0.55), bevel=0.0)


def gear(b: Brush, c: Colour) -> None:
    teeth = b.rng.choice((14, 16, 18, 20))
    spokes = b.rng.choice((3, 4, 5))
    holes = _dots([_polar(0.5, 0.5, 0.235, t) for t in _around(spokes, -math.pi / 2)], 0.075)
    hub = Ellipse(0.5, 0.5, 0.06, 0.06)
    b.fill(_toothed(teeth, 0.405, 0.49), c, [*holes, hub], bevel=0.016)
    b.fill(Ellipse(0.5, 0.5, 0.345, 0.345), darker(c, 0.1), [*holes, hub], shade="dish", bevel=0.012)
    b.fill(Ellipse(0.5, 0.5, 0.125, 0.125), lighter(c, 0.12), [hub], bevel=0.018)


def pcb(b: Brush, c: Colour) -> None:
    w = b.aspect
    holes = _dots([(0.075, 0.075), (w - 0.075, 0.075), (0.075, 0.925), (w - 0.075, 0.925)], 0.028)
    b.fill(Rect(0, 0, w, 1, 0.05), c, holes, bevel=0.012)
    for dot in holes:
        assert isinstance(dot, Ellipse)
        b.fill(Ellipse(dot.cx, dot.cy, 0.05, 0.05), GOLD, [dot], bevel=0.0)
    for i in range(7):
        y = 0.2 + i * 0.035
        x = w * (0.46 + 0.02 * i)
        trace = ((w * 0.3, y), (x, y), (x + 0.1, y + 0.1), (w * 0.9, y + 0.1))
        b.fill(Stroke(trace, 0.009), lighter(c, 0.16), bevel=0.0, detail=True)
    _chip_at(b, w * 0.36, 0.52, 0.17)
    _chip_at(b, w * 0.72, 0.68, 0.105)
    b.fill(Rect(w * 0.62, 0.06, w * 0.86, 0.2, 0.02), (222, 222, 218), bevel=0.012)
    for i in range(6):
        b.fill(Rect(w * (0.64 + i * 0.034), 0.1, w * (0.652 + i * 0.034), 0.17), GOLD, bevel=0.0, detail=True)
    for i in range(4):
        b.fill(Ellipse(w * 0.1, 0.3 + i * 0.135, 0.048, 0.048), STEEL, shade="dome", bevel=0.012)
    for _ in range(9):
        x, y = b.rng.uniform(0.55, 0.9) * w, b.rng.choice((0.4, 0.46, 0.86, 0.91))
        tone = b.rng.choice(((196, 176, 140), (60, 62, 66), (214, 214, 208)))
        b.fill(Rect(x, y, x + 0.05, y + 0.026, 0.004), tone, bevel=0.0, detail=True)


def _chip_at(b: Brush, cx: float, cy: float, half: float) -> None:
    pins: list[Shape] = []
    for i in range(8):
        at = -half * 0.82 + i * half * 1.64 / 7
        long, thin = half * 1.16, half * 0.06
        pins.append(Rect(cx - long, cy + at - thin, cx + long, cy + at + thin))
        pins.append(Rect(cx + at - thin, cy - long, cx + at + thin, cy + long))
    b.fill(pins, (206, 208, 210), bevel=0.0)
    b.fill(Rect(cx - half, cy - half, cx + half, cy + half, half * 0.08), (48, 50, 55), bevel=half * 0.07)
    b.fill(Ellipse(cx - half * 0.68, cy - half * 0.68, half * 0.1, half * 0.1), (110, 112, 118), bevel=0.0)


def chip(b: Brush, c: Colour) -> None:
    _chip_at(b, 0.5, 0.5, 0.42)
    b.fill(Rect(0.24, 0.24, 0.76, 0.76, 0.03), lighter(c, 0.18), bevel=0.02)
    for i in range(3):
        b.fill(Rect(0.32, 0.4 + 0.08 * i, 0.62 - 0.07 * i, 0.425 + 0.08 * i), lighter(c, 0.5), bevel=0.0, detail=True)


def cable(b: Brush, c: Colour) -> None:
    turns = b.rng.choice((3, 4))
    thick = 0.2 / turns
    points = []
    for i in range(160):
        share = i / 159
        points.append(_polar(0.46, 0.53, 0.17 + 0.25 * share, (share - 1) * turns * 2 * math.pi - math.pi / 2))
    points.append((0.8, points[-1][1]))
    b.fill(Stroke(tuple(points), thick), c, bevel=0.022)
    b.fill(Rect(0.76, 0.035, 0.95, 0.185, 0.03), darker(c, 0.15), bevel=0.02)
    b.fill(Rect(0.93, 0.065, 1.0, 0.155), GOLD, bevel=0.01)
    b.fill(Rect(0.0, 0.49, 0.33, 0.57, 0.02), lighter(c, 0.3), bevel=0.016)


def housing(b: Brush, c: Colour) -> None:
    w = b.aspect
    b.fill(Rect(0, 0, w, 1, 0.16), c, bevel=0.03)
    b.fill(Rect(0.08, 0.08, w - 0.08, 0.92, 0.11), darker(c, 0.2), shade="dish", bevel=0.02)
    for x in (0.17, w - 0.17):
        for y in (0.17, 0.83):
            b.fill(Ellipse(x, y, 0.055, 0.055), c, bevel=0.018)
            b.fill(Ellipse(x, y, 0.022, 0.022), darker(c, 0.6), bevel=0.0)
    b.fill(Rect(0.3, 0.24, w - 0.3, 0.76, 0.06), darker(c, 0.08), bevel=0.016)
    for i in range(5):
        x = w / 2 + (i - 2) * 0.095
        b.fill(Rect(x - 0.02, 0.36, x + 0.02, 0.64, 0.02), darker(c, 0.55), bevel=0.0)


def battery(b: Brush, c: Colour) -> None:
    w = b.aspect
    b.fill(Rect(w * 0.36, 0.0, w * 0.64, 0.08, 0.015), STEEL, shade="pipe", bevel=0.01)
    b.fill(Rect(0.01, 0.045, w - 0.01, 0.995, 0.045), DARK, shade="pipe", bevel=0.015)
    b.fill(Rect(0.01, 0.055, w - 0.01, 0.32, 0.035), c, shade="pipe", bevel=0.0)
    b.fill(Rect(0.01, 0.3, w - 0.01, 0.325), lighter(c, 0.55), shade="pipe", bevel=0.0)
    mid = w / 2
    sign = lighter(c, 0.8)
    b.fill(Rect(mid - 0.06, 0.165, mid + 0.06, 0.19), sign, bevel=0.0, detail=True)
    b.fill(Rect(mid - 0.0125, 0.1175, mid + 0.0125, 0.2375), sign, bevel=0.0, detail=True)
    b.fill(Rect(mid - 0.06, 0.86, mid + 0.06, 0.882), lighter(DARK, 0.5), bevel=0.0, detail=True)


def lens(b: Brush, c: Colour) -> None:
    b.fill(Ellipse(0.5, 0.5, 0.495, 0.495), c, bevel=0.03)
    b.fill(Ellipse(0.5, 0.5, 0.43, 0.43), darker(c, 0.45), bevel=0.02)
    b.fill(Ellipse(0.5, 0.5, 0.36, 0.36), lighter(c, 0.1), bevel=0.02)
    b.fill(Ellipse(0.5, 0.5, 0.3, 0.3), (30, 38, 58), shade="dome", bevel=0.02)
    b.fill(Ellipse(0.5, 0.5, 0.2, 0.2), (48, 58, 98), shade="dome", bevel=0.02)
    b.fill(Ellipse(0.5, 0.5, 0.095, 0.095), (18, 20, 34), shade="dome", bevel=0.0)
    b.fill(Ellipse(0.4, 0.39, 0.075, 0.05), (196, 212, 236), bevel=0.0, detail=True)
    b.fill(Ellipse(0.6, 0.62, 0.03, 0.022), (132, 150, 190), bevel=0.0, detail=True)


def spring(b: Brush, c: Colour) -> None:
    w = b.aspect
    turns, top, bottom, r = 8, 0.07, 0.93, 0.032
    pitch = (bottom - top) / turns
    for i in range(turns):
        y = top + i * pitch
        b.fill(Stroke(((w - 0.05, y + pitch / 2), (0.05, y + pitch)), 2 * r * 0.8), darker(c, 0.42), bevel=0.012)
    for i in range(turns):
        y = top + i * pitch
        b.fill(Stroke(((0.05, y), (w - 0.05, y + pitch / 2)), 2 * r), c, shade="flat", bevel=0.022)
    for y in (top - 0.02, bottom):
        b.fill(Stroke(((0.05, y), (w - 0.05, y + 0.02)), 2 * r), c, bevel=0.022)


def plate(b: Brush, c: Colour) -> None:
    w = b.aspect
    corners = [(x, y) for x in (0.11, w - 0.11) for y in (0.11, 0.89)]
    slots: list[Shape] = [Rect(w * 0.3, y, w * 0.7, y + 0.07, 0.035) for y in (0.36, 0.57)]
    b.fill(Rect(0, 0, w, 1, 0.07), c, [*_dots(corners, 0.042), *slots], bevel=0.016)
    for i in range(11):
        y = 0.07 + i * 0.086
        line = Stroke(((0.2, y), (w - 0.2, y)), 0.004)
        if not 0.3 < y < 0.68:
            b.fill(line, lighter(c, 0.25), bevel=0.0, detail=True)


def screen(b: Brush, c: Colour) -> None:
    w = b.aspect
    b.fill(Rect(0, 0, w, 1, 0.07), DARK, bevel=0.012)
    b.fill(Rect(0.03, 0.055, w - 0.03, 0.945, 0.035), c, shade="dish", bevel=0.0)
    shine = ((0.035, 0.06), (w * 0.62, 0.06), (w * 0.2, 0.9), (0.035, 0.9))
    b.fill(Polygon(shine), lighter(c, 0.12), shade="flat", bevel=0.0, detail=True)
    b.fill(Rect(w / 2 - 0.05, 0.02, w / 2 + 0.05, 0.034, 0.007), lighter(DARK, 0.3), bevel=0.0)


def motor(b: Brush, c: Colour) -> None:
    b.fill(Ellipse(0.5, 0.5, 0.495, 0.495), c, bevel=0.03)
    b.fill(Ellipse(0.5, 0.5, 0.425, 0.425), DARK, shade="dish", bevel=0.02)
    poles = b.rng.choice((6, 8, 9))
    half = math.pi / poles
    for turn in _around(poles, -math.pi / 2):
        corners = [
            _polar(0.5, 0.5, radius, turn + half * share)
            for radius, share in ((0.2, -0.6), (0.4, -0.78), (0.415, 0.0), (0.4, 0.78), (0.2, 0.6))
        ]
        b.fill(Polygon(tuple(corners)), COPPER, bevel=0.022)
        for radius in (0.26, 0.305, 0.35):
            arc = tuple(_polar(0.5, 0.5, radius, turn + half * s) for s in (-0.6, 0.0, 0.6))
            b.fill(Stroke(arc, 0.009), darker(COPPER, 0.35), bevel=0.0, detail=True)
    b.fill(Ellipse(0.5, 0.5, 0.19, 0.19), lighter(c, 0.1), bevel=0.026)
    b.fill(Ellipse(0.5, 0.5, 0.085, 0.085), STEEL, shade="dome", bevel=0.016)
    b.fill(Ellipse(0.5, 0.5, 0.03, 0.03), darker(STEEL, 0.5), bevel=0.0)


def ring(b: Brush, c: Colour) -> None:
    hole = Ellipse(0.5, 0.5, 0.2, 0.2)
    b.fill(Ellipse(0.5, 0.5, 0.49, 0.49), c, [hole], bevel=0.04)
    b.fill(Ellipse(0.5, 0.5, 0.405, 0.405), darker(c, 0.35), [hole], shade="dish", bevel=0.015)
    balls = [_polar(0.5, 0.5, 0.345, t) for t in _around(10)]
    for dot in _dots(balls, 0.055):
        b.fill(dot, lighter(c, 0.25), shade="dome", bevel=0.014)
    b.fill(Ellipse(0.5, 0.5, 0.285, 0.285), c, [hole], bevel=0.03)


def seal(b: Brush, c: Colour) -> None:
    hole = Ellipse(0.5, 0.5, 0.3, 0.3)
    b.fill(Ellipse(0.5, 0.5, 0.49, 0.49), c, [hole], bevel=0.07)


def rod(b: Brush, c: Colour) -> None:
    w = b.aspect
    b.fill(Rect(w * 0.12, 0.0, w * 0.88, 1.0, 0.025), c, shade="pipe", bevel=0.008)
    b.fill(Rect(0.0, 0.16, w, 0.3, 0.012), lighter(c, 0.1), shade="pipe", bevel=0.008)
    b.fill(Rect(w * 0.12, 0.86, w * 0.88, 0.875), darker(c, 0.5), shade="pipe", bevel=0.0)


def brick(b: Brush, c: Colour) -> None:
    w = b.aspect
    b.fill(Rect(0, 0, w, 1, 0.03), c, bevel=0.022)
    for i in range(3):
        for j in range(2):
            x, y = w * (i + 0.5) / 3, 0.26 + 0.48 * j
            b.fill(Ellipse(x + 0.015, y + 0.02, 0.15, 0.15), darker(c, 0.28), bevel=0.0, detail=True)
            b.fill(Ellipse(x, y, 0.145, 0.145), lighter(c, 0.05), bevel=0.025)


def grille(b: Brush, c: Colour) -> None:
    b.fill(Ellipse(0.5, 0.5, 0.495, 0.495), lighter(c, 0.2), bevel=0.028)
    b.fill(Ellipse(0.5, 0.5, 0.42, 0.42), c, shade="dish", bevel=0.016)
    at = [(0.5, 0.5)]
    for layer in range(1, 6):
        at += [_polar(0.5, 0.5, layer * 0.072, t) for t in _around(6 * layer)]
    b.fill(_dots(at, 0.02), darker(c, 0.7), bevel=0.0)


def fan(b: Brush, c: Colour) -> None:
    blades = b.rng.choice((7, 9, 11))
    b.fill(Ellipse(0.5, 0.5, 0.495, 0.495), lighter(c, 0.3), [Ellipse(0.5, 0.5, 0.445, 0.445)], bevel=0.02)
    width = 2 * math.pi / blades
    for turn in _around(blades):
        steps = [0.12 + 0.315 * i / 12 for i in range(13)]
        # Swept back: the further out, the later; and wider outside than at the hub.
        edge = [(r, 7.0 * (r - 0.12) ** 2) for r in steps]
        back = [(r, 7.0 * (r - 0.12) ** 2 + 0.56 - 0.1 * r) for r in reversed(steps)]
        corners = tuple(_polar(0.5, 0.5, r, turn + width * s) for r, s in edge + back)
        b.fill(Polygon(corners), c, bevel=0.02)
    b.fill(Ellipse(0.5, 0.5, 0.155, 0.155), lighter(c, 0.14), shade="dome", bevel=0.024)
    b.fill(Ellipse(0.5, 0.5, 0.045, 0.045), STEEL, bevel=0.012)


def wheel(b: Brush, c: Colour) -> None:
    grip = _toothed(36, 0.468, 0.495)
    b.fill(grip, c, bevel=0.02)
    b.fill(Ellipse(0.5, 0.5, 0.44, 0.44), lighter(c, 0.07), bevel=0.03)
    b.fill(Ellipse(0.5, 0.5, 0.3, 0.3), (206, 209, 213), bevel=0.024)
    b.fill(Ellipse(0.5, 0.5, 0.255, 0.255), (168, 172, 178), shade="dish", bevel=0.012)
    for turn in _around(5, -math.pi / 2):
        b.fill(Stroke(((0.5, 0.5), _polar(0.5, 0.5, 0.25, turn)), 0.06), (206, 209, 213), bevel=0.016)
    hole = Ellipse(0.5, 0.5, 0.035, 0.035)
    b.fill(Ellipse(0.5, 0.5, 0.085, 0.085), (222, 224, 227), [hole], bevel=0.018)


def knob(b: Brush, c: Colour) -> None:
    b.fill(_toothed(28, 0.455, 0.49), c, bevel=0.02)
    b.fill(Ellipse(0.5, 0.5, 0.385, 0.385), lighter(c, 0.12), shade="dome", bevel=0.03)
    b.fill(Rect(0.485, 0.15, 0.515, 0.36, 0.015), lighter(c, 0.75), bevel=0.0)


def plug(b: Brush, c: Colour) -> None:
    w = b.aspect
    b.fill(Rect(w * 0.4, 0.8, w * 0.6, 1.0, 0.02), darker(c, 0.15), shade="pipe", bevel=0.01)
    b.fill(Rect(w * 0.2, 0.0, w * 0.8, 0.36, 0.02), MATERIALS["steel"], shade="flat", bevel=0.014)
    for x in (0.35, 0.65):
        b.fill(Rect(w * x - 0.04, 0.1, w * x + 0.04, 0.2, 0.008), darker(STEEL, 0.5), bevel=0.0)
    b.fill(Rect(0.01, 0.31, w - 0.01, 0.86, 0.07), c, bevel=0.026)
    for i in range(3):
        b.fill(Rect(w * 0.22, 0.5 + i * 0.085, w * 0.78, 0.53 + i * 0.085, 0.012), darker(c, 0.3), bevel=0.0)


def bracket(b: Brush, c: Colour) -> None:
    w = b.aspect
    holes = _dots([(0.15, 0.15), (0.15, 0.5), (0.15, 0.85), (w * 0.56, 0.85), (w - 0.15, 0.85)], 0.055)
    arms: list[Shape] = [
        Rect(0, 0, 0.3, 1, 0.09),
        Rect(0, 0.7, w, 1, 0.09),
        Polygon(((0.28, 0.42), (0.6, 0.72), (0.28, 0.72))),
    ]
    b.fill(arms, c, holes, bevel=0.022)


def generic(b: Brush, c: Colour) -> None:
    w = b.aspect
    b.fill(Rect(0, 0.06, w, 0.94, 0.14), c, bevel=0.032)
    b.fill(Rect(0.1, 0.17, w * 0.6, 0.83, 0.08), darker(c, 0.14), shade="dish", bevel=0.018)
    b.fill(Ellipse(w * 0.8, 0.34, 0.1, 0.1), lighter(c, 0.12), bevel=0.022)
    b.fill(Rect(w * 0.8 - 0.1, 0.58, w * 0.8 + 0.1, 0.64, 0.03), darker(c, 0.5), bevel=0.0)
    b.fill(Rect(w * 0.8 - 0.1, 0.7, w * 0.8 + 0.1, 0.76, 0.03), darker(c, 0.5), bevel=0.0)


DRAW: dict[str, Callable[[Brush, Colour], None]] = {
    function.__name__: function
    for function in (
        screw, gear, pcb, chip, cable, housing, battery, lens, spring, plate, screen, motor, ring, seal, rod,
        brick, grille, fan, wheel, knob, plug, bracket, generic,
    )
}  # fmt: skip
