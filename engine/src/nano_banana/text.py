# SPDX-License-Identifier: GPL-3.0-or-later
"""Text in the picture: Pillow's own font where it scales, else whatever Pillow has; fitting into a box."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from nano_banana.vocabulary import Colour

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_ELLIPSIS = "..."
_ENLARGED = 3


@lru_cache(maxsize=32)
def font(size: int) -> Font:
    """A font of about `size` pixels: the scalable one of Pillow 10.1 and later, a system one, the fixed bitmap."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError):
        # Older Pillow takes no size; one built without FreeType has no scalable font at all.
        pass
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except (OSError, ImportError):
        return ImageFont.load_default()


def width(text: str, size: int) -> float:
    """Pixels that `text` takes on one line at font size `size`."""
    face, scale = _fine(size)
    return float(face.getbbox(_drawable(text, face))[2]) / scale


def wrap(text: str, size: int, room: float, max_lines: int) -> list[str]:
    """Break `text` at spaces into lines no wider than `room` pixels; what does not fit ends in dots."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < max_lines:
        line = words.pop(0)
        while words and width(f"{line} {words[0]}", size) <= room:
            line += " " + words.pop(0)
        lines.append(line)
    if words:
        lines[-1] += " " + " ".join(words)
    return [_cut(line, size, room) for line in lines]


def write(
    image: Image.Image,
    lines: Sequence[str],
    box: tuple[float, float, float, float],
    size: int,
    colour: Colour,
    align: str,
    line_height: float,
) -> None:
    """Write lines into `box`, from its top; nothing leaves the box. align: left, middle or right."""
    x0, y0, x1, y1 = box
    left, top = round(x0), round(y0)
    room = max(round(x1) - left, 1), max(round(y1) - top, 1)
    mask = _mask(lines, room, size, align, line_height)
    image.paste(Image.new("RGB", room, colour), (left, top), mask)


def sideways(text: str, size: int, colour: Colour) -> Image.Image:
    """The text as a transparent tile that reads upwards."""
    mask = _mask([text], (max(1, round(width(text, size)) + 2), round(size * 1.3)), size, "left", size)
    tile = Image.new("RGBA", mask.size, (*colour, 0))
    tile.putalpha(mask)
    return tile.rotate(90, expand=True)


def _mask(lines: Sequence[str], room: tuple[int, int], size: int, align: str, line_height: float) -> Image.Image:
    face, scale = _fine(size)
    mask = Image.new("L", (room[0] * scale, room[1] * scale))
    draw = ImageDraw.Draw(mask)
    for index, line in enumerate(lines):
        spare = room[0] - width(line, size)
        x = {"left": 0.0, "middle": spare / 2, "right": spare}[align]
        draw.text((x * scale, index * line_height * scale), _drawable(line, face), font=face, fill=255)
    return mask.resize(room, Image.Resampling.BOX) if scale > 1 else mask


def _fine(size: int) -> tuple[Font, int]:
    """The font enlarged, and how much: reduced afterwards, small letters keep their true distances."""
    if isinstance(font(size), ImageFont.FreeTypeFont):
        return font(size * _ENLARGED), _ENLARGED
    return font(size), 1


def _cut(line: str, size: int, room: float) -> str:
    if width(line, size) <= room:
        return line
    while line and width(line + _ELLIPSIS, size) > room:
        line = line[:-1]
    return line.rstrip() + _ELLIPSIS if line else ""


def _drawable(text: str, face: Font) -> str:
    # The bitmap font of old Pillows knows Latin-1 alone and raises on anything else.
    if isinstance(face, ImageFont.FreeTypeFont):
        return text
    return text.encode("latin-1", "replace").decode("latin-1")
