# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the picture goes: the format by the file's extension, the place checked first, the file written whole."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from pathlib import Path
from typing import Any

from PIL import Image, features

from nano_banana.errors import BadInputError, MachineError
from nano_banana.metadata import Metadata, save_options

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
DEFAULT_QUALITY = {"JPEG": 92, "WEBP": 90}


def format_of(path: Path) -> str:
    """Pillow's name of the format that the extension asks for. Raises BadInputError, MachineError."""
    image_format = FORMATS.get(path.suffix.lower())
    if image_format is None:
        raise BadInputError(
            f"--output {path}",
            expected="a file name that ends in " + ", ".join(FORMATS),
            found=repr(path.suffix) if path.suffix else "no extension",
            fix="Type for example --output picture.png.",
        )
    if image_format == "WEBP" and not features.check("webp"):
        raise MachineError(
            f"--output {path}",
            expected="a Pillow with WebP",
            found="one built without it",
            fix="Type --output FILE.png or install Pillow's own wheel.",
        )
    return image_format


def parse_quality(text: str | None, image_format: str) -> int | None:
    """The quality from 1 to 100 for JPEG and WEBP, None for PNG. Raises BadInputError."""
    if text is None:
        return DEFAULT_QUALITY.get(image_format)
    if image_format == "PNG":
        raise BadInputError(
            "--quality",
            expected="a .jpg or .webp output",
            found="a .png, which keeps every pixel and has no quality",
            fix="Leave --quality away or type --output FILE.webp.",
        )
    if not text.strip().isdecimal() or not 1 <= int(text) <= 100:
        raise BadInputError(
            "--quality",
            expected="a whole number from 1 to 100",
            found=repr(text),
            fix="Type for example --quality 90.",
        )
    return int(text)


def check_place(path: Path) -> None:
    """Refuse an output path that cannot become a file, before time is spent on drawing. Raises BadInputError."""
    folder = path.parent
    try:
        if path.exists() and not path.is_file():
            raise _bad_place(path, "a file", "something else of that name", "Type another file name.")
        if not folder.exists():
            raise _bad_place(path, f"an existing folder {folder}", "none", f"Make it with: mkdir -p '{folder}'.")
        if not folder.is_dir():
            raise _bad_place(path, f"a folder {folder}", "a file", "Type another folder.")
    except OSError as error:
        raise _bad_place(path, "a usable file name", error.strerror or str(error), "Type another file name.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _bad_place(path, f"a folder {folder} that may be written", "no permission", "Type another folder.")


def encode(image: Image.Image, image_format: str, meta: Metadata, quality: int | None) -> bytes:
    """The finished file's bytes."""
    options: dict[str, Any] = save_options(meta, image_format)
    if quality is not None:
        options["quality"] = quality
    if image_format == "JPEG":
        # Thin leader lines and labels smear with the usual halved colour resolution.
        options["subsampling"] = 0
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` so that `path` is at every moment the old file or the whole new one.

    The mode follows the umask; a symbolic link keeps pointing where it points. Raises MachineError.
    """
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".nano-banana-{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(target)
    except OSError as error:
        raise MachineError(
            str(path),
            expected=f"{len(data)} bytes written",
            found=error.strerror or str(error),
            fix=f"Check with: df -h '{target.parent}'; ls -ld '{target.parent}'.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _bad_place(path: Path, expected: str, found: str, fix: str) -> BadInputError:
    return BadInputError(f"--output {path}", expected=expected, found=found, fix=fix)
