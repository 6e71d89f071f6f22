# SPDX-License-Identifier: GPL-3.0-or-later
"""A LoRA's file: found, looked over, and read by module in peft's names, before anything touches a pipeline."""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

from nano_banana.diffusion.sources import first_line, is_local, no_answer, reading
from nano_banana.errors import BadInputError, EngineError

_LOG = logging.getLogger(__name__)
OPTION = "--lora"
# The name that diffusers gives to the file inside a folder.
_USUAL = "pytorch_lora_weights.safetensors"
_PART = re.compile(r"(?P<module>.+)\.lora_(?P<side>A|B|magnitude_vector)(?:\.weight|\.bias)?")
FILE_HINT = f"Type {OPTION} NAME=FILE with a LoRA for SDXL as .safetensors."


class Adapter(NamedTuple):
    """What a file holds for the UNet: tensors by module and key, alphas by key, and metadata of peft, if any."""

    parts: dict[str, dict[str, torch.Tensor]]
    alphas: dict[str, float]
    metadata: dict[str, Any] | None


def read(unet: Any, source: str) -> Adapter:
    """Read a .safetensors file, a folder with one, or a hub id. Raises BadInputError, MachineError."""
    state, alphas, metadata = _state(unet, source)
    return Adapter(_by_module(state, source), alphas, metadata)


def _state(unet: Any, source: str) -> tuple[dict[str, torch.Tensor], dict[str, float], dict[str, Any] | None]:
    where: dict[str, Any] = {}
    place = source
    if is_local(source):
        file = _file(source)
        _check_file(file)
        place, where = str(file.parent), {"weight_name": file.name, "local_files_only": True}
    told = partial(no_lora, source) if where else no_answer(OPTION, source, FILE_HINT)
    with reading(told):
        state, alphas, metadata = StableDiffusionXLPipeline.lora_state_dict(
            place, unet_config=unet.config, return_lora_metadata=True, use_safetensors=True, **where
        )
    return state, {key: float(value) for key, value in (alphas or {}).items()}, metadata


def _file(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix != ".safetensors":
            raise no_lora(source, f"a file of kind {path.suffix or 'unknown'}, which can hold code or is no LoRA")
        return path
    if not path.is_dir():
        raise BadInputError(f"{OPTION} {source}", expected="a file or folder", found="none there", fix=FILE_HINT)
    files = sorted(path.glob("*.safetensors"))
    usual = [file for file in files if file.name == _USUAL]
    if len(usual or files) != 1:
        names = ", ".join(file.name for file in files[:5]) or "none"
        raise BadInputError(
            f"{OPTION} {source}",
            expected="one .safetensors file in the folder",
            found=f"{len(files)}: {names}" if files else names,
            fix=FILE_HINT,
        )
    return (usual or files)[0]


def _check_file(file: Path) -> None:
    try:
        with safetensors.safe_open(str(file), "pt") as opened:
            keys = list(opened.keys())
    except (safetensors.SafetensorError, OSError) as error:
        raise BadInputError(
            f"{OPTION} {file}",
            expected="a whole .safetensors file",
            found=first_line(error),
            fix="Copy or download the file again.",
        ) from error
    if not any("lora" in key for key in keys):
        raise no_lora(str(file), f"{len(keys)} tensors, the first being {keys[0]!r}" if keys else "no tensors")


def _by_module(state: dict[str, torch.Tensor], source: str) -> dict[str, dict[str, torch.Tensor]]:
    """The UNet's share by module, in peft's names: {"mid_block...to_q": {"A.weight": ..., "B.weight": ...}}."""
    share = {key.removeprefix("unet."): value for key, value in state.items() if key.startswith("unet.")}
    others = sorted({key.split(".")[0] for key in state if not key.startswith("unet.")})
    if not share:
        raise no_lora(source, f"nothing for the UNet, only for: {', '.join(others) or 'nothing'}")
    if others:
        _LOG.warning(
            "%s also holds weights for %s: not used, adapters change the UNet alone.", source, ", ".join(others)
        )
    if not any(".lora_A" in key for key in share):
        share = dict(zip(in_peft_names(share), share.values(), strict=True))
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in share.items():
        match = _PART.fullmatch(key)
        if not match:
            raise no_lora(source, f"the tensor {key!r}, which diffusers' loader does not convert")
        parts.setdefault(match["module"], {})[key] = value
    return parts


def in_peft_names(state: dict[str, torch.Tensor]) -> list[str]:
    return [str(key) for key in convert_unet_state_dict_to_peft(state)]


def no_lora(source: str, found: str) -> EngineError:
    return BadInputError(f"{OPTION} {source}", expected="a LoRA for SDXL's UNet", found=found, fix=FILE_HINT)
