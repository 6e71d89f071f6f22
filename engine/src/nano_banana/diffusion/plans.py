# SPDX-License-Identifier: GPL-3.0-or-later
"""The least slow memory plan that fits a budget, and the next smaller one when it did not.

Nothing here imports torch: sizes come in as a Profile, whose two functions run the shapes (see memory.py).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nano_banana.diffusion.plan import ALL, SLOTS, Estimate, Plan, Profile, gib, parts
from nano_banana.errors import BadInputError, NoRoomError

NAMES = ("auto", "resident", "balanced", "streamed", "smallest")
TILES = (0, 1024, 768, 512, 384, 256)

# What things cost beside a resident plan, to put plans in order. Assumptions until `make bench-engine` ran on a GPU:
# PCIe 3.0 x16 moves 12 GB/s into page-locked memory; half batches keep 98 % of a 0.5 s step's speed; one fp32 decode
# takes 1 s.
_STEPS = 30
_BUS = 12e9
_SPLIT_SECONDS = 0.01
_SLICE_SECONDS = 0.25
_DECODE_SECONDS = 1.0
_OVERLAP = 0.75  # of a tile's side is new with each tile: diffusers blends the other quarter


@dataclass(frozen=True)
class _Job:
    """What the plan is for: a model, a size, and how many passes a step has."""

    profile: Profile
    width: int
    height: int
    guidance: bool
    pictures: int = 1

    @property
    def units(self) -> Mapping[str, int]:
        return self.profile.units

    @property
    def tiles(self) -> tuple[int, ...]:
        return tuple(tile for tile in TILES if tile < max(self.width, self.height))

    def fixed(self, split: bool, slices: bool, tile: int) -> int:
        """Bytes that are needed beside the units of a UNet that streams."""
        work = max(self.activations(split, slices), self.decode(tile))
        profile = self.profile
        return profile.context + profile.rest + profile.addons + profile.control.held(True) + work

    def floor(self, name: str) -> int:
        """Bytes without which no plan works, whatever its steps hold."""
        profile = self.profile
        least = min((_room_for(self.units, bound) for bound in self.units.values()), default=0)
        if name == "resident":
            least = sum(self.units.values())
        least += profile.control.held(name != "resident")
        return profile.context + profile.rest + profile.addons + least + min(map(self.decode, self.tiles or (0,)))

    def activations(self, split: bool, slices: bool) -> int:
        passes = self.pictures * (2 if self.guidance else 1)
        return self.profile.activations(self.width, self.height, passes, split, slices)

    def decode(self, tile: int) -> int:
        return self.profile.decoder + self.profile.decoding(self.width, self.height, tile)

    def plan(self, name: str, resident: frozenset[str], split: bool, slices: bool, tile: int) -> Plan:
        """The plan with its estimate."""
        everything = ALL in resident
        away = {} if everything else {unit: size for unit, size in self.units.items() if unit not in resident}
        slots = SLOTS * max(away.values(), default=0)
        there = sum(self.units.values()) - sum(away.values())
        control = self.profile.control
        weights = there + slots + self.profile.rest + self.profile.addons + control.held(not everything)
        streaming = sum(away.values()) + (0 if everything else control.streaming)
        activations, decode = self.activations(split, slices), self.decode(tile)
        context = self.profile.context
        estimate = Estimate(
            weights=weights,
            activations=activations,
            decode=decode,
            context=context,
            peak=context + weights + max(activations, decode),
            bytes_per_step=streaming,
            host=streaming + self.profile.vae,
            control=control.held(not everything),
        )
        return Plan(name, resident, not everything, split, tile, slices, estimate, SLOTS, self.profile.weights)


def choose(
    profile: Profile,
    budget: int | None,
    width: int,
    height: int,
    *,
    guidance: bool,
    name: str = "auto",
    pictures: int = 1,
) -> Plan:
    """The least slow plan of that name whose predicted peak is at most `budget` bytes (None: no bound).

    Raises BadInputError for a name that is not in NAMES, NoRoomError with the numbers of the smallest plan.
    """
    if name not in NAMES:
        found = repr(name)
        raise BadInputError("--plan", expected=f"one of: {', '.join(NAMES)}", found=found, fix="Type --plan auto.")
    job = _Job(profile, width, height, guidance, pictures)
    for cuts in _cuts(job, name):
        candidates = list(_candidates(job, name, budget, cuts))
        fitting = [plan for plan in candidates if budget is None or plan.estimate.peak <= budget]
        if fitting:
            # min keeps the first of equals: whole pictures before tiles.
            return min(fitting, key=lambda plan: _seconds(plan, job))
        if budget is not None and job.floor(name) > budget:
            break  # decoding alone finds no room: cutting a step finer does not help
    assert budget is not None  # without a bound every candidate fits
    raise _no_room(job, name, budget)


def tighter(plan: Plan, profile: Profile, width: int, height: int, guidance: bool, pictures: int = 1) -> Plan | None:
    """The next smaller plan after one that ran out of memory: smaller tiles, then half of what is resident, then split
    guidance, then attention slices; None when nothing is left."""
    job = _Job(profile, width, height, guidance, pictures)
    for tile in job.tiles:
        smaller = tile and (tile < plan.vae_tile or not plan.vae_tile)
        if smaller and job.decode(tile) < job.decode(plan.vae_tile):
            return job.plan(plan.name, plan.resident, plan.split_guidance, plan.attention_slices, tile)
    if plan.resident:
        there = sum(size for unit, size in job.units.items() if ALL in plan.resident or unit in plan.resident)
        resident = _fill(job.units, there // 2)
        return job.plan(plan.name, resident, plan.split_guidance, plan.attention_slices, plan.vae_tile)
    for split, slices in _harder(plan, job):
        if job.activations(split, slices) < plan.estimate.activations:
            return job.plan(plan.name, plan.resident, split, slices, plan.vae_tile)
    return None


def every(profile: Profile, budget: int | None, width: int, height: int, *, guidance: bool) -> list[Plan | NoRoomError]:
    """Each named plan for that budget, or why there is none."""
    return [_choose_or_say(profile, budget, width, height, guidance, name) for name in NAMES[1:]]


def _choose_or_say(
    profile: Profile, budget: int | None, width: int, height: int, guidance: bool, name: str
) -> Plan | NoRoomError:
    try:
        return choose(profile, budget, width, height, guidance=guidance, name=name)
    except NoRoomError as error:
        return error


def _cuts(job: _Job, base: str) -> Iterator[list[tuple[bool, bool]]]:
    """Ways to cut a step (split guidance, attention slices), in groups: a later one only where the earlier cannot fit.

    Each costs a run of the shapes, and those beside the first matter only where memory is short.
    """
    splits = [False, True] if job.guidance else [False]
    for slices in (False, True):
        cuts = [(split, slices) for split in splits]
        yield [min(cuts, key=lambda cut: job.activations(*cut))] if base == "smallest" else cuts


def _candidates(job: _Job, base: str, budget: int | None, cuts: list[tuple[bool, bool]]) -> Iterator[Plan]:
    tiles = job.tiles[-1:] if base == "smallest" else job.tiles or (0,)
    done = False
    for split, slices in cuts:
        if done:
            return  # a plan that streams nothing and cuts nothing cannot be beaten by one that cuts
        for tile in tiles or (0,):
            for kind in (base,) if base != "auto" else ("resident", "balanced"):
                resident = _resident(job, kind, budget, job.fixed(split, slices, tile))
                # What "balanced" found room for may be everything, or nothing.
                real = "resident" if ALL in resident else "streamed" if not resident else "balanced"
                plan = job.plan(real if base == "auto" else base, resident, split, slices, tile)
                done = done or (not plan.streamed and (budget is None or plan.estimate.peak <= budget))
                yield plan


def _resident(job: _Job, kind: str, budget: int | None, fixed: int) -> frozenset[str]:
    if kind == "resident":
        return frozenset({ALL})
    if kind == "smallest":
        # Keeping the largest can take less than slots that hold it.
        bound = min(sorted(set(job.units.values()), reverse=True), key=lambda size: _room_for(job.units, size))
        return frozenset(unit for unit, size in job.units.items() if size > bound)
    if kind != "balanced":
        return frozenset()
    room = sum(job.units.values()) // 2 if budget is None else budget - fixed
    control, everything = job.profile.control, sum(job.units.values())
    if everything + control.held(False) <= room + control.held(True):
        return frozenset({ALL})
    # Beside a ControlNet that streams, the UNet's units may all have room.
    return frozenset(job.units) if everything <= room else _fill(job.units, room)


def _room_for(units: Mapping[str, int], bound: int) -> int:
    """Bytes of the units larger than `bound` and of slots for the others."""
    return SLOTS * bound + sum(size for size in units.values() if size > bound)


def _fill(units: Mapping[str, int], room: int) -> frozenset[str]:
    """The units worth keeping in `room` bytes, slots included: those that leave least to stream.

    A resident byte saves one byte a step whatever its unit; but the largest streamed unit sets the size of the slots,
    so keeping all that are larger than a bound pays twice. Every bound is tried. Among equals the kept ones lie
    spread over the order, so that a copy has a resident unit's work to hide behind.
    """
    best: tuple[int, frozenset[str]] = (0, frozenset())
    spread = _spread(units)
    for bound in sorted(set(units.values())):
        kept = {unit for unit, size in units.items() if size > bound}
        left = room - SLOTS * bound - sum(units[unit] for unit in kept)
        if left < 0:
            continue
        for unit in spread:
            if unit not in kept and units[unit] <= left:
                kept.add(unit)
                left -= units[unit]
        best = max(best, (sum(units[unit] for unit in kept), frozenset(kept)), key=lambda one: one[0])
    return best[1]


def _spread(units: Mapping[str, int]) -> list[str]:
    """Largest first; equals in the order of their place's reversed bits, whose beginnings are evenly spread."""
    width = max(1, (len(units) - 1).bit_length())
    place = {unit: int(f"{number:0{width}b}"[::-1], 2) for number, unit in enumerate(units)}
    return sorted(units, key=lambda unit: (-units[unit], place[unit]))


