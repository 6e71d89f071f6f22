# SPDX-License-Identifier: GPL-3.0-or-later
"""Where adapters, ControlNets and models come from: local files and folders, or names on the model hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nano_banana.errors import EngineError, MachineError


def is_local(source: str) -> bool:
    """Whether `source` means a path: it exists, or it can be no hub id (those are NAME or OWNER/NAME)."""
    if Path(source).expanduser().exists() or source.startswith((".", "~", "/")):
        return True
    return source.count("/") > 1 or source.endswith((".safetensors", ".bin", ".ckpt", ".pt", ".pth"))


@contextmanager
def reading(told: Callable[[str], EngineError]) -> Iterator[None]:
    """Make one of our errors, by `told`, of whatever the libraries raise while they read a model; memory's own pass."""
    try:
        yield
    except (EngineError, MemoryError):
        raise
    except Exception as error:  # diffusers, peft, safetensors and each version of the hub's client: no class in common
        if "allocate memory" in str(error):
            raise
        raise told(first_line(error)) from error


def no_answer(option: str, source: str, hint: str) -> Callable[[str], EngineError]:
    """For `reading`: what is neither here nor to be had from the model hub."""

    def told(found: str) -> EngineError:
        expected = "a file or folder of that name, or an answer from the model hub"
        fix = f"Check the network and the name. {hint}"
        return MachineError(f"{option} {source}", expected=expected, found=found, fix=fix)

    return told


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line of at most 300 characters."""
    lines = str(error).strip().splitlines() or ["no words"]
    return f"{type(error).__name__}: {lines[0][:300]}"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in this file. Raises ValueError, OSError."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds a {type(value).__name__}, not an object")
    return value


def mib(size: float) -> str:
    """Bytes as a person reads them."""
    return f"{size / 2**20:.1f} MiB"
