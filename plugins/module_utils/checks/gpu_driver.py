# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu.secure_boot and gpu.driver: is NVIDIA's driver loaded, whole, and does it drive a GPU?"""

from __future__ import annotations

import re
from typing import Any, Dict, Optional

from .diagnosis import explained
from .gpu_report import SECONDS, UnreadableReportError, parse
from .host import NOT_FOUND, TIMED_OUT, Completed, shown
from .orders import DRIVER
from .result import FAILED, GUEST, PASSED, SKIPPED, Fix, Outcome

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADED = "/sys/module/nvidia/version"
EXPECTED = "nvidia-smi reports a driver whose library and kernel module have one version, and a GPU"
NVML_VERSION = re.compile(r"NVML library version: (\d+(?:\.\d+)*)")
# What the kernel says when a driver meets a GPU that it was not made for: NVIDIA/gpu-operator issue 1371.
UNSUPPORTED = re.compile(r"NVRM: installed in this system is not supported by the|is not supported by the NVIDIA \d")

CONFIGURE = Fix("Install the driver again.", DRIVER)
LOAD = Fix("Load the kernel module; where that fails, configure again and read dmesg.", "modprobe nvidia", GUEST)
REBOOT = Fix("Restart the guest: the new kernel module is loaded then.", "systemctl reboot", GUEST)
HUNG = Fix("Restart the guest; a GPU that hangs again needs its host restarted.", "systemctl reboot", GUEST)
VGPU = Fix(
    "The VM has a vGPU: set nvidia_driver_kind to vgpu with the guest driver that matches the host's, and configure.",
    DRIVER,
)


def judge_secure_boot(variable: Optional[str], loaded: str, container: str) -> Outcome:
    """``variable`` is the firmware's: four bytes of attributes, then 1 where unsigned modules are refused."""
    expected = "Secure Boot off, or a signed kernel module"
    if container:
        why = f"a container ({container}) shows the firmware of the machine below it"
        return Outcome(SKIPPED, expected, detail=why)
    if variable is None:
        return Outcome(PASSED, expected, "off: the firmware has no Secure Boot")
    if variable[4:5] != "\x01":
        return Outcome(PASSED, expected, "off")
    if loaded:
        return Outcome(PASSED, expected, f"on, and the module {loaded} was let in")
    return Outcome(FAILED, expected, "on, and no module of NVIDIA is loaded", "Secure Boot refuses unsigned modules")


def _failed(answer: Completed, why: str, fix: Fix, log: str, facts: Dict[str, Any]) -> Outcome:
    text = f"{answer.out}\n{answer.err}"
    if UNSUPPORTED.search(log):
        why, fix = f"{why}; the kernel says that this driver does not support the GPU", VGPU
    evidence = {"nvidia_smi": shown(text), "status": answer.rc}
    return explained(Outcome(FAILED, EXPECTED, _first_line(answer), why, evidence, fix=fix), text, facts)


def _first_line(answer: Completed) -> str:
    text = answer.out.strip() or answer.err.strip()
    return shown(text.split("\n", 1)[0]) or answer.last_line()


def judge(answer: Completed, loaded: str, log: str, container: str, facts: Dict[str, Any]) -> Outcome:
    """``answer`` is that of ``nvidia-smi -q -x``, ``loaded`` the loaded module's version, ``log`` the kernel's."""
    text = f"{answer.out}\n{answer.err}"
    if answer.rc == NOT_FOUND:
        return _failed(answer, "nvidia-smi is not installed, so the driver is not either", CONFIGURE, log, facts)
    if answer.rc == TIMED_OUT:
        return _failed(answer, f"nvidia-smi did not answer within {SECONDS:.0f} s: the GPU hangs", HUNG, log, facts)
    if "Driver/library version mismatch" in text:
        version = NVML_VERSION.search(text)
        library = f"library {version.group(1)}" if version else "the installed library"
        why = f"{library} does not fit the loaded kernel module {loaded or 'of another version'}"
        return _failed(answer, f"{why}: the driver was updated under a running kernel", REBOOT, log, facts)
    if "couldn't communicate with the NVIDIA driver" in text:
        state = f"module {loaded} is loaded, but does not answer" if loaded and not container else "it is not loaded"
        return _failed(answer, f"the library finds no kernel module: {state}", LOAD, log, facts)
    if "No devices were found" in text:
        return _failed(answer, "the kernel module is loaded, but could start no GPU", HUNG, log, facts)
    if answer.rc:
        return _failed(answer, f"nvidia-smi ended with status {answer.rc}", HUNG, log, facts)
    return _judge_report(answer, loaded, log, container, facts)


def _judge_report(answer: Completed, loaded: str, log: str, container: str, facts: Dict[str, Any]) -> Outcome:
    try:
        report = parse(answer.out)
    except UnreadableReportError as error:
        return _failed(answer, f"nvidia-smi's report cannot be read: {error}", CONFIGURE, log, facts)
    if not report.gpus:
        return _failed(answer, "the kernel module is loaded, but could start no GPU", HUNG, log, facts)
    evidence = {"driver": report.driver, "driver_cuda": report.cuda, "loaded": loaded}
    if loaded and not container and loaded != report.driver:
        why = "the driver was updated under a running kernel"
        return Outcome(
            FAILED, EXPECTED, f"library {report.driver}, kernel module {loaded}", why, evidence, "nvml-mismatch", REBOOT
        )
    return Outcome(PASSED, EXPECTED, f"driver {report.driver}, {report.gpus[0].name}", evidence=evidence)
