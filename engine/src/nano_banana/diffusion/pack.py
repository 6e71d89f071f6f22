# SPDX-License-Identifier: GPL-3.0-or-later
"""A smaller copy of an SDXL-class folder that draws the same: half precision, one copy of each weight, no unused layer.

SDXL reads `hidden_states[-2]` of text encoder 1 and nothing else of it (diffusers' encode_prompt), so its last layer is
never used. Of encoder 2 the pooled output is used too, which needs every layer. Encoder 1's final norm is not used
either; its few kilobytes stay, since transformers would otherwise fill it at random and warn on every load. The VAE
stays in fp32 unless told otherwise: in fp16 SDXL's overflows.

A packed folder is marked by `nano_banana.json`. Plain diffusers loads it and gets the prompt wrong: it reads one layer
too early, `hidden_states[-2]` where it is now `[-1]`.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline

from nano_banana.diffusion.folder import INDEX, NETWORKS, NOTE, OTHERS, Folder, opened
from nano_banana.diffusion.pack_proof import Proof, prove
from nano_banana.diffusion.pack_weights import HINT, Part, save_json, weights
from nano_banana.diffusion.sources import first_line, mib, read_json
from nano_banana.errors import BadInputError, MachineError

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_SMALL = (".json", ".txt", ".model")
# Configurations and the file systems' own needs, beyond the weights.
_SPARE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Report:
    """What was made: bytes by part before and after, what was left out, and the proof (None when it was not wanted).

    `notes` are sentences for whoever uses the folder elsewhere.
    """

    source: str
    target: str
    dtype: str
    vae_dtype: str
    before: dict[str, int]
    after: dict[str, int]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    proof: Proof | None

    @property
    def saved(self) -> float:
        """The share of the bytes that is gone, 0 to 1."""
        return 1 - sum(self.after.values()) / max(1, sum(self.before.values()))


def pack(
    source: str, target: Path, dtype: str = "float16", *, vae_dtype: str = "float32", proof: bool = True
) -> Report:
    """Write a trimmed copy of the folder or hub id `source` to the new folder `target`, and prove that it draws alike.

    Written beside `target` and renamed when whole and proven: a failure leaves nothing. An earlier pack at `target` is
    replaced. The proof loads both in fp32, one after the other. Raises BadInputError (no SDXL-class folder, target
    holds something else, numbers too large for the type), MachineError (disk, hub, a proof that fails).
    """
    _check_types(dtype, vae_dtype)
    model, target = opened(source, "SOURCE", HINT, _fetch), Path(target).expanduser().absolute()
    folder = model.path
    _check_target(target, folder)
    parts, from_end = _plan(model, dtype, vae_dtype)
    _check_disk(target, parts)
    before = _sizes(folder)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=_parent(target)))
    try:
        made = work / "packed"
        made.mkdir()
        _write(folder, made, parts, from_end)
        lossless = all(part.lossless() for part in parts)
        shown = prove(folder, made, model.layers_from_end(), from_end, lossless) if proof else None
        after, dropped = _sizes(made), _dropped(folder, parts)
        _move(made, target, work)
    except OSError as error:
        raise MachineError(
            f"TARGET {target}",
            expected="a place to write to",
            found=first_line(error),
            fix="Make room, or type another.",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    notes = _notes(parts, from_end)
    return Report(source, str(target), dtype, vae_dtype, before, after, dropped, notes, shown)


def _check_types(dtype: str, vae_dtype: str) -> None:
    for option, name in (("--dtype", dtype), ("--vae-dtype", vae_dtype)):
        if name not in DTYPES:
            raise BadInputError(
                option, expected="one of: " + ", ".join(DTYPES), found=repr(name), fix=f"Type {option} float16."
            )


def _fetch(source: str) -> Path:
    return Path(StableDiffusionXLPipeline.download(source, use_safetensors=True))


def _plan(model: Folder, dtype: str, vae_dtype: str) -> tuple[list[Part], int]:
    """What becomes of each network, and which hidden state from the end is then encoder 1's. Raises BadInputError."""
    model.index()
    if model.json("unet/config.json").get("addition_embed_type") != "text_time":
        raise model.unfit("SDXL's size conditioning", "a UNet without addition_embed_type text_time")
    from_end, layers = model.layers_from_end(), None
    count = model.json("text_encoder/config.json").get("num_hidden_layers")
    if from_end == 2 and isinstance(count, int) and count > 1:
        layers, from_end = count - 1, 1
    types = dict.fromkeys(NETWORKS, dtype) | {"vae": vae_dtype}
    parts = [
        Part(name, weights(model.path / name), DTYPES[types[name]], layers if name == "text_encoder" else None)
        for name in NETWORKS
    ]
    return parts, from_end


