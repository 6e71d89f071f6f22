# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest gate's probes: each check's question to the machine, bound to the judge of its answer."""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, List

from . import (
    catalogue_guest,
    gpu_driver,
    gpu_errors,
    gpu_fit,
    gpu_memory,
    guest_kernel,
    guest_machine,
    guest_memory,
    guest_os,
    guest_packages,
    guest_python,
    model_import,
)
from .gpu_report import Report
from .guest_gate import Gate
from .guest_wish import Wish
from .host import Completed, Host
from .result import Outcome, Probe, Result, run_checks

# Most checks wait for a program: with this many at once the slowest of them sets the time.
WORKERS = 8


def probes(gate: Gate) -> Dict[str, Probe]:
    """The probe of each row for a Linux guest."""
    bound = {**_system(gate), **_gpu(gate), **_model(gate)}
    return {name: partial(gate.noted, name, probe) for name, probe in bound.items()}


def _system(gate: Gate) -> Dict[str, Probe]:
    host, wish = gate.host, gate.wish
    return {
        "guest.os": lambda: guest_os.judge(
            wish.os, host.read(guest_os.OS_RELEASE), host.read(guest_os.REDHAT_RELEASE), wish.allow_stand_in
        ),
        "guest.machine": lambda: guest_machine.judge(
            gate.once.run(guest_machine.COMMAND, guest_machine.SECONDS), wish.allow_stand_in
        ),
        "guest.kernel": lambda: guest_kernel.judge_kernel(
            host.read(guest_kernel.RUNNING), host.glob(guest_kernel.IMAGES), gate.container()
        ),
        "guest.balloon": lambda: gate.memory(guest_memory.BALLOON, guest_memory.judge_balloon),
        "guest.swapped": lambda: gate.memory(guest_memory.SWAPPED, guest_memory.judge_swapped),
        "guest.isolation": lambda: guest_kernel.judge_isolation(
            wish.system.isolated,
            host.read(guest_kernel.ISOLATED),
            host.read(guest_kernel.CMDLINE),
            gate.container(),
        ),
        "guest.swap": lambda: guest_memory.judge_swap(
            wish.system.swap_off, host.read(guest_memory.SWAPS), gate.container()
        ),
        "guest.data_disk": gate.data_disk,
        "guest.data_disk_speed": gate.data_disk_speed,
        "guest.share": gate.share,
    }


def _gpu(gate: Gate) -> Dict[str, Probe]:
    host, gpu, platform = gate.host, gate.wish.gpu, gate.wish.platform
    judges: Dict[str, Callable[[Report], Outcome]] = {
        "gpu.driver_wish": lambda report: gpu_fit.judge_wish(report, gpu.branch, gpu.version),
        "gpu.driver_kind": lambda report: gpu_fit.judge_kind(report, gpu.kind),
        "gpu.licence": gpu_fit.judge_licence,
        "gpu.cuda": lambda report: gpu_fit.judge_cuda(report, gpu.cuda, gpu.cuda_policy, platform),
        "gpu.memory": lambda report: gpu_memory.judge(report, gate.smi.text(), gpu.needed_mib, gpu.used_mib),
        "gpu.processes": lambda report: gpu_memory.judge_processes(
            report, lambda pid: host.read(f"/proc/{pid}/cgroup") or ""
        ),
        "gpu.torch": gate.torch,
    }
    return {
        "gpu.present": gate.gpu_present,
        "gpu.secure_boot": lambda: gpu_driver.judge_secure_boot(
            host.read(gpu_driver.SECURE_BOOT), gate.loaded(), gate.container()
        ),
        "gpu.driver": gate.driver,
        "gpu.errors": lambda: gpu_errors.judge(gate.log(), gate.container(), gate.known),
        **{name: partial(gate.with_report, judge) for name, judge in judges.items()},
    }


def _model(gate: Gate) -> Dict[str, Probe]:
    host, wish = gate.host, gate.wish
    return {
        "guest.python": lambda: guest_python.judge(
            wish.python,
            wish.interpreter,
            gate.python(),
            wish.check_mode,
        ),
        "guest.packages": lambda: guest_packages.judge(
            wish.model.modules, gate.packages(), wish.check_mode, gate.known
        ),
        "model.import": lambda: model_import.judge(
            host.run(model_import.command(wish.interpreter), model_import.SECONDS)
            if wish.model.engine
            else Completed(0),
            wish.model.engine,
            wish.check_mode,
            gate.known,
        ),
        "model.picture": gate.picture,
        "model.first_inference": gate.first_inference,
    }


def examine(host: Host, wish: Wish) -> List[Result]:
    """Run the gate on a Linux guest; the picture comes when all the others are done, because it is timed."""
    rows = catalogue_guest.on("linux")
    return run_checks(rows, probes(Gate(host, wish)), wish.values(), wish.environment, workers=WORKERS)
