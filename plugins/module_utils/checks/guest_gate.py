# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the guest gate on Linux: the questions that take more than one look, and what is known by now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, Optional, Sequence

from . import (
    gpu_driver,
    gpu_errors,
    gpu_fit,
    gpu_present,
    guest_disk,
    guest_machine,
    guest_memory,
    guest_packages,
    guest_python,
    guest_share,
    model_picture,
)
from .gpu_report import Report, Smi
from .guest_wish import Wish
from .host import NOT_FOUND, Completed, Host, Once
from .result import FAILED, SKIPPED, Outcome, Probe

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
