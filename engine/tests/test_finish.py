# SPDX-License-Identifier: GPL-3.0-or-later
"""The style step cleans the paper and nothing else; sharpening sharpens; nothing asked, nothing done."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageStat

from nano_banana.finish import CONTRAST, NEAR, finish, paper_of

PAPER = (246, 245, 242)
PART = (90, 100, 110)


def speckled(image: Image.Image, spread: int) -> Image.Image:
    rng = random.Random(1)
    size = image.width * image.height
    noise = Image.frombytes("L", image.size, bytes(128 + rng.randint(-spread, spread) for _ in range(size)))
    return ImageChops.add(image, Image.merge("RGB", [noise] * 3), 1, -128)


def drawing(paper: tuple[int, int, int] = PAPER) -> Image.Image:
    image = Image.new("RGB", (200, 160), paper)
    ImageDraw.Draw(image).rectangle((60, 50, 139, 109), fill=PART)
    return image


def noise_on_paper(image: Image.Image) -> float:
    return sum(ImageStat.Stat(image.crop((0, 0, 200, 40))).stddev)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_nothing_asked_nothing_done(mode: str) -> None:
    image = speckled(drawing(), 9).convert(mode)
    finished = finish(image, style=False, sharpen=1.0)
    assert (finished.mode, finished.tobytes()) == (mode, image.tobytes())


@pytest.mark.parametrize(("style", "sharpen"), [(True, 1.0), (False, 2.0), (True, 2.0), (False, 0.0)])
def test_same_picture_same_pixels_and_the_original_is_kept(style: bool, sharpen: float) -> None:
    image = speckled(drawing(), 6)
    before = image.tobytes()
    first, second = (finish(image, style=style, sharpen=sharpen) for _ in range(2))
    assert first.tobytes() == second.tobytes() != before
    assert image.tobytes() == before
    assert (first.size, first.mode) == (image.size, "RGB")


def test_the_paper_becomes_one_colour_and_it_is_the_papers_own() -> None:
    image = speckled(drawing(), 6)
    assert noise_on_paper(image) > 5
    finished = finish(image, style=True, sharpen=1.0)
    assert noise_on_paper(finished) == 0
    assert finished.getpixel((5, 5)) == pytest.approx(PAPER, abs=1)


def test_part_edges_stay_where_they_are() -> None:
    finished = finish(speckled(drawing(), 6), style=True, sharpen=1.0)
    dark = finished.convert("L").point([255 if value < 170 else 0 for value in range(256)])
    assert dark.getbbox() == (60, 50, 140, 110)


def test_a_light_part_behind_a_thin_outline_keeps_its_shade() -> None:
    image = Image.new("RGB", (256, 256), "white")
    draw = ImageDraw.Draw(image)
    shade = tuple(255 - NEAR // 2 for _ in range(3))
    draw.rectangle((60, 60, 195, 195), fill=shade, outline=PART)
    draw.rectangle((10, 10, 40, 40), fill=shade)
    finished = finish(image, style=True, sharpen=1.0)
    inside, loose = finished.getpixel((128, 128)), finished.getpixel((25, 25))
    assert inside == tuple(round(255 - NEAR // 2 * CONTRAST) for _ in range(3))
    assert loose == (255, 255, 255)


def test_a_line_of_one_pixel_survives() -> None:
    image = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(image).line((20, 100, 180, 100), fill=(120, 120, 120))
    finished = finish(image, style=True, sharpen=1.0)
    assert max(finished.crop((30, 100, 170, 101)).getextrema()[0]) <= 120
    assert min(finished.crop((30, 102, 170, 104)).getextrema()[0]) == 255


def test_parts_stand_out_more() -> None:
    (red, *_), (paper, *_) = (finish(drawing(), style=True, sharpen=1.0).getpixel(at) for at in ((100, 80), (5, 5)))
    assert paper - red > PAPER[0] - PART[0]


def test_a_picture_without_a_paper_is_not_cleaned() -> None:
    rng = random.Random(2)
    image = Image.frombytes("RGB", (128, 128), rng.randbytes(128 * 128 * 3))
    assert paper_of(image) is None
    colours = finish(image, style=True, sharpen=1.0).getcolors(128 * 128)
    assert colours is not None
    assert len(colours) > 128 * 128 * 0.5


@pytest.mark.parametrize("paper", [(255, 255, 255), (0, 0, 0), (28, 66, 118), PAPER])
def test_the_paper_is_found_at_the_borders(paper: tuple[int, int, int]) -> None:
    assert paper_of(drawing(paper)) == paper


@pytest.mark.parametrize("size", [(64, 64), (65, 1000), (1, 1), (3, 7), (257, 511)])
def test_any_size(size: tuple[int, int]) -> None:
    assert finish(Image.new("RGB", size, PAPER), style=True, sharpen=2.0).size == size


def test_sharpening_steepens_a_soft_edge() -> None:
    soft = (
        Image.linear_gradient("L").point([0 if v < 120 else 255 if v > 135 else 127 for v in range(256)]).convert("RGB")
    )
    steps = [len(finish(soft, style=False, sharpen=s).getcolors(256) or []) for s in (1.0, 2.0)]
    assert steps[1] > steps[0]
    image = drawing()
    assert finish(image, style=False, sharpen=2.0).getpixel((60, 80)) < PART
    assert finish(image, style=False, sharpen=0.0).getpixel((60, 80)) > PART
