# SPDX-License-Identifier: GPL-3.0-or-later
"""Full-size SDXL with random weights on a GPU: our memory plans beside diffusers' own offloading, in one run.

Each variant runs in a process of its own, so that its peaks are its own, under the same hard cap on what torch may
hold. Without a CUDA GPU nothing is measured and the exit code is 0. `--device cpu --shape tiny` rehearses the script.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GIB = 1 << 30
GOAL_GIB = 3.78
GOAL_GUIDANCE_GIB = 0.3
GOAL_GROUP = 1.0
GOAL_SEQUENTIAL = 6.0
# One of OURS with its UNet's weights in 8 bits has this at its end.
EIGHT_BITS = "_int8"
OURS = ("resident", "auto", "streamed", "smallest", f"auto{EIGHT_BITS}", f"streamed{EIGHT_BITS}")
OTHERS = ("model_offload", "sequential_offload", "group_block", "group_leaf")
# Auto once more with one pass a step: what guidance adds to the peak.
UNGUIDED = "auto_cfg1"
PROMPT = "hair dryer, knolling, labeled with part names: motor, housing, 4 screws, cable, white background"


@dataclass(frozen=True)
class Figures:
    """One variant's result; sizes in GiB, None where nobody tells. `error` is empty when the pictures were made."""

    variant: str
    peak_gib: float | None = None
    reserved_gib: float | None = None
    seconds: float | None = None
    first_seconds: float | None = None
    error: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, or one variant of it; returns the exit code: 0 unless the options are wrong."""
    options = _parser().parse_args(arguments)
    if options.variant:
        _say(json.dumps(asdict(measure_variant(options))))
        return 0
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        _say("bench-engine: no CUDA GPU here, nothing was measured. Type --device cpu --shape tiny to rehearse it.")
        return 0
    if options.device == "cpu":
        _say("REHEARSAL on the CPU: the script runs from end to end, and no figure below is one of a GPU.")
    else:
        _say(_machine(torch))
    with tempfile.TemporaryDirectory() as scratch:
        model = build_model(Path(options.cache or scratch), options.shape)
        variants = options.only.split(",") if options.only else [*OURS, UNGUIDED, *OTHERS]
        found = [_in_own_process(options, variant, model) for variant in variants]
    for line in report(found, rehearsal=options.device == "cpu"):
        _say(line)
    return 0


def build_model(folder: Path, shape: str) -> Path:
    """The pipeline's folder, made when it is not there yet."""
    import torch

    from nano_banana.diffusion import random_model

    target = folder / f"random-{shape}"
    if not (target / "model_index.json").exists():
        dtype = torch.float16 if shape == "sdxl" else torch.float32
        random_model.build(target, random_model.SDXL if shape == "sdxl" else random_model.TINY, dtype=dtype)
    return target


