# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture's file says where it comes from, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from nano_banana import metadata, output
from nano_banana.errors import BadInputError

PROMPTS = ["plain", "Größe \u00d7 2, \u8f6e \U0001f34c", 'quotes " and \\ and\nlines', "long " * 700]


@pytest.mark.parametrize("text", PROMPTS, ids=["ascii", "unicode", "quotes", "long"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_round_trip(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"picture{suffix}"
    meta = metadata.Metadata("preview", 4294967295, text, 80, 70, "0.1.0")
    image_format = output.format_of(path)
    data = output.encode(Image.new("RGB", (80, 70), "orange"), image_format, meta, 90 if suffix != ".png" else None)
    output.write_atomically(path, data)
    assert metadata.read(path) == meta
    with Image.open(path) as image:
        assert (image.format, image.size) == (image_format, (80, 70))


def test_viewers_see_program_and_backend(tmp_path: Path) -> None:
    meta = metadata.Metadata("preview", 7, "x", 64, 64, "0.1.0")
    (tmp_path / "a.jpg").write_bytes(output.encode(Image.new("RGB", (64, 64)), "JPEG", meta, 90))
    with Image.open(tmp_path / "a.jpg") as image:
        exif = image.getexif()
    assert (exif[0x0131], exif[0x010E]) == ("nano-banana-engine 0.1.0", "made by the preview backend with seed 7")


@pytest.mark.parametrize("name", ["foreign.png", "foreign.jpg", "foreign.webp", "text.png", "absent.png"])
def test_other_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("foreign"):
        Image.new("RGB", (64, 64)).save(path)
    elif name.startswith("text"):
        path.write_text("no picture")
    with pytest.raises(BadInputError, match=name):
        metadata.read(path)


def test_a_damaged_comment_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"ASCII\0\0\0{not json"}
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(BadInputError, match=r"a\.jpg"):
        metadata.read(tmp_path / "a.jpg")
