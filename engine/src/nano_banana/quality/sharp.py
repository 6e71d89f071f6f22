# SPDX-License-Identifier: GPL-3.0-or-later
"""Sharpness of a picture by itself, and its likeness to another."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from nano_banana.errors import BadInputError
from nano_banana.quality.colour import Pixels, luma, pixels

# Wang, Bovik, Sheikh, Simoncelli: Image quality assessment, 2004: a Gaussian window of 11 pixels, and its constants.
_SIGMA = 1.5
_TRUNCATE = 3.34  # gives a radius of 5 pixels
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def blur(rgb: Pixels) -> float:
    """Variance of the Laplacian of the brightness: the lower, the more blurred; 0 is an even area."""
    return float(ndimage.laplace(luma(rgb), mode="nearest").var())


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Structural similarity of two pictures of one size, -1 to 1 (the same). Raises BadInputError."""
    if one.size != other.size:
        raise BadInputError(
            "ssim", expected="two pictures of one size", found=f"{one.size} and {other.size}", fix="Resize one of them."
        )
    x, y = luma(pixels(one)), luma(pixels(other))
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    both = _window(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) * (2 * both + _C2)
    likeness /= (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    return float(np.mean(likeness))


def sharpness_gain(reference: Image.Image, candidate: Image.Image, small: Image.Image) -> float:
    """How much nearer an enlargement of `small` comes to `reference` than a bicubic one: 0.22 is 22 % more SSIM.

    All but `small` have one size. Raises BadInputError where they have not.
    """
    plain = small.convert("RGB").resize(reference.size, Image.Resampling.BICUBIC)
    return ssim(reference, candidate) / ssim(reference, plain) - 1


def _window(values: Pixels) -> Pixels:
    result: Pixels = ndimage.gaussian_filter(values, _SIGMA, truncate=_TRUNCATE)
    return result
