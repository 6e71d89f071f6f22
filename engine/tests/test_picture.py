# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview's pictures: repeatable, different where they should be, never blank."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageFont, ImageStat

from nano_banana import backends, prompt, scene, text
from nano_banana.errors import BadInputError
from nano_banana.parts import DRAW
from nano_banana.request import Request

LIST = "dryer: motor, housing, 4 screws, cable"


def draw(words: str, seed: int = 1, size: tuple[int, int] = (200, 200)) -> Image.Image:
    return backends.get("preview").generate(Request(words, *size, seed))


def dominant(image: Image.Image) -> tuple[int, int, int]:
    colours = image.getcolors(maxcolors=image.width * image.height)
    assert colours
    return max(colours)[1]


@pytest.mark.parametrize("style", ["knolling", "exploded view", "technical schematic"])
def test_same_request_same_pixels(style: str) -> None:
    assert draw(f"{style} {LIST}").tobytes() == draw(f"{style} {LIST}").tobytes()


@pytest.mark.parametrize("style", ["knolling", "exploded view"])
def test_seed_prompt_and_style_change_the_picture(style: str) -> None:
    pictures = [
        draw(f"{style} {LIST}"),
        draw(f"{style} {LIST}", seed=2),
        draw(f"{style} {LIST}, gear"),
        draw(f"technical schematic {LIST}"),
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("style", ["knolling", "exploded view", "technical schematic"])
@pytest.mark.parametrize("size", [(64, 64), (300, 200), (200, 300), (400, 64)])
def test_picture_is_neither_blank_nor_black(style: str, size: tuple[int, int]) -> None:
    picture = draw(f"{style} {LIST}, white background", size=size)
    assert (picture.size, picture.mode) == (size, "RGB")
    grey = ImageStat.Stat(picture.convert("L"))
    assert grey.mean[0] > 100
    assert grey.stddev[0] > 5


@pytest.mark.parametrize(
    ("background", "low", "high"), [("white", 250, 255), ("black", 0, 40), ("cream", 220, 255), ("dark", 30, 60)]
)
def test_dominant_colour_is_the_background(background: str, low: int, high: int) -> None:
    assert all(low <= value <= high for value in dominant(draw(f"{LIST}, {background} background")))


@pytest.mark.parametrize("kind", sorted(DRAW))
@pytest.mark.parametrize("style", ["knolling", "exploded view", "technical schematic"])
def test_every_shape_leaves_its_mark(kind: str, style: str) -> None:
    empty = draw("technical schematic without labels: gear", size=(96, 96))
    picture = draw(f"{style} without labels, white background: {kind}", size=(96, 96))
    paper = Image.new("RGB", picture.size, dominant(picture))
    upper = (0, 0, 96, 78)  # without the caption
    assert ImageChops.difference(picture.crop(upper), paper.crop(upper)).getbbox()
    assert empty.size == picture.size


def test_material_colours_the_part() -> None:
    def redness(words: str) -> float:
        red, green, _ = ImageStat.Stat(draw(words)).mean
        return red - green

    assert redness("x knolling: red plate") > redness("x knolling: plate") + 5


def test_labels_put_text_under_the_parts() -> None:
    plain, labelled = (draw(f"x knolling: gear, plate{wish}", size=(400, 400)) for wish in ("", ", labeled"))
    assert ImageChops.difference(plain, labelled).getbbox()


def test_caption_is_in_every_picture_and_says_what_it_is() -> None:
    assert scene.CAPTIONS[0] == "preview layout, not a diffusion image"
    picture = draw("x knolling: gear, white background", size=(512, 512))
    corner = picture.crop((256, 484, 512, 512)).convert("L")
    assert corner.point([255 if v < 200 else 0 for v in range(256)]).getbbox()


def test_48_parts_of_24_units_fit_the_smallest_picture() -> None:
    names = [f"24 {name} {letter}" for name in ("screw", "gear", "pcb", "lens") for letter in "abcdefghijkl"]
    for style in ("knolling", "exploded view", "technical schematic"):
        assert draw(f"{style}: {', '.join(names)}, labeled", size=(64, 64)).size == (64, 64)


def test_the_bitmap_font_of_old_pillows_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = f"{LIST}, Gr\u00f6\u00dfe \u8f6e, labeled"
    usual = draw(wanted, size=(400, 400))
    bitmap = getattr(ImageFont, "load_default_imagefont", ImageFont.load_default)()
    monkeypatch.setattr(text, "font", lambda size: bitmap)
    assert draw(wanted, size=(400, 400)).tobytes() != usual.tobytes()


def test_a_plural_without_number_is_a_few() -> None:
    part = prompt.parse("x: colorful bricks", 0).parts[0]
    assert (part.drawn, part.label) == (prompt.FEW, "colorful bricks")


def test_unknown_backend_lists_those_that_exist() -> None:
    with pytest.raises(BadInputError, match=r"--backend: expected one of: diffusers, preview; found 'diffusion'"):
        backends.get("diffusion")


@pytest.mark.parametrize(("prompt_text", "width", "seed"), [(" ", 64, 0), ("x", 63, 0), ("x", 4097, 0), ("x", 64, -1)])
def test_a_request_cannot_be_made_out_of_bounds(prompt_text: str, width: int, seed: int) -> None:
    with pytest.raises(BadInputError):
        Request(prompt_text, width, 64, seed)
