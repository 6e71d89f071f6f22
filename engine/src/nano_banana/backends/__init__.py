# SPDX-License-Identifier: GPL-3.0-or-later
"""The backends that draw pictures, by name. A later one joins by one line in _FACTORIES."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, List, Protocol

from nano_banana.errors import BadInputError

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.request import Request

DEFAULT = "preview"


class Backend(Protocol):
    """Turns a request into a picture. The same request gives the same pixels on the same machine."""

    name: str
    summary: str

    def generate(self, request: Request) -> Image.Image:
        """Draw an RGB image of request.width x request.height pixels. Raises EngineError."""


def _preview() -> Backend:
    # Imported on use: a host that only asks for --version must not need Pillow, nor later torch.
    from nano_banana.backends.preview import PreviewBackend

    return PreviewBackend()


_FACTORIES: Dict[str, Callable[[], Backend]] = {"preview": _preview}


def names() -> List[str]:
    """The backends that exist, sorted."""
    return sorted(_FACTORIES)


def get(name: str) -> Backend:
    """The backend of that name. Raises BadInputError with the list of those that exist."""
    factory = _FACTORIES.get(name)
    if factory is None:
        raise BadInputError(
            "--backend",
            expected="one of: " + ", ".join(names()),
            found=repr(name),
            fix=f"Type for example --backend {DEFAULT}.",
        )
    return factory()
