# SPDX-License-Identifier: GPL-3.0-or-later
"""What to say when a library is missing: the extra that brings it, and where it is installed from."""

from __future__ import annotations

import sys

from nano_banana.errors import MachineError

#: The libraries of each extra by the names they are imported under; a test compares them with pyproject.toml.
EXTRAS: dict[str, tuple[str, ...]] = {
    "quality": ("numpy", "scipy"),
    "serve": ("fastapi", "prometheus_client", "uvicorn"),
    "diffusion": (
        *("accelerate", "diffusers", "numpy", "pynvml", "peft", "safetensors", "scipy", "spandrel", "torch"),
        "transformers",
    ),
}
PACKAGE = "nano-banana-engine"


def extra_of(module: str) -> str | None:
    """The smallest extra that brings a module."""
    return next((extra for extra, modules in EXTRAS.items() if module in modules), None)


def how_to_install(extra: str) -> str:
    """What to type for an extra. The public index has a package of a similar name: it is never asked for ours."""
    return (
        f"In the folder that this engine was installed from, type: pip install '.[{extra}]' "
        f"(that is {PACKAGE}[{extra}]; the public index does not have it)"
    )


def missing(error: ImportError) -> MachineError:
    """The error for a library that cannot be imported."""
    module = (error.name or "").partition(".")[0]
    if module == "PIL":
        fix = f"Type: {sys.executable} -m pip install 'Pillow>=9.5'"
        return MachineError("Pillow", expected="an importable Pillow 9.5 or later", found=str(error), fix=fix)
    if module == "typer":
        fix = f"Type: {sys.executable} -m pip install 'typer>=0.12.5'"
        return MachineError("typer", expected="an importable typer 0.12.5 or later", found=str(error), fix=fix)
    extra = extra_of(module)
    if extra:
        expected = f"the libraries of the extra {PACKAGE}[{extra}]"
        return MachineError(module, expected=expected, found=str(error), fix=f"{how_to_install(extra)}.")
    fix = "Type: nano-banana doctor"
    return MachineError(module or "import", expected="an importable module", found=str(error), fix=fix)
