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
from functools import partial
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from peft.tuners.tuners_utils import BaseTunerLayer

from nano_banana.diffusion.lora_file import FILE_HINT, OPTION, Adapter, in_peft_names, no_lora, read
from nano_banana.diffusion.sources import reading
from nano_banana.errors import BadInputError, EngineError
from nano_banana.request import Lora

_LOG = logging.getLogger(__name__)
_BLOCKS = "--lora-blocks"


def load(pipeline: Any, name: str, source: str, blocks: tuple[str, ...] = ()) -> int:
    """Load the adapter `source` under `name`, switched off; returns the number of UNet modules that it touches.

    `source` is a .safetensors file, a folder with one, or a hub id, in the formats of diffusers and kohya (as diffusers
    converts it). `blocks` restricts it to down_blocks.N, mid_block and up_blocks.N. Raises BadInputError, MachineError;
    the pipeline is then as it was.
    """
    unet = pipeline.unet
    _check_name(unet, name)
    _check_blocks(unet, blocks)
    adapter = read(unet, source)
    parts = _restricted(unet, adapter.parts, blocks, source)
    parts = _known(unet, parts, source)
    for module, tensors in parts.items():
        _check_shapes(source, module, _base(unet.get_submodule(module)), tensors)
    active = _active(unet)
    _inject(pipeline, name, source, adapter._replace(parts=parts))
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
                OPTION, expected=f"one of: {found}", found=repr(lora.name), fix="Type the name of a loaded one."
            )
        if lora.name in weights:
            raise BadInputError(
                OPTION,
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
            fix=f"Type for example {_BLOCKS} {_instead(unet, blocks, touched)}." if touched else FILE_HINT,
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
        raise no_lora(source, f"weights for {len(parts)} modules, none of which this UNet has ({strange[0]})")
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
        raise no_lora(source, f"weights for {name}, a {type(module).__name__}")
    down, up = tensors.get(f"{name}.lora_A.weight"), tensors.get(f"{name}.lora_B.weight")
    if down is None or up is None:
        raise no_lora(source, f"only one of two matrices for {name}")
    rank = down.shape[0]
    expected = ((rank, inward, *tail), (outward, rank, *([1] * len(tail))))
    found = (tuple(down.shape), tuple(up.shape))
    if found != expected or rank == 0:
        raise BadInputError(
            f"{OPTION} {source}",
            expected=f"matrices of {_sizes(expected)} for {name}",
            found=_sizes(found),
            fix="The file was made for another model. " + FILE_HINT,
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise no_lora(source, f"numbers that are not finite for {name}")


def _sizes(pair: tuple[tuple[int, ...], ...]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in pair)


def _inject(
    pipeline: Any,
    name: str,
    source: str,
    adapter: Adapter,
) -> None:
    parts, alphas, metadata = adapter
    state = {f"unet.{key}": value for tensors in parts.values() for key, value in tensors.items()}
    # One of another block could otherwise become the common alpha of all.
    scales = {key: value for key, value in alphas.items() if _alpha_module(key) in parts}
    try:
        with reading(partial(no_lora, source)), warnings.catch_warnings():
            # A second adapter in the same model is what is wanted here, and peft wonders about it.
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            StableDiffusionXLPipeline.load_lora_into_unet(
                state, network_alphas=scales or None, unet=pipeline.unet, adapter_name=name, metadata=metadata
            )
    except EngineError:
        if name in loaded_names(pipeline):
            pipeline.unet.delete_adapters(name)
        raise


def _alpha_module(key: str) -> str:
    key = key.removeprefix("unet.").removesuffix(".alpha")
    return in_peft_names({key: torch.empty(0)})[0].split(".lora_")[0]


def _check_name(unet: Any, name: str) -> None:
    # peft makes module names of it, and diffusers looks for these letters in parameters' names.
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise BadInputError(
            OPTION, expected="a name of letters, digits, - and _", found=repr(name), fix="Type another name."
        )
    if name in getattr(unet, "peft_config", {}):
        raise BadInputError(
            OPTION, expected="a new name for each adapter", found=f"{name!r} twice", fix="Type another name."
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
