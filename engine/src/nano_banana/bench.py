# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a backend is and what memory it takes: measured on real pictures, or predicted for every plan."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nano_banana import backends
from nano_banana.errors import BadInputError, NoRoomError
from nano_banana.watch import Watch

if TYPE_CHECKING:
    from nano_banana.backends import Settings
    from nano_banana.diffusion.plan import Plan, Profile
    from nano_banana.request import Request

MOST_PICTURES = 100


def run(backend_name: str, settings: Settings, request: Request, pictures: int = 2) -> dict[str, Any]:
    """Draw `pictures` with that backend and tell what they took: plain JSON values, sizes in bytes, times in seconds.

    `first_picture_s` includes loading. `steps_per_s` is the median of the gaps between steps, None for a backend that
    has no steps. `peak_video_bytes` is NVML's figure for this process (None without CUDA), `peak_host_bytes` its
    resident set's highest (None on Windows). Each picture has a seed of its own. Raises EngineError.
    """
    if not 1 <= pictures <= MOST_PICTURES:
        raise BadInputError(
            "--pictures", expected=f"1 to {MOST_PICTURES}", found=str(pictures), fix="Type --pictures 2."
        )
    gaps: list[float] = []
    seconds: list[float] = []
    with _video_peak(backend_name) as video:
        started = time.perf_counter()
        backend = backends.get(backend_name, settings)
        try:
            for number in range(pictures):
                seed = (request.seed + number) % 2**32
                backend.generate(dataclasses.replace(request, seed=seed), _stopwatch(gaps))
                seconds.append(time.perf_counter() - started)
                started = time.perf_counter()
            state = backend.state()
        finally:
            backend.close()
    return {
        "backend": backend_name,
        "width": request.width,
        "height": request.height,
        "steps": request.steps,
        "guidance": request.guidance,
        "pictures": pictures,
        "first_picture_s": round(seconds[0], 4),
        "later_picture_s": round(statistics.median(seconds[1:]), 4) if pictures > 1 else None,
        "steps_per_s": round(1 / statistics.median(gaps), 4) if gaps else None,
        "peak_video_bytes": getattr(video, "peak", None),
        "peak_host_bytes": _resident_peak(),
        "state": state,
    }


def memory_model(
    settings: Settings, *, width: int = 1024, height: int = 1024, guidance: bool = True
) -> list[dict[str, Any]]:
    """The predicted memory of every plan as rows of plain values, sizes in bytes; loads no weights.

    `settings.model` is a local pipeline folder, of which only configurations are read; without one the shape is SDXL's.
    With `settings.controlnets`, local folders too, each row counts one that guides, the largest, and names it as
    `control` (None without any): one guides at a time, and the others wait in host memory, uncounted.
    Device "auto" predicts for CUDA, whether or not there is one. A plan that does not fit `settings.vram_budget` has
    its refusal as `refused`. Raises BadInputError.
    """
    from nano_banana.diffusion import plans

    profile, where, control = _profile(settings)
    rows = []
    for found in plans.every(profile, settings.vram_budget, width, height, guidance=guidance):
        if isinstance(found, NoRoomError):
            rows.append({"refused": str(found), "fits": False})
        else:
            rows.append(_row(found, profile, where))
    names = plans.NAMES[1:]
    shape = {"device": where, "width": width, "height": height, "guidance": guidance}
    shape |= {"control": control, "budget": settings.vram_budget}
    shape["weights_kept"] = settings.weights
    return [{"plan": name} | shape | row for name, row in zip(names, rows, strict=True)]


def _row(plan: Plan, profile: Profile, where: str) -> dict[str, Any]:
    need = plan.estimate
    # On the CPU the device's memory is the host's: what is held is the sum, less the decoder, which would count twice.
    host = need.host if where == "cuda" else host_total(plan, profile)
    return {
        "fits": True,
        "peak": need.peak,
        "weights": need.weights,
        "activations": need.activations,
        "decode": need.decode,
        "context": need.context,
        "control_weights": need.control,
        "bytes_per_step": need.bytes_per_step,
        "host": host,
        "resident_units": len(profile.units) if "all" in plan.resident else len(plan.resident),
        "units": len(profile.units),
        "split_guidance": plan.split_guidance,
        "vae_tile": plan.vae_tile,
        "attention_slices": plan.attention_slices,
        "text": plan.describe(),
    }


def host_total(plan: Plan, profile: Profile) -> int:
    """Bytes of UNet and VAE with all their work where the device is the host; text encoders come on top."""
    need = plan.estimate
    return need.weights + need.host + max(need.activations, need.decode - profile.decoder)


def _profile(settings: Settings) -> tuple[Profile, str, str | None]:
    """The profile, the kind of device, and the name of the ControlNet in it."""
    import torch

    from nano_banana.diffusion import memory

    where = "cpu" if settings.device == "cpu" else "cuda"
    dtype = torch.float32 if where == "cpu" else torch.float16
    if settings.model:
        folder = Path(settings.model)
        configs = [_config(folder / part / "config.json") for part in ("unet", "vae")]
    else:
        from nano_banana.diffusion.random_model import SDXL

        configs = [SDXL.unet, SDXL.vae]
    profile = memory.profile_of(configs[0], configs[1], dtype, device=where, weights=settings.weights)
    profiles = {name: _guided(profile, source, dtype) for name, source in settings.controlnets.items()}
    if not profiles:
        return profile, where, None
    largest = max(profiles, key=lambda name: profiles[name].control.held(False))
    return profiles[largest], where, largest


def _guided(profile: Profile, source: str, dtype: Any) -> Profile:
    from nano_banana.diffusion import control, memory

    network = memory.controlnet_of(control.configuration(Path(source).expanduser()), dtype)
    control.check_pair(profile.config, network.config)
    return memory.guided(profile, network)


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(
            "--model",
            expected=f"a readable {path}",
            found=type(error).__name__,
            fix="Type --model FOLDER with a pipeline that save_pretrained of diffusers wrote.",
        ) from error
    if not isinstance(found, dict):
        raise BadInputError("--model", expected=f"an object in {path}", found="none", fix="Copy the folder again.")
    return found


def _stopwatch(gaps: list[float]) -> Watch:
    last: list[float] = []

    def on_step(_done: int, _total: int) -> None:
        now = time.perf_counter()
        # The first step's start is not told: its gap would hold the prompt's encoding.
        if last:
            gaps.append(now - last[0])
        last[:] = [now]

    return Watch(on_step=on_step)


def _video_peak(backend_name: str) -> Any:
    # The preview needs no torch, and its first picture must not wait for torch's import.
    if backend_name == backends.DEFAULT or importlib.util.find_spec("torch") is None:
        return contextlib.nullcontext()
    import torch

    from nano_banana.diffusion import measure

    return measure.VideoPeak() if torch.cuda.is_available() else contextlib.nullcontext()


def _resident_peak() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such module; the rest of the measurement is as good there.
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
