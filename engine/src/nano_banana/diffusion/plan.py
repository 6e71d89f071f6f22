# SPDX-License-Identifier: GPL-3.0-or-later
"""What a memory plan is: where weights lie, how a picture is cut up, what it needs; and the sizes it is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nano_banana.backends import INT8, NATIVE

ALL = "all"
SLOTS = 2


@dataclass(frozen=True)
class Estimate:
    """What a plan needs, in bytes of the device unless said otherwise.

    `weights`: the UNet's resident units, its slots and the rest (see Profile), adapters, and `control`. `activations`:
    the most that one step holds beside them. `decode`: the VAE's decoder and the most that decoding one tile holds.
    `context`: what CUDA and its libraries take. `peak` = context + weights + the larger of activations and decode.
    `bytes_per_step` go over the bus in each step; `host` lies in host memory all the time: streamed units and the VAE.
    `control`: of the ControlNet that guides, all weights beside a resident UNet, else slots of its own and its rest.
    Other loaded ControlNets wait in host memory and are not counted.
    """

    weights: int
    activations: int
    decode: int
    context: int
    peak: int
    bytes_per_step: int
    host: int = 0
    control: int = 0


@dataclass(frozen=True)
class Plan:
    """Where weights lie and how work is cut. `resident` names the units that stay on the device, {"all"} means every
    one.

    `prefetch` is the number of slots on the device through which streamed units pass; with `split_guidance` each unit
    runs once for each guidance pass while it is there; `vae_tile` in pixels, 0 = the whole. `weights` is how the units'
    are kept, as backends.Settings says it.
    """

    name: str
    resident: frozenset[str]
    streamed: bool
    split_guidance: bool
    vae_tile: int
    attention_slices: bool
    estimate: Estimate
    prefetch: int = SLOTS
    weights: str = NATIVE

    def describe(self) -> str:
        """One paragraph with the numbers."""
        need = self.estimate
        if not self.streamed:
            place = f"all weights stay on the device{', the ControlNet too' if need.control else ''}"
        else:
            others = "the others and the ControlNet's" if need.control else "the others"
            slots = f"{self.prefetch} slots" + (" of each network's own" if need.control else "")
            place = (
                f"{len(self.resident)} units stay on the device, {others} pass through {slots} "
                f"({gib(need.bytes_per_step)} a step)"
            )
        if self.weights == INT8:
            place = f"weights of 8 bits, {place}"
        cuts = [
            "guidance passes one after the other" if self.split_guidance else "",
            f"decoding in tiles of {self.vae_tile} pixels" if self.vae_tile else "decoding as a whole",
            "attention in slices" if self.attention_slices else "",
        ]
        return (
            f"plan {self.name}: {place}, {', '.join(cut for cut in cuts if cut)}; predicted peak {gib(need.peak)} "
            f"= {parts(need)}; {gib(need.host)} of host memory hold the rest"
        )


@dataclass(frozen=True)
class Network:
    """A ControlNet's sizes in bytes: its streaming units, and what is in none of them."""

    units: Mapping[str, int] = field(default_factory=dict)
    rest: int = 0

    @property
    def streaming(self) -> int:
        """Bytes of its units."""
        return sum(self.units.values())

    def held(self, streamed: bool) -> int:
        """What it takes on the device: it streams as a whole, with slots of its own, or stays as a whole."""
        return self.rest + (SLOTS * max(self.units.values(), default=0) if streamed else self.streaming)


@dataclass(frozen=True)
class Profile:
    """Sizes of one model in bytes.

    `units`: streaming units in the order in which they run, with their `weights` native or int8; `rest` what is in no
    unit, and with int8 the buffer in which a unit's weights are made; `vae` the whole VAE, `decoder` the part that
    decodes; `addons` adapters; `control` the ControlNet that guides, whose weights stay native, empty where none does;
    `context` see Estimate. `activations(width, height, passes, split, slices)` and `decoding(width, height, tile)` say
    what work holds at its peak beside weights; `passes` counts pictures times guidance passes.
    """

    units: Mapping[str, int]
    rest: int
    vae: int
    decoder: int
    activations: Callable[[int, int, int, bool, bool], int] = field(compare=False)
    decoding: Callable[[int, int, int], int] = field(compare=False)
    context: int = 0
    addons: int = 0
    control: Network = field(default_factory=Network)
    config: Mapping[str, object] = field(default_factory=dict)
    weights: str = NATIVE


def gib(size: float) -> str:
    """Bytes as text with a unit."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"


def parts(need: Estimate) -> str:
    """What a peak is made of, as text."""
    work = "activations" if need.activations >= need.decode else "decoding"
    control = f" (ControlNet {gib(need.control)})" if need.control else ""
    sizes = f"weights {gib(need.weights)}{control} + {work} {gib(max(need.activations, need.decode))}"
    return f"{sizes} + context {gib(need.context)}" if need.context else sizes
