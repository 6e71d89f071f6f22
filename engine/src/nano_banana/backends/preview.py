# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview backend: a layout drawn from the prompt's part list, for hosts without model weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nano_banana import prompt, scene
from nano_banana.backends import Settings
from nano_banana.errors import BadInputError
from nano_banana.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.request import Request


class PreviewBackend:
    """Draws with Pillow alone, and says so in the picture. Steps, guidance and style mean nothing to it."""

    name = "preview"
    summary = "layout drawing, not a diffusion image"

    def __init__(self, settings: Settings) -> None:
        for option, value in (("--lora", settings.loras), ("--control", settings.controlnets)):
            if value:
                raise _needs_diffusers(option, ", ".join(value))
        if settings.upscaler:
            raise _needs_diffusers("--upscaler", settings.upscaler)

    def generate(self, request: Request, watch: Watch = UNWATCHED) -> Image.Image:
        """An RGB image of the asked size. Raises BadInputError where the prompt names too many parts."""
        if request.upscale != 1:
            raise _needs_diffusers("--upscale", str(request.upscale))
        if request.loras or request.control:
            raise _needs_diffusers("--lora, --control", "one of them")
        plan = prompt.parse(request.prompt, request.seed)
        image = scene.render(plan, (request.width, request.height), request.seed)
        watch.step(1, 1)
        return image

    def generate_many(self, requests: Sequence[Request], watch: Watch = UNWATCHED) -> list[Image.Image]:
        """One after the other: there is nothing to share."""
        return [self.generate(request, watch) for request in requests]

    def state(self) -> dict[str, Any]:
        """It holds nothing."""
        return {"device": "cpu", "plan": None, "video_memory_bytes": 0}

    def close(self) -> None:
        """Nothing to give back."""


def _needs_diffusers(option: str, found: str) -> BadInputError:
    return BadInputError(
        option,
        expected="a backend that knows it: diffusers",
        found=f"{found} with the preview backend",
        fix="Type --backend diffusers --model FOLDER, or leave it away.",
    )
