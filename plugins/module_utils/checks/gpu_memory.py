# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu.memory and gpu.processes: is the video memory there, large enough, and nobody else's?"""

from __future__ import annotations

from typing import Callable, List, Optional, Sequence

from .gpu_report import Gpu, Memory, Process, Report, parse_memory
from .host import Completed
from .result import FAILED, GUEST, PASSED, Fix, Outcome

# The engine's own service may hold the GPU: it is what the GPU is for.
SERVICE = "nano-banana.service"
LARGER = Fix(
    "Give the VM a larger GPU or vGPU profile (vm_gpu), or set another model_variant; then:",
    "ansible-playbook playbooks/provision.yml --limit {name}",
)
HOLDERS = Fix(
    "See who holds the GPU, also from containers; `systemctl reboot` frees what a dead process left.",
    "fuser -v /dev/nvidia*",
    GUEST,
)


def _largest(gpu: Gpu) -> Optional[int]:
    """What one program can get of a card: with MIG a single instance."""
    if not gpu.mig:
        return gpu.memory.total
    return max((each.total for each in gpu.instances if each.total is not None), default=None)


def _disagreement(gpus: Sequence[Gpu], text: Sequence[Memory], slack_mib: int) -> str:
    if len(text) != len(gpus):
        return f"the XML has {len(gpus)} GPUs, the text {len(text)}"
    for gpu, other in zip(gpus, text):  # noqa: B905  # Python 3.8 knows no strict
        if gpu.memory.total != other.total:
            return f"total of {gpu.name}: {gpu.memory.total} MiB in the XML, {other.total} MiB in the text"
        # They were asked one after the other: what somebody took in between is no contradiction.
        if abs((gpu.memory.used or 0) - (other.used or 0)) > slack_mib and not gpu.processes:
            return f"used of {gpu.name}: {gpu.memory.used} MiB in the XML, {other.used} MiB in the text"
    return ""


def _fault(report: Report, text: Completed, needed_mib: int, used_mib: int) -> Optional[Outcome]:
    """The first thing that is wrong, as an outcome without its expectation."""
    for gpu in report.gpus:
        if gpu.memory.total is None or gpu.memory.used is None:
            why = f"the driver does not tell the memory of {gpu.name}"
            return Outcome(FAILED, detail=why)
        if gpu.mig and not gpu.instances:
            why = f"MIG is on for {gpu.name} and it has no instance: nothing can run on it"
            return Outcome(FAILED, detail=why, fix=Fix("Make an instance.", "nvidia-smi mig -cgi 0 -C", GUEST))
        if gpu.memory.used > used_mib and not gpu.processes:
            why = f"{gpu.memory.used} MiB of {gpu.name} are used by nobody that nvidia-smi can see"
            return Outcome(FAILED, detail=why, fix=HOLDERS)
    largest = max(_largest(gpu) or 0 for gpu in report.gpus)
    if largest < needed_mib:
        part = " in its largest MIG instance" if any(gpu.mig for gpu in report.gpus) else ""
        return Outcome(FAILED, detail=f"the model needs {needed_mib} MiB, there are {largest} MiB{part}", fix=LARGER)
    if text.rc:
        return Outcome(FAILED, detail=f"nvidia-smi -q -d MEMORY ended with status {text.rc}: {text.last_line()}")
    unequal = _disagreement(report.gpus, parse_memory(text.out), used_mib)
    return Outcome(FAILED, detail=f"the two reports of nvidia-smi disagree: {unequal}") if unequal else None


def judge(report: Report, text: Completed, needed_mib: int, used_mib: int) -> Outcome:
    """The frame buffer in XML and text; ``used_mib`` is what an idle driver may keep for itself."""
    expected = f"at least {needed_mib} MiB of video memory, at most {used_mib} MiB used by no process"
    actual = "; ".join(f"{gpu.name}: {gpu.memory.text()}" for gpu in report.gpus)
    evidence = {
        "memory_mib": max(_largest(gpu) or 0 for gpu in report.gpus),
        "used_mib": sum(gpu.memory.used or 0 for gpu in report.gpus),
        "mig": any(gpu.mig for gpu in report.gpus),
    }
    fault = _fault(report, text, needed_mib, used_mib)
    if fault:
        return Outcome(FAILED, expected, actual, fault.detail, evidence, fix=fault.fix)
    return Outcome(PASSED, expected, actual, evidence=evidence)


def judge_processes(report: Report, cgroup: Callable[[int], str]) -> Outcome:
    """No process but the engine's service; ``cgroup`` gives the control groups of a pid."""
    found: List[Process] = [each for gpu in report.gpus for each in gpu.processes]
    others = [each for each in found if SERVICE not in cgroup(each.pid)]
    expected = f"no process on the GPU but {SERVICE}"
    if not others:
        own = f"{SERVICE} alone" if found else "none"
        return Outcome(PASSED, expected, own, evidence={"processes": len(found)})
    # More than a handful is a machine that somebody works on: naming all would fill the page.
    names = ", ".join(each.text() for each in others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    why = f"{len(others)} left on the GPU; they take memory and time from the model"
    pids = " ".join(str(each.pid) for each in others)
    fix = Fix("Ask whose they are, then end them.", f"kill {pids}", GUEST)
    return Outcome(FAILED, expected, names, why, {"pids": [each.pid for each in others]}, fix=fix)
