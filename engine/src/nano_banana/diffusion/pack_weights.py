# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights of one network on their way into a packed folder: which files, which tensors, in which type."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nano_banana.diffusion.folder import hint
from nano_banana.diffusion.sources import first_line
from nano_banana.errors import BadInputError

HINT = hint("nano-banana pack SOURCE TARGET")
_LAYER = re.compile(r"(?:text_model\.)?encoder\.layers\.([0-9]+)\.")
_SHARD = re.compile(r"-[0-9]{5}-of-[0-9]{5}")
# safetensors' words for the types that pictures are computed in; whatever else is stored stays as it is.
_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


@dataclass(frozen=True)
class Part:
    """One network's way: which files are read, to which type, and how many encoder layers stay (None = all)."""

    name: str
    files: tuple[Path, ...]
    dtype: torch.dtype
    layers: int | None = None

    def keeps(self, key: str) -> bool:
        """Whether this tensor is read by what SDXL computes."""
        match = _LAYER.match(key)
        return self.layers is None or not match or int(match[1]) < self.layers

    def bytes_after(self) -> int:
        """What the tensors will take, from the files' headers alone. Raises BadInputError."""
        total = 0
        for file in self.files:
            for key, opened in _kept(self, file):
                piece = opened.get_slice(key)
                total += math.prod(piece.get_shape()) * _width(self, piece.get_dtype())
        return total

    def lossless(self) -> bool:
        """Whether every number keeps its value: none is stored in a narrower type than before."""
        kept = {self.dtype, torch.float16, torch.bfloat16} if self.dtype == torch.float32 else {self.dtype}
        stored = {opened.get_slice(key).get_dtype() for file in self.files for key, opened in _kept(self, file)}
        return all(_TYPES[name] in kept for name in stored if name in _TYPES)

    def write(self, folder: Path) -> None:
        """Write the files into `folder`, with an index where there are several. Raises BadInputError, OSError."""
        places: dict[str, str] = {}
        total = 0
        for file in self.files:
            name = file.name.replace(".fp16", "")
            state = {key: _converted(self, file, key, opened.get_tensor(key)) for key, opened in _kept(self, file)}
            save_file(state, str(folder / name), metadata={"format": "pt"})
            places |= dict.fromkeys(state, name)
            total += sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        if len(self.files) > 1:
            stem = _SHARD.sub("", self.files[0].name.replace(".fp16", ""))
            save_json(folder / f"{stem}.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def weights(folder: Path) -> tuple[Path, ...]:
    """The files that hold one whole copy: the plain ones where they exist, else those of the variant fp16."""
    files = sorted(folder.glob("*.safetensors"))
    plain = [file for file in files if ".fp16" not in file.name and ".non_ema" not in file.name]
    picked = plain or [file for file in files if ".fp16" in file.name]
    # A network in shards beside the same in one file: the shards are complete alone.
    shards = [file for file in picked if _SHARD.search(file.name)]
    picked = shards or picked
    if not picked or (not shards and len(picked) > 1):
        names = ", ".join(sorted(file.name for file in folder.iterdir())[:6]) or "nothing"
        raise BadInputError(
            f"SOURCE {folder}", expected="one set of *.safetensors", found=names, fix=f"Remove the others. {HINT}"
        )
    return tuple(picked)


def save_json(path: Path, value: dict[str, Any]) -> None:
    """Write this as the libraries write theirs: indented, sorted, one line at the end."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _kept(part: Part, file: Path) -> Iterator[tuple[str, Any]]:
    opened: Any
    try:
        opened = safe_open(str(file), "pt")
    except (SafetensorError, OSError) as error:
        raise BadInputError(
            f"SOURCE {file}",
            expected="a whole .safetensors file",
            found=first_line(error),
            fix="Copy or download the file again.",
        ) from error
    with opened:
        for key in opened.keys():  # noqa: SIM118 (no dictionary: older ones cannot be iterated)
            if part.keeps(key):
                yield key, opened


def _width(part: Part, stored: str) -> int:
    """Bytes per number after packing, from safetensors' word for its type before."""
    if stored in _TYPES:
        return torch.empty(0, dtype=part.dtype).element_size()
    return max(1, int(re.sub(r"\D", "", stored.split("_")[0]) or 8) // 8)


def _converted(part: Part, file: Path, key: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype not in _TYPES.values():
        return tensor.contiguous()
    made = tensor.to(part.dtype).contiguous()
    if not bool(torch.isfinite(made).all()):
        raise BadInputError(
            f"SOURCE {file}",
            expected=f"numbers that {made.dtype} can hold",
            found=f"others in {key}",
            fix="Type --vae-dtype float32." if part.name == "vae" else "Type --dtype float32.",
        )
    return made
