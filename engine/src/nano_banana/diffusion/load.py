# SPDX-License-Identifier: GPL-3.0-or-later
"""Load an SDXL-class pipeline with diffusers' own loading code, after the folder was looked over."""

from __future__ import annotations

import json
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

from nano_banana.errors import BadInputError, MachineError

INDEX = "model_index.json"
# What a trimmed folder says about itself (written by `nano-banana pack`).
NOTE = "nano_banana.json"
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")
OTHERS = ("tokenizer", "tokenizer_2", "scheduler")
_LIBRARIES = ("diffusers", "transformers")
_FOLDER_HINT = "Type --model FOLDER with a pipeline that save_pretrained of diffusers wrote."


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
    folder = _folder(source)
    variant = inspect(folder)
    try:
        with _quiet():
            pipeline = StableDiffusionXLPipeline.from_pretrained(
                str(folder),
                torch_dtype={"unet": dtype, "default": torch.float32},
                use_safetensors=True,
                local_files_only=True,
                variant=variant,
                add_watermarker=False,
            )
    # Whatever a broken folder makes of the libraries below: their errors share no base class.
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise
        raise BadInputError(
            "--model",
            expected=f"a folder that diffusers can load: {folder}",
            found=_first_line(error),
            fix="Copy the folder again, or pack it anew with nano-banana pack.",
        ) from error
    return _model(source, folder, pipeline, dtype)


def inspect(folder: Path) -> str | None:
    """Look a local pipeline over before its gigabytes are read: complete, SDXL, safetensors, no foreign code.

    Returns the variant ("fp16") in whose name its weights are stored, None for the plain one. Raises BadInputError.
    """
    index = _json(folder / INDEX)
    kind = index.get("_class_name")
    if not isinstance(kind, str) or not kind.startswith("StableDiffusionXL"):
        raise _unfit(folder, "a StableDiffusionXL pipeline", f"_class_name {kind!r} in {INDEX}")
    for name in (*NETWORKS, *OTHERS):
        entry = index.get(name)
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in _LIBRARIES:
            raise _unfit(folder, f"{name} of diffusers or transformers", f"{entry!r} in {INDEX}")
        if not (folder / name).is_dir():
            raise _unfit(folder, f"the folder {name}", "no such folder")
    variants = {_variant(folder / name) for name in NETWORKS}
    # diffusers takes a plain file where the variant has none, never the other way round.
    return "fp16" if "fp16" in variants else None


def is_local(source: str) -> bool:
    """Whether `source` means a folder: it exists, or it can be no hub id (those are NAME or OWNER/NAME)."""
    return Path(source).expanduser().exists() or source.startswith((".", "~", "/")) or source.count("/") > 1


def _folder(source: str) -> Path:
    if not source:
        raise BadInputError("--model", expected="a folder or hub id", found="nothing", fix=_FOLDER_HINT)
    if is_local(source):
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise _unfit(folder, "a folder", "a file" if folder.exists() else "no such folder")
        return folder
    try:
        return _download(source, "fp16") or Path(StableDiffusionXLPipeline.download(source, use_safetensors=True))
    # Not reachable, unknown or gated: every version of the hub's client has its own errors for these.
    except Exception as error:
        raise MachineError(
            f"model {source}",
            expected="a folder of that name, or an answer from the model hub",
            found=_first_line(error),
            fix=f"Check the network and the name. {_FOLDER_HINT}",
        ) from error


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


def _variant(folder: Path) -> str | None:
    names = [path.name for path in folder.glob("*.safetensors")]
    if not names:
        others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".ckpt", ".pt"))
        found = f"{', '.join(others)}, which can hold code" if others else "no weights"
        raise _unfit(folder, "weights as *.safetensors", found)
    return None if any(".fp16" not in name for name in names) else "fp16"


def _model(source: str, folder: Path, pipeline: Any, dtype: torch.dtype) -> Model:
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
        text_layers_from_end=_layers_from_end(folder),
        dtype=dtype,
    )


def _layers_from_end(folder: Path) -> int:
    if not (folder / NOTE).exists():
        return 2
    note = _json(folder / NOTE)
    value = note.get("text_encoder_layers_from_end")
    if note.get("format") != 1 or value not in (1, 2):
        raise _unfit(folder / NOTE, "format 1 with text_encoder_layers_from_end 1 or 2", json.dumps(note)[:120])
    return int(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unfit(path, "a readable JSON file", _first_line(error)) from error
    if not isinstance(value, dict):
        raise _unfit(path, "a JSON object", type(value).__name__)
    return value


def _unfit(where: Path, expected: str, found: str) -> BadInputError:
    return BadInputError(f"--model {where}", expected=expected, found=found, fix=_FOLDER_HINT)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: " + (str(error).strip().splitlines() or ["no words"])[0][:300]
