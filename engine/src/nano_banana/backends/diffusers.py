# SPDX-License-Identifier: GPL-3.0-or-later
"""The diffusers backend: SDXL within a memory budget (diffusion/attempts.py), then upscaling and finishing."""

from __future__ import annotations

import dataclasses
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nano_banana.backends import Settings
from nano_banana.errors import BadInputError, MachineError
from nano_banana.request import MAX_SIDE, MIN_SIDE
from nano_banana.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.diffusion.attempts import Attempts
    from nano_banana.diffusion.plan import Plan
    from nano_banana.diffusion.run import Session
    from nano_banana.request import Request

_EXTRA = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")
# SDXL's VAE makes 8 x 8 pixels of one latent pixel.
_GRAIN = 8


class DiffusersBackend:
    """Loads at the first picture, or at `load()`; one picture or batch at a time, other threads wait."""

    name = "diffusers"
    summary = "Stable Diffusion XL within a memory budget"

    def __init__(self, settings: Settings) -> None:
        missing = [package for package in _EXTRA if importlib.util.find_spec(package) is None]
        if missing:
            raise MachineError(
                "--backend diffusers",
                expected="the extra `diffusion`",
                found="not installed: " + ", ".join(missing),
                fix="Type pip install './engine[diffusion]', or use --backend preview.",
            )
        if not settings.model:
            raise BadInputError("--model", expected="a folder or hub id", found="nothing", fix="Type --model FOLDER.")
        self._settings = settings
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._attempts: Attempts | None = None
        self._upscaler: Any = None
        self._pictures = 0
        self._notes: list[tuple[str, ...]] = []

    def load(self) -> None:
        """Read the model and its adapters into host memory, once. Raises BadInputError, MachineError, NoRoomError."""
        with self._lock:
            self._loaded()

    def plan(self, request: Request) -> Plan:
        """The memory plan that this request will run with; loads the model. Raises EngineError."""
        self._check(request)
        with self._lock:
            return self._loaded().plan_for(request)

    def generate(self, request: Request, watch: Watch = UNWATCHED) -> Image.Image:
        """An RGB image of the asked size. Raises EngineError."""
        return self.generate_many([request], watch)[0]

    def generate_many(self, requests: Sequence[Request], watch: Watch = UNWATCHED) -> list[Image.Image]:
        """Draw them in as few passes as shapes and memory allow; the order is kept. Raises EngineError."""
        for request in requests:
            self._check(request)
        groups: dict[Any, list[int]] = {}
        for number, request in enumerate(requests):
            key = (request.width, request.height, request.steps, request.guidance, request.loras, request.control)
            groups.setdefault(key, []).append(number)
        images: dict[int, Image.Image] = {}
        notes: dict[int, tuple[str, ...]] = {}
        with self._lock:
            attempts = self._loaded()
            for numbers in groups.values():
                made = attempts.draw([requests[number] for number in numbers], watch)
                images.update(zip(numbers, made, strict=True))
                notes.update(zip(numbers, attempts.notes, strict=True))
            self._notes = [notes[number] for number in range(len(requests))]
            self._pictures += len(requests)
            return [self._finish(request, images[number], watch) for number, request in enumerate(requests)]

    def state(self) -> dict[str, Any]:
        """Device, plan with its estimate, memory and what was noticed; plain values. Loads nothing."""
        session, attempts = self._session, self._attempts
        plan = attempts.plan if attempts else None
        state: dict[str, Any] = {
            "device": str(session.device) if session else self._settings.device,
            "model": self._settings.model,
            "weights": self._settings.weights,
            "loras": sorted(self._settings.loras),
            "loaded": session is not None,
            "plan": plan.name if plan else None,
            "plan_text": plan.describe() if plan else "",
            "video_memory_bytes": 0,
            "peak_video_memory_bytes": 0,
            "streamed_bytes": 0,
            "out_of_memory": attempts.out_of_memory if attempts else 0,
            "pictures": self._pictures,
            "notes": list(dict.fromkeys(note for one in self._notes for note in one)),
            "notes_of_each": [list(one) for one in self._notes],
        }
        return state | (session.state() if session else {})

    def close(self) -> None:
        """Give memory back. The backend is not used after it."""
        with self._lock:
            if self._session is not None:
                self._session.release()
            self._session = self._attempts = self._upscaler = None

    def _loaded(self) -> Attempts:
        if self._attempts is None:
            self._attempts = self._open()
        return self._attempts

    def _open(self) -> Attempts:
        from nano_banana.diffusion import attempts, device, load, memory, run

        where = device.pick_device(self._settings.device)
        dtype = device.dtype_on(where)
        with device.host_memory(self._settings.model):
            session = run.Session(load.load(self._settings.model, dtype), where)
        model, weights = session.model, self._settings.weights
        profile = memory.profile(model.unet, model.vae, dtype, device=where.type, weights=weights)
        free, budget = session.free_bytes(), self._settings.vram_budget
        if budget is None and free is not None:
            # What is free no longer has the CUDA context in it, and estimates have.
            budget = free + profile.context
        for name, source in self._settings.loras.items():
            from nano_banana.diffusion import lora

            lora.load(session.pipeline, name, source, self._settings.lora_blocks)
        profile = dataclasses.replace(profile, addons=session.adapter_bytes())
        self._session = session
        return attempts.Attempts(session, profile, self._settings, budget)

    def _finish(self, request: Request, image: Image.Image, watch: Watch) -> Image.Image:
        if request.upscale != 1:
            from nano_banana.diffusion import upscale

            if self._upscaler is None:
                self._upscaler = upscale.Upscaler(Path(self._settings.upscaler))
            image = self._upscaler.enlarge(image, watch=watch)
        # After the upscaler: it would make edges of what sharpening leaves around letters.
        if request.style or request.sharpen != 1:
            from nano_banana import finish

            image = finish.finish(image, style=request.style, sharpen=request.sharpen)
        return image

    def _check(self, request: Request) -> None:
        """What Request cannot know: this backend's sizes and the names it was started with. Raises BadInputError."""
        if request.width % _GRAIN or request.height % _GRAIN:
            nearest = "x".join(str(_nearest(side)) for side in (request.width, request.height))
            raise BadInputError(
                "--size",
                expected=f"sides that are multiples of {_GRAIN}",
                found=f"{request.width}x{request.height}",
                fix=f"Type --size {nearest}.",
            )
        for item in request.loras:
            _known("--lora", item.name, self._settings.loras)
        if request.control is not None:
            _known("--control", request.control.name, self._settings.controlnets)
        if request.upscale != 1 and not self._settings.upscaler:
            raise BadInputError(
                "--upscale",
                expected="an upscaler's file",
                found="none",
                fix="Type --upscaler FILE, or --upscale 1.",
            )


def _nearest(side: int) -> int:
    return min(MAX_SIDE, max(MIN_SIDE, (side + _GRAIN // 2) // _GRAIN * _GRAIN))


def _known(option: str, name: str, loaded: dict[str, str]) -> None:
    if name not in loaded:
        raise BadInputError(
            option,
            expected="one of: " + (", ".join(sorted(loaded)) or "none, for none was loaded"),
            found=repr(name),
            fix=f"Start the engine with {option} {name}=FILE, or leave it away.",
        )
