# SPDX-License-Identifier: GPL-3.0-or-later
"""The diffusers backend: SDXL within a memory budget, and what it does when memory ends all the same."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nano_banana.backends import Settings
from nano_banana.errors import BadInputError, MachineError, NoRoomError
from nano_banana.request import MAX_SIDE, MIN_SIDE
from nano_banana.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.diffusion.plans import Plan
    from nano_banana.diffusion.run import Guide, Session
    from nano_banana.request import Request

_LOG = logging.getLogger(__name__)
_GIB = 1 << 30
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
        self._profile: Any = None
        self._plans: dict[tuple[int, int, bool], Plan] = {}
        self._plan: Plan | None = None
        self._networks: dict[str, Any] = {}
        self._upscaler: Any = None
        self._budget: int | None = settings.vram_budget
        self._out_of_memory = 0
        self._pictures = 0
        self._notes: tuple[str, ...] = ()

    def load(self) -> None:
        """Read the model and its adapters into host memory, once. Raises BadInputError, MachineError, NoRoomError."""
        with self._lock:
            if self._session is None:
                self._session = self._open()

    def plan(self, request: Request) -> Plan:
        """The memory plan that this request will run with; loads the model. Raises NoRoomError with the numbers."""
        from nano_banana.diffusion import plans

        self.load()
        key = _shape(request)
        if key not in self._plans:
            plan = plans.choose(self._profile, self._budget, key[0], key[1], guidance=key[2], name=self._settings.plan)
            self._plans[key] = plan
            self._cap(plan)
        return self._plans[key]

    def generate(self, request: Request, watch: Watch = UNWATCHED) -> Image.Image:
        """An RGB image of the asked size. Raises EngineError."""
        return self.generate_many([request], watch)[0]

    def generate_many(self, requests: Sequence[Request], watch: Watch = UNWATCHED) -> list[Image.Image]:
        """Draw them in as few passes as shapes and memory allow; the order is kept. Raises EngineError."""
        for request in requests:
            self._check(request)
        groups: dict[Any, list[int]] = {}
        for number, request in enumerate(requests):
            key = (*_shape(request), request.steps, request.guidance, request.loras, request.control)
            groups.setdefault(key, []).append(number)
        images: dict[int, Image.Image] = {}
        with self._lock:
            self.load()
            for numbers in groups.values():
                made = self._group([requests[number] for number in numbers], watch)
                images.update(zip(numbers, made, strict=True))
            self._pictures += len(requests)
            return [self._finish(request, images[number]) for number, request in enumerate(requests)]

    def state(self) -> dict[str, Any]:
        """Device, plan with its estimate, memory and what was noticed; plain values. Loads nothing."""
        session, plan = self._session, self._plan
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
            "out_of_memory": self._out_of_memory,
            "pictures": self._pictures,
            "notes": list(self._notes),
        }
        return state | (session.state() if session else {})

    def close(self) -> None:
        """Give memory back. The backend is not used after it."""
        with self._lock:
            if self._session is not None:
                self._session.release()
            self._session = self._upscaler = self._profile = None
            self._networks.clear()

    def _open(self) -> Session:
        from nano_banana.diffusion import load, memory, run

        device = run.pick_device(self._settings.device)
        dtype = run.dtype_on(device)
        try:
            session = run.Session(load.load(self._settings.model, dtype), device)
        except (MemoryError, RuntimeError) as error:
            if not run.out_of_memory(error):
                raise
            raise NoRoomError(
                "host memory",
                expected=f"room for {self._settings.model}",
                found=str(error).strip().split("\n")[0] or "no more of it",
                fix="Close other programs, or make a smaller folder with nano-banana pack.",
            ) from error
        model, weights = session.model, self._settings.weights
        self._profile = memory.profile(model.unet, model.vae, dtype, device=device.type, weights=weights)
        free = session.free_bytes()
        if self._budget is None and free is not None:
            # What is free no longer has the CUDA context in it, and estimates have.
            self._budget = free + self._profile.context
        for name, source in self._settings.loras.items():
            from nano_banana.diffusion import lora

            lora.load(session.pipeline, name, source, self._settings.lora_blocks)
            self._profile = dataclasses.replace(self._profile, addons=session.adapter_bytes())
        return session

    def _cap(self, plan: Plan) -> None:
        # Past its budget torch shall say so here, where a tighter plan helps, and not the neighbour on the same card.
        if self._settings.vram_budget is not None and self._session is not None:
            self._session.cap(self._settings.vram_budget - plan.estimate.context)

    def _group(self, requests: list[Request], watch: Watch) -> list[Image.Image]:
        """Requests of one shape: as many at once as the budget has room for, fewer and tighter when memory ends."""
        plan = self.plan(requests[0])
        most = _most_at_once(plan, self._budget, len(requests))
        images: list[Image.Image] = []
        while len(images) < len(requests):
            part = requests[len(images) : len(images) + most]
            made, why = self._attempt(plan, part, watch)
            if made is not None:
                images += made
            elif most > 1:
                most //= 2
                _LOG.warning("Out of memory with %d pictures at once: going on with %d.", len(part), most)
            else:
                plan = self._tighter(plan, part[0], why)
        return images

    def _attempt(self, plan: Plan, part: list[Request], watch: Watch) -> tuple[list[Image.Image] | None, str]:
        """The pictures, or None and torch's words when memory ended; everything else is raised."""
        from nano_banana.diffusion import run

        session = self._session
        assert session is not None
        try:
            guide = self._guide(part[0])
            self._use_loras(part[0])
            if plan != self._plan:
                _LOG.info("%s", plan.describe())
            session.use(plan)
            self._plan = plan
            images = session.draw(part, watch, guide)
            self._notes = session.notes
            return images, ""
        except (MemoryError, RuntimeError) as error:
            if not run.out_of_memory(error):
                raise
            why = str(error).strip().split("\n")[0][:300] or type(error).__name__
        # Outside of the clause: the error holds the frames, and with them the tensors, of the run that failed.
        self._out_of_memory += 1
        session.release()
        return None, why

    def _tighter(self, plan: Plan, request: Request, why: str) -> Plan:
        from nano_banana.diffusion import plans, run

        width, height, guidance = _shape(request)
        smaller = plans.tighter(plan, self._profile, width, height, guidance)
        while smaller and not self._decoding() and run.alike_before_decoding(smaller, plan):
            # Smaller tiles cannot help a UNet that ran out: it would only fail once more.
            smaller = plans.tighter(smaller, self._profile, width, height, guidance)
        if smaller is None:
            raise NoRoomError(
                "memory",
                expected=f"{plan.estimate.peak / _GIB:.2f} GiB for {width}x{height}, the smallest plan ({plan.name})",
                found=f"the end of it: {why}",
                fix=self._what_fits(plan, request),
            )
        _LOG.warning("Out of memory with plan %s: going on with %s. %s", plan.name, smaller.name, smaller.describe())
        self._plans[(width, height, guidance)] = smaller
        return smaller

    def _decoding(self) -> bool:
        return self._session is not None and self._session.decoding

    def _what_fits(self, plan: Plan, request: Request) -> str:
        """The largest smaller size whose plan needs less than the one that failed, as a sentence with what to type."""
        from nano_banana.diffusion import plans

        for share in (0.75, 0.5, 0.25):
            sides = [max(MIN_SIDE, int(side * share) // _GRAIN * _GRAIN) for side in (request.width, request.height)]
            try:
                fit = plans.choose(
                    self._profile, plan.estimate.peak - 1, sides[0], sides[1], guidance=request.guidance > 1
                )
            except NoRoomError:
                continue
            return f"Type --size {sides[0]}x{sides[1]}, which needs about {fit.estimate.peak / _GIB:.2f} GiB."
        return "Close the programs that use this device, or type --device cpu."

    def _guide(self, request: Request) -> Guide | None:
        if request.control is None:
            return None
        from nano_banana.diffusion import control
        from nano_banana.diffusion.run import Guide

        assert self._session is not None
        name = request.control.name
        if name not in self._networks:
            self._networks[name] = control.load(self._settings.controlnets[name], self._session.model.dtype)
        picture = control.prepare(request.control, request.width, request.height)
        return Guide(name, self._networks[name], picture, request.control.strength)

    def _use_loras(self, request: Request) -> None:
        if not self._settings.loras:
            return
        from nano_banana.diffusion import lora

        assert self._session is not None
        lora.use(self._session.pipeline, request.loras)

    def _finish(self, request: Request, image: Image.Image) -> Image.Image:
        if request.upscale != 1:
            from nano_banana.diffusion import upscale

            if self._upscaler is None:
                self._upscaler = upscale.Upscaler(Path(self._settings.upscaler))
            image = self._upscaler.enlarge(image)
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


def _shape(request: Request) -> tuple[int, int, bool]:
    return request.width, request.height, request.guidance > 1


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


def _most_at_once(plan: Plan, budget: int | None, wanted: int) -> int:
    """How many pictures fit into the budget together; the estimate is for one."""
    one = plan.estimate.activations
    if budget is None or one <= 0:
        return wanted
    left = budget - plan.estimate.weights - plan.estimate.context
    return max(1, min(wanted, left // one))
