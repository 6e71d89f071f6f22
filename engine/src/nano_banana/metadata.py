# SPDX-License-Identifier: GPL-3.0-or-later
"""What a picture says about its own origin, inside the file, for PNG, JPEG and WebP."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, PngImagePlugin

from nano_banana import __version__
from nano_banana.errors import BadInputError

if TYPE_CHECKING:
    from nano_banana.request import Request

_KEY_PREFIX = "nano_banana."
_FIELDS = ("backend", "seed", "prompt", "width", "height", "engine_version", "details")
# What a diffusion picture depends on beside prompt, seed and size.
_REPEATS = ("negative", "steps", "guidance", "upscale", "style", "sharpen")
_IMAGE_DESCRIPTION = 0x010E
_SOFTWARE = 0x0131
_EXIF_IFD = 0x8769
_USER_COMMENT = 0x9286
_ASCII = b"ASCII\0\0\0"


@dataclass(frozen=True)
class Metadata:
    """Origin of a picture: sizes in pixels, `engine_version` of the engine that wrote the file.

    `details` is what else the picture depends on, such as steps and guidance of a diffusion model.
    """

    backend: str
    seed: int
    prompt: str
    width: int
    height: int
    engine_version: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def software(self) -> str:
        """The program's name and version as image viewers show it."""
        return f"nano-banana-engine {self.engine_version}"

    @property
    def description(self) -> str:
        """One line for viewers that show nothing else."""
        return f"made by the {self.backend} backend with seed {self.seed}"


def of(backend: str, state: Mapping[str, Any], request: Request, size: tuple[int, int]) -> Metadata:
    """What belongs into the file of a picture of the request: the backend's name and state(), and `size` in pixels."""
    details: dict[str, Any] = {}
    if state.get("model"):
        details = {name: getattr(request, name) for name in _REPEATS}
        details |= {"plan": state.get("plan"), "weights": state.get("weights")}
        # Whoever gets the picture need not learn where a folder lies.
        details["model"] = Path(state["model"]).name if Path(state["model"]).is_dir() else state["model"]
        details["loras"] = {lora.name: lora.weight for lora in request.loras}
        if request.control:
            details["control"] = {"name": request.control.name, "strength": request.control.strength}
    return Metadata(backend, request.seed, request.prompt, *size, engine_version=__version__, details=details)


def save_options(meta: Metadata, image_format: str) -> dict[str, Any]:
    """Keyword arguments for Image.save that put `meta` into a PNG, JPEG or WEBP file."""
    if image_format == "PNG":
        return {"pnginfo": _png_text(meta)}
    return {"exif": _exif(meta)}


def read(path: str | os.PathLike[str]) -> Metadata:
    """Read back what save_options wrote. Raises BadInputError when the file is no picture of this engine."""
    try:
        with Image.open(path) as image:
            found = _from_png(image) if image.format == "PNG" else _from_exif(image)
    except (OSError, ValueError) as error:
        raise _not_ours(path, str(error)) from error
    try:
        return Metadata(
            backend=str(found["backend"]),
            seed=int(found["seed"]),
            prompt=str(found["prompt"]),
            width=int(found["width"]),
            height=int(found["height"]),
            engine_version=str(found["engine_version"]),
            details=_details(found.get("details")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _not_ours(path, "no complete record of its origin") from error


def _details(found: Any) -> dict[str, Any]:
    """From a PNG it comes as JSON, from EXIF as it is; a file of an older engine has none."""
    told = json.loads(found) if isinstance(found, str) else found
    return told if isinstance(told, dict) else {}


def _png_text(meta: Metadata) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", meta.software)
    info.add_text("Description", meta.description)
    for key, value in asdict(meta).items():
        # add_text falls back to iTXt by itself where the text is not Latin-1.
        info.add_text(_KEY_PREFIX + key, json.dumps(value) if isinstance(value, dict) else str(value))
    return info


def _from_png(image: Image.Image) -> dict[str, Any]:
    return {key: image.info[_KEY_PREFIX + key] for key in _FIELDS if _KEY_PREFIX + key in image.info}


def _exif(meta: Metadata) -> Image.Exif:
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = meta.description
    exif[_SOFTWARE] = meta.software
    # json.dumps escapes everything beyond ASCII, so the plainest character code of EXIF carries any prompt.
    exif[_EXIF_IFD] = {_USER_COMMENT: _ASCII + json.dumps(asdict(meta)).encode("ascii")}
    return exif


def _from_exif(image: Image.Image) -> dict[str, Any]:
    comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if not isinstance(comment, bytes) or not comment.startswith(_ASCII):
        return {}
    found = json.loads(comment[len(_ASCII) :].decode("ascii"))
    return found if isinstance(found, dict) else {}


def _not_ours(path: str | os.PathLike[str], why: str) -> BadInputError:
    return BadInputError(
        os.fspath(path),
        expected="a PNG, JPEG or WebP file written by this engine",
        found=why,
        fix="Make one with: nano-banana generate --prompt ... --output FILE.",
    )
