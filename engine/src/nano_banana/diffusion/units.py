# SPDX-License-Identifier: GPL-3.0-or-later
"""The streaming units of a network: transformer blocks, residual blocks and samplers, in the order of their work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D

UNIT_TYPES = (BasicTransformerBlock, ResnetBlock2D, Downsample2D, Upsample2D)


def units(unet: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The streaming units of a UNet (or ControlNet) by their module names, in the order in which they run.

    What is in none of them (time embedding, first and last convolution, projections around transformer blocks; 2 % of
    SDXL's weights) is the rest, which always stays on the device.
    """
    names = {module: name for name, module in unet.named_modules()}
    ordered = [module for block in _blocks(unet) for module in _inside(block)]
    # A UNet of another make may hold units elsewhere: they come last, and the recorded order soon corrects that.
    ordered += [module for module in names if isinstance(module, UNIT_TYPES)]
    found: dict[str, torch.nn.Module] = {}
    for module in ordered:
        name = names[module]
        if not any(name.startswith(outer + ".") for outer in found):
            found[name] = module
    return found


def _blocks(unet: Any) -> list[Any]:
    blocks = [*unet.down_blocks, getattr(unet, "mid_block", None), *getattr(unet, "up_blocks", [])]
    return [block for block in blocks if block is not None]


def _inside(block: Any) -> Iterator[torch.nn.Module]:
    resnets = list(getattr(block, "resnets", []))
    attentions = list(getattr(block, "attentions", []))
    # A mid block has one residual block more than attentions, and that one runs first.
    if len(resnets) == len(attentions) + 1 and attentions:
        yield resnets.pop(0)
        pairs = list(zip(attentions, resnets, strict=True))
    else:
        pairs = [(resnet, attentions[number] if attentions else None) for number, resnet in enumerate(resnets)]
    for pair in pairs:
        for module in pair:
            yield from getattr(module, "transformer_blocks", [module] if isinstance(module, UNIT_TYPES) else [])
    for samplers in ("downsamplers", "upsamplers"):
        yield from getattr(block, samplers, None) or []
