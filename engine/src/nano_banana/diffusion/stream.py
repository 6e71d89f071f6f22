# SPDX-License-Identifier: GPL-3.0-or-later
"""A UNet whose weights visit the device: each unit is copied into a slot shortly before it runs.

A unit is one transformer block, residual block or sampler: whole down, mid and up blocks are too large (up_blocks.0 of
SDXL alone is 2.25 GiB in fp16). On CUDA a second stream fills the next slots while the first one computes; on the CPU
the same code copies without a stream, so that what tests prove of it there holds for both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from nano_banana.backends import NATIVE
from nano_banana.diffusion.buffers import HostMemory, Layout
from nano_banana.diffusion.plan import ALL
from nano_banana.diffusion.units import units

if TYPE_CHECKING:
    from types import TracebackType

    from nano_banana.diffusion.plan import Plan


@dataclass
class _Unit:
    """One unit while a streamer is attached.

    `layout` and `home`, the buffer that keeps its weights, only where it is streamed, or its weights have 8 bits: those
    of a resident unit then lie on the device.
    """

    name: str
    module: torch.nn.Module
    forward: Callable[..., Any]
    streamed: bool
    layout: Layout | None = None
    home: torch.Tensor | None = None


@dataclass
class _Slot:
    """Room on the device for one streamed unit; the events order the two streams on CUDA and are None elsewhere."""

    buffer: torch.Tensor
    holds: str = ""
    used: int = 0
    loaded: Any = None
    free: Any = field(default=None)


class Streamer:
    """Places a UNet as a plan says: resident units on the device, the others in host memory with slots on the device.

    Parameters keep their identity and change their `.data`; those with "lora_" in their names stay resident.
    Where the plan wants weights of 8 bits, a unit's are made in one buffer for all just before it runs; what detach
    gives back is then the rounded weights, so that host memory need not keep both, and attaching again gives the same
    bytes.

    Attach after adapters were injected. `copied_bytes`, `loads` and `misses` (loads that nobody foresaw) count from the
    start.
    """

    def __init__(self, unet: torch.nn.Module, device: torch.device | str, plan: Plan) -> None:
        self.unet = unet
        self.device = torch.device(device)
        self.plan = plan
        self.copied_bytes = self.loads = self.misses = 0
        self.order: list[str] = []
        self._units: dict[str, _Unit] = {}
        self._slots: list[_Slot] = []
        self._work = torch.empty(0, dtype=torch.uint8)
        self._next: dict[str, str] = {}
        self._last = ""
        self._clock = 0
        self._host = HostMemory(pinned=self.device.type == "cuda")
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def __enter__(self) -> Streamer:
        self.attach()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.detach()

    @property
    def pinned(self) -> bool:
        """Whether the streamed weights lie in page-locked memory, without which copies and work do not overlap."""
        return self._host.pinned

    def attach(self) -> None:
        """Move the weights and take over the units' forward. On an error the model is as after `detach`."""
        if self._units:
            return
        try:
            self._take_over()
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Bring every weight back to host memory and give the units their own forward. Safe to call twice."""
        if self._stream is not None:
            torch.cuda.synchronize(self.device)
        self._slots.clear()
        self._work = torch.empty(0, dtype=torch.uint8)
        self._host.forget()
        for unit in self._units.values():
            if unit.module.__dict__.get("forward") is not None:
                del unit.module.forward
            if unit.layout is not None and unit.home is not None:
                unit.layout.restore(unit.home)
                unit.home = None
        self._units.clear()
        self._next.clear()
        self._last = ""
        _move(self.unet, torch.device("cpu"), skip=frozenset())

    def _take_over(self) -> None:
        for name, module in units(self.unet).items():
            self._units[name] = _Unit(name, module, module.forward, self.plan.streamed and not self._resident(name))
        packed = [unit for unit in self._units.values() if unit.streamed or self.plan.weights != NATIVE]
        layouts = {unit.name: Layout.of(unit.module, self.plan.weights) for unit in packed}
        streamed = {unit.name: layouts[unit.name].size for unit in packed if unit.streamed}
        self._host.expect(sum(streamed.values()))
        for unit in packed:
            self._pack(unit, layouts[unit.name])
        kept = frozenset(id(part.parameter) for layout in layouts.values() for part in layout.parts)
        _move(self.unet, self.device, skip=kept)
        self._make_slots(max(streamed.values(), default=0))
        work = max((layout.work for layout in layouts.values()), default=0)
        self._work = torch.empty(work, dtype=torch.uint8, device=self.device)
        self._next = dict(zip(streamed, [*list(streamed)[1:], *list(streamed)[:1]], strict=True))
        for unit in self._units.values():
            if unit.layout is not None or self.plan.split_guidance:
                unit.module.forward = functools.partial(self._run, unit)

    def _pack(self, unit: _Unit, layout: Layout) -> None:
        if unit.streamed:
            home = self._host.take(layout.size)
        else:
            home = torch.empty(layout.size, dtype=torch.uint8, device=self.device)
        layout.fill(home, self.device)
        # Known before anything is given up: from here on `detach` brings the values back.
        unit.layout, unit.home = layout, home
        layout.put_away(home)

    def _resident(self, name: str) -> bool:
        return ALL in self.plan.resident or name in self.plan.resident

    def _make_slots(self, size: int) -> None:
        for _ in range(max(1, self.plan.prefetch) if size else 0):
            slot = _Slot(torch.empty(size, dtype=torch.uint8, device=self.device))
            if self._stream is not None:
                slot.loaded, slot.free = torch.cuda.Event(), torch.cuda.Event()
                # The allocator may hand out memory that work already queued still reads.
                slot.free.record(torch.cuda.current_stream(self.device))
            self._slots.append(slot)

    def _run(self, unit: _Unit, *args: Any, **kwargs: Any) -> Any:
        if unit.layout is None or unit.home is None:
            return self._forward(unit, args, kwargs)
        slot = self._ready(unit) if unit.streamed else None
        try:
            # Made on the stream that computes: the unit before has read the work buffer when this one overwrites it.
            unit.layout.bind(slot.buffer if slot else unit.home, self._work)
            if slot:
                self._look_ahead(unit, slot)
            return self._forward(unit, args, kwargs)
        finally:
            unit.layout.put_away(unit.home)
            if slot and self._stream is not None:
                slot.free.record(torch.cuda.current_stream(self.device))

    def _forward(self, unit: _Unit, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return halves(unit.forward, args, kwargs) if self.plan.split_guidance else unit.forward(*args, **kwargs)

    def _ready(self, unit: _Unit) -> _Slot:
        """The slot that holds the unit, filled now if nobody foresaw it; records what ran after what."""
        if self._last:
            self._next[self._last] = unit.name
        self._last = unit.name
        self._record(unit.name)
        slot = self._holding(unit.name)
        if slot is None:
            self.misses += 1
            slot = self._load(unit, busy=None)
        self._clock += 1
        slot.used = self._clock
        if self._stream is not None:
            torch.cuda.current_stream(self.device).wait_event(slot.loaded)
        return slot

    def _record(self, name: str) -> None:
        # `order` is the current pass over the units: it starts again with the unit that started it.
        if self.order and self.order[0] == name:
            self.order = []
        self.order.append(name)

    def _look_ahead(self, unit: _Unit, busy: _Slot) -> None:
        name = unit.name
        wanted = []
        for _ in range(len(self._slots) - 1):
            name = self._next.get(name, "")
            if not name or name == unit.name:
                break
            wanted.append(name)
        for number, name in enumerate(wanted):
            if self._holding(name) is None:
                self._load(self._units[name], busy, keep=frozenset(wanted[:number]))
            else:
                # It waits here from an earlier pass: younger than what may be overwritten.
                self._clock += 1
                self._holding(name).used = self._clock  # type: ignore[union-attr]

    def _holding(self, name: str) -> _Slot | None:
        return next((slot for slot in self._slots if slot.holds == name), None)

    def _load(self, unit: _Unit, busy: _Slot | None, keep: frozenset[str] = frozenset()) -> _Slot:
        """Copy a unit into the slot that was used longest ago, on the second stream where there is one."""
        assert unit.layout is not None and unit.home is not None
        free = [slot for slot in self._slots if slot is not busy and slot.holds not in keep]
        slot = min(free, key=lambda one: one.used)
        size = unit.layout.size
        # Until the copy is ordered the slot holds nothing: an error in between must not leave it half told.
        slot.holds = ""
        if self._stream is None:
            slot.buffer[:size].copy_(unit.home)
        else:
            self._stream.wait_event(slot.free)
            with torch.cuda.stream(self._stream):
                slot.buffer[:size].copy_(unit.home, non_blocking=True)
                slot.loaded.record(self._stream)
        self._clock += 1
        slot.holds, slot.used = unit.name, self._clock
        self.copied_bytes += size
        self.loads += 1
        return slot


def halves(forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run `forward` once for each half of the batch (each guidance pass) and put the outputs together again.

    The batch is the first tensor's first side; every tensor that has it is halved, in dictionaries too. An odd batch is
    no pair of guidance passes and runs whole.
    """
    first = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
    if first is None or first.shape[0] % 2:
        return forward(*args, **kwargs)
    batch = first.shape[0]
    outputs = []
    for number in range(2):
        part = functools.partial(_half, batch=batch, number=number)
        outputs.append(forward(*map(part, args), **{key: part(value) for key, value in kwargs.items()}))
    return torch.cat(outputs)


def _half(value: Any, batch: int, number: int) -> Any:
    if isinstance(value, dict):
        return {key: _half(inner, batch, number) for key, inner in value.items()}
    if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == batch:
        return value.chunk(2)[number]
    return value


def _move(unet: torch.nn.Module, device: torch.device, skip: frozenset[int]) -> None:
    """Move parameters and buffers in place, all but those whose id is in `skip`."""
    for parameter in unet.parameters():
        if id(parameter) not in skip and parameter.device != device:
            parameter.data = parameter.data.to(device)
    for module in unet.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.device != device:
                module._buffers[name] = buffer.to(device)
