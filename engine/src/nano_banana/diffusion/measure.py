# SPDX-License-Identifier: GPL-3.0-or-later
"""What memory was really used: host memory by torch's allocator, video memory by NVML and by torch."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from nano_banana.errors import MachineError

Result = TypeVar("Result")
_ALLOCATION = "[memory]"


@dataclass(frozen=True)
class HostPeak:
    """Bytes of host tensors: the most that lived at once, and what lived at the end, counted from the start of the
    work.
    """

    peak: int
    left: int


def host_peak(work: Callable[[], Result]) -> tuple[Result, HostPeak]:
    """Run `work` and measure the tensors that torch's CPU allocator holds meanwhile.

    The allocator itself reports each allocation and each release of its own to torch.profiler, kernels' scratch memory
    included: the running sum is what was held, to the byte, free of what Python, the libraries' code or an earlier peak
    weigh in the process's resident set. Memory allocated before does not count, nor does its release.
    """
    # The allocator remembers what an earlier measurement saw: released in this one, such garbage would lower the peak.
    gc.collect()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == _ALLOCATION]
    events.sort(key=_time)
    now = peak = 0
    for event in events:
        if event.device_type() == torch._C._autograd.DeviceType.CPU:
            now += event.nbytes()
            peak = max(peak, now)
    return result, HostPeak(peak, now)


def video(device: int = 0) -> int | None:
    """Bytes of video memory that this process holds now as NVML tells, CUDA context included; None where it cannot
    tell.

    In a container or under WSL the driver may hide processes; then there is no such figure, and none is made up.
    """
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(_uuid(device))
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    own = [process.usedGpuMemory for process in processes if process.pid == os.getpid()]
    return int(own[0]) if own and own[0] is not None else None


class VideoPeak:
    """Asks NVML every 20 ms from a thread of its own while a `with` block runs; `peak` in bytes, None where NVML is
    silent.

    NVML keeps no peak of its own. torch gives blocks back only when told to, so what it holds is seen in time; a
    library's short-lived workspace may be missed.
    """

    def __init__(self, device: int = 0, interval: float = 0.02) -> None:
        self.peak: int | None = None
        self._device = device
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> VideoPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._stop.is_set()
            now = video(self._device)
            if now is not None:
                self.peak = max(self.peak or 0, now)
            if last:
                return
            self._stop.wait(self._interval)


def context(device: int = 0) -> int | None:
    """Bytes of video memory that CUDA takes beside torch's tensors: NVML's figure less what torch reserves."""
    torch.cuda.init()
    torch.empty(1, device=f"cuda:{device}")
    whole = video(device)
    return None if whole is None else whole - torch.cuda.memory_reserved(device)


def reserved_peak(device: int = 0) -> int:
    """The most bytes that torch's caching allocator held on the device since `reset`."""
    return torch.cuda.max_memory_reserved(device)


def reset(device: int = 0) -> None:
    """Start a new peak: give unused blocks back and forget the old one."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)


def cap(size: int, device: int = 0) -> None:
    """Let torch reserve at most `size` bytes: beyond them it raises its out-of-memory error. Raises MachineError.

    The context is not torch's and comes on top: take it off `size` first.
    """
    total = torch.cuda.get_device_properties(device).total_memory
    if not 0 < size <= total:
        found = f"{size} bytes of {total}"
        raise MachineError(
            "memory cap", expected="a part of the device's memory", found=found, fix="Type a smaller --cap."
        )
    torch.cuda.set_per_process_memory_fraction(size / total, device)


def _uuid(device: int) -> Any:
    # Not by number: CUDA_VISIBLE_DEVICES and CUDA's own order number devices otherwise than NVML.
    text = str(torch.cuda.get_device_properties(device).uuid)
    return text if text.startswith("GPU-") else f"GPU-{text}"


def _time(event: Any) -> int:
    return int(event.start_ns()) if hasattr(event, "start_ns") else int(event.start_us())
