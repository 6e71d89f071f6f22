# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures of a finished picture, with numpy and scipy (the extra `quality`).

They say what can be counted: a picture that passes is not black, blank, blurred or dirty, and its parts stand apart.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from nano_banana.finish import paper_of
from nano_banana.quality import parts as _parts
from nano_banana.quality.colour import (
    Colour,
    Dominant,
    colour_distance,
    dominant,
    is_black,
    is_blank,
    pixels,
)
from nano_banana.quality.labels import contrast, label_contrast
from nano_banana.quality.sharp import blur, sharpness_gain, ssim

__all__ = [
    "Measures",
    "colour_distance",
    "contrast",
    "measure",
    "sharpness_gain",
    "ssim",
]


@dataclass(frozen=True)
class Measures:
    """What `measure` finds. Colours are RGB of 255; shares go from 0 to 1.

    `deviation`: of the dominant tone's pixels from it. `blur`: variance of the Laplacian, low is blurred. `background`:
    the borders' tone, None where they have none; then `purity` and `parts` are 0. `parts`: connected areas; `bodies`:
    the same with those that run into each other told apart; `overlapping`: the share of these. `overlap_area`: what
    their inscribed discs have in common. `label_contrast`: WCAG ratio, None where no letters are.
    """

    width: int
    height: int
    dominant: Colour
    dominant_share: float
    deviation: float
    black: bool
    blank: bool
    blur: float
    background: Colour | None
    purity: float
    parts: int
    bodies: int
    overlapping: float
    overlap_area: float
    label_contrast: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; colours as lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def measure(image: Image.Image) -> Measures:
    """All measures of a picture; 1024 x 1024 takes about a second and 100 MB."""
    image = image.convert("RGB")
    rgb = pixels(image)
    tone: Dominant = dominant(rgb)
    paper = paper_of(image)
    found = _parts.find(image, paper)
    return Measures(
        width=image.width,
        height=image.height,
        dominant=tone.colour,
        dominant_share=tone.share,
        deviation=tone.deviation,
        black=is_black(rgb),
        blank=is_blank(rgb),
        blur=blur(rgb),
        background=paper,
        purity=found.purity,
        parts=len(found.areas),
        bodies=found.bodies,
        overlapping=found.overlapping,
        overlap_area=found.overlap_area,
        label_contrast=label_contrast(image, paper),
    )
