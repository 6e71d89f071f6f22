# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRA adapters at run time: loaded beside the UNet's weights, switched and weighted per call, never merged into them.

An adapter changes the UNet alone. What a file holds for text encoders is not loaded, and a warning says so: prompt
embeddings are cached, and must not depend on the adapters of the moment.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from peft.tuners.tuners_utils import BaseTunerLayer

from nano_banana.diffusion.sources import first_line, is_local
from nano_banana.errors import BadInputError, EngineError, MachineError
from nano_banana.request import Lora

_LOG = logging.getLogger(__name__)
_OPTION = "--lora"
_BLOCKS = "--lora-blocks"
# The name that diffusers gives to the file inside a folder.
_USUAL = "pytorch_lora_weights.safetensors"
_PART = re.compile(r"(?P<module>.+)\.lora_(?P<side>A|B|magnitude_vector)(?:\.weight|\.bias)?")
_FILE_HINT = f"Type {_OPTION} NAME=FILE with a LoRA for SDXL as .safetensors."


def load(pipeline: Any, name: str, source: str, blocks: tuple[str, ...] = ()) -> int:
    """Load the adapter `source` under `name`, switched off; returns the number of UNet modules that it touches.

    `source` is a .safetensors file, a folder with one, or a hub id, in the formats of diffusers and kohya (as diffusers
    converts it). `blocks` restricts it to down_blocks.N, mid_block and up_blocks.N. Raises BadInputError, MachineError;
    the pipeline is then as it was.
    """
    unet = pipeline.unet
    _check_name(unet, name)
    _check_blocks(unet, blocks)
    state, alphas, metadata = _read(pipeline, source)
    parts = _parts(state, source)
    parts = _restricted(unet, parts, blocks, source)
    parts = _known(unet, parts, source)
    for module, tensors in parts.items():
        _check_shapes(source, module, _base(unet.get_submodule(module)), tensors)
    active = _active(unet)
    _inject(pipeline, name, source, parts, alphas, metadata)
    _switch(unet, active)
    return len(parts)


def use(pipeline: Any, loras: Sequence[Lora]) -> None:
    """Let exactly these adapters act from now on, each with its weight; empty, or all of weight 0, switches all off.

    Raises BadInputError for a name that is not loaded or named twice.
    """
    loaded = loaded_names(pipeline)
    weights: dict[str, float] = {}
    for lora in loras:
        if lora.name not in loaded:
            found = ", ".join(sorted(loaded)) or "none, for none was loaded"
            raise BadInputError(
                _OPTION, expected=f"one of: {found}", found=repr(lora.name), fix="Type the name of a loaded one."
            )
        if lora.name in weights:
            raise BadInputError(
                _OPTION,
                expected="each adapter once",
                found=f"{lora.name!r} twice",
                fix="Type it once, with its weight.",
            )
        weights[lora.name] = lora.weight
    # One of weight 0 would be computed and add nothing.
    _switch(pipeline.unet, {key: weight for key, weight in weights.items() if weight != 0})


def loaded_names(pipeline: Any) -> set[str]:
    """The names of all adapters that were loaded, whether they act or not."""
    return set(getattr(pipeline.unet, "peft_config", {}))


def block_names(unet: Any) -> list[str]:
    """The blocks that adapters can be restricted to, in the order in which they run."""
    names = [f"down_blocks.{number}" for number in range(len(unet.down_blocks))]
    if getattr(unet, "mid_block", None) is not None:
        names.append("mid_block")
    return names + [f"up_blocks.{number}" for number in range(len(unet.up_blocks))]


def _layers(unet: Any) -> list[Any]:
    return [module for module in unet.modules() if isinstance(module, BaseTunerLayer)]


def _active(unet: Any) -> dict[str, float]:
    """The adapters that act now, with their weights."""
    weights: dict[str, float] = {}
    for layer in _layers(unet):
        for name in [] if layer.disable_adapters else layer.active_adapters:
            if name in layer.scaling:
                weights[name] = layer.scaling[name] / _unit(layer, name)
    return weights


def _unit(layer: Any, name: str) -> float:
    """The scale that weight 1 means: alpha over rank, or over its root where the file says so."""
    rank = layer.r[name]
    return float(layer.lora_alpha[name] / (rank**0.5 if layer.use_rslora.get(name) else rank))


def _switch(unet: Any, weights: dict[str, float]) -> None:
    for layer in _layers(unet):
        layer.enable_adapters(bool(weights))
        layer.set_adapter(list(weights))
        for name, weight in weights.items():
            layer.set_scale(name, weight)
        # peft marks what is active for training, and pictures need no gradients.
        for key, parameter in layer.named_parameters():
            if "lora_" in key:
                parameter.requires_grad_(False)


