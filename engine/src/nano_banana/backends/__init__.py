# SPDX-License-Identifier: GPL-3.0-or-later
"""The backends that draw pictures, by name. A later one joins by one line in _FACTORIES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nano_banana.errors import BadInputError
from nano_banana.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.request import Request

DEFAULT = "preview"
NATIVE, INT8 = "native", "int8"
WEIGHTS = (NATIVE, INT8)


@dataclass(frozen=True)
class Settings:
    """What a backend is made with; the preview needs none of it.

    `model`, and the values of `loras` and `controlnets`, are local folders (for a LoRA a .safetensors file too) or hub
    ids; `upscaler` is a file. `vram_budget` in bytes, None for all that is free. `plan` names a plan, "auto" picks
    one. `weights` is how the UNet's are kept: "native", as the model has them, or "int8", a byte each. `lora_blocks`
    are the UNet's blocks that adapters may touch, empty for all. Raises BadInputError for other `weights`.
    """

    model: str = ""
    device: str = "auto"
    vram_budget: int | None = None
    plan: str = "auto"
    weights: str = NATIVE
    loras: dict[str, str] = field(default_factory=dict)
    lora_blocks: tuple[str, ...] = ()
    controlnets: dict[str, str] = field(default_factory=dict)
    upscaler: str = ""

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            known = f"one of: {', '.join(WEIGHTS)}"
            raise BadInputError(
                "--weights", expected=known, found=repr(self.weights), fix=f"Type --weights {INT8}, or leave it away."
            )


class Backend(Protocol):
    """Turns requests into pictures. The same request gives the same pixels on the same machine."""

    name: str
    summary: str

    def generate(self, request: Request, watch: Watch = UNWATCHED) -> Image.Image:
        """Draw an RGB image of request.width x request.height pixels, times request.upscale. Raises EngineError."""

    def generate_many(self, requests: Sequence[Request], watch: Watch = UNWATCHED) -> list[Image.Image]:
        """Draw several that differ in prompt and seed alone, in one pass where the backend can. Raises EngineError."""

    def state(self) -> dict[str, Any]:
        """What doctor, bench and the service's metrics tell: device, plan, bytes of memory; plain JSON values.

        `notes`, where there are any, is what users should know of the last call's pictures, and `notes_of_each` the
        same for each of its requests: whoever asked says them, the backend logs none.
        """

    def close(self) -> None:
        """Give memory back. The backend is not used after it."""


def _preview(settings: Settings) -> Backend:
    # Imported on use: a host that only asks for --version must need neither Pillow nor torch.
    from nano_banana.backends.preview import PreviewBackend

    return PreviewBackend(settings)


def _diffusers(settings: Settings) -> Backend:
    from nano_banana.backends.diffusers import DiffusersBackend

    return DiffusersBackend(settings)


_FACTORIES: dict[str, Callable[[Settings], Backend]] = {"preview": _preview, "diffusers": _diffusers}


def names() -> list[str]:
    """The backends that exist, sorted."""
    return sorted(_FACTORIES)


def get(name: str, settings: Settings | None = None) -> Backend:
    """The backend of that name. Raises BadInputError with the list of those that exist."""
    factory = _FACTORIES.get(name)
    if factory is None:
        raise BadInputError(
            "--backend",
            expected="one of: " + ", ".join(names()),
            found=repr(name),
            fix=f"Type for example --backend {DEFAULT}.",
        )
    return factory(settings or Settings())
