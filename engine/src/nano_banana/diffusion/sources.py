# SPDX-License-Identifier: GPL-3.0-or-later
"""Where adapters, ControlNets and models come from: local files and folders, or names on the model hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def is_local(source: str) -> bool:
    """Whether `source` means a path: it exists, or it can be no hub id (those are NAME or OWNER/NAME)."""
    if Path(source).expanduser().exists() or source.startswith((".", "~", "/")):
        return True
    return source.count("/") > 1 or source.endswith((".safetensors", ".bin", ".ckpt", ".pt", ".pth"))


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
