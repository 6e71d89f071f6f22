# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours of a whole picture: the dominant one, how far it is from another, black and blank pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nano_banana.pictures import BLANK_BELOW

Colour = tuple[int, int, int]
Pixels = NDArray[np.float64]

# Tones this near to the dominant one in each channel (of 255) belong to it: paper with its shading and noise.
WINDOW = 20
# 16 is black in video; what shows no brighter pixel than that among 99 of 100 shows nothing.
BLACK_BELOW = 16.0
_BIN = 3
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the weights of Pillow's mode L


@dataclass(frozen=True)
class Dominant:
    """The commonest tone (mean of its pixels), its share of the picture, and their RMS deviation from it, of 255."""

    colour: Colour
    share: float
    deviation: float


def pixels(image: Image.Image) -> Pixels:
    """An array of height x width x 3, 0 to 255."""
    return np.asarray(image.convert("RGB"), dtype=np.float64)


def luma(rgb: Pixels) -> Pixels:
    """Brightness, height x width, 0 to 255."""
    result: Pixels = rgb @ _LUMA
    return result


def dominant(rgb: Pixels) -> Dominant:
    """The tone around the commonest colour of the commonest 32nd-per-channel bin of height x width x 3."""
    flat = rgb.reshape(-1, 3).astype(np.int64)
    colours, counts = np.unique(flat @ np.array([65536, 256, 1]), return_counts=True)
    parts = np.stack([colours >> 16, (colours >> 8) & 255, colours & 255], axis=1)
    bins = (parts >> _BIN) @ np.array([1024, 32, 1])
    weights = np.bincount(bins, weights=counts)
    members = np.flatnonzero(bins == int(weights.argmax()))
    centre = parts[members[counts[members].argmax()]]
    near = (np.abs(parts - centre) <= WINDOW).all(axis=1)
    total = float(counts[near].sum())
    mean = (parts[near] * counts[near, None]).sum(axis=0) / total
    squares = (((parts[near] - mean) ** 2).sum(axis=1) * counts[near]).sum() / total
    red, green, blue = (round(float(value)) for value in mean)
    return Dominant((red, green, blue), total / len(flat), float(np.sqrt(squares)))


def colour_distance(one: Colour, other: Colour) -> float:
    """Distance in RGB: 0 for the same, 441.7 from black to white. A shift of channels shows as a large one."""
    return float(np.sqrt(sum((p - q) ** 2 for p, q in zip(one, other, strict=True))))


def is_black(rgb: Pixels) -> bool:
    """Whether 99 of 100 pixels are darker than BLACK_BELOW: what a broken VAE in fp16 gives."""
    return float(np.percentile(luma(rgb), 99)) < BLACK_BELOW


def is_blank(rgb: Pixels) -> bool:
    """Whether the brightness deviates by less than BLANK_BELOW: one even area of whatever colour."""
    return float(luma(rgb).std()) < BLANK_BELOW


def distance_to(rgb: Pixels, colour: Colour) -> Pixels:
    """The largest difference of a channel to `colour`, height x width."""
    result: Pixels = np.abs(rgb - np.array(colour, dtype=np.float64)).max(axis=2)
    return result
