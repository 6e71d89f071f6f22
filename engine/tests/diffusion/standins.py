# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory plans for tests of what carries them out: placed by hand, and no estimate decides anything."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nano_banana.diffusion import memory, plans
from nano_banana.errors import NoRoomError


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
