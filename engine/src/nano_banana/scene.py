# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a plan and its layout together into one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFilter

from nano_banana import text
from nano_banana.brush import Brush, Lines, mix
from nano_banana.geometry import Box
from nano_banana.layout import LINE, SHEET_MM, Item, Sheet, Slot
from nano_banana.layout import plan as plan_layout
from nano_banana.parts import DRAW
from nano_banana.phrases import EXPLODED, SCHEMATIC
from nano_banana.prompt import Part, Plan
from nano_banana.vocabulary import ACCENTS, BACKGROUNDS, KINDS, MATERIALS, ROUND, SHELLS, VIVID, Colour, Kind

# Never let go of this line: it keeps the preview from being taken for the model's work.
CAPTIONS = ("preview layout, not a diffusion image", "preview, not diffusion", "preview")
# A flat part in an exploded view: turned by 45 degrees and seen from above at about 35 degrees.
_TILT = 0.577
_HALF_TURN = math.sqrt(0.5)


@dataclass(frozen=True)
class _Look:
    """The picture's colours and how its parts are drawn."""

    paper: Colour
    ink: Colour
    faint: Colour
    accent: str
    shell: str
    lines: bool
    tilted: bool
    oversample: int


def render(plan: Plan, size: tuple[int, int], seed: int) -> Image.Image:
    """The RGB picture of a plan; the same arguments give the same pixels on the same Pillow."""
    rng = Random(f"{plan.product}|{seed}")  # noqa: S311 - decoration, and repeatable on purpose
    look = _look(plan, size, rng)
    labels = [part.label for part in plan.parts]
    items = [_item(part, look) for part in plan.parts]
    sheet = plan_layout(
        plan.style,
        plan.arrangement,
        items,
        size,
        spacing_mm=plan.spacing_mm,
        labels=plan.labels,
        flip=(rng.random() < 0.5, rng.random() < 0.5),
    )
    picture = Image.new("RGB", size, look.paper)
    _axes(picture, sheet, look)
    art = Image.new("RGBA", size)
    for part, slot in zip(plan.parts, sheet.slots, strict=False):
        _place_part(art, part, slot, look, f"{plan.product}|{seed}|{part.name}")
    if not look.lines:
        _shadows(picture, art, look)
    picture.paste(art, (0, 0), art)
    for label, slot in zip(labels, sheet.slots, strict=False):
        _annotate(picture, label, slot, sheet.font, look)
    _footer(picture, plan, sheet, look)
    return picture


def _look(plan: Plan, size: tuple[int, int], rng: Random) -> _Look:
    paper = BACKGROUNDS[plan.background]
    bright = sum(paper) > 3 * 128
    ink = (44, 48, 56) if bright else (232, 235, 240)
    shells = [s for s in SHELLS if s != "white" or sum(paper) < 3 * 250]
    return _Look(
        paper=paper,
        ink=ink,
        faint=mix(ink, paper, 0.45),
        accent=rng.choice(ACCENTS),
        shell=rng.choice(shells),
        lines=plan.style == SCHEMATIC,
        tilted=plan.style == EXPLODED,
        oversample=3 if max(size) <= 1400 else 2,
    )


def _item(part: Part, look: _Look) -> Item:
    kind = KINDS[part.kind]
    aspect = kind.aspect
    if look.tilted and not kind.upright:
        across = _width_when_tilted(kind)
        aspect = across / (across * _TILT + kind.depth * kind.aspect)
    em = text.width(part.label, 40) / 40
    count = 1 if look.lines else part.drawn
    return Item(aspect, count, kind.weight, kind.upright and not look.tilted, em)


def _width_when_tilted(kind: Kind) -> float:
    """Width in heights of the flat part once it is turned by 45 degrees."""
    return 1.0 if kind.name in ROUND else (kind.aspect + 1) * _HALF_TURN


def _colours(part: Part, look: _Look, rng: Random, count: int) -> list[Colour]:
    """One colour per unit: bricks and anything 'colorful' differ, the rest match."""
    material = part.material or KINDS[part.kind].material
    if material == "vivid" or (part.kind == "brick" and part.material is None):
        start = rng.randrange(len(VIVID))
        return [MATERIALS[VIVID[(start + i) % len(VIVID)]] for i in range(count)]
    name = {"accent": look.accent, "shell": look.shell}.get(material, material)
    # A hair's breadth of difference between parts of one material, as under a real lamp.
    shift = rng.uniform(-0.04, 0.04)
    base = mix(MATERIALS[name], (255, 255, 255) if shift > 0 else (0, 0, 0), abs(shift))
    return [base] * count


