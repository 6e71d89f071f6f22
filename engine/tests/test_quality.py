# SPDX-License-Identifier: GPL-3.0-or-later
"""Each measure against pictures whose answer is known by construction."""

from __future__ import annotations

import json
import math

import pytest
from PIL import Image, ImageDraw, ImageFilter

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")

from nano_banana import backends, prompt, quality, text  # noqa: E402 - after the check for numpy
from nano_banana.errors import BadInputError  # noqa: E402
from nano_banana.finish import finish  # noqa: E402
from nano_banana.presets import PRESETS  # noqa: E402
from nano_banana.quality import colour, labels, parts, sharp  # noqa: E402

WHITE = (255, 255, 255)
DARK = (70, 80, 90)


def discs(*circles: tuple[float, float, float], size: int = 512, scale: int = 1) -> Image.Image:
    """Dark discs (centre x, y, radius) on white."""
    image = Image.new("RGB", (size * scale, size * scale), WHITE)
    draw = ImageDraw.Draw(image)
    for x, y, r in circles:
        draw.ellipse([scale * value for value in (x - r, y - r, x + r, y + r)], fill=DARK)
    return image


SEVEN = tuple((80 + 110 * (i % 4), 120 + 200 * (i // 4), 40) for i in range(7))


@pytest.mark.parametrize("scale", [1, 2])
def test_seven_discs_are_seven_parts(scale: int) -> None:
    found = parts.find(discs(*SEVEN, scale=scale), WHITE)
    assert (len(found.areas), found.bodies, found.overlapping, found.overlap_area) == (7, 7, 0.0, 0.0)
    assert found.purity == 1.0
    assert all(area[0].radius == pytest.approx(40, abs=1.5) for area in found.areas)


@pytest.mark.parametrize("apart", [60, 70, 78])
def test_two_overlapping_discs_have_the_overlap_of_the_formula(apart: float) -> None:
    found = parts.find(discs((150, 200, 50), (150 + apart, 230, 50), (400, 400, 50)), WHITE)
    assert (len(found.areas), found.bodies) == (2, 3)
    assert found.overlapping == pytest.approx(2 / 3)
    distance = math.hypot(apart, 30)
    lens = 2 * 50**2 * math.acos(distance / 100) - distance / 2 * math.sqrt(4 * 50**2 - distance**2)
    assert found.overlap_area == pytest.approx(lens / (3 * math.pi * 50**2), abs=0.02)


def test_a_small_disc_on_the_rim_of_a_large_one_is_seen() -> None:
    found = parts.find(discs((200, 200, 90), (310, 200, 30)), WHITE)
    assert (len(found.areas), found.bodies, found.overlapping) == (1, 2, 1.0)


def test_a_chain_of_three() -> None:
    found = parts.find(discs((100, 200, 50), (175, 200, 50), (250, 200, 50)), WHITE)
    assert (len(found.areas), found.bodies, found.overlapping) == (1, 3, 1.0)


def test_one_long_part_and_one_with_a_waist_are_one_body_each() -> None:
    image = Image.new("RGB", (512, 512), WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 40, 470, 90), fill=DARK)
    draw.rectangle((100, 200, 160, 260), fill=DARK)
    draw.rectangle((160, 222, 300, 238), fill=DARK)
    draw.rectangle((300, 200, 360, 260), fill=DARK)
    found = parts.find(image, WHITE)
    assert (len(found.areas), found.bodies, found.overlapping) == (2, 2, 0.0)


def test_outlines_count_as_filled_lines_and_letters_do_not() -> None:
    image = Image.new("RGB", (1024, 1024), WHITE)
    draw = ImageDraw.Draw(image)
    draw.ellipse((100, 100, 300, 300), outline=DARK, width=6)
    draw.rectangle((600, 600, 800, 800), fill=DARK)
    draw.line((200, 200, 700, 700), fill=DARK, width=2)
    draw.text((450, 100), "motor housing", fill=DARK, font=text.font(24))
    assert len(parts.find(image, WHITE).areas) == 2


def test_no_paper_no_parts() -> None:
    found = parts.find(discs(*SEVEN), None)
    assert (found.areas, found.bodies, found.overlapping, found.overlap_area, found.purity) == ((), 0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("apart", "large", "small", "area"),
    [
        (10.0, 4.0, 5.0, 0.0),
        (1.0, 9.0, 3.0, 9 * math.pi),
        (0.0, 2.0, 2.0, 4 * math.pi),
        (1.0, 1.0, 1.0, 2 * math.pi / 3 - math.sqrt(3) / 2),
    ],
)
def test_lens_area(apart: float, large: float, small: float, area: float) -> None:
    assert parts.lens_area(parts.Body(0, 0, large), parts.Body(0, apart, small)) == pytest.approx(area)
    assert parts.lens_area(parts.Body(0, 0, small), parts.Body(apart, 0, large)) == pytest.approx(area)


def test_purity_is_the_share_of_clean_paper() -> None:
    image = Image.new("RGB", (400, 400), WHITE)
    ImageDraw.Draw(image).rectangle((100, 0, 199, 399), fill=(238, 238, 238))
    assert parts.find(image, WHITE).purity == pytest.approx(0.75)
    for spot in range(10):
        image.putpixel((300 + 3 * spot, 50), (0, 0, 0))
    assert parts.find(image, WHITE).purity == pytest.approx(0.75 - 10 / 160000)


def test_dominant_colour_and_its_deviation() -> None:
    image = Image.new("RGB", (100, 100), (200, 100, 50))
    image.paste((10, 10, 10), (0, 0, 100, 30))
    found = colour.dominant(colour.pixels(image))
    assert (found.colour, found.share, found.deviation) == ((200, 100, 50), pytest.approx(0.7), 0.0)
    # Half of the pixels 4 lower, half 4 higher in one channel: the mean between them, 4 away from each.
    image = Image.new("RGB", (100, 100), (124, 100, 50))
    image.paste((132, 100, 50), (0, 0, 50, 100))
    found = colour.dominant(colour.pixels(image))
    assert (found.colour, found.share) == ((128, 100, 50), 1.0)
    assert found.deviation == pytest.approx(4.0)


def test_swapped_channels_are_far_away() -> None:
    assert colour.colour_distance((200, 100, 50), (200, 100, 50)) == 0
    assert colour.colour_distance((200, 100, 50), (50, 100, 200)) == pytest.approx(150 * math.sqrt(2))
    assert colour.colour_distance((0, 0, 0), WHITE) == pytest.approx(441.67, abs=0.01)


@pytest.mark.parametrize(
    ("fill", "black", "blank"),
    [((0, 0, 0), True, True), ((9, 9, 9), True, True), (WHITE, False, True), ((20, 30, 90), False, True)],
)
def test_black_and_blank(fill: tuple[int, int, int], black: bool, blank: bool) -> None:
    found = quality.measure(Image.new("RGB", (128, 128), fill))
    assert (found.black, found.blank) == (black, blank)
    assert (found.parts, found.blur, found.label_contrast) == (0, 0.0, None)


def test_a_dark_picture_with_parts_is_neither_black_nor_blank() -> None:
    image = Image.new("RGB", (128, 128), (5, 5, 5))
    image.paste((180, 180, 180), (40, 40, 80, 80))
    rgb = colour.pixels(image)
    assert (colour.is_black(rgb), colour.is_blank(rgb)) == (False, False)


def test_blur_of_a_checkerboard_is_known_and_blurring_lowers_it() -> None:
    board = Image.new("L", (64, 64))
    board.putdata([100 + 20 * ((x + y) % 2) for y in range(64) for x in range(64)])
    # Inside, the four neighbours differ by 20 each: +-80; at the edge three do, in a corner two.
    edge, corner = 4 * 62, 4
    variance = ((64 * 64 - edge - corner) * 80**2 + edge * 60**2 + corner * 40**2) / 64**2
    assert sharp.blur(colour.pixels(board)) == pytest.approx(variance, rel=1e-6)
    values = [sharp.blur(colour.pixels(discs(*SEVEN).filter(ImageFilter.GaussianBlur(r)))) for r in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 20 * values[-1]


def test_ssim() -> None:
    image = discs(*SEVEN)
    assert quality.ssim(image, image) == pytest.approx(1.0)
    # Two even areas have no structure: the formula's first factor alone remains.
    one, other = (Image.new("RGB", (64, 64), (v, v, v)) for v in (100, 150))
    c1 = (0.01 * 255) ** 2
    assert quality.ssim(one, other) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))
    assert quality.ssim(image, image.filter(ImageFilter.GaussianBlur(3))) < 0.99
    with pytest.raises(BadInputError, match="one size"):
        quality.ssim(one, image)


def test_gain_over_bicubic() -> None:
    large = discs(*SEVEN)
    small = large.resize((256, 256), Image.Resampling.BOX)
    bicubic, nearest = (small.resize((512, 512), how) for how in (Image.Resampling.BICUBIC, Image.Resampling.BOX))
    assert quality.sharpness_gain(large, bicubic, small) == 0
    assert quality.sharpness_gain(large, large, small) == pytest.approx(1 / quality.ssim(large, bicubic) - 1)
    assert quality.sharpness_gain(large, nearest.filter(ImageFilter.GaussianBlur(6)), small) < 0


def test_contrast_is_wcags() -> None:
    assert quality.contrast((0, 0, 0), WHITE) == pytest.approx(21)
    assert quality.contrast(WHITE, WHITE) == 1
    # WCAG's own border case: #767676 on white is the lightest grey above 4.5.
    assert quality.contrast((0x76, 0x76, 0x76), WHITE) > labels.READABLE > quality.contrast((0x77, 0x77, 0x77), WHITE)
    assert quality.contrast(WHITE, (255, 0, 0)) == pytest.approx(1.05 / (0.2126 + 0.05))


@pytest.mark.parametrize(
    ("ink", "paper"), [((119, 119, 119), WHITE), ((0, 0, 0), WHITE), ((230, 230, 230), (28, 66, 118))]
)
def test_contrast_of_drawn_labels(ink: tuple[int, int, int], paper: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (512, 512), paper)
    draw = ImageDraw.Draw(image)
    draw.rectangle((100, 100, 300, 300), fill=(150, 90, 60))
    draw.text((100, 330), "motor housing", fill=ink, font=text.font(24))
    assert labels.label_contrast(image, paper) == pytest.approx(quality.contrast(ink, paper), rel=0.02)


def test_without_letters_there_is_no_contrast() -> None:
    assert labels.label_contrast(discs(*SEVEN), WHITE) is None
    assert labels.label_contrast(discs(*SEVEN), None) is None


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_previews_pictures_are_sane(name: str) -> None:
    request = PRESETS[name].request(adapters=False, width=640, height=640)
    image = backends.get("preview").generate(request)
    found = quality.measure(image)
    plan = prompt.parse(request.prompt, request.seed)
    drawn = sum(part.drawn for part in plan.parts)
    assert 0.7 * drawn <= found.parts <= drawn
    assert found.parts > 1
    assert found.overlapping <= 0.2
    assert found.purity > 0.85
    assert not found.black
    assert not found.blank
    assert found.blur > 100
    assert found.background == colour.dominant(colour.pixels(image.crop((0, 0, 640, 20)))).colour
    if plan.labels:
        assert found.label_contrast is not None
        assert found.label_contrast > labels.READABLE
    assert quality.measure(finish(image, style=True, sharpen=1.0)).purity > found.purity
    values = json.loads(json.dumps(found.to_json()))
    assert values["parts"] == found.parts
    assert values["dominant"] == list(found.dominant)


def test_a_parts_list_is_counted() -> None:
    request = PRESETS["airpods"].request(adapters=False)
    request = type(request)("pump knolling: 3 gears, 2 motors, housing, battery, white background", 512, 512)
    assert quality.measure(backends.get("preview").generate(request)).parts == 7
