# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of one unit side by side in one buffer, and host memory to keep such buffers in: one copy moves a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

# CUDA kernels read fastest from addresses that are multiples of 256 bytes; its allocator gives no less.
_ALIGN = 256
# torch rounds page-locked requests up to a power of two, which could waste half: units share buffers of this size.
_ARENA = 1 << 29


@dataclass(frozen=True)
class Part:
    """One parameter's place: `start` in bytes."""

    parameter: torch.nn.Parameter
    start: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes without what aligns the next one."""
        return math.prod(self.shape) * int(torch.empty(0, dtype=self.dtype).element_size())

    def view(self, flat: torch.Tensor) -> torch.Tensor:
        """The parameter inside a buffer of bytes."""
        return flat[self.start : self.start + self.size].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class Layout:
    """Where a unit's parameters lie in its buffer; `size` in bytes."""

    parts: tuple[Part, ...]
    size: int

    @staticmethod
    def of(module: torch.nn.Module) -> Layout:
        """Place all parameters of a unit but those of adapters, which stay on the device."""
        parts, start = [], 0
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                continue
            part = Part(parameter, start, parameter.shape, parameter.dtype)
            parts.append(part)
            start += -(-part.size // _ALIGN) * _ALIGN
        return Layout(tuple(parts), start)

    def fill(self, flat: torch.Tensor) -> None:
        """Copy the parameters' values into a buffer."""
        for part in self.parts:
            part.view(flat).copy_(part.parameter.data)

    def bind(self, flat: torch.Tensor) -> None:
        """Let the parameters' data be this buffer."""
        for part in self.parts:
            part.parameter.data = part.view(flat)


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
