# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests of the backend: memory plans placed by hand, no estimate decides anything; a request; errors on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nano_banana.backends.diffusers import DiffusersBackend
from nano_banana.diffusion import memory, plans
from nano_banana.errors import NoRoomError
from nano_banana.request import Request

REQUEST = Request("hair dryer, knolling", 64, 64, seed=5, steps=2, guidance=5.0, style=False, sharpen=1.0)


@dataclass(frozen=True)
class Estimate:
    """Bytes."""

    weights: int = 100
    activations: int = 10
    decode: int = 10
    context: int = 0
    peak: int = 110
    bytes_per_step: int = 0


@dataclass(frozen=True)
class Plan:
    """The fields of nano_banana.diffusion.plan.Plan."""

    name: str = "resident"
    resident: frozenset[str] = frozenset({"all"})
    streamed: bool = False
    prefetch: int = 2
    split_guidance: bool = False
    vae_tile: int = 0
    attention_slices: bool = False
    weights: str = "native"
    estimate: Estimate = field(default_factory=Estimate)

    def describe(self) -> str:
        """One line."""
        return f"plan {self.name}"


RESIDENT = Plan()
STREAMED = Plan("streamed", frozenset(), True)
SMALLEST = replace(STREAMED, name="smallest", split_guidance=True, vae_tile=64, attention_slices=True)


@dataclass(frozen=True)
class Profile:
    """What the backend itself reads of a profile; bytes. `control` is the ControlNet that was counted."""

    addons: int = 0
    context: int = 0
    control: Any = None


class Planner:
    """Answers in place of plans.py and memory.py: hands out `first`, then the ladder's next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.first = RESIDENT
        self.profile = Profile()
        self.ladder = {"resident": STREAMED, "streamed": SMALLEST}
        self.asked: list[tuple[Any, ...]] = []
        self.tightened: list[Any] = []
        monkeypatch.setattr(plans, "choose", self.choose)
        monkeypatch.setattr(plans, "tighter", self.tighter)
        monkeypatch.setattr(memory, "profile", lambda *_, **more: self.profile)
        monkeypatch.setattr(memory, "guided", lambda profile, network: replace(profile, control=network))

    def choose(self, profile: Any, budget: int | None, width: int, height: int, **more: Any) -> Plan:
        """The first plan; a budget below its peak has room for a quarter of the pixels."""
        self.asked.append((profile, budget, width, height, more))
        if budget is not None and budget < self.first.estimate.peak and width * height > 64 * 64:
            raise NoRoomError("memory", expected="more", found="less", fix="Type a smaller size.")
        return self.first

    def tighter(self, plan: Plan, profile: Any, *_: Any) -> Plan | None:
        """The ladder's next plan."""
        self.tightened.append(profile)
        return self.ladder.get(plan.name)


def unet_of(backend: DiffusersBackend) -> Any:
    """The UNet that draws."""
    backend.load()
    assert backend._session is not None
    return backend._session.model.unet


def forget(backend: DiffusersBackend) -> None:
    """Let the next picture choose its plan anew."""
    assert backend._attempts is not None
    backend._attempts.chosen.clear()


def fail_at(backend: DiffusersBackend, call: int, error: BaseException, batch: int = 0) -> Callable[[], None]:
    """Raise inside a unit's forward at its `call`-th run (with at least `batch` rows); returns the undoing."""
    module = unet_of(backend).mid_block.resnets[1].conv1
    calls: list[int] = []

    def hook(_: Any, given: tuple[torch.Tensor]) -> None:
        if given[0].shape[0] >= batch:
            calls.append(1)
            if len(calls) == call:
                raise error

    return module.register_forward_pre_hook(hook).remove  # type: ignore[no-any-return]


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest of any channel, 0 to 255."""
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


class Decoder:
    """Lets the decoder's runs numbered in `fails` (from 1) end in `error`, and counts the UNet's steps."""

    def __init__(self, backend: DiffusersBackend, *fails: int, error: BaseException | None = None) -> None:
        self.runs = self.steps = 0
        self.fails = fails
        self.error = error or torch.cuda.OutOfMemoryError("injected")
        unet = unet_of(backend)
        assert backend._session is not None
        convolution = backend._session.model.vae.decoder.conv_out
        self._hooks = [convolution.register_forward_pre_hook(self._run), unet.register_forward_pre_hook(self._step)]

    def _run(self, *_: Any) -> None:
        self.runs += 1
        if self.runs in self.fails:
            raise self.error

    def _step(self, *_: Any) -> None:
        self.steps += 1

    def remove(self) -> None:
        """Decode as before."""
        for hook in self._hooks:
            hook.remove()
