# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreign pictures: the good ones come out as upright RGB, each bad one is refused with its reason."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, features

from nano_banana import backends
from nano_banana.errors import BadInputError
from nano_banana.pictures import BLURRED_BELOW, open_picture, sharpness
from nano_banana.request import Request


def crisp(size: tuple[int, int] = (96, 80)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    for x in range(8, size[0] - 8, 12):
        ImageDraw.Draw(image).rectangle((x, 8, x + 5, size[1] - 8), fill=(200, 40, 30))
    return image


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats(image_format: str, tmp_path: Path) -> None:
    if image_format == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    path = tmp_path / "any.name"
    path.write_bytes(encoded(crisp(), image_format))
    for picture in (open_picture(path), open_picture(path.read_bytes())):
        assert (picture.image.size, picture.image.mode, picture.notes) == ((96, 80), "RGB", ())
    assert open_picture(encoded(crisp())).image.tobytes() == crisp().tobytes()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "an empty file"),
        (b"a text, and quite a long one so that there is something to read", "another kind of file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='100' height='100'/>", "another kind of file"),
        (encoded(crisp(), "GIF"), "another kind of file"),
        (encoded(crisp(), "TIFF"), "another kind of file"),
        (encoded(crisp(), "BMP"), "another kind of file"),
        (encoded(crisp())[:-60], "a broken one"),
        (encoded(crisp(), "JPEG")[:-200], "a broken one"),
        (b"\x89PNG\r\n\x1a\n" + b"nonsense" * 20, "PNG, JPEG or WebP|broken"),
        (b"\xff\xd8\xff", "PNG, JPEG or WebP|broken"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "PNG, JPEG or WebP|broken"),
        (encoded(crisp(), save_all=True, append_images=[crisp().rotate(90), crisp()]), "3 frames"),
        (encoded(crisp((64, 63))), "64x63"),
        (png(20000, 20000), "far more|20000x20000"),
        (png(2**31 - 1, 2**31 - 1), "far more|pixels"),
        (png(9000, 9000), "9000x9000"),
        (png(0, 0), "PNG, JPEG or WebP|broken|0x0"),
    ],
)  # fmt: skip
def test_refusals(data: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=told):
        open_picture(data)
    path = tmp_path / "file.png"
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=r"file\.png"):
        open_picture(path)


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png(8192, 8192, bytes(8192 * 64))
    assert len(bomb) < 2000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(BadInputError, match="8192x8192"):
        open_picture(bomb)


def test_an_animated_webp_is_refused() -> None:
    if not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    with pytest.raises(BadInputError, match="2 frames"):
        open_picture(encoded(crisp(), "WEBP", save_all=True, append_images=[crisp().rotate(180)]))


def test_places_that_hold_no_picture(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="a folder"):
        open_picture(tmp_path)
    with pytest.raises(BadInputError, match=r"No such file|found"):
        open_picture(tmp_path / "absent.png")
    with pytest.raises(BadInputError):
        open_picture(tmp_path / ("x" * 5000))
    with pytest.raises(BadInputError):
        open_picture(Path("null\0byte"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInputError, match="neither file nor folder"):
        open_picture(tmp_path / "pipe")


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(BadInputError, match="MiB"):
        open_picture(path)


@pytest.mark.parametrize(("orientation", "size"), [(1, (96, 80)), (3, (96, 80)), (6, (80, 96)), (8, (80, 96))])
def test_exif_orientation(orientation: int, size: tuple[int, int]) -> None:
    image = crisp()
    image.paste((0, 0, 255), (0, 0, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = open_picture(encoded(image, "JPEG", quality=95, exif=exif)).image
    assert turned.size == size
    corner = {1: (10, 10), 3: (85, 69), 6: (69, 10), 8: (10, 85)}[orientation]
    red, _, blue = turned.getpixel(corner)
    assert blue > 150 > red


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_a_note_at_most() -> None:
    picture = open_picture(encoded(crisp(), "JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + b"\xff" * 9))
    assert picture.image.size == (96, 80)


def test_transparency_lies_on_white() -> None:
    image = crisp().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 40, 40))
    picture = open_picture(encoded(image))
    assert picture.image.mode == "RGB"
    assert picture.image.getpixel((20, 20)) == (255, 255, 255)
    assert picture.notes == ("Its transparent areas are white now.",)
    assert open_picture(encoded(crisp().convert("RGBA"))).notes == ()


def test_palette_with_transparency() -> None:
    image = crisp().quantize(4)
    picture = open_picture(encoded(image, transparency=image.getpixel((9, 20))))
    assert picture.image.getpixel((9, 20)) == (255, 255, 255)


def test_sixteen_bits_are_scaled() -> None:
    image = Image.new("I;16", (64, 64), 257 * 200)
    ImageDraw.Draw(image).rectangle((10, 10, 30, 50), fill=257 * 10)
    picture = open_picture(encoded(image), blur_warns=False)
    assert picture.image.getpixel((0, 0)) == (200, 200, 200)
    assert picture.image.getpixel((20, 20)) == (10, 10, 10)
    assert "16 bits" in picture.notes[0]


def test_print_colours_are_converted() -> None:
    image = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    ImageDraw.Draw(image).rectangle((5, 5, 20, 60), fill=(0, 0, 0, 0))
    picture = open_picture(encoded(image, "JPEG", quality=95))
    red, green, blue = picture.image.getpixel((50, 30))
    assert red > 200 > 60 > max(green, blue)
    assert "CMYK" in picture.notes[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_other_modes(mode: str) -> None:
    assert open_picture(encoded(crisp().convert(mode))).image.mode == "RGB"


def test_blur_is_a_note() -> None:
    crisp_one = backends.get("preview").generate(Request("pump knolling: gear, spring, housing", 512, 512))
    blurred = crisp_one.filter(ImageFilter.GaussianBlur(4))
    assert sharpness(crisp_one) > 4 * BLURRED_BELOW > BLURRED_BELOW > 2 * sharpness(blurred)
    assert open_picture(encoded(crisp_one)).notes == ()
    assert "blurred" in open_picture(encoded(blurred)).notes[0]
    assert open_picture(encoded(blurred), blur_warns=False).notes == ()
    assert "even area" in open_picture(encoded(Image.new("RGB", (64, 64), "navy"))).notes[0]


def test_sharpness_of_a_checkerboard_is_known() -> None:
    # Each pixel differs from its four neighbours by 20: the Laplacian is +-80, its variance 6400.
    board = Image.new("L", (64, 64))
    board.putdata([100 + 20 * ((x + y) % 2) for y in range(64) for x in range(64)])
    assert sharpness(board) == pytest.approx(6400)
    assert sharpness(Image.new("L", (64, 64), 9)) == 0


_SEEDS = [encoded(crisp()), encoded(crisp(), "JPEG"), encoded(crisp().convert("P"))]
_SEEDS += [encoded(crisp(), "WEBP")] if features.check("webp") else []


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(_SEEDS), st.lists(st.tuples(st.integers(8, 4000), st.binary(min_size=1, max_size=4)), max_size=6)
)
def test_damaged_files_are_opened_or_refused(data: bytes, damage: list[tuple[int, bytes]]) -> None:
    spoilt = bytearray(data)
    for at, new in damage:
        spoilt[at % len(spoilt) : at % len(spoilt) + len(new)] = new
    try:
        picture = open_picture(bytes(spoilt), blur_warns=False)
    except BadInputError:
        return
    assert picture.image.mode == "RGB"