def _place_part(art: Image.Image, part: Part, slot: Slot, look: _Look, key: str) -> None:
    rng = Random(key)  # noqa: S311 - decoration, and repeatable on purpose
    colours = _colours(part, look, rng, len(slot.units))
    details = rng.random()
    drawn: dict[Colour, Image.Image] = {}
    for unit, colour in zip(slot.units, colours, strict=False):
        size = max(1, int(unit.width)), max(1, int(unit.height))
        if colour not in drawn:
            drawn[colour] = _tile(part.kind, size, colour, look, slot.turned, Random(details))  # noqa: S311
        art.alpha_composite(drawn[colour], (math.ceil(unit.x0 - 1e-6), math.ceil(unit.y0 - 1e-6)))


def _tile(kind_name: str, size: tuple[int, int], colour: Colour, look: _Look, turned: bool, rng: Random) -> Image.Image:
    """One part of exactly `size` pixels, drawn larger and reduced for clean edges."""
    kind = KINDS[kind_name]
    big = size[0] * look.oversample, size[1] * look.oversample
    lines: Lines = (look.paper, look.ink, look.oversample * 1.6)
    tilted = look.tilted and not kind.upright
    if tilted:
        # The flat part's height such that, turned and tilted, it is as wide as the tile.
        height = max(2, round(big[0] / _width_when_tilted(kind)))
        width = max(2, round(height * kind.aspect))
    else:
        width, height = big[::-1] if turned else big
    brush = Brush(max(2, width), max(2, height), rng, lines if look.lines else None)
    DRAW[kind.name](brush, colour)
    image = brush.image
    if tilted:
        image = _tilt(image, kind, big)
    elif turned:
        image = image.transpose(Image.Transpose.ROTATE_90)
    return image.resize(size, Image.Resampling.LANCZOS if not tilted else Image.Resampling.BOX)


