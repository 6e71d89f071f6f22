# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines with random weights in the folder format of real ones: tests and benchmarks have something to load."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

# The byte alphabet of OpenAI's CLIP tokenizer: printable bytes stand for themselves, the others for 256 onwards.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]


@dataclass(frozen=True)
class Shape:
    """Configurations of a pipeline's four networks, in the words of diffusers and transformers."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    text_2: dict[str, Any] = field(default_factory=dict)


_SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "projection_class_embeddings_input_dim": 2816,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "use_linear_projection": True,
    "layers_per_block": 2,
}
_SDXL_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "force_upcast": True,
}
SDXL = Shape(
    unet=_SDXL_UNET,
    vae=_SDXL_VAE,
    text={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    text_2={
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
)
# What a ControlNet takes over of the configuration of the UNet that it was made for.
_IN_BOTH = (
    *("block_out_channels", "down_block_types", "transformer_layers_per_block", "attention_head_dim"),
    *("cross_attention_dim", "projection_class_embeddings_input_dim", "addition_embed_type"),
    *("addition_time_embed_dim", "use_linear_projection", "layers_per_block"),
)


def control_of(unet: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a ControlNet for a UNet of that configuration, as ControlNetModel.from_unet makes it."""
    return {name: unet[name] for name in _IN_BOTH}


# The same kinds of block in the same order, each as small as its group norms allow.
TINY = Shape(
    unet=_SDXL_UNET
    | {
        "sample_size": 16,
        "block_out_channels": (32, 64, 128),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 4, 8),
        "cross_attention_dim": 64,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 80,
    },
    vae=_SDXL_VAE | {"block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "sample_size": 128},
    text={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4},
    text_2={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "projection_dim": 32,
        "hidden_act": "gelu",
    },
)


def build(folder: Path, shape: Shape = TINY, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Make a pipeline with random weights and save it as `from_pretrained` reads it; returns the folder."""
    with _seeded(seed):
        tokenizer = _tokenizer()
        text = _text(CLIPTextModel, shape.text, len(tokenizer))
        text_2 = _text(CLIPTextModelWithProjection, shape.text_2, len(tokenizer))
        pipeline = StableDiffusionXLPipeline(
            vae=AutoencoderKL(**shape.vae),
            text_encoder=text,
            text_encoder_2=text_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=UNet2DConditionModel(**shape.unet),
            scheduler=EulerDiscreteScheduler(
                beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="leading"
            ),
        )
    pipeline.to(dtype=dtype).save_pretrained(folder, safe_serialization=True)
    return folder


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _text(make: Callable[[CLIPTextConfig], Any], shape: dict[str, Any], words: int) -> Any:
    end = words - 1
    config = CLIPTextConfig(vocab_size=words, bos_token_id=words - 2, eos_token_id=end, pad_token_id=end, **shape)
    return make(config)


def _tokenizer() -> CLIPTokenizer:
    """A tokenizer that knows bytes alone: any prompt has tokens, and no vocabulary needs to be shipped."""
    spare = iter(range(256, 512))
    symbols = [chr(byte) if byte in _PRINTABLE else chr(next(spare)) for byte in range(256)]
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as name:
        vocabulary, merges = Path(name, "vocab.json"), Path(name, "merges.txt")
        vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(name, model_max_length=77)


def random_lora(pipeline: Any, path: Path, blocks: tuple[str, ...] = (), rank: int = 4, seed: int = 0) -> Path:
    """Write a LoRA for the attention of the pipeline's UNet with random weights, in diffusers' format; returns `path`.

    `blocks` such as ("mid_block", "up_blocks.0") restrict it. The weights are large enough to be seen in a picture.
    """
    made = torch.Generator().manual_seed(seed)
    state = {}
    for name, module in pipeline.unet.named_modules():
        name = name.replace(".base_layer", "")
        if not name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0")) or not isinstance(module, torch.nn.Linear):
            continue
        if blocks and not name.startswith(tuple(f"{block}." for block in blocks)):
            continue
        down, up = (rank, module.in_features), (module.out_features, rank)
        state[f"unet.{name}.lora_A.weight"] = torch.randn(down, generator=made) / module.in_features**0.5
        state[f"unet.{name}.lora_B.weight"] = torch.randn(up, generator=made) / rank**0.5
    save_file(state, str(path), metadata={"format": "pt"})
    return path
