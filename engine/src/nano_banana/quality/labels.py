# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether labels can be read: the contrast of letters against the paper, by WCAG 2.1's formula."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from nano_banana.quality.colour import Colour, distance_to, pixels
from nano_banana.quality.parts import LEAST_SHARE, PART_DISTANCE

# WCAG 2.1, success criterion 1.4.3: the least contrast of text.
READABLE = 4.5
# A letter is from 6 pixels to 5 % of the shorter side high and at most four times as wide; fewer than three are specks.
LEAST_HEIGHT = 6
MOST_HEIGHT_SHARE = 0.05
MOST_ASPECT = 4.0
LEAST_LETTERS = 3


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, 0 to 1 (WCAG 2.1)."""
    shares = [value / 255 for value in colour]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    """Contrast of two colours, 1 (the same) to 21 (black on white) (WCAG 2.1)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def label_contrast(image: Image.Image, paper: Colour | None) -> float | None:
    """The median contrast of letter-sized areas on the paper, each by its strongest pixel; None where there are none.

    Letters on parts are not looked at: nothing tells them from a part's pattern.
    """
    if paper is None:
        return None
    rgb = pixels(image)
    distance = distance_to(rgb, paper)
    areas, _ = ndimage.label(distance > PART_DISTANCE, structure=np.ones((3, 3)))
    most = MOST_HEIGHT_SHARE * min(image.size)
    letters = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(areas), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if LEAST_HEIGHT <= height <= most and width <= MOST_ASPECT * height:
            letters.append(number)
    if letters:
        sizes = np.bincount(areas.ravel())
        letters = [number for number in letters if sizes[number] < LEAST_SHARE * areas.size]
    if len(letters) < LEAST_LETTERS:
        return None
    strongest = ndimage.maximum_position(distance, areas, letters)
    colours = [tuple(int(value) for value in rgb[y, x]) for y, x in strongest]
    return float(np.median([contrast((red, green, blue), paper) for red, green, blue in colours]))
