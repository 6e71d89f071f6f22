# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview backend: a layout drawn from the prompt's part list, for hosts without model weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nano_banana import prompt, scene

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.request import Request


class PreviewBackend:
    """Draws with Pillow alone, and says so in the picture."""

    name = "preview"
    summary = "layout drawing, not a diffusion image"

    def generate(self, request: Request) -> Image.Image:
        """An RGB image of the asked size. Raises BadInputError where the prompt names too many parts."""
        plan = prompt.parse(request.prompt, request.seed)
        return scene.render(plan, (request.width, request.height), request.seed)
