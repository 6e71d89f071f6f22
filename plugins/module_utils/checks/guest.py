# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest gate's probes: each check's question to the machine, bound to the judge of its answer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import (
    catalogue_guest,
    gpu_driver,
    gpu_errors,
    gpu_fit,
    gpu_memory,
    gpu_present,
    guest_disk,
    guest_kernel,
    guest_machine,
    guest_memory,
    guest_os,
    guest_packages,
    guest_python,
    guest_share,
    model_import,
    model_picture,
)
from .gpu_report import Report, Smi
from .guest_wish import Wish
from .host import NOT_FOUND, Completed, Host, Once
from .result import FAILED, SKIPPED, Outcome, Probe, Result, run_checks

# Most checks wait for a program: with this many at once the slowest of them sets the time.
WORKERS = 8
# What one check found out and another one's diagnosis asks for.
KNOWN = ("driver", "torch_cuda", "balloon_mb", "swapped_mb")
# What the roles bring about: in check mode nothing of it is there before the first real run.
CONFIGURED = ("guest.isolation", "guest.swap", "guest.data_disk", "guest.share", "gpu.secure_boot", "gpu.driver")


class Gate:
    """One run of the gate: what it asked already, and what it knows by now."""

    def __init__(self, host: Host, wish: Wish) -> None:
        self.host = host
        self.wish = wish
        self.once = Once(host)
        self.smi = Smi(self.once)
        self.known: Dict[str, Any] = {"platform": wish.platform, "cuda": wish.gpu.cuda}
        self.known["strict"] = wish.gpu.cuda_policy == gpu_fit.STRICT
        self.seconds: Optional[float] = None

    def container(self) -> str:
        """Which container the guest is, empty for a machine."""
        return guest_machine.container(self.once.run(guest_machine.COMMAND, guest_machine.SECONDS))

    def log(self) -> Completed:
        """The kernel's log."""
        return self.once.run(gpu_errors.LOG, gpu_errors.SECONDS)

    def packages(self) -> Completed:
        """The look at the environment's modules."""
        command = guest_packages.command(self.wish.interpreter, self.wish.model.modules)
        return self.once.run(command, guest_packages.SECONDS) if self.wish.model.modules else Completed(0)

    def loaded(self) -> str:
        """The version of the loaded kernel module."""
        return (self.host.read(gpu_driver.LOADED) or "").strip()

    # Each of the following answers one row of the catalogue.

    def memory(self, command: Sequence[str], judge: Callable[[Completed], Outcome]) -> Outcome:
        """guest.balloon and guest.swapped."""
        return judge(self.host.run(command, guest_memory.SECONDS))

    def data_disk(self) -> Outcome:
        """guest.data_disk; what takes the room is asked only where there is too little."""
        path, wanted = self.wish.system.disk, self.wish.system.disk_free_mb
        nothing = Completed(0)
        if not path:
            return guest_disk.judge(path, wanted, nothing, nothing, nothing, False, "")
        space = self.host.run(guest_disk.df(path), guest_disk.SECONDS)
        found = guest_disk.usage(space.out)
        write = (
            self.host.run(guest_disk.writable(f"{path}/{guest_disk.SCRATCH}"), guest_disk.SECONDS) if found else nothing
        )
        full = found is not None and found.free_mb < wanted
        sizes = self.host.run(guest_disk.du(path), guest_disk.SECONDS) if full else nothing
        locked = guest_disk.read_only(self.host.read(guest_share.MOUNTS) or "", path)
        return guest_disk.judge(path, wanted, space, write, sizes, locked, self.container())

    def data_disk_speed(self) -> Outcome:
        """guest.data_disk_speed; the file that was written goes in any case."""
        if self.wish.check_mode:
            return Outcome(SKIPPED, detail="check mode: measuring would write a file")
        path = f"{self.wish.system.disk}/{guest_disk.SCRATCH}/.preflight-speed"
        try:
            answer = self.host.run(guest_disk.dd(path), guest_disk.SECONDS)
        finally:
            self.host.remove(path)
        return guest_disk.judge_speed(answer, self.wish.system.disk_mb_per_second)

    def share(self) -> Outcome:
        """guest.share."""
        share = self.wish.share
        mounts = self.host.read(guest_share.MOUNTS) or ""
        there = share.kind != "none" and guest_share.mounted(mounts, share.path) is not None
        command = guest_share.command(share, self.wish.check_mode)
        answer = self.host.run(command, share.seconds) if there else Completed(0)
        return guest_share.judge(share, mounts, answer, self.known)

    def gpu_present(self) -> Outcome:
        """gpu.present; a host without a wish for one is not asked."""
        gpu = self.wish.gpu
        if gpu.policy == gpu_present.NONE:
            return gpu_present.judge(gpu.policy, None, [], "", False)
        real = gpu.root.startswith("/sys/")
        bus = gpu_present.on_bus(self.host, gpu.root)
        return gpu_present.judge(gpu.policy, self.smi.report(), bus, self.container(), real)

    def driver(self) -> Outcome:
        """gpu.driver; the kernel's log is read only where nvidia-smi failed."""
        answer, container = self.smi.answer(), self.container()
        log = self.log().out if answer.rc and not container else ""
        return gpu_driver.judge(answer, self.loaded(), log, container, self.known)

    def with_report(self, judge: Callable[[Report], Outcome]) -> Outcome:
        """What needs nvidia-smi's report."""
        report = self.smi.report()
        return judge(report) if report else Outcome(SKIPPED, detail="nvidia-smi gave no report")

    def torch(self, report: Report) -> Outcome:
        """gpu.torch."""
        found = guest_packages.read(self.packages())
        gpu = self.wish.gpu
        return gpu_fit.judge_torch(
            report, found.get("torch"), found.get("torch_cuda"), gpu.cuda_policy, self.wish.platform
        )

    def picture(self) -> Outcome:
        """model.picture."""
        if self.wish.check_mode:
            return Outcome(SKIPPED, detail="check mode: drawing would write a picture")
        drawing = model_picture.draw(self.host, self.wish.picture)
        self.seconds = drawing.seconds
        return model_picture.judge(self.wish.picture, drawing, self.known)

    def first_inference(self) -> Outcome:
        """model.first_inference, of the picture that was drawn."""
        if self.seconds is None:
            return Outcome(SKIPPED, detail="no picture was drawn")
        return model_picture.judge_first(self.seconds, self.wish.model.first_seconds, self.known)

    def python(self) -> Completed:
        """What the environment's Python says of its version."""
        return self.once.run((self.wish.interpreter, "--version"), guest_python.SECONDS)

    def noted(self, name: str, probe: Probe) -> Outcome:
        """A probe's outcome, with what others want to know of it kept."""
        outcome = probe()
        if name in CONFIGURED and outcome.status == FAILED and self.wish.check_mode and self.python().rc == NOT_FOUND:
            why = f"check mode: the guest is not configured yet ({outcome.detail})"
            return replace(outcome, status=SKIPPED, detail=why)
        self.known.update({key: outcome.evidence[key] for key in KNOWN if outcome.evidence.get(key)})
        return outcome


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


def facts(results: Sequence[Result]) -> Dict[str, Any]:
    """What the run's report says about the guest; a value is empty where its check gave none."""
    wanted: List[Tuple[str, str, str]] = [
        ("os", "guest.os", "os"),
        ("stand_in", "guest.os", "stand_in"),
        ("python", "guest.python", "python"),
        ("engine", "model.import", "engine"),
        ("backend", "model.picture", "backend"),
        ("picture", "model.picture", "picture"),
        ("gpu", "gpu.present", "gpu"),
        ("driver", "gpu.driver", "driver"),
        ("kernel", "guest.kernel", "kernel"),
    ]
    evidence = {result.id: result.evidence for result in results}
    return {name: evidence.get(check, {}).get(key, "") for name, check, key in wanted}
