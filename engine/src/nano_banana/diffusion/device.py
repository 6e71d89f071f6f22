# SPDX-License-Identifier: GPL-3.0-or-later
"""The device that computes: which one, in which type, and how it says that its memory has ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nano_banana.errors import BadInputError, MachineError, NoRoomError

# What an allocator without an exception class of its own says.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one. Raises BadInputError, MachineError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,2})?", name):
        raise BadInputError(
            "--device", expected="auto, cpu, cuda or cuda:N", found=repr(name), fix="Type --device auto."
        )
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(
            f"--device {name}",
            expected="a CUDA device of that number",
            found=f"{torch.cuda.device_count()} of them, torch {torch.__version__}",
            fix="Type nano-banana doctor to see why, or --device cpu.",
        )
    return device


def dtype_on(device: torch.device) -> torch.dtype:
    """fp16 on CUDA; fp32 on the CPU, which is slower and less exact in fp16."""
    return torch.float16 if device.type == "cuda" else torch.float32


def out_of_memory(error: BaseException) -> bool:
    """Whether this is the end of video or host memory, in the words of any torch from 2.1 on."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def host_memory(source: str) -> Iterator[None]:
    """Around what reads weights from `source`. Raises NoRoomError where host memory ends."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise NoRoomError(
            "host memory",
            expected=f"room for {source}",
            found=str(error).strip().split("\n")[0] or "no more of it",
            fix="Close other programs, or make a smaller folder with nano-banana pack.",
        ) from error


@contextmanager
def deterministic() -> Iterator[None]:
    """Let cuDNN take only algorithms that give the same bytes each time, and not choose them by timing."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
