# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows that a packed folder draws what its source draws: the same prompts and seed through both, compared."""

from __future__ import annotations

import gc
import math
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from nano_banana.diffusion.sources import reading
from nano_banana.errors import MachineError

PROMPTS = ("hair dryer, knolling, labeled with part names: motor, housing, 4 screws, cable", "blurry, scattered")
STEPS = 2
# In latent pixels of 8: small, since a network of full size takes a minute here on a CPU.
SIDE = 128
# Half precision keeps three to four digits; what differs more is another model, or a broken one.
LEAST_PSNR = 20.0


@dataclass(frozen=True)
class Proof:
    """The comparison, both sides computed in fp32 on the CPU.

    `exact`: embeddings and picture are equal in every bit. `embedding_difference` is the largest, beside
    `embedding_size`, the largest number in them. `psnr` in dB of the picture at 8 bits, None when its pixels are equal.
    """

    exact: bool
    embedding_difference: float
    embedding_size: float
    psnr: float | None
    steps: int = STEPS
    side: int = SIDE


def prove(source: Path, packed: Path, source_from_end: int, packed_from_end: int, lossless: bool) -> Proof:
    """Compare two folders; `*_from_end` says which hidden state of encoder 1 is read. Raises MachineError.

    `lossless`: no number lost precision, so that anything but equal bits is a failure.
    """
    one, other = _draw(source, source_from_end), _draw(packed, packed_from_end)
    pairs = list(zip(one, other, strict=True))
    exact = all(torch.equal(left, right) for left, right in pairs)
    difference = max(float((left - right).abs().max()) for left, right in pairs[:-1])
    size = max(float(left.abs().max()) for left, _ in pairs[:-1])
    ratio = psnr(pixels(one[-1]), pixels(other[-1]))
    shown = Proof(exact, difference, size, None if math.isinf(ratio) else ratio)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in other):
        raise _failed("finite numbers", "others")
    if lossless and not exact:
        raise _failed("the same bits", f"embeddings that differ by {difference:g}, pictures of {ratio:.1f} dB")
    if ratio < LEAST_PSNR:
        raise _failed(f"a picture within {LEAST_PSNR:g} dB of the source's", f"{ratio:.1f} dB")
    return shown


def pixels(image: torch.Tensor) -> np.ndarray[Any, Any]:
    """A picture from 0 to 1 as 8-bit numbers, as it would be saved."""
    return (image.clamp(0, 1) * 255).round().numpy()


def psnr(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Peak signal-to-noise ratio in dB of two 8-bit pictures; infinite when they are equal."""
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _draw(folder: Path, from_end: int) -> list[torch.Tensor]:
    """Embeddings and pooled output of both prompts, then the picture from 0 to 1; all in fp32."""
    pipeline = _load(folder)
    wanted, negative = (_embed(pipeline, prompt, from_end) for prompt in PROMPTS)
    size = SIDE // 8
    start = torch.randn(1, pipeline.unet.config.in_channels, size, size, generator=torch.Generator().manual_seed(0))
    picture = pipeline(
        prompt_embeds=wanted[0],
        pooled_prompt_embeds=wanted[1],
        negative_prompt_embeds=negative[0],
        negative_pooled_prompt_embeds=negative[1],
        num_inference_steps=STEPS,
        guidance_scale=5.0,
        width=SIDE,
        height=SIDE,
        latents=start,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images[0]
    del pipeline
    # The next one needs the room: two of full size in fp32 take 27 GB.
    gc.collect()
    return [*wanted, *negative, picture.float()]


def _load(folder: Path) -> Any:
    kind: Any = StableDiffusionXLPipeline
    plain = all(any(".fp16" not in f.name for f in (folder / n).glob("*.safetensors")) for n in ("unet", "vae"))
    with reading(partial(_failed, f"a folder that loads ({folder.name})")), warnings.catch_warnings():
        # Newer versions have another name for torch_dtype, which older ones do not know.
        warnings.simplefilter("ignore", FutureWarning)
        pipeline = kind.from_pretrained(
            str(folder),
            torch_dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            variant=None if plain else "fp16",
            add_watermarker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _embed(pipeline: Any, prompt: str, from_end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As diffusers' encode_prompt: the chosen hidden states of both encoders side by side, and the pooled output."""
    states = []
    readers = (
        (pipeline.tokenizer, pipeline.text_encoder, from_end),
        (pipeline.tokenizer_2, pipeline.text_encoder_2, 2),
    )
    for tokenizer, encoder, layer in readers:
        length = tokenizer.model_max_length
        tokens = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        output = encoder(tokens.input_ids, output_hidden_states=True)
        states.append(output.hidden_states[-layer])
    return torch.cat(states, dim=-1), output[0]


def _failed(expected: str, found: str) -> MachineError:
    return MachineError(
        "proof of the packed folder",
        expected=expected,
        found=found,
        fix="Nothing was written. Type --dtype float32 to keep every bit.",
    )
