# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of twice the size on the CPU, by an ESRGAN-class network that spandrel reads, in overlapping tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops
from spandrel import ImageModelDescriptor, ModelLoader, ModelTiling, UnsupportedModelError

from nano_banana.diffusion.sources import mib, reading
from nano_banana.errors import BadInputError
from nano_banana.watch import UNWATCHED, Watch

FACTOR = 2
# Pixels of the picture: the outer part of a tile sees the padding of the convolutions and is thrown away, the inner
# part of the overlap fades from one tile to the next.
MARGIN = 16
FADE = 16
LEAST_TILE = 2 * (MARGIN + FADE) + 16
# Networks of this class have 1 to 70 MB; more would take minutes a picture on a CPU.
MOST_BYTES = 256 * 2**20
# The result has four times as many; Pillow itself calls more than that a bomb.
MOST_PIXELS = 4096 * 4096
MOST_SCALE = 8
_OPTION = "--upscaler"
_FIX = f"Type {_OPTION} FILE with an ESRGAN or compact model of 2x or 4x as .safetensors or .pth."


class Upscaler:
    """A network from a .safetensors or .pth file, kept in host memory in fp32.

    Raises BadInputError: no such file, not whole, no network that spandrel knows, one that does not enlarge RGB
    pictures, larger than MOST_BYTES. A .pth is a pickle; spandrel's reader lets it make tensors and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._network = _load(path)
        self.scale: int = self._network.scale

    def enlarge(self, image: Image.Image, tile: int = 256, watch: Watch = UNWATCHED) -> Image.Image:
        """The picture as RGB with both sides exactly doubled; `tile` is a side in its pixels, 0 for the whole at once.

        A 4x network's result is brought to 2x with LANCZOS, tile by tile. Raises BadInputError (size out of bounds),
        CancelledError before the next tile when nobody wants the picture.
        """
        if image.width * image.height > MOST_PIXELS:
            raise BadInputError(
                "--upscale",
                expected=f"a picture of at most {MOST_PIXELS} pixels",
                found=f"{image.width}x{image.height}",
                fix="Type --upscale 1.",
            )
        if tile and tile < LEAST_TILE:
            raise BadInputError(
                "tile", expected=f"at least {LEAST_TILE} pixels, or 0", found=str(tile), fix="Take 256."
            )
        image = image.convert("RGB")
        if not tile or self._network.tiling is ModelTiling.INTERNAL or max(image.size) <= tile:
            watch.check(0, 1, "tiles")
            return self._whole(image)
        places = [(left, top) for top in _starts(image.height, tile) for left in _starts(image.width, tile)]
        result = Image.new("RGB", (image.width * FACTOR, image.height * FACTOR))
        for number, place in enumerate(places):
            watch.check(number, len(places), "tiles")
            self._place(result, image, place, tile)
        return result

    def _place(self, result: Image.Image, image: Image.Image, start: tuple[int, int], tile: int) -> None:
        left, top = start
        right, bottom = min(left + tile, image.width), min(top + tile, image.height)
        part = self._whole(image.crop((left, top, right, bottom)))
        # The picture's own borders are as in the whole one; only inner edges are thrown away.
        cut = (MARGIN if left else 0, MARGIN if top else 0)
        end = (MARGIN if right < image.width else 0, MARGIN if bottom < image.height else 0)
        part = part.crop(
            (cut[0] * FACTOR, cut[1] * FACTOR, part.width - end[0] * FACTOR, part.height - end[1] * FACTOR)
        )
        result.paste(part, ((left + cut[0]) * FACTOR, (top + cut[1]) * FACTOR), _fade(part.size, bool(left), bool(top)))

    def _whole(self, image: Image.Image) -> Image.Image:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        output = self._network(pixels)[0].clamp(0, 1)
        # A network of broken numbers would otherwise give a black picture.
        if not bool(torch.isfinite(output).all()):
            raise _unfit(self.path, "numbers that are not finite in its result")
        made = Image.fromarray((output * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
        size = (image.width * FACTOR, image.height * FACTOR)
        return made if made.size == size else made.resize(size, Image.Resampling.LANCZOS)


def _starts(length: int, tile: int) -> list[int]:
    """Where tiles begin along one side, so that neighbours share two margins and a fade, and none is short."""
    if length <= tile:
        return [0]
    step = tile - 2 * MARGIN - FADE
    return [*range(0, length - tile, step), length - tile]


def _fade(size: tuple[int, int], left: bool, top: bool) -> Image.Image:
    """How much of a new tile counts: growing over FADE from an edge behind which another tile lies."""
    ramp = Image.linear_gradient("L")  # black above, white below
    mask = Image.new("L", size, 255)
    length = FADE * FACTOR
    if top:
        rows = Image.new("L", size, 255)
        rows.paste(ramp.resize((size[0], length)), (0, 0))
        mask = rows
    if left:
        columns = Image.new("L", size, 255)
        columns.paste(ramp.transpose(Image.Transpose.ROTATE_90).resize((length, size[1])), (0, 0))
        mask = ImageChops.darker(mask, columns)
    return mask


def _load(path: Path) -> Any:
    path = Path(path).expanduser()
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise BadInputError(f"{_OPTION} {path}", expected="a file", found=found, fix=_FIX)
    # spandrel also takes .pt, which may be a TorchScript program: not here.
    if path.suffix.lower() not in (".safetensors", ".pth"):
        raise _unfit(path, f"a file of kind {path.suffix or 'unknown'}")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise BadInputError(f"{_OPTION} {path}", expected=f"at most {mib(MOST_BYTES)}", found=mib(size), fix=_FIX)
    with reading(lambda found: _unfit(path, f"not a whole model: {found}")):
        try:
            network = ModelLoader("cpu").load_from_file(path)
        except UnsupportedModelError as error:
            raise _unfit(path, "weights of no network that spandrel knows") from error
    _check(path, network)
    network.eval().float()
    network.model.requires_grad_(False)
    return network


def _check(path: Path, network: Any) -> None:
    if not isinstance(network, ImageModelDescriptor) or network.purpose not in ("SR", "Restoration"):
        raise _unfit(path, f"a network for something else ({network.architecture.name})")
    if (network.input_channels, network.output_channels) != (3, 3):
        raise _unfit(path, f"a network of {network.input_channels} to {network.output_channels} channels")
    if not FACTOR <= network.scale <= MOST_SCALE:
        raise _unfit(path, f"a network of {network.scale}x ({network.architecture.name})")


def _unfit(path: Path, found: str) -> BadInputError:
    return BadInputError(
        f"{_OPTION} {path}", expected="a network that makes RGB pictures 2x or 4x as large", found=found, fix=_FIX
    )
