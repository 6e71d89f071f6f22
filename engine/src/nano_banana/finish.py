# SPDX-License-Identifier: GPL-3.0-or-later
"""The last touch after the VAE: a clean background, contrast, edges, and sharper text. Pillow alone, no randomness."""

from __future__ import annotations

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Colour = tuple[int, int, int]

# A pixel this near to the paper in each channel (of 255) is noise on it. Above it begins what a soft shadow is made of.
NEAR = 20
# Up to half of NEAR a pixel becomes paper altogether; from there on less and less, so that no contour appears.
SURE = NEAR // 2
# From this share of the border in one tone on there is a paper; a photograph of a room has none.
PAPER_SHARE = 0.5
CONTRAST = 1.08  # distances from the paper grow by this
EDGE_RADIUS, EDGE_PERCENT, EDGE_THRESHOLD = 1.5, 60, 3  # UnsharpMask: fine lines, no visible halo, no noise
_CELLS = 256  # the longer side of the coarse map in which the paper's extent is found
_BIN = 3  # bits left out when tones of the border are counted


def finish(image: Image.Image, *, style: bool, sharpen: float) -> Image.Image:
    """The picture with the style step (on wish) and its text sharpened (1 = as it is, 0 = blurred, 2 = twice as sharp).

    Same size; RGB unless nothing is asked for. style False with sharpen 1 returns the pixels as they are.
    """
    if style:
        image = _styled(image.convert("RGB"))
    if sharpen != 1.0:
        image = ImageEnhance.Sharpness(image.convert("RGB")).enhance(sharpen)
    return image


def paper_of(image: Image.Image) -> Colour | None:
    """The colour of the background as the borders of an RGB image show it, None where they are of no one tone."""
    width, height = image.size
    edge = max(1, min(width, height) // 256)
    strips = (
        (0, 0, width, edge),
        (0, height - edge, width, height),
        (0, edge, edge, height - edge),
        (width - edge, edge, width, height - edge),
    )
    counts: dict[Colour, int] = {}
    for box in strips:
        if box[0] >= box[2] or box[1] >= box[3]:
            continue
        strip = image.crop(box)
        for count, colour in strip.getcolors(maxcolors=max(1, strip.width * strip.height)) or []:
            if isinstance(colour, tuple):
                red, green, blue = colour
                counts[red, green, blue] = counts.get((red, green, blue), 0) + count
    bins: dict[Colour, int] = {}
    for (red, green, blue), count in counts.items():
        key = red >> _BIN, green >> _BIN, blue >> _BIN
        bins[key] = bins.get(key, 0) + count
    # The largest bin may hold a part of the tone alone; a window of NEAR around its commonest colour holds all of it.
    largest = max(bins, key=lambda key: (bins[key], key))
    members = [(count, colour) for colour, count in counts.items() if tuple(v >> _BIN for v in colour) == largest]
    centre = max(members)[1]
    near = [(c, n) for c, n in counts.items() if max(abs(p - q) for p, q in zip(c, centre, strict=True)) <= NEAR]
    total = sum(count for _, count in near)
    if total < PAPER_SHARE * sum(counts.values()):
        return None
    red, green, blue = (round(sum(colour[i] * count for colour, count in near) / total) for i in range(3))
    return red, green, blue


def _styled(image: Image.Image) -> Image.Image:
    paper = paper_of(image)
    if paper is None:
        image = ImageEnhance.Contrast(image).enhance(CONTRAST)
    else:
        image = _cleaned(image, paper)
        image = image.point([_spread(value, origin) for origin in paper for value in range(256)])
    return image.filter(ImageFilter.UnsharpMask(EDGE_RADIUS, EDGE_PERCENT, EDGE_THRESHOLD))


def _spread(value: int, origin: int) -> int:
    """Contrast around the paper's own tone: it stays what it was found to be."""
    return min(255, max(0, round(origin + (value - origin) * CONTRAST)))


def _cleaned(image: Image.Image, paper: Colour) -> Image.Image:
    """Near-paper pixels that hang together with the border become paper; a part's light inside and its edges stay."""
    solid = Image.new("RGB", image.size, paper)
    red, green, blue = ImageChops.difference(image, solid).split()
    distance = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    weight = distance.point([_weight(value) for value in range(256)])
    # The least of the neighbourhood: beside an edge nothing changes, so edges keep their anti-aliased pixels.
    weight = weight.filter(ImageFilter.MinFilter(3))
    return Image.composite(solid, image, ImageChops.darker(weight, _outside(distance)))


def _weight(distance: int) -> int:
    if distance <= SURE:
        return 255
    return max(0, round(255 * (NEAR - distance) / (NEAR - SURE)))


def _outside(distance: Image.Image) -> Image.Image:
    """255 where paper is reached from the border, in cells of some pixels: a line of one pixel is a wall."""
    cell = max(2, -(-max(distance.size) // _CELLS))
    columns, rows = -(-distance.width // cell), -(-distance.height // cell)
    # Whatever the cell holds that is no paper counts; beyond the picture there is paper.
    padded = Image.new("L", (columns * cell, rows * cell), 0)
    padded.paste(distance, (0, 0))
    blocked = padded.point([255 if value > NEAR else 0 for value in range(256)])
    worst = blocked.reduce(cell).point([0 if value == 0 else 128 for value in range(256)])
    framed = ImageOps.expand(worst, border=1, fill=0)
    ImageDraw.floodfill(framed, (0, 0), 255)
    reached = framed.point([255 if value == 255 else 0 for value in range(256)])
    # One cell more: the rim between the reached cells and the parts is paper too, as far as it is near in tone.
    reached = reached.filter(ImageFilter.MaxFilter(3)).crop((1, 1, columns + 1, rows + 1))
    return reached.resize(padded.size, Image.Resampling.NEAREST).crop((0, 0, *distance.size))