def _tilt(flat: Image.Image, kind: Kind, size: tuple[int, int]) -> Image.Image:
    """The flat part lying in space, with its thickness below it."""
    thick = max(1, min(round(kind.depth * flat.width), size[1] // 2))
    turned = flat.rotate(45, Image.Resampling.BILINEAR, expand=kind.name not in ROUND)
    top = turned.resize((size[0], max(1, size[1] - thick)), Image.Resampling.BILINEAR)
    alpha = top.getchannel("A")
    side = Image.merge("RGBA", (*(c.point([int(v * 0.58) for v in range(256)]) for c in top.split()[:3]), alpha))
    lit = Image.merge("RGBA", (*(c.point([int(v * 0.8) for v in range(256)]) for c in top.split()[:3]), alpha))
    # The left flank faces the lamp, the right one is in shade.
    ramp = Image.linear_gradient("L").rotate(90).resize(top.size)
    side = Image.composite(side, lit, ramp)
    out = Image.new("RGBA", size)
    out.alpha_composite(side, (0, 1))
    # Each round doubles the number of layers, so a thick part costs hardly more than a thin one.
    layers = 1
    while layers < thick:
        step = min(layers, thick - layers)
        below = Image.new("RGBA", size)
        below.paste(out, (0, step))
        below.alpha_composite(out)
        out, layers = below, layers + step
    out.alpha_composite(top)
    return out


def _shadows(picture: Image.Image, art: Image.Image, look: _Look) -> None:
    """A tight shadow where parts touch the table and a wide soft one, both to the lower right."""
    alpha = art.getchannel("A")
    unit = min(picture.size) / 1024
    dark = mix(look.paper, (22, 26, 40), 0.85)
    for offset, blur, strength in ((14, 16, 0.26), (4, 4, 0.3)):
        shift = round(offset * unit)
        moved = Image.new("L", picture.size)
        moved.paste(alpha, (shift, round(shift * 1.25)))
        soft = moved.filter(ImageFilter.GaussianBlur(max(0.6, blur * unit)))
        soft = soft.point([int(v * strength) for v in range(256)])
        picture.paste(Image.new("RGB", picture.size, dark), (0, 0), soft)


def _axes(picture: Image.Image, sheet: Sheet, look: _Look) -> None:
    draw = ImageDraw.Draw(picture)
    unit = max(1.0, min(picture.size) / 512)
    for (x, y0), (_, y1) in sheet.axes:
        y, long = y0, True
        while y < y1:
            end = min(y + (9 if long else 2.5) * unit, y1)
            draw.line(((x, y), (x, end)), fill=look.faint, width=max(1, round(unit * 0.6)))
            y, long = end + 3 * unit, not long


def _annotate(picture: Image.Image, label: str, slot: Slot, font: int, look: _Look) -> None:
    if slot.dimension >= font * 1.4 and look.lines:
        _dimensions(picture, slot, font, look)
    if slot.label is None:
        return
    box = slot.label
    lines = text.wrap(label, font, box.width, max(1, int(box.height / (font * LINE) + 0.01)))
    free = box.height - len(lines) * font * LINE
    top = box.y0 + (free / 2 if slot.align != "middle" else 0)
    bounds = (box.x0, top, box.x1, box.y1)
    text.write(picture, lines, bounds, font, look.ink, slot.align, font * LINE)
    if slot.align != "middle":
        _leader(picture, slot, box, font, look)


def _leader(picture: Image.Image, slot: Slot, box: Box, font: int, look: _Look) -> None:
    """A thin line from the part's middle line to its label, with a dot at the part."""
    right = slot.align == "left"
    hull = slot.hull
    y = round(slot.cell.centre[1])
    start = hull.x1 + font * 0.25 if right else hull.x0 - font * 0.25
    end = box.x0 - font * 0.5 if right else box.x1 + font * 0.5
    draw = ImageDraw.Draw(picture)
    thin = max(1, round(font / 16))
    draw.line(((start, y), (end, y)), fill=look.faint, width=thin)
    r = max(1.5, font * 0.14)
    draw.ellipse((start - r, y - r, start + r, y + r), fill=look.ink)


def _dimensions(picture: Image.Image, slot: Slot, font: int, look: _Look) -> None:
    """Dimension lines below and to the right of the part, in millimetres on the sheet."""
    hull, draw = slot.hull, ImageDraw.Draw(picture)
    mm = SHEET_MM / max(picture.size)
    size = max(7, round(font * 0.8))
    away, tip = slot.dimension * 0.42, font * 0.35
    y, x = hull.y1 + away, hull.x1 + away
    for at in (hull.x0, hull.x1):
        draw.line(((at, hull.y1 + 2), (at, y + tip * 0.7)), fill=look.faint)
    for at in (hull.y0, hull.y1):
        draw.line(((hull.x1 + 2, at), (x + tip * 0.7, at)), fill=look.faint)
    draw.line(((hull.x0, y), (hull.x1, y)), fill=look.faint)
    draw.line(((x, hull.y0), (x, hull.y1)), fill=look.faint)
    for at, way in ((hull.x0, 1), (hull.x1, -1)):
        draw.polygon(((at, y), (at + way * tip, y - tip / 3), (at + way * tip, y + tip / 3)), fill=look.ink)
    for at, way in ((hull.y0, 1), (hull.y1, -1)):
        draw.polygon(((x, at), (x - tip / 3, at + way * tip), (x + tip / 3, at + way * tip)), fill=look.ink)
    below = f"{hull.width * mm:.0f} mm"
    half = text.width(below, size) / 2 + size * 0.3
    cx, cy = hull.centre
    if half * 2 < hull.width - 2 * tip:
        draw.rectangle((cx - half, y - size / 2, cx + half, y + size / 2), fill=look.paper)
        spot = (cx - half, y - size * 0.62, cx + half, y + size * 0.7)
        text.write(picture, [below], spot, size, look.ink, "middle", size)
    elif hull.x1 + half * 2 < slot.cell.x1:
        spot = (hull.x1 + size * 0.4, y - size * 0.62, hull.x1 + half * 2, y + size * 0.7)
        text.write(picture, [below], spot, size, look.ink, "left", size)
    aside = text.sideways(f"{hull.height * mm:.0f} mm", size, look.ink)
    if aside.height < hull.height - 2 * tip:
        top = round(cy - aside.height / 2)
        draw.rectangle((x - size / 2, top - 2, x + size / 2, top + aside.height), fill=look.paper)
        picture.paste(aside, (round(x - size * 0.62), top), aside)


def _footer(picture: Image.Image, plan: Plan, sheet: Sheet, look: _Look) -> None:
    small = max(8, round(sheet.caption.height / LINE * 0.84))
    box = sheet.caption
    words = next((c for c in CAPTIONS if text.width(c, small) <= box.width), CAPTIONS[-1])
    drop = box.height - small * LINE
    bounds = (box.x0, box.y0 + drop, box.x1, box.y1)
    text.write(picture, [words], bounds, small, look.faint, "right", small * LINE)
    if sheet.title:
        size = round(sheet.title.height / LINE)
        lines: Sequence[str] = text.wrap(f"{plan.product}, {plan.style}", size, sheet.title.width, 1)
        t = sheet.title
        text.write(picture, lines, (t.x0, t.y0, t.x1, t.y1), size, look.ink, "left", size * LINE)