def _read(pipeline: Any, source: str) -> tuple[dict[str, torch.Tensor], dict[str, float], dict[str, Any] | None]:
    where: dict[str, Any] = {}
    place = source
    if is_local(source):
        file = _file(source)
        _check_file(file)
        place, where = str(file.parent), {"weight_name": file.name, "local_files_only": True}
    try:
        state, alphas, metadata = StableDiffusionXLPipeline.lora_state_dict(
            place, unet_config=pipeline.unet.config, return_lora_metadata=True, use_safetensors=True, **where
        )
    # Formats that diffusers does not convert and hubs that do not answer fail in ways without a common class.
    except Exception as error:
        if is_local(source):
            raise _no_lora(source, first_line(error)) from error
        raise MachineError(
            f"{_OPTION} {source}",
            expected="a file of that name, or an answer from the model hub",
            found=first_line(error),
            fix=f"Check the network and the name. {_FILE_HINT}",
        ) from error
    return state, {key: float(value) for key, value in (alphas or {}).items()}, metadata


def _file(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix != ".safetensors":
            raise _no_lora(source, f"a file of kind {path.suffix or 'unknown'}, which can hold code or is no LoRA")
        return path
    if not path.is_dir():
        raise BadInputError(f"{_OPTION} {source}", expected="a file or folder", found="none there", fix=_FILE_HINT)
    files = sorted(path.glob("*.safetensors"))
    usual = [file for file in files if file.name == _USUAL]
    if len(usual or files) != 1:
        names = ", ".join(file.name for file in files[:5]) or "none"
        raise BadInputError(
            f"{_OPTION} {source}",
            expected="one .safetensors file in the folder",
            found=f"{len(files)}: {names}" if files else names,
            fix=_FILE_HINT,
        )
    return (usual or files)[0]


def _check_file(file: Path) -> None:
    try:
        with safetensors.safe_open(str(file), "pt") as opened:
            keys = list(opened.keys())
    except (safetensors.SafetensorError, OSError) as error:
        raise BadInputError(
            f"{_OPTION} {file}",
            expected="a whole .safetensors file",
            found=first_line(error),
            fix="Copy or download the file again.",
        ) from error
    if not any("lora" in key for key in keys):
        raise _no_lora(str(file), f"{len(keys)} tensors, the first being {keys[0]!r}" if keys else "no tensors")


def _parts(state: dict[str, torch.Tensor], source: str) -> dict[str, dict[str, torch.Tensor]]:
    """The UNet's share by module, in peft's names: {"mid_block...to_q": {"A.weight": ..., "B.weight": ...}}."""
    share = {key.removeprefix("unet."): value for key, value in state.items() if key.startswith("unet.")}
    others = sorted({key.split(".")[0] for key in state if not key.startswith("unet.")})
    if not share:
        raise _no_lora(source, f"nothing for the UNet, only for: {', '.join(others) or 'nothing'}")
    if others:
        _LOG.warning(
            "%s also holds weights for %s: not used, adapters change the UNet alone.", source, ", ".join(others)
        )
    if not any(".lora_A" in key for key in share):
        share = dict(zip(_in_peft_names(share), share.values(), strict=True))
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in share.items():
        match = _PART.fullmatch(key)
        if not match:
            raise _no_lora(source, f"the tensor {key!r}, which diffusers' loader does not convert")
        parts.setdefault(match["module"], {})[key] = value
    return parts


def _restricted(
    unet: Any, parts: dict[str, dict[str, torch.Tensor]], blocks: tuple[str, ...], source: str
) -> dict[str, dict[str, torch.Tensor]]:
    if not blocks:
        return parts
    touched = [block for block in block_names(unet) if any(_within(module, block) for module in parts)]
    for block in blocks:
        if block in touched:
            continue
        network = unet.get_submodule(block)
        why = "" if getattr(network, "attentions", None) else f"; {block} ({type(network).__name__}) has no attention"
        raise BadInputError(
            _BLOCKS,
            expected=f"blocks that {source} changes",
            found=f"no module for {block}{why}",
            fix=f"Type for example {_BLOCKS} {_instead(unet, blocks, touched)}." if touched else _FILE_HINT,
        )
    return {module: tensors for module, tensors in parts.items() if any(_within(module, block) for block in blocks)}


def _instead(unet: Any, blocks: tuple[str, ...], touched: list[str]) -> str:
    """What to type: the blocks that were right, and for each wrong one the nearest that runs before it."""
    order = block_names(unet)
    picked = []
    for block in blocks:
        place = order.index(block)
        nearest = min(touched, key=lambda name: (abs(order.index(name) - place), order.index(name)))
        picked.append(block if block in touched else nearest)
    return ",".join(dict.fromkeys(picked))


def _within(module: str, block: str) -> bool:
    return module.startswith(f"{block}.")


def _known(unet: Any, parts: dict[str, dict[str, torch.Tensor]], source: str) -> dict[str, dict[str, torch.Tensor]]:
    """Only what this UNet has: a file for a larger relative may fit in part, which is told."""
    modules = {name.replace(".base_layer", "") for name, _ in unet.named_modules()}
    fit = {module: tensors for module, tensors in parts.items() if module in modules}
    strange = sorted(set(parts) - set(fit))
    if not fit:
        raise _no_lora(source, f"weights for {len(parts)} modules, none of which this UNet has ({strange[0]})")
    if strange:
        _LOG.warning(
            "%s: %d of %d modules are not in this UNet and stay out (%s).", source, len(strange), len(parts), strange[0]
        )
    return fit


def _base(module: Any) -> Any:
    return getattr(module, "base_layer", module)


def _check_shapes(source: str, name: str, module: Any, tensors: dict[str, torch.Tensor]) -> None:
    # Sizes are read from attributes: the weights themselves may be away while they are streamed.
    tail: tuple[int, ...]
    if isinstance(module, torch.nn.Linear):
        inward, outward, tail = module.in_features, module.out_features, ()
    elif isinstance(module, torch.nn.Conv2d):
        inward, outward, tail = module.in_channels, module.out_channels, tuple(module.kernel_size)
    else:
        raise _no_lora(source, f"weights for {name}, a {type(module).__name__}")
    down, up = tensors.get(f"{name}.lora_A.weight"), tensors.get(f"{name}.lora_B.weight")
    if down is None or up is None:
        raise _no_lora(source, f"only one of two matrices for {name}")
    rank = down.shape[0]
    expected = ((rank, inward, *tail), (outward, rank, *([1] * len(tail))))
    found = (tuple(down.shape), tuple(up.shape))
    if found != expected or rank == 0:
        raise BadInputError(
            f"{_OPTION} {source}",
            expected=f"matrices of {_sizes(expected)} for {name}",
            found=_sizes(found),
            fix="The file was made for another model. " + _FILE_HINT,
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise _no_lora(source, f"numbers that are not finite for {name}")


def _sizes(pair: tuple[tuple[int, ...], ...]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in pair)


def _inject(
    pipeline: Any,
    name: str,
    source: str,
    parts: dict[str, dict[str, torch.Tensor]],
    alphas: dict[str, float],
    metadata: dict[str, Any] | None,
) -> None:
    state = {f"unet.{key}": value for tensors in parts.values() for key, value in tensors.items()}
    # One of another block could otherwise become the common alpha of all.
    scales = {key: value for key, value in alphas.items() if _alpha_module(key) in parts}
    try:
        with warnings.catch_warnings():
            # A second adapter in the same model is what is wanted here, and peft wonders about it.
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            StableDiffusionXLPipeline.load_lora_into_unet(
                state, network_alphas=scales or None, unet=pipeline.unet, adapter_name=name, metadata=metadata
            )
    # Whatever remains wrong after the checks above: diffusers and peft have no common class of errors.
    except Exception as error:
        if name in loaded_names(pipeline):
            pipeline.unet.delete_adapters(name)
        raise _no_lora(source, first_line(error)) from error


def _alpha_module(key: str) -> str:
    key = key.removeprefix("unet.").removesuffix(".alpha")
    return _in_peft_names({key: torch.empty(0)})[0].split(".lora_")[0]


def _in_peft_names(state: dict[str, torch.Tensor]) -> list[str]:
    return [str(key) for key in convert_unet_state_dict_to_peft(state)]


def _check_name(unet: Any, name: str) -> None:
    # peft makes module names of it, and diffusers looks for these letters in parameters' names.
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise BadInputError(
            _OPTION, expected="a name of letters, digits, - and _", found=repr(name), fix="Type another name."
        )
    if name in getattr(unet, "peft_config", {}):
        raise BadInputError(
            _OPTION, expected="a new name for each adapter", found=f"{name!r} twice", fix="Type another name."
        )


def _check_blocks(unet: Any, blocks: tuple[str, ...]) -> None:
    existing = block_names(unet)
    for block in blocks:
        if block not in existing:
            raise BadInputError(
                _BLOCKS,
                expected="blocks among " + ", ".join(existing),
                found=repr(block),
                fix=f"Type for example {_BLOCKS} mid_block,up_blocks.0.",
            )


def _no_lora(source: str, found: str) -> EngineError:
    return BadInputError(f"{_OPTION} {source}", expected="a LoRA for SDXL's UNet", found=found, fix=_FILE_HINT)
