# SPDX-License-Identifier: GPL-3.0-or-later
"""ControlNets: a picture guides the layout (for example an isometric drawing), beside a pipeline's own weights."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline
from PIL import Image

from nano_banana.diffusion.sources import first_line, is_local, no_answer, read_json, reading
from nano_banana.errors import BadInputError, EngineError
from nano_banana.request import Control

_OPTION = "--control"
_FIX = f"Type {_OPTION} NAME=FOLDER with a ControlNet for SDXL that save_pretrained of diffusers wrote."
# What SDXL adds to the time step: without it a ControlNet is one for another generation of models.
_SDXL = "text_time"


def load(source: str, dtype: torch.dtype) -> ControlNetModel:
    """Load a ControlNet for SDXL from a folder or hub id, in host memory. Raises BadInputError, MachineError.

    Only safetensors are read. A folder never asks the network.
    """
    kind: Any = ControlNetModel
    where: dict[str, Any] = {}
    if is_local(source):
        folder = Path(source).expanduser()
        where = {"variant": _look(folder), "local_files_only": True}
        source = str(folder)

    def broken(found: str) -> EngineError:
        return _unfit(source, f"a folder that does not load: {found}")

    with reading(broken if where else no_answer(_OPTION, source, _FIX)), warnings.catch_warnings():
        # Newer versions have another name for torch_dtype, which older ones do not know.
        warnings.simplefilter("ignore", FutureWarning)
        network = kind.from_pretrained(source, torch_dtype=dtype, use_safetensors=True, **where)
    _check(source, dict(network.config))
    return network.eval().requires_grad_(False)


def prepare(control: Control, width: int, height: int) -> tuple[Image.Image, tuple[str, ...]]:
    """The guide picture as RGB of exactly width x height pixels, and notes: about blur, and about a changed size.

    Raises BadInputError for what is no picture.
    """
    # Imported late: the module belongs to the base package, and nothing else here needs it.
    from nano_banana.pictures import open_picture

    picture = open_picture(control.picture)
    image, notes = fit(picture.image, width, height)
    return image, (*picture.notes, *notes)


def fit(image: Image.Image, width: int, height: int) -> tuple[Image.Image, tuple[str, ...]]:
    """Resize to width x height with the aspect kept; what remains gets the colour that most of the border has."""
    if image.size == (width, height):
        return image, ()
    factor = min(width / image.width, height / image.height)
    size = (max(1, min(width, round(image.width * factor))), max(1, min(height, round(image.height * factor))))
    resized = image.resize(size, Image.Resampling.LANCZOS)
    note = f"The guide picture has {image.width}x{image.height} pixels and was resized to {size[0]}x{size[1]}"
    if size == (width, height):
        return resized, (f"{note}.",)
    whole = Image.new("RGB", (width, height), _border(image))
    whole.paste(resized, ((width - size[0]) // 2, (height - size[1]) // 2))
    return whole, (f"{note}, with its border's colour around it to fill {width}x{height}.",)


def share(pipeline: Any, network: ControlNetModel) -> Any:
    """A StableDiffusionXLControlNetPipeline of `pipeline`'s own parts: nothing is copied, adapters act in both.

    Raises BadInputError when the ControlNet was made for a UNet of other widths.
    """
    check_pair(pipeline.unet.config, network.config)
    parts = dict(pipeline.components)
    kind: Any = StableDiffusionXLControlNetPipeline
    made = kind(
        **parts,
        controlnet=network,
        force_zeros_for_empty_prompt=bool(pipeline.config.get("force_zeros_for_empty_prompt", True)),
        add_watermarker=False,
    )
    made.set_progress_bar_config(**getattr(pipeline, "_progress_bar_config", {}))
    return made


def run(pipeline: Any, network: ControlNetModel, picture: Image.Image, strength: float, **call: Any) -> Any:
    """Run `pipeline` guided by `picture`; `strength` from 0 (not at all) to 2, `call` as the pipeline's own call takes.

    Returns the pipeline's output. Raises BadInputError as `share` does.
    """
    return share(pipeline, network)(image=picture, controlnet_conditioning_scale=float(strength), **call)


def _look(folder: Path) -> str | None:
    """Look a local folder over before it is read; returns the variant in whose name its weights are stored."""
    configuration(folder)
    names = [path.name for path in folder.glob("*.safetensors")]
    if not names:
        raise _unfit(str(folder), "no *.safetensors in it")
    return None if any(".fp16" not in name for name in names) else "fp16"


def configuration(folder: Path) -> dict[str, Any]:
    """The configuration of a ControlNet for SDXL in a local folder; no weights are read. Raises BadInputError."""
    if not folder.is_dir():
        raise _unfit(str(folder), "a file" if folder.exists() else "no such folder")
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise _unfit(str(folder), first_line(error)) from error
    _check(str(folder), config)
    return config


def _check(source: str, config: dict[str, Any]) -> None:
    kind = config.get("_class_name", "ControlNetModel")
    if kind != "ControlNetModel":
        raise _unfit(source, f"a {kind}")
    if config.get("addition_embed_type") != _SDXL:
        raise _unfit(source, f"one for another model (addition_embed_type {config.get('addition_embed_type')!r})")


def check_pair(unet: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    """Whether a ControlNet of this configuration was made for a UNet of that one. Raises BadInputError."""
    for name in ("block_out_channels", "cross_attention_dim", "in_channels", "layers_per_block"):
        expected, found = _plain(unet.get(name)), _plain(network.get(name))
        if expected != found:
            raise BadInputError(
                _OPTION,
                expected=f"{name} {expected}, as the model has",
                found=f"{found}",
                fix="Take the ControlNet that was made for this model.",
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _border(image: Image.Image) -> tuple[int, int, int]:
    wide, high = image.size
    edges = [(0, 0, wide, 1), (0, high - 1, wide, high), (0, 0, 1, high), (wide - 1, 0, wide, high)]
    counted: Counter[Any] = Counter()
    for box in edges:
        for count, colour in image.convert("RGB").crop(box).getcolors(wide + high) or []:
            counted[colour] += count
    red, green, blue = counted.most_common(1)[0][0]
    return int(red), int(green), int(blue)


def _unfit(source: str, found: str) -> EngineError:
    return BadInputError(f"{_OPTION} {source}", expected="a ControlNet for SDXL", found=found, fix=_FIX)
