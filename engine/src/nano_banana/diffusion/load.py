# SPDX-License-Identifier: GPL-3.0-or-later
"""Load an SDXL-class pipeline with diffusers' own loading code, after the folder was looked over."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import StableDiffusionXLPipeline

from nano_banana.diffusion.folder import NETWORKS, Folder, hint, opened
from nano_banana.diffusion.sources import reading
from nano_banana.errors import BadInputError

_OPTION = "--model"
_HINT = hint("--model FOLDER")


@dataclass
class Model:
    """The parts of a pipeline: UNet in `dtype`, VAE and text encoders in fp32, all of them in host memory.

    `text_layers_from_end`: which hidden state of encoder 1 is used, 2 in whole folders and 1 in trimmed ones.
    """

    source: str
    unet: Any
    vae: Any
    scheduler: Any
    text_encoders: tuple[Any, Any]
    tokenizers: tuple[Any, Any]
    zeros_for_empty: bool
    text_layers_from_end: int
    dtype: torch.dtype


def load(source: str, dtype: torch.dtype) -> Model:
    """Load the folder or hub id `source` with the UNet in `dtype`. Raises BadInputError, MachineError.

    Only safetensors are read, and no code from the folder is run. A folder never asks the network.
    """
    folder = opened(source, _OPTION, _HINT, _fetch)
    variant = inspect(folder.path)

    def broken(found: str) -> BadInputError:
        expected = f"a folder that diffusers can load: {folder.path}"
        fix = "Copy the folder again, or pack it anew with nano-banana pack."
        return BadInputError(_OPTION, expected=expected, found=found, fix=fix)

    with reading(broken), _quiet():
        pipeline = StableDiffusionXLPipeline.from_pretrained(
            str(folder.path),
            torch_dtype={"unet": dtype, "default": torch.float32},
            use_safetensors=True,
            local_files_only=True,
            variant=variant,
            add_watermarker=False,
        )
    return _model(source, folder, pipeline, dtype)


def inspect(path: Path) -> str | None:
    """Look a local pipeline over before its gigabytes are read: complete, SDXL, safetensors, no foreign code.

    Returns the variant ("fp16") in whose name its weights are stored, None for the plain one. Raises BadInputError.
    """
    folder = Folder(path, _OPTION, _HINT)
    folder.index()
    variants = {_variant(folder, name) for name in NETWORKS}
    # diffusers takes a plain file where the variant has none, never the other way round.
    return "fp16" if "fp16" in variants else None


def _fetch(source: str) -> Path:
    return _download(source, "fp16") or Path(StableDiffusionXLPipeline.download(source, use_safetensors=True))


def _download(source: str, variant: str) -> Path | None:
    try:
        return Path(StableDiffusionXLPipeline.download(source, use_safetensors=True, variant=variant))
    except ValueError:
        # How diffusers says that the model is there without this variant.
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    # Bars for files of a few milliseconds, and diffusers' new name for torch_dtype, which older ones do not know.
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    try:
        for library in shown:
            library.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def _variant(folder: Folder, network: str) -> str | None:
    place = folder.path / network
    names = [path.name for path in place.glob("*.safetensors")]
    if not names:
        others = sorted(path.name for path in place.iterdir() if path.suffix in (".bin", ".ckpt", ".pt"))
        found = f"{', '.join(others)}, which can hold code" if others else "no weights"
        raise folder.unfit("weights as *.safetensors", found, network)
    return None if any(".fp16" not in name for name in names) else "fp16"


def _model(source: str, folder: Folder, pipeline: Any, dtype: torch.dtype) -> Model:
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        network.eval().requires_grad_(False)
    return Model(
        source=source,
        unet=pipeline.unet,
        vae=pipeline.vae,
        scheduler=pipeline.scheduler,
        text_encoders=(pipeline.text_encoder, pipeline.text_encoder_2),
        tokenizers=(pipeline.tokenizer, pipeline.tokenizer_2),
        zeros_for_empty=bool(pipeline.config.get("force_zeros_for_empty_prompt", True)),
        text_layers_from_end=folder.layers_from_end(),
        dtype=dtype,
    )
