# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts on their paper: how many stand apart, which run into each other, how clean the paper between them is.

A part is a connected area that differs from the paper. Where two parts overlap they are one area with a neck. The discs
inscribed on both sides of a neck are bodies of their own when they intersect; where they do not, as with the head of a
screw and its shaft, it is one part. So compact parts are told apart, crossed rods are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from nano_banana.quality.colour import Colour, distance_to, pixels

Mask = NDArray[np.bool_]

# Further from the paper than this (largest channel, of 255) is no paper: above soft shadows, below light grey parts.
PART_DISTANCE = 28.0
# As near as this is pure: JPEG at quality 90 stays below it on an even area.
PURE_DISTANCE = 8.0
# Smaller areas are letters and specks: 0.05 % is a square of 23 pixels in 1024 x 1024.
LEAST_SHARE = 0.0005
# Pixels around a part that are neither: its anti-aliased edge and its contact shadow, at 512 pixels.
RIM = 3
# Parts are looked for at this size: leader lines are one or two pixels wide then and vanish by an opening.
WORKING_SIDE = 512
# Two bodies are told apart when the neck between them is less than this share of the narrower one. Equal discs are
# found when their centres are more than 1.05 radii apart; a lower share misses more, a higher one splits single parts.
NECK = 0.85
LEAST_RADIUS = 8.0  # of a second body, at 512 pixels: less is a bump of its part, as the head of a screw
# Discs have to share this much of the smaller one: those that only touch belong to one part with a waist.
LEAST_LENS = 0.02
_LEVELS = 128


@dataclass(frozen=True)
class Body:
    """The largest disc on one side of a neck: centre and radius in pixels of the working picture."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Parts:
    """What stands on the paper.

    `areas` are connected areas, each with its bodies. `purity` is the share of paper-coloured pixels outside of them.
    """

    areas: tuple[tuple[Body, ...], ...]
    purity: float

    @property
    def bodies(self) -> int:
        """Parts with those that run into each other told apart."""
        return sum(len(bodies) for bodies in self.areas)

    @property
    def overlapping(self) -> float:
        """The share of bodies that run into another, 0 to 1."""
        return sum(len(b) for b in self.areas if len(b) > 1) / self.bodies if self.areas else 0.0

    @property
    def overlap_area(self) -> float:
        """The area that discs of one area have in common, as a share of all discs."""
        discs = sum(math.pi * body.radius**2 for bodies in self.areas for body in bodies)
        common = sum(
            lens_area(one, other) for bodies in self.areas for i, one in enumerate(bodies) for other in bodies[:i]
        )
        return common / discs if discs else 0.0


def find(image: Image.Image, paper: Colour | None) -> Parts:
    """The parts of an RGB picture on `paper`; without a paper there are none, and nothing is pure."""
    if paper is None:
        return Parts((), 0.0)
    work = image.convert("RGB")
    work.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    distance = distance_to(pixels(work), paper)
    mask = part_mask(distance > PART_DISTANCE)
    outside = ~ndimage.binary_dilation(mask, iterations=RIM)
    pure = float((distance[outside] <= PURE_DISTANCE).mean()) if outside.any() else 0.0
    return Parts(_bodies(mask), pure)


def part_mask(differs: Mask) -> Mask:
    """Outlines filled, lines of one or two pixels and small areas taken away."""
    filled = ndimage.binary_opening(ndimage.binary_fill_holes(differs), structure=np.ones((3, 3)))
    areas, _ = ndimage.label(filled)
    sizes = np.bincount(areas.ravel())
    keep = sizes >= LEAST_SHARE * differs.size
    keep[0] = False
    result: Mask = keep[areas]
    return result


def lens_area(one: Body, other: Body) -> float:
    """The area two discs have in common, in pixels."""
    apart = math.hypot(one.x - other.x, one.y - other.y)
    large, small = max(one.radius, other.radius), min(one.radius, other.radius)
    if apart >= large + small:
        return 0.0
    if apart <= large - small:
        return math.pi * small**2
    first = (apart**2 + large**2 - small**2) / (2 * apart)
    second = apart - first
    return _segment(large, first) + _segment(small, second)


def _segment(radius: float, to_chord: float) -> float:
    angle = math.acos(max(-1.0, min(1.0, to_chord / radius)))
    return radius**2 * angle - to_chord * math.sqrt(max(0.0, radius**2 - to_chord**2))


@dataclass
class _Cluster:
    """Bodies that hang together at a level: the widest, whose neck is not known yet, and those that are settled."""

    top: Body
    settled: list[Body] = field(default_factory=list)


def _bodies(mask: Mask) -> tuple[tuple[Body, ...], ...]:
    """Lower a level from the widest place to the edge; where two clusters meet, that level is their neck."""
    # A frame of paper: a part that the picture cuts off ends there.
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    widest = float(depth.max(initial=0.0))
    step = max(0.5, widest / _LEVELS)
    clusters: list[_Cluster] = []
    for level in [*np.arange(widest - step, 0.0, -step), 0.0]:
        areas, count = ndimage.label(depth > level)
        clusters = _lowered(clusters, depth, areas, count, float(level))
    return tuple(_apart([cluster.top, *cluster.settled]) for cluster in clusters)


def _apart(bodies: list[Body]) -> tuple[Body, ...]:
    """Those of one area that intersect another of it; the widest where none does."""

    def intersects(one: Body, other: Body) -> bool:
        return lens_area(one, other) >= LEAST_LENS * math.pi * min(one.radius, other.radius) ** 2

    kept = tuple(one for one in bodies if any(intersects(one, other) for other in bodies if other is not one))
    return kept or (bodies[0],)


def _lowered(
    clusters: list[_Cluster], depth: NDArray[np.float64], areas: NDArray[np.int32], count: int, level: float
) -> list[_Cluster]:
    by_area: dict[int, list[_Cluster]] = {}
    for cluster in clusters:
        by_area.setdefault(int(areas[int(cluster.top.y), int(cluster.top.x)]), []).append(cluster)
    fresh = [area for area in range(1, count + 1) if area not in by_area]
    for area, (y, x) in zip(fresh, ndimage.maximum_position(depth, areas, fresh) if fresh else [], strict=True):
        by_area[area] = [_Cluster(Body(float(x), float(y), float(depth[y, x])))]
    return [_merged(together, level) for together in by_area.values()]


def _merged(together: list[_Cluster], neck: float) -> _Cluster:
    first, *others = sorted(together, key=lambda cluster: -cluster.top.radius)
    for other in others:
        first.settled += other.settled
        if other.top.radius >= LEAST_RADIUS and neck < NECK * other.top.radius:
            first.settled.append(other.top)
    return first