def _check_target(target: Path, source: Path) -> None:
    if target == source or target.resolve() == source.resolve():
        raise BadInputError(
            "TARGET", expected="another folder than SOURCE", found=str(target), fix="Type another name."
        )
    if not target.exists() and not target.is_symlink():
        return
    ours = {INDEX, NOTE, *NETWORKS, *OTHERS}
    names = {path.name for path in target.iterdir()} if target.is_dir() and not target.is_symlink() else None
    if names is None or (names and (NOTE not in names or not names <= ours)):
        raise BadInputError(
            f"TARGET {target}",
            expected="a new folder, an empty one or an earlier pack",
            found="a file" if names is None else ", ".join(sorted(names)[:5]),
            fix="Type another name.",
        )


def _parent(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"TARGET {target}", expected="a folder to make", found=first_line(error), fix="Type another name."
        ) from error
    return target.parent


def _check_disk(target: Path, parts: list[Part]) -> None:
    needed = sum(part.bytes_after() for part in parts) + _SPARE_BYTES
    place = next(folder for folder in target.parents if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise MachineError(
            f"disk at {place}",
            expected=f"{mib(needed)} free",
            found=mib(free),
            fix="Make room, or type a TARGET on another disk.",
        )


def _write(folder: Path, made: Path, parts: list[Part], from_end: int) -> None:
    for name in (*NETWORKS, *OTHERS):
        (made / name).mkdir()
        for file in sorted((folder / name).iterdir()):
            if file.suffix in _SMALL and ".index." not in file.name and file.is_file():
                shutil.copyfile(file, made / name / file.name)
    for part in parts:
        part.write(made / part.name)
        _edit_config(made / part.name / "config.json", part)
    index = read_json(folder / INDEX)
    kept = {key: value for key, value in index.items() if key.startswith("_") or not isinstance(value, list)}
    kept |= {name: index[name] for name in (*NETWORKS, *OTHERS)}
    # Parts that text to image does not use: named as absent, as diffusers itself writes it.
    kept |= {key: [None, None] for key, value in index.items() if isinstance(value, list) and key not in kept}
    save_json(made / INDEX, kept)
    save_json(made / NOTE, {"format": 1, "text_encoder_layers_from_end": from_end})


def _edit_config(path: Path, part: Part) -> None:
    config = read_json(path)
    if part.layers is not None:
        config["num_hidden_layers"] = part.layers
    for key in ("torch_dtype", "dtype"):
        if key in config:
            config[key] = str(part.dtype).removeprefix("torch.")
    save_json(path, config)


def _move(made: Path, target: Path, work: Path) -> None:
    if target.exists():
        target.rename(work / "earlier")
    try:
        made.rename(target)
    except OSError:
        if (work / "earlier").exists():
            (work / "earlier").rename(target)
        raise


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes by part; "other" is what lies beside them, such as a single-file checkpoint."""
    sizes = dict.fromkeys((*NETWORKS, *OTHERS, "other"), 0)
    for file in folder.rglob("*"):
        if file.is_file():
            top = file.relative_to(folder).parts[0]
            sizes[top if top in sizes else "other"] += file.stat().st_size
    return sizes


def _dropped(folder: Path, parts: list[Part]) -> tuple[str, ...]:
    """What of the source is not in the copy, one line each."""
    lines = []
    read = {file for part in parts for file in part.files}
    kept = {*NETWORKS, *OTHERS, INDEX, NOTE}
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).parts
        small = inside[0] in kept and (file.suffix in _SMALL and len(inside) <= 2)
        if file.is_file() and file not in read and not small:
            lines.append(f"{'/'.join(inside)} ({mib(file.stat().st_size)})")
    trimmed = [part for part in parts if part.layers is not None]
    lines += [f"{part.name}: layers from {part.layers} on, behind the state that SDXL reads" for part in trimmed]
    return tuple(lines)


def _notes(parts: list[Part], from_end: int) -> tuple[str, ...]:
    notes = []
    if from_end == 1:
        notes.append(
            "Plain diffusers loads this folder and reads text encoder 1 one layer too early (hidden_states[-2] where "
            "[-1] is meant): pass it prompt_embeds, or use nano-banana."
        )
    if any(part.name == "vae" and part.dtype == torch.float16 for part in parts):
        notes.append("The VAE is in fp16: SDXL's original one overflows there and draws black; decode it in fp32.")
    return tuple(notes)
