# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of one shape within memory: the plan that fits, and fewer pictures or a tighter plan when memory ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nano_banana.diffusion import control, device, memory, plans, run
from nano_banana.diffusion.plan import gib
from nano_banana.errors import NoRoomError
from nano_banana.request import MIN_SIDE

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.backends import Settings
    from nano_banana.diffusion.plan import Plan, Profile
    from nano_banana.request import Request
    from nano_banana.watch import Watch

_LOG = logging.getLogger(__name__)
# What plans depend on: width, height, whether guidance has two passes, the name of the ControlNet ("" for none).
_Shape = tuple[int, int, bool, str]
# SDXL's VAE makes 8 x 8 pixels of one latent pixel.
GRAIN = 8


class Attempts:
    """Draws with one session, and remembers for each shape the plan that held.

    `budget` in bytes, None where nothing is bounded. `plan` is the last one that was tried, `out_of_memory` how often
    memory ended. Not safe for two threads at once: its owner takes turns.
    """

    def __init__(self, session: run.Session, profile: Profile, settings: Settings, budget: int | None) -> None:
        self.plan: Plan | None = None
        self.chosen: dict[_Shape, Plan] = {}
        self.out_of_memory = 0
        # What was noticed about each request of the last call.
        self.notes: list[tuple[str, ...]] = []
        self._session = session
        # By the name of the ControlNet that guides, "" for none.
        self._profiles = {"": profile}
        self._settings = settings
        self._budget = budget
        self._networks: dict[str, Any] = {}

    def plan_for(self, request: Request) -> Plan:
        """The memory plan that this request runs with; loads the ControlNet that it names.

        Raises NoRoomError with the numbers, BadInputError for a ControlNet that does not fit the model.
        """
        key = _shape(request)
        if key not in self.chosen:
            self.chosen[key] = plans.choose(
                self._profile(request),
                self._budget,
                request.width,
                request.height,
                guidance=request.guidance > 1,
                name=self._settings.plan,
            )
            self._cap(self.chosen[key])
        return self.chosen[key]

    def draw(self, requests: list[Request], watch: Watch) -> list[Image.Image]:
        """Requests of one shape: as many at once as the budget has room for, fewer and tighter when memory ends.

        Raises EngineError.
        """
        self.notes = []
        try:
            return self._draw(requests, watch)
        finally:
            # Another picture, or the same one asked for anew, starts from its noise.
            self._session.forget()

    def _draw(self, requests: list[Request], watch: Watch) -> list[Image.Image]:
        plan = self.plan_for(requests[0])
        most = _most_at_once(plan, self._budget, len(requests))
        images: list[Image.Image] = []
        while len(images) < len(requests):
            part = requests[len(images) : len(images) + most]
            made, why = self._attempt(plan, part, watch)
            if made is not None:
                images += made
            elif len(part) > 1 and not self._session.decoding:
                most = len(part) // 2
                _LOG.warning("Out of memory with %d pictures at once: going on with %d.", len(part), most)
            else:
                plan = self._tighter(plan, part[0], why)
        return images

    def _attempt(self, plan: Plan, part: list[Request], watch: Watch) -> tuple[list[Image.Image] | None, str]:
        """The pictures, or None and torch's words when memory ended; everything else is raised."""
        # Placing weights comes first, and can end memory as a step can.
        self._session.decoding = False
        try:
            guide, noticed = self._guide(part[0])
            self._use_loras(part[0])
            if plan != self.plan:
                _LOG.info("%s", plan.describe())
            self._session.use(plan)
            self.plan = plan
            images = self._session.draw(part, watch, guide)
            self.notes += [(*noticed, *notes) for notes in self._session.notes]
            return images, ""
        except (MemoryError, RuntimeError) as error:
            if not device.out_of_memory(error):
                raise
            why = str(error).strip().split("\n")[0][:300] or type(error).__name__
        # Outside of the clause: the error holds the frames, and with them the tensors, of the run that failed.
        self.out_of_memory += 1
        self._session.release()
        return None, why

    def _tighter(self, plan: Plan, request: Request, why: str) -> Plan:
        width, height, guidance, _ = _shape(request)
        profile = self._profile(request)
        smaller = plans.tighter(plan, profile, width, height, guidance)
        alike = run.alike_in_decoding if self._session.decoding else run.alike_before_decoding
        while smaller and alike(smaller, plan):
            # Smaller tiles cannot help a UNet that ran out, nor halves of its work a decoder: it would only fail again.
            smaller = plans.tighter(smaller, profile, width, height, guidance)
        if smaller is None:
            raise NoRoomError(
                "memory",
                expected=f"{gib(plan.estimate.peak)} for {width}x{height}, the smallest plan ({plan.name})",
                found=f"the end of it: {why}",
                fix=self._what_fits(plan, request),
            )
        _LOG.warning("Out of memory with plan %s: going on with %s. %s", plan.name, smaller.name, smaller.describe())
        self.chosen[_shape(request)] = smaller
        return smaller

    def _what_fits(self, plan: Plan, request: Request) -> str:
        """The largest smaller size whose plan needs less than the one that failed, as a sentence with what to type."""
        profile, guidance = self._profile(request), request.guidance > 1
        for share in (0.75, 0.5, 0.25):
            width, height = (
                max(MIN_SIDE, int(side * share) // GRAIN * GRAIN) for side in (request.width, request.height)
            )
            try:
                fit = plans.choose(profile, plan.estimate.peak - 1, width, height, guidance=guidance)
            except NoRoomError:
                continue
            return f"Type --size {width}x{height}, which needs about {gib(fit.estimate.peak)}."
        return "Close the programs that use this device, or type --device cpu."

    def _cap(self, plan: Plan) -> None:
        # Past its budget torch shall say so here, where a tighter plan helps, and not the neighbour on the same card.
        if self._settings.vram_budget is not None:
            self._session.cap(self._settings.vram_budget - plan.estimate.context)

    def _use_loras(self, request: Request) -> None:
        if self._settings.loras:
            # Only here: its libraries take a second to import.
            from nano_banana.diffusion import lora

            lora.use(self._session.pipeline, request.loras)

    def _guide(self, request: Request) -> tuple[run.Guide | None, tuple[str, ...]]:
        if request.control is None:
            return None, ()
        network = self._network(request.control.name)
        picture, notes = control.prepare(request.control, request.width, request.height)
        return run.Guide(request.control.name, network, picture, request.control.strength), notes

    def _network(self, name: str) -> Any:
        if name not in self._networks:
            model, source = self._session.model, self._settings.controlnets[name]
            with device.host_memory(source):
                network = control.load(source, model.dtype)
            control.check_pair(model.unet.config, network.config)
            self._networks[name] = network
        return self._networks[name]

    def _profile(self, request: Request) -> Profile:
        name = request.control.name if request.control else ""
        if name not in self._profiles:
            self._profiles[name] = memory.guided(self._profiles[""], self._network(name))
        return self._profiles[name]


def _shape(request: Request) -> _Shape:
    return request.width, request.height, request.guidance > 1, request.control.name if request.control else ""


def _most_at_once(plan: Plan, budget: int | None, wanted: int) -> int:
    """How many pictures fit into the budget together; the estimate is for one."""
    one = plan.estimate.activations
    if budget is None or one <= 0:
        return wanted
    left = budget - plan.estimate.weights - plan.estimate.context
    return max(1, min(wanted, left // one))