def _seconds(plan: Plan, job: _Job) -> float:
    """Seconds a picture that a plan costs beside one that cuts and streams nothing; see the assumptions above."""
    step = plan.estimate.bytes_per_step / _BUS
    step += _SPLIT_SECONDS * plan.split_guidance + _SLICE_SECONDS * plan.attention_slices
    return _STEPS * step + _DECODE_SECONDS * (_tiled_pixels(plan.vae_tile, job.width, job.height) - 1)


def _tiled_pixels(tile: int, width: int, height: int) -> float:
    """Pixels that are decoded for each one of the picture; more than 1 because tiles overlap."""
    if not tile:
        return 1.0
    across, down = (sum(min(tile, side - at) for at in _starts(side, tile)) for side in (width, height))
    return across * down / (width * height)


def _starts(side: int, tile: int) -> range:
    return range(0, side, math.floor(tile * _OVERLAP))


def _harder(plan: Plan, job: _Job) -> Iterator[tuple[bool, bool]]:
    if job.guidance and not plan.split_guidance:
        yield True, plan.attention_slices
    if not plan.attention_slices:
        yield plan.split_guidance or job.guidance, True


def _no_room(job: _Job, base: str, budget: int) -> NoRoomError:
    # Asking for a named plan must not hide that another one would fit.
    smallest = _smallest(job)
    named = base not in ("auto", "smallest") and smallest.estimate.peak <= budget
    least = min(_candidates(job, base, budget, next(_cuts(job, base))), key=_peak) if named else smallest
    need = least.estimate
    # Rounded up: the number that is told has to work when it is typed.
    enough = f"{math.ceil(need.peak / 2**30 * 100) / 100:.2f}GiB"
    ways = [f"--vram-budget {enough}"]
    ways = ["--plan auto", *ways] if named else [*ways, *_smaller_sizes(job, budget)]
    return NoRoomError(
        "video memory" if job.profile.context else "memory",
        expected=f"at least {gib(need.peak)} for plan {least.name} at {job.width}x{job.height} ({parts(need)})",
        found=f"a budget of {gib(budget)}",
        fix=f"Type {' or '.join(ways)}.",
    )


def _peak(plan: Plan) -> int:
    return plan.estimate.peak


def _smallest(job: _Job) -> Plan:
    return next(_candidates(job, "smallest", None, next(_cuts(job, "smallest"))))


def _smaller_sizes(job: _Job, budget: int) -> list[str]:
    for share in (0.75, 0.5):
        width, height = (max(64, int(side * share) // 64 * 64) for side in (job.width, job.height))
        if _smallest(dataclasses.replace(job, width=width, height=height)).estimate.peak <= budget:
            return [f"--size {width}x{height}"]
    return []
