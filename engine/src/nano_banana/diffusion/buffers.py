# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of one unit side by side in one buffer, and host memory to keep such buffers in: one copy moves a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nano_banana.backends import INT8, NATIVE
from nano_banana.diffusion import rounding

# CUDA kernels read fastest from addresses that are multiples of 256 bytes; its allocator gives no less.
_ALIGN = 256
# torch rounds page-locked requests up to a power of two, which could waste half: units share buffers of this size.
_ARENA = 1 << 29
# Bytes of a scale.
_SCALE = 4


@dataclass(frozen=True)
class Part:
    """One parameter's place in its unit's buffer, where it lies as it is: `start` in bytes."""

    parameter: torch.nn.Parameter
    start: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes of the values, without what aligns the next ones."""
        return math.prod(self.shape) * int(torch.empty(0, dtype=self.dtype).element_size())

    @property
    def room(self) -> int:
        """Bytes of the buffer that it takes."""
        return _aligned(self.size)

    def view(self, flat: torch.Tensor) -> torch.Tensor:
        """The parameter inside a buffer of bytes."""
        return flat[self.start : self.start + self.size].view(self.dtype).view(self.shape)

    def fill(self, flat: torch.Tensor, _device: torch.device) -> None:
        """Copy the parameter's values into a buffer."""
        self.view(flat).copy_(self.parameter.data)

    def bind(self, flat: torch.Tensor, _work: torch.Tensor) -> None:
        """Let the parameter's data be this buffer."""
        self.parameter.data = self.view(flat)

    def put_away(self, flat: torch.Tensor) -> None:
        """Let the parameter's data be what they are while the unit does not run."""
        self.parameter.data = self.view(flat)

    def restored(self, flat: torch.Tensor) -> torch.Tensor:
        """The values in memory of their own."""
        return self.view(flat).clone()


@dataclass(frozen=True)
class EightBitPart(Part):
    """One weight as a byte for each number, with its scales after them; its values are made in the work buffer, `place`
    bytes from its start.
    """

    place: int

    @property
    def room(self) -> int:
        """Bytes of the buffer that it takes."""
        return _aligned(math.prod(self.shape)) + _aligned(_SCALE * self.shape[0])

    def numbers(self, flat: torch.Tensor) -> torch.Tensor:
        """int8, of the parameter's shape."""
        return flat[self.start : self.start + math.prod(self.shape)].view(torch.int8).view(self.shape)

    def scales(self, flat: torch.Tensor) -> torch.Tensor:
        """fp32, one for each output channel."""
        start = self.start + _aligned(math.prod(self.shape))
        found = flat[start : start + _SCALE * self.shape[0]].view(torch.float32)
        return found.view(-1, *[1] * (len(self.shape) - 1))

    def fill(self, flat: torch.Tensor, device: torch.device) -> None:
        """Round the parameter's values, on the device, where that is quick, and copy them into a buffer."""
        numbers, scales = rounding.rounded(self.parameter.data.to(device))
        self.numbers(flat).copy_(numbers)
        self.scales(flat).copy_(scales)

    def bind(self, flat: torch.Tensor, work: torch.Tensor) -> None:
        """Make the values in the work buffer and let the parameter's data be them."""
        values = work[self.place : self.place + self.size].view(self.dtype).view(self.shape)
        self.parameter.data = rounding.expand(self.numbers(flat), self.scales(flat), values)

    def put_away(self, _flat: torch.Tensor) -> None:
        """Keep shape and type, without memory; NaN, so that whoever computes with it notices."""
        self.parameter.data = torch.full((), math.nan, dtype=self.dtype).expand(self.shape)

    def restored(self, flat: torch.Tensor) -> torch.Tensor:
        """The rounded values in memory of their own."""
        values = torch.empty(self.shape, dtype=self.dtype, device=flat.device)
        return rounding.expand(self.numbers(flat), self.scales(flat), values)


@dataclass(frozen=True)
class Layout:
    """Where a unit's parameters lie in its buffer; `size` in bytes, `work` the bytes that making their values takes."""

    parts: tuple[Part, ...]
    size: int
    work: int = 0

    @staticmethod
    def of(module: torch.nn.Module, weights: str = NATIVE, dtype: torch.dtype | None = None) -> Layout:
        """Place all parameters of a unit but those of adapters, which stay on the device.

        With `weights` "int8" those of two and more sides (of Linear and Conv2d) take a byte for each number. `dtype`
        places them as if they had that type.
        """
        parts: list[Part] = []
        start = work = 0
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                continue
            where = (parameter, start, parameter.shape, dtype or parameter.dtype)
            part = EightBitPart(*where, work) if weights == INT8 and parameter.ndim > 1 else Part(*where)
            parts.append(part)
            start += part.room
            work += _aligned(part.size) if isinstance(part, EightBitPart) else 0
        return Layout(tuple(parts), start, work)

    def fill(self, flat: torch.Tensor, device: torch.device) -> None:
        """Copy the parameters' values into a buffer."""
        for part in self.parts:
            part.fill(flat, device)

    def bind(self, flat: torch.Tensor, work: torch.Tensor) -> None:
        """Let the parameters' data be this buffer, or what it is in the work buffer."""
        for part in self.parts:
            part.bind(flat, work)

    def put_away(self, flat: torch.Tensor) -> None:
        """Let the parameters' data be this buffer, or nothing that takes memory."""
        for part in self.parts:
            part.put_away(flat)

    def restore(self, flat: torch.Tensor) -> None:
        """Give the parameters values in host memory, whole ones: where they were rounded, the rounded ones."""
        flat = flat.cpu()
        for part in self.parts:
            # A buffer of native weights is as good as memory of their own.
            part.parameter.data = part.restored(flat) if self.work else part.view(flat)


class HostMemory:
    """Buffers of bytes in host memory, page-locked where CUDA copies from them; falls back to ordinary memory."""

    def __init__(self, *, pinned: bool) -> None:
        self.pinned = pinned
        self._expected = 0
        self._arenas: list[tuple[torch.Tensor, int]] = []

    def expect(self, size: int) -> None:
        """Announce how many bytes will be taken in all."""
        self._expected = size

    def take(self, size: int) -> torch.Tensor:
        """A buffer of `size` bytes."""
        if not self.pinned:
            return torch.empty(size, dtype=torch.uint8)
        for number, (arena, used) in enumerate(self._arenas):
            if arena.numel() - used >= size:
                self._arenas[number] = (arena, used + size)
                return arena[used : used + size]
        room = max(size, min(_ARENA, 1 << max(0, self._expected - 1).bit_length()))
        try:
            arena = torch.empty(room, dtype=torch.uint8, pin_memory=True)
        except RuntimeError:
            # The system allows no more locked memory: slower, and still right.
            self.pinned = False
            return torch.empty(size, dtype=torch.uint8)
        self._arenas.append((arena, size))
        self._expected -= room
        return arena[:size]

    def forget(self) -> None:
        """Hold the buffers no longer: each goes with the last tensor on it."""
        self._arenas.clear()


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
