# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands about the machine and the model: doctor, pack and bench."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nano_banana import backends
from nano_banana.cli import options, values
from nano_banana.cli.screen import say, show
from nano_banana.errors import EXIT_FAILURE, EXIT_OK

if TYPE_CHECKING:
    from nano_banana.diffusion.pack import Report


def doctor(
    lora: options.Lora = None,
    lora_blocks: options.LoraBlocks = None,
    control: options.ControlModel = None,
    upscaler: options.Upscaler = "",
    model: options.Model = "",
    device: options.Device = "auto",
    vram_budget: options.VramBudget = None,
    plan: options.Plan = "auto",
    as_json: options.Json = False,
) -> int:
    """Look at this machine: what is there, what is not, and how to mend it."""
    settings = values.settings_of(locals())
    from nano_banana.doctor import FAILED, examine

    rows = examine(settings)
    if as_json:
        show([dataclasses.asdict(row) for row in rows])
    for row in [] if as_json else rows:
        fix = f" -> {row.fix}" if row.fix else ""
        print(f"{row.status:<8} {row.name:<14} {row.found}{fix}")
    return EXIT_FAILURE if any(row.status == FAILED for row in rows) else EXIT_OK


def pack(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A model in diffusers' folder format, or a hub id.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to write: new, or an earlier pack.")],
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float16, bfloat16 or float32.")] = "float16",
    vae_dtype: Annotated[
        str, typer.Option("--vae-dtype", metavar="NAME", help="The same for the VAE, which overflows in float16.")
    ] = "float32",
    as_json: options.Json = False,
) -> int:
    """Write a trimmed copy of a model, and prove that it draws the same."""
    from nano_banana.diffusion.pack import pack as library

    report = library(source, target, dtype=dtype, vae_dtype=vae_dtype)
    if as_json:
        show(_plain(dataclasses.asdict(report) | {"saved": report.saved}))
    else:
        print("\n".join(_packed(report)))
    return EXIT_OK


def _packed(report: Report) -> Iterator[str]:
    """What pack made, for people; sizes in MB."""
    for part, size in report.before.items():
        yield f"{part:<16}{size / 1e6:10.1f} -> {report.after.get(part, 0) / 1e6:.1f} MB"
    yield from (f"left out        {name}" for name in report.dropped)
    if report.proof:
        picture = f"{report.proof.psnr:.1f} dB" if report.proof.psnr is not None else "equal in every pixel"
        yield f"proof           embeddings differ by {report.proof.embedding_difference:.2g}, the picture: {picture}"
    yield from (f"note            {note}" for note in report.notes)
    yield f"wrote {report.target}: {report.saved:.1%} smaller"


def bench(
    prompt: options.Prompt = "hair dryer, knolling, labeled with part names: motor, housing, 4 screws, cable",
    preset: options.Preset = None,
    size: options.Size = "1024x1024",
    seed: options.Seed = None,
    negative: options.Negative = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    upscale: options.Upscale = None,
    style: options.Style = None,
    sharpen: options.Sharpen = None,
    lora: options.Lora = None,
    lora_blocks: options.LoraBlocks = None,
    control: options.ControlModel = None,
    control_picture: options.ControlPicture = None,
    control_strength: options.ControlStrength = None,
    upscaler: options.Upscaler = "",
    backend: options.Backend = backends.DEFAULT,
    model: options.Model = "",
    device: options.Device = "auto",
    vram_budget: options.VramBudget = None,
    plan: options.Plan = "auto",
    pictures: Annotated[str, typer.Option("--pictures", metavar="N", help="How many to draw, 1 to 1000.")] = "3",
    memory_model: Annotated[
        bool, typer.Option("--memory-model", help="Predict each plan's memory peak instead; draws nothing.")
    ] = False,
    as_json: options.Json = False,
) -> int:
    """Measure: steps per second, peak of video and host memory, the first and the later pictures."""
    return _bench(locals())


def _bench(given: dict[str, Any]) -> int:
    request, settings = values.request_of(given), values.settings_of(given)
    count = values.whole("--pictures", given["pictures"])
    from nano_banana import bench as library

    if given["memory_model"]:
        guidance = request.guidance > 1
        rows = library.memory_model(settings, width=request.width, height=request.height, guidance=guidance)
        if given["as_json"]:
            show(rows)
        for row in [] if given["as_json"] else rows:
            print(row["text"] if row["fits"] else f"plan {row['plan']}: does not fit: {row['refused']}")
        return EXIT_OK
    if not given["as_json"]:
        say(f"drawing {count} pictures ...")
    found = library.run(given["backend"], settings, request, count)
    if given["as_json"]:
        show(found)
    else:
        print(_lines(found))
    return EXIT_OK


def _lines(found: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {_short(value)}" for name, value in found.items())


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """The value as JSON can say it: paths as text, tuples and sets as lists."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
