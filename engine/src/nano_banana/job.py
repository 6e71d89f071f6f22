# SPDX-License-Identifier: GPL-3.0-or-later
"""One picture from a request to a file: the place is checked first, the file appears whole or not at all."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nano_banana import __version__, metadata, output
from nano_banana.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from nano_banana.backends import Backend
    from nano_banana.request import Request


@dataclass(frozen=True)
class Target:
    """Where a picture goes: Pillow's name of the format, and the quality from 1 to 100 (None for PNG)."""

    path: Path
    image_format: str
    quality: int | None


def target(path: Path, quality: str | None = None) -> Target:
    """The place for a picture, before time is spent on it. Raises BadInputError, MachineError."""
    image_format = output.format_of(path)
    found = Target(path, image_format, output.parse_quality(quality, image_format))
    output.check_place(path)
    return found


def draw(backend: Backend, request: Request, place: Target, watch: Watch = UNWATCHED) -> dict[str, Any]:
    """Draw and write; returns what --json prints: sizes in pixels and bytes, time in seconds.

    `plan` names the memory plan, and `notes` say what the backend noticed, such as a blurred control picture.
    Raises EngineError.
    """
    started = time.monotonic()
    image = backend.generate(request, watch)
    state = backend.state()
    meta = metadata.of(backend.name, state, request, image.size)
    data = output.encode(image, place.image_format, meta, place.quality)
    output.write_atomically(place.path, data)
    return {
        "output": str(place.path),
        "backend": backend.name,
        "backend_summary": backend.summary,
        "seed": request.seed,
        "prompt": request.prompt,
        "width": image.width,
        "height": image.height,
        "format": place.image_format,
        "quality": place.quality,
        "bytes": len(data),
        "seconds": round(time.monotonic() - started, 3),
        "engine_version": __version__,
        "plan": state.get("plan"),
        "notes": list(state.get("notes", ())),
    }


def without_absent_loras(request: Request, loaded: Collection[str]) -> tuple[Request, tuple[str, ...]]:
    """The request with the adapters that are loaded alone, and a note for each other one.

    A preset names the adapter that it was made with, and nobody has to have that file.
    """
    absent = [lora for lora in request.loras if lora.name not in loaded]
    notes = tuple(f"without the LoRA {lora.name}: load it with --lora {lora.name}=FILE" for lora in absent)
    kept = tuple(lora for lora in request.loras if lora.name in loaded)
    return (dataclasses.replace(request, loras=kept) if absent else request), notes
