# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture's file says where it comes from, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from nano_banana import backends, metadata, output
from nano_banana.errors import BadInputError
from nano_banana.request import Lora, Request

PROMPTS = ["plain", "Größe \u00d7 2, \u8f6e \U0001f34c", 'quotes " and \\ and\nlines', "long " * 700]


@pytest.mark.parametrize("text", PROMPTS, ids=["ascii", "unicode", "quotes", "long"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_round_trip(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"picture{suffix}"
    details = {"steps": 30, "negative": text, "loras": {"disassembly": 0.8}}
    meta = metadata.Metadata("preview", 4294967295, text, 80, 70, "0.1.0", details)
    image_format = output.format_of(path)
    data = output.encode(Image.new("RGB", (80, 70), "orange"), image_format, meta, 90 if suffix != ".png" else None)
    output.write_atomically(path, data)
    assert metadata.read(path) == meta
    with Image.open(path) as image:
        assert (image.format, image.size) == (image_format, (80, 70))


def test_a_model_s_picture_says_all_that_it_depends_on() -> None:
    request = Request("pump", seed=3, negative="blur", steps=20, guidance=8.0, loras=(Lora("disassembly", 0.7),))
    made = metadata.of(
        "diffusers", {"model": "example/sdxl", "plan": "balanced", "weights": "int8"}, request, (1024, 1024)
    )
    assert (made.seed, made.width) == (3, 1024)
    assert [made.details[name] for name in ("model", "plan", "weights")] == ["example/sdxl", "balanced", "int8"]
    asked = {"negative": "blur", "steps": 20, "guidance": 8.0, "upscale": 1, "style": True, "sharpen": 2.0}
    assert {name: made.details[name] for name in asked} == asked
    assert made.details["loras"] == {"disassembly": 0.7}


def test_the_preview_has_no_details() -> None:
    assert metadata.of("preview", backends.get("preview").state(), Request("pump"), (64, 64)).details == {}


def test_a_file_of_an_older_engine_is_read(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    for key, value in {
        "backend": "preview",
        "seed": 1,
        "prompt": "x",
        "width": 8,
        "height": 8,
        "engine_version": "0.1.0",
    }.items():
        info.add_text(f"nano_banana.{key}", str(value))
    Image.new("RGB", (8, 8)).save(tmp_path / "old.png", pnginfo=info)
    assert metadata.read(tmp_path / "old.png") == metadata.Metadata("preview", 1, "x", 8, 8, "0.1.0")


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
