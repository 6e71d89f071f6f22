# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu.driver_wish, gpu.driver_kind, gpu.licence, gpu.cuda and gpu.torch: does the driver fit wish, VM and programs?"""

from __future__ import annotations

from typing import Optional

from . import nvidia_versions as versions
from .gpu_report import Report
from .host import shown
from .orders import DRIVER
from .result import FAILED, GUEST, NOT_APPLICABLE, PASSED, WARNED, Fix, Outcome

STRICT, MINOR_VERSION = "strict", "minor_version"
POLICIES = (STRICT, MINOR_VERSION)
PASSTHROUGH, VGPU = "passthrough", "vgpu"
KINDS = (PASSTHROUGH, VGPU)


def judge_wish(report: Report, branch: str, version: str) -> Outcome:
    """The running driver against nvidia_driver_branch and nvidia_driver_version."""
    wanted = version or branch
    if not wanted:
        return Outcome(NOT_APPLICABLE, detail="no driver branch is wished (preflight_driver_branch is empty)")
    expected, found = f"driver {wanted}", f"driver {report.driver}"
    fits = report.driver == version if version else versions.branch_of(report.driver) == branch
    if fits:
        return Outcome(PASSED, expected, found)
    return Outcome(FAILED, expected, found, "another driver is running than the one that is wished")


def judge_kind(report: Report, kind: str) -> Outcome:
    """The way the VM has its GPU against nvidia_driver_kind: each way has a driver of its own."""
    gpu = report.gpus[0]
    found = VGPU if gpu.vgpu else PASSTHROUGH
    actual = f"{gpu.name}, virtualization mode {gpu.mode or 'not told'}"
    expected = {PASSTHROUGH: "a whole GPU (passthrough)", VGPU: "a vGPU"}[kind]
    if found == kind == PASSTHROUGH and gpu.licence:
        why = f"the vGPU software's guest driver runs a whole GPU and asks for a licence ({gpu.product or 'unnamed'})"
        fix = Fix("Set nvidia_driver_kind to passthrough, take that driver off (nvidia-uninstall), then:", DRIVER)
        return Outcome(WARNED, expected, actual, why, {"mode": gpu.mode}, fix=fix)
    if found == kind:
        return Outcome(PASSED, expected, actual, evidence={"mode": gpu.mode})
    why = f"nvidia_driver_kind is {kind}, and the VM has {'a vGPU' if gpu.vgpu else 'a whole GPU'}"
    fix = Fix(f"Set nvidia_driver_kind to {found} for this host, or give the VM the other GPU (vm_gpu); then:", DRIVER)
    return Outcome(FAILED, expected, actual, why, {"mode": gpu.mode}, fix=fix)


def judge_licence(report: Report) -> Outcome:
    """A vGPU's licence; without one it slows down to a crawl after some minutes."""
    gpus = [gpu for gpu in report.gpus if gpu.vgpu]
    if not gpus:
        return Outcome(NOT_APPLICABLE, detail="only a vGPU needs a licence, and the VM has a whole GPU")
    expected = "license status Licensed"
    bad = next((gpu for gpu in gpus if not gpu.licence.startswith("Licensed")), None)
    if bad is None:
        return Outcome(PASSED, expected, f"{gpus[0].product}: {gpus[0].licence}", evidence={"licence": gpus[0].licence})
    found = f"{bad.product or bad.name}: {bad.licence or 'no status'}"
    fix = Fix(
        "Look at `journalctl -u nvidia-gridd`. With a valid token in nvidia_driver_vgpu_token and its server in "
        "reach, ask for the licence again.",
        "systemctl restart nvidia-gridd",
        GUEST,
    )
    return Outcome(FAILED, expected, found, "an unlicensed vGPU runs slowly", {"licence": bad.licence}, "", fix)


def _against(driver: str, cuda: str, policy: str, whose: str, platform: str) -> Outcome:
    verdict = versions.judge(driver, cuda, policy == STRICT, platform)
    expected = f"a driver for {whose} {cuda} ({policy})" + (f": {verdict.minimum} or newer" if verdict.minimum else "")
    evidence = {"driver": driver, "cuda": cuda, "minimum": verdict.minimum, "policy": policy}
    if verdict.status == PASSED:
        return Outcome(PASSED, expected, f"driver {driver}", evidence=evidence)
    newer = versions.oldest_branch_with(verdict.minimum) if platform == "linux" else ""
    older = versions.newest_toolkit_for(driver, policy == STRICT)
    mends = [f"nvidia_driver_branch to {newer} or newer"] if newer else []
    mends += [f"cuda_toolkit_version to {older} or older"] if older and whose == "CUDA" else []
    fix = Fix(f"Set {', or '.join(mends)}; then configure again.", DRIVER) if mends else None
    return Outcome(verdict.status, expected, f"driver {driver}", verdict.reason, evidence, fix=fix)


def judge_cuda(report: Report, cuda: str, policy: str, platform: str = "linux") -> Outcome:
    """The driver against the wished CUDA, by NVIDIA's table."""
    if not cuda:
        return Outcome(NOT_APPLICABLE, detail="no CUDA is wished for this host (preflight_cuda is empty)")
    return _against(report.driver, cuda, policy, "CUDA", platform)


def judge_torch(
    report: Report, torch: Optional[str], torch_cuda: Optional[str], policy: str, platform: str = "linux"
) -> Outcome:
    """The driver against the CUDA runtime that PyTorch's wheels bring along; what nvcc says has no part in it."""
    if torch is None:
        return Outcome(NOT_APPLICABLE, detail="this model has no PyTorch in its environment")
    torch, torch_cuda = shown(torch), shown(torch_cuda or "")
    if not torch_cuda:
        why = "this PyTorch was built for the CPU alone: it would not use the GPU"
        return Outcome(FAILED, "a PyTorch that was built for CUDA", f"torch {torch}", why, {"torch": torch})
    return _against(report.driver, torch_cuda, policy, f"torch {torch} with CUDA", platform)
