# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory plans for tests of what carries them out: placed by hand, and no estimate decides anything."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import pytest

from nano_banana import diffusion
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
    """The fields of nano_banana.diffusion.plans.Plan."""

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
    """What the backend itself reads of a profile; bytes."""

    addons: int = 0
    context: int = 0


class Planner:
    """Stands where plans.py and memory.py stand: hands out `first`, then the ladder's next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.first = RESIDENT
        self.profile = Profile()
        self.ladder = {"resident": STREAMED, "streamed": SMALLEST}
        self.asked: list[tuple[Any, ...]] = []
        plans, memory = ModuleType("nano_banana.diffusion.plans"), ModuleType("nano_banana.diffusion.memory")
        plans.choose = self.choose  # type: ignore[attr-defined]
        plans.tighter = lambda plan, *_: self.ladder.get(plan.name)  # type: ignore[attr-defined]
        memory.profile = lambda *_, **more: self.profile  # type: ignore[attr-defined]
        for module in (plans, memory):
            monkeypatch.setitem(sys.modules, module.__name__, module)
            monkeypatch.setattr(diffusion, module.__name__.rpartition(".")[2], module, raising=False)

    def choose(self, profile: Any, budget: int | None, width: int, height: int, **more: Any) -> Plan:
        """The first plan; a budget below its peak has room for a quarter of the pixels."""
        self.asked.append((profile, budget, width, height, more))
        if budget is not None and budget < self.first.estimate.peak and width * height > 64 * 64:
            raise NoRoomError("memory", expected="more", found="less", fix="Type a smaller size.")
        return self.first