def measure_variant(options: argparse.Namespace) -> Figures:
    """Draw with one variant in this process: one picture to warm up, then `pictures` that count."""
    import torch

    from nano_banana.diffusion import measure

    torch.manual_seed(0)
    cuda = options.device == "cuda"
    try:
        if cuda and options.variant != "resident":
            measure.cap(int(options.cap * GIB) - (measure.context() or 0))
        with measure.VideoPeak() if cuda else nullcontext() as video:
            draw = _ours(options) if options.variant in (*OURS, UNGUIDED) else _theirs(options)
            first, seconds = _timed(draw, options.pictures)
        return Figures(
            options.variant,
            peak_gib=video.peak / GIB if video and video.peak is not None else None,
            reserved_gib=measure.reserved_peak() / GIB if cuda else None,
            seconds=seconds,
            first_seconds=first,
        )
    except Exception as error:  # a variant that cannot run, whatever it raised, is a line: the others still count
        return Figures(options.variant, error=f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"[:300])


def _timed(draw: Callable[[int], Any], pictures: int) -> tuple[float, float]:
    """Seconds of the first picture, and of each of the `pictures` after it."""
    started = time.perf_counter()
    draw(0)
    first = time.perf_counter() - started
    started = time.perf_counter()
    for number in range(pictures):
        draw(number + 1)
    return first, (time.perf_counter() - started) / pictures


def _ours(options: argparse.Namespace) -> Callable[[int], Any]:
    from nano_banana import backends
    from nano_banana.request import Request

    plan = options.variant.removesuffix("_cfg1").removesuffix(EIGHT_BITS)
    budget = None if plan == "resident" else int(options.cap * GIB)
    weights = backends.INT8 if options.variant.endswith(EIGHT_BITS) else backends.NATIVE
    settings = backends.Settings(
        model=options.model, device=options.device, vram_budget=budget, plan=plan, weights=weights
    )
    backend = backends.get("diffusers", settings)
    guidance = 1.0 if options.variant == UNGUIDED else 12.0

    def draw(seed: int) -> Any:
        request = Request(
            PROMPT, options.side, options.side, seed, steps=options.steps, guidance=guidance, style=False, sharpen=1.0
        )
        return backend.generate(request)

    return draw


def _theirs(options: argparse.Namespace) -> Callable[[int], Any]:
    import torch
    from diffusers import StableDiffusionXLPipeline

    cuda = options.device == "cuda"
    dtype = torch.float16 if cuda else torch.float32
    pipeline = StableDiffusionXLPipeline.from_pretrained(options.model, torch_dtype=dtype, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    # As its users do at this size: without tiles the decoder alone takes more than the cap.
    pipeline.vae.enable_tiling()
    pipeline.vae.enable_slicing()
    _offload(pipeline, options.variant, options.device)

    def draw(seed: int) -> Any:
        return pipeline(
            PROMPT,
            width=options.side,
            height=options.side,
            num_inference_steps=options.steps,
            guidance_scale=12.0,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]

    return draw


def _offload(pipeline: Any, variant: str, device: str) -> None:
    import torch

    if device == "cpu":
        return  # diffusers offloads from an accelerator alone: the rehearsal draws without it
    if variant == "model_offload":
        pipeline.enable_model_cpu_offload()
        return
    if variant == "sequential_offload":
        pipeline.enable_sequential_cpu_offload()
        return
    level = {"group_block": "block_level", "group_leaf": "leaf_level"}[variant]
    more = {"num_blocks_per_group": 1} if level == "block_level" else {}
    target = torch.device(device)
    pipeline.enable_group_offload(onload_device=target, offload_type=level, use_stream=True, **more)


def report(found: list[Figures], *, rehearsal: bool = False) -> list[str]:
    """The table and its last lines: the four figures and which goals they meet."""
    lines = [f"{'variant':20}{'peak GiB':>10}{'reserved':>10}{'s/picture':>11}{'first s':>9}"]
    for one in found:
        if one.error:
            lines.append(f"{one.variant:20}  did not run: {one.error}")
        else:
            cells = (_text(one.peak_gib), _text(one.reserved_gib), _text(one.seconds), _text(one.first_seconds))
            lines.append(f"{one.variant:20}{cells[0]:>10}{cells[1]:>10}{cells[2]:>11}{cells[3]:>9}")
    values = summary(found)
    for name, value, met, goal in _goals(values):
        verdict = "not measured" if value is None or rehearsal else "met" if met else "MISSED"
        lines.append(f"goal {name} {goal}: {verdict}")
    words = ("peak_gib", "slowdown_vs_resident", "speedup_vs_best_group", "speedup_vs_sequential")
    lines.append(" ".join(f"{word}={'n/a' if rehearsal else _text(values[word])}" for word in words))
    return lines


def summary(found: list[Figures]) -> dict[str, float | None]:
    """The figures of the last line; None where a variant that they need did not run.

    Ours is the plan `auto` under the cap. A group variant counts when it used no more memory than ours.
    """
    by_name = {one.variant: one for one in found if not one.error}
    seconds = {name: one.seconds for name, one in by_name.items()}
    peaks = {name: one.peak_gib for name, one in by_name.items()}
    peak, bare = peaks.get("auto"), peaks.get(UNGUIDED)
    groups = [name for name in ("group_block", "group_leaf") if _no_more(peaks.get(name), peak)]
    fastest = min((one for name in groups if (one := seconds[name]) is not None), default=None)
    ours = seconds.get("auto")
    return {
        "peak_gib": peak,
        "guidance_gib": None if peak is None or bare is None else peak - bare,
        "slowdown_vs_resident": _ratio(ours, seconds.get("resident")),
        "speedup_vs_best_group": _ratio(fastest, ours),
        "speedup_vs_sequential": _ratio(seconds.get("sequential_offload"), ours),
    }


def _no_more(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one <= other


def _goals(values: dict[str, float | None]) -> list[tuple[str, float | None, bool, str]]:
    peak, guided = values["peak_gib"], values["guidance_gib"]
    group, sequential = values["speedup_vs_best_group"], values["speedup_vs_sequential"]
    return [
        ("peak", peak, peak is not None and peak <= GOAL_GIB, f"<= {GOAL_GIB} GiB at CFG 12"),
        ("guidance", guided, guided is not None and guided <= GOAL_GUIDANCE_GIB, f"<= +{GOAL_GUIDANCE_GIB} GiB"),
        ("group", group, group is not None and group >= GOAL_GROUP, f">= {GOAL_GROUP} at no more memory"),
        ("sequential", sequential, sequential is not None and sequential >= GOAL_SEQUENTIAL, f">= {GOAL_SEQUENTIAL}"),
    ]


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _in_own_process(options: argparse.Namespace, variant: str, model: Path) -> Figures:
    words = [sys.executable, str(Path(__file__).resolve()), "--variant", variant, "--model", str(model)]
    for name in ("device", "shape", "side", "steps", "pictures", "cap"):
        words += [f"--{name}", str(getattr(options, name))]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=options.timeout, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return Figures(variant, error=f"not done after {options.timeout} s")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        tail = done.stderr.strip().splitlines()[-1:] or ["no words"]
        return Figures(variant, error=f"exit code {done.returncode}: {tail[0]}"[:300])
    return Figures(**json.loads(lines[-1]))


def _machine(torch: Any) -> str:
    import diffusers

    name = torch.cuda.get_device_name()
    date = time.strftime("%Y-%m-%d")
    return f"{date}, {name}, torch {torch.__version__}, CUDA {torch.version.cuda}, diffusers {diffusers.__version__}"


def _text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shape", choices=("sdxl", "tiny"), default="sdxl")
    parser.add_argument("--side", type=int, default=1024, help="pixels of both sides")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--pictures", type=int, default=2, help="pictures that count; one more warms up")
    parser.add_argument("--cap", type=float, default=GOAL_GIB, help="GiB that a variant may use, context included")
    parser.add_argument("--cache", default="", help="folder that keeps the made model, 7 GB for sdxl")
    parser.add_argument("--only", default="", help="comma-separated variants")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for one variant")
    parser.add_argument("--variant", default="", help=argparse.SUPPRESS)
    parser.add_argument("--model", default="", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
