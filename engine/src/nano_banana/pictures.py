# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens pictures that others made: no picture, too large, broken or moving is refused before it costs anything."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps, ImageStat, UnidentifiedImageError

from nano_banana.errors import BadInputError

LEAST_SIDE = 64
MOST_PIXELS = 4096 * 4096
# 16 megapixels of 16-bit RGBA, uncompressed, are 128 MiB; no honest file of that size in these formats is larger.
MOST_BYTES = 128 * 2**20
_MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
_FIX = "Give a PNG, JPEG or WebP picture."
# Sharpness is looked at in this size, so that the bound means the same for any picture.
_LOOK = 512
# Variance of the Laplacian (of 255) at that size. The preview draws with 350 to 450; blurred by 1 pixel in 1024 they
# keep 150 and more, by 2 pixels 26 to 45, by 4 pixels 4 to 8.
BLURRED_BELOW = 25.0
BLANK_BELOW = 2.0  # standard deviation of the brightness (of 255): nothing but the noise of a compressed area


@dataclass(frozen=True)
class Picture:
    """An RGB image, upright, and what its owner should know about it (one sentence each)."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def open_picture(
    source: Path | bytes, *, least_side: int = LEAST_SIDE, most_pixels: int = MOST_PIXELS, blur_warns: bool = True
) -> Picture:
    """Read one still PNG, JPEG or WebP from a file or from memory, turned as its EXIF says, as RGB on white.

    Raises BadInputError for anything else; a blurred or blank picture is opened with a note (unless `blur_warns` is
    off). The size is judged by the header, before any pixel is decoded.
    """
    name = str(source) if isinstance(source, Path) else "picture"
    data = _read(source, name) if isinstance(source, Path) else source
    _check_bytes(data, name)
    notes: list[str] = []
    image = _decode(data, name, least_side, most_pixels)
    image = _upright(image, notes)
    image = _rgb(image, notes)
    if blur_warns:
        notes += _looks(image)
    return Picture(image, tuple(notes))


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the brightness at 512 pixels; 0 for an even area, some hundreds for crisp parts."""
    grey = image.convert("L")
    grey.thumbnail((_LOOK, _LOOK))
    if min(grey.size) < 3:
        return 0.0
    laplacian = grey.filter(ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128))
    # Pillow leaves the outermost pixels unfiltered.
    inner = laplacian.crop((1, 1, grey.width - 1, grey.height - 1))
    return float(ImageStat.Stat(inner).var[0])


def _read(path: Path, name: str) -> bytes:
    try:
        # Asked before opening: a pipe or a device would wait for ever.
        if path.exists() and not path.is_file():
            raise _bad(name, "a file", "a folder" if path.is_dir() else "neither file nor folder", _FIX)
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _too_many_bytes(name, size)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise _bad(name, "a picture that can be read", found, "Check its name and its permissions.") from error


def _check_bytes(data: bytes, name: str) -> None:
    if not data:
        raise _bad(name, "a picture", "an empty file", _FIX)
    if len(data) > MOST_BYTES:
        raise _too_many_bytes(name, len(data))
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if not webp and not any(data.startswith(magic) for magic in _MAGIC):
        raise _bad(name, "PNG, JPEG or WebP", "another kind of file", _FIX)


def _decode(data: bytes, name: str, least_side: int, most_pixels: int) -> Image.Image:
    try:
        # MPO is what some telephones write into .jpg: a JPEG with a second one behind it.
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "MPO"))
        _check_header(image, name, least_side, most_pixels)
        image.load()
    except BadInputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bad(name, f"at most {most_pixels} pixels", "far more", "Reduce the picture.") from error
    except UnidentifiedImageError as error:
        raise _bad(name, "PNG, JPEG or WebP", "a header that says so over something else", _FIX) from error
    except Exception as error:  # a decoder that trips over a made file raises whatever its bytes led it to
        raise _bad(name, "a whole picture", f"a broken one ({error})", "Save the picture again.") from error
    return image


def _check_header(image: Image.Image, name: str, least_side: int, most_pixels: int) -> None:
    width, height = image.size
    if width * height > most_pixels:
        raise _bad(name, f"at most {most_pixels} pixels", f"{width}x{height}", "Reduce the picture.")
    if min(width, height) < least_side:
        raise _bad(name, f"sides of at least {least_side} pixels", f"{width}x{height}", "Give a larger picture.")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise _bad(name, "a still picture", f"{getattr(image, 'n_frames', 2)} frames", "Save one frame of it.")


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) or image
    except Exception:  # of any kind, as above: a picture with broken notes about itself is still a picture
        notes.append("Its EXIF data is broken; the picture is taken as it lies.")
        return image


def _rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """8-bit RGB: 16-bit grey is scaled, transparency lies on white."""
    if image.mode.startswith("I"):
        notes.append("It has 16 bits a channel; 8 of them are used.")
        # In mode I a point function is a scale and an offset.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        lowest = rgba.getchannel("A").getextrema()[0]
        if isinstance(lowest, (int, float)) and lowest < 255:
            notes.append("Its transparent areas are white now.")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if image.mode == "CMYK":
        notes.append("Its colours are made for print (CMYK) and may look otherwise on a screen.")
    return image.convert("RGB")


def _looks(image: Image.Image) -> list[str]:
    if ImageStat.Stat(image.convert("L")).stddev[0] < BLANK_BELOW:
        return ["It shows one even area: there is nothing in it to follow."]
    found = sharpness(image)
    if found < BLURRED_BELOW:
        return [f"It is blurred (sharpness {found:.1f}, {BLURRED_BELOW:g} and more is crisp): the layout may be lost."]
    return []


def _too_many_bytes(name: str, found: int) -> BadInputError:
    return _bad(name, f"at most {MOST_BYTES // 2**20} MiB", f"{found // 2**20} MiB", "Reduce the picture.")


def _bad(what: str, expected: str, found: str, fix: str) -> BadInputError:
    return BadInputError(what, expected=expected, found=found, fix=fix)
