# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of GPU and driver: each outcome, from what drivers print."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import (
    gpu_driver,
    gpu_errors,
    gpu_fit,
    gpu_memory,
    gpu_present,
    gpu_report,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gpu_report import Report
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import NOT_FOUND, TIMED_OUT, Completed
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    FAILED,
    NOT_APPLICABLE,
    PASSED,
    SKIPPED,
    WARNED,
    Outcome,
)

FIXTURES = Path(__file__).parent / "fixtures"
# As nvidia-smi writes them, to standard output: mozilla/translations issue 1167, shine-cluster issue 50,
# open-gpu-kernel-modules issue 789.
MISMATCH = Completed(18, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.144\n")
NO_MODULE = Completed(
    9,
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.\n\n",
)
NO_DEVICE = Completed(6, "No devices were found\n")
ABSENT = Completed(NOT_FOUND, err="nvidia-smi: No such file or directory")


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def report(name: str) -> Report:
    return gpu_report.parse(text(f"{name}.xml"))


def told(outcome: Outcome) -> str:
    return f"{outcome.status} {outcome.actual} | {outcome.detail} | {outcome.fix.shown() if outcome.fix else ''}"


T4 = "Tesla T4 (0x1eb8) at 0000:03:00.0"


@pytest.mark.parametrize(
    ("policy", "found", "bus", "container", "real", "status", "word"),
    [
        ("none", None, [T4], "", True, NOT_APPLICABLE, "no GPU is wished"),
        ("required", "tesla-t4-515", [], "", True, PASSED, "Tesla T4"),
        ("optional", "tesla-t4-515", [], "docker", True, PASSED, "Tesla T4"),
        ("optional", None, [T4], "", True, PASSED, "0x1eb8"),
        ("optional", None, [T4], "podman", True, NOT_APPLICABLE, "the bus of the machine below it"),
        ("required", None, [T4], "podman", True, FAILED, "the bus of the machine below it"),
        ("optional", None, [T4], "podman", False, PASSED, "0x1eb8"),
        ("optional", None, [], "", True, NOT_APPLICABLE, "may do without"),
        ("required", None, [], "", True, FAILED, "must have one"),
    ],
)
def test_a_gpu_is_there_by_nvidia_smi_or_by_a_bus_that_is_the_guests_own(
    policy: str, found: str | None, bus: list[str], container: str, real: bool, status: str, word: str
) -> None:
    outcome = gpu_present.judge(policy, report(found) if found else None, bus, container, real)
    assert outcome.status == status
    assert word in told(outcome)


class Bus:
    """A PCI bus of files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, address: str, vendor: str, device: str, kind: str) -> None:
        folder = self.root / address
        folder.mkdir()
        for name, value in (("vendor", vendor), ("device", device), ("class", kind)):
            (folder / name).write_text(f"{value}\n")

    def glob(self, pattern: str) -> list[str]:
        return sorted(map(str, Path("/").glob(pattern.lstrip("/"))))

    def read(self, path: str) -> str:
        return Path(path).read_text()


def test_only_nvidias_display_controllers_count(tmp_path: Path) -> None:
    bus = Bus(tmp_path)
    bus.add("0000:03:00.0", "0x10de", "0x1eb8", "0x030200")
    bus.add("0000:03:00.1", "0x10de", "0x10f9", "0x040300")
    bus.add("0000:04:00.0", "0x15ad", "0x0405", "0x030000")
    assert gpu_present.on_bus(bus, str(tmp_path)) == [T4]  # type: ignore[arg-type]


ON, OFF = "\x06\0\0\0\x01", "\x06\0\0\0\0"


@pytest.mark.parametrize(
    ("variable", "loaded", "container", "status"),
    [
        (None, "", "", PASSED),
        (OFF, "", "", PASSED),
        (ON, "535.183.06", "", PASSED),
        (ON, "", "", FAILED),
        (ON, "", "docker", SKIPPED),
        ("", "", "", PASSED),
    ],
)
def test_secure_boot_is_a_fault_only_where_it_kept_the_module_out(
    variable: str | None, loaded: str, container: str, status: str
) -> None:
    assert gpu_driver.judge_secure_boot(variable, loaded, container).status == status


@pytest.mark.parametrize(
    ("answer", "loaded", "log", "words", "run"),
    [
        (ABSENT, "", "", "nvidia-smi is not installed", "configure.yml"),
        (MISMATCH, "550.120", "", "library 550.144 does not fit the loaded kernel module 550.120", "reboot"),
        (MISMATCH, "", "", "kernel module of another version", "reboot"),
        (NO_MODULE, "", "", "it is not loaded", "modprobe nvidia"),
        (NO_MODULE, "535.54.03", "", "module 535.54.03 is loaded, but does not answer", "modprobe nvidia"),
        (NO_DEVICE, "550.144.03", "", "could start no GPU", "reboot"),
        (NO_DEVICE, "570.86.15", text("unsupported-kernel.log"), "does not support the GPU", "configure.yml"),
        (Completed(TIMED_OUT), "535.54.03", "", "the GPU hangs", "reboot"),
        (
            Completed(255, "Unable to determine the device handle for GPU 0000:03:00.0: Unknown Error"),
            "",
            "",
            "255",
            "",
        ),
        (Completed(0, "<nvidia_smi_log>"), "", "", "cannot be read: it is cut off", "configure.yml"),
        (
            Completed(0, "<nvidia_smi_log><driver_version>535.1</driver_version></nvidia_smi_log>"),
            "",
            "",
            "could start no GPU",
            "reboot",
        ),
        (Completed(0, text("rtx-3090-525.xml")), "525.60.13", "", "updated under a running kernel", "reboot"),
    ],
)
def test_each_way_to_have_no_driver_has_its_own_reason_and_fix(
    answer: Completed, loaded: str, log: str, words: str, run: str
) -> None:
    outcome = gpu_driver.judge(answer, loaded, log, "", {})
    assert outcome.status == FAILED
    assert words in outcome.detail
    assert outcome.fix
    assert run in outcome.fix.run


def test_four_messages_of_nvidia_smi_give_four_details() -> None:
    details = {gpu_driver.judge(each, "", "", "", {}).detail for each in (ABSENT, MISMATCH, NO_MODULE, NO_DEVICE)}
    assert len(details) == 4


def test_a_vgpu_with_the_driver_for_a_whole_gpu_is_told_from_the_kernels_log() -> None:
    outcome = gpu_driver.judge(NO_DEVICE, "570.86.15", text("unsupported-kernel.log"), "", {})
    assert outcome.fix
    assert "nvidia_driver_kind to vgpu" in outcome.fix.text


@pytest.mark.parametrize(("loaded", "container"), [("525.147.05", ""), ("", ""), ("470.1", "docker")])
def test_a_driver_that_answers_passes(loaded: str, container: str) -> None:
    outcome = gpu_driver.judge(Completed(0, text("rtx-3090-525.xml")), loaded, "", container, {})
    assert (outcome.status, outcome.evidence["driver"]) == (PASSED, "525.147.05")


@pytest.mark.parametrize(
    ("branch", "version", "status"),
    [
        ("525", "", PASSED),
        ("525", "525.147.05", PASSED),
        ("525", "525.60.13", FAILED),
        ("535", "", FAILED),
        ("52", "", FAILED),
        ("", "", NOT_APPLICABLE),
    ],
)
def test_the_running_driver_against_the_wished_one(branch: str, version: str, status: str) -> None:
    assert gpu_fit.judge_wish(report("rtx-3090-525"), branch, version).status == status


@pytest.mark.parametrize(
    ("name", "kind", "status", "words"),
    [
        ("tesla-t4-515", "passthrough", PASSED, ""),
        ("quadro-p400-418", "passthrough", PASSED, ""),
        ("l40s-vgpu-580", "vgpu", PASSED, ""),
        ("vgpu-unlicensed", "passthrough", FAILED, "nvidia_driver_kind to vgpu"),
        ("tesla-t4-515", "vgpu", FAILED, "nvidia_driver_kind to passthrough"),
    ],
)
def test_driver_and_vm_have_the_same_kind_of_gpu(name: str, kind: str, status: str, words: str) -> None:
    outcome = gpu_fit.judge_kind(report(name), kind)
    assert outcome.status == status
    assert words in told(outcome)


def test_the_vgpu_driver_on_a_whole_gpu_warns_of_its_licence() -> None:
    whole = text("vgpu-unlicensed.xml").replace("VGPU", "Pass-Through").replace("GRID T4-16C", "Tesla T4")
    outcome = gpu_fit.judge_kind(gpu_report.parse(whole), "passthrough")
    assert outcome.status == WARNED
    assert "asks for a licence (NVIDIA Virtual Compute Server)" in outcome.detail


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("tesla-t4-515", NOT_APPLICABLE),
        ("l40s-vgpu-580", PASSED),
        ("grid-p4-513-windows", PASSED),
        ("vgpu-unlicensed", FAILED),
    ],
)
def test_a_vgpu_needs_its_licence(name: str, status: str) -> None:
    assert gpu_fit.judge_licence(report(name)).status == status


# The three outcomes of domain row 21, and none where nothing is wished.
@pytest.mark.parametrize(
    ("name", "cuda", "policy", "status", "mend"),
    [
        ("a100-mig-535", "12.2", "strict", PASSED, ""),
        ("rtx-3090-525", "12.2", "minor_version", WARNED, "nvidia_driver_branch to 535 or newer"),
        ("rtx-3090-525", "12.2", "strict", FAILED, "nvidia_driver_branch to 535 or newer"),
        ("a10g-515", "12.2", "minor_version", FAILED, "nvidia_driver_branch to 525 or newer"),
        ("v100s-460", "11.8", "minor_version", WARNED, "cuda_toolkit_version to"),
        ("rtx-3080-595", "11.8", "strict", PASSED, ""),
        ("a10g-515", "99.9", "minor_version", FAILED, ""),
        ("a10g-515", "", "strict", NOT_APPLICABLE, ""),
    ],
)
def test_the_driver_against_cuda(name: str, cuda: str, policy: str, status: str, mend: str) -> None:
    outcome = gpu_fit.judge_cuda(report(name), cuda, policy)
    assert outcome.status == status
    assert mend in told(outcome)


@pytest.mark.parametrize(
    ("name", "torch", "cuda", "policy", "status"),
    [
        ("a100-mig-535", "2.1.0+cu121", "12.1", "strict", PASSED),
        ("rtx-3090-525", "2.1.0+cu121", "12.1", "minor_version", WARNED),
        ("a10g-515", "2.1.0+cu121", "12.1", "minor_version", FAILED),
        ("a10g-515", "2.1.0+cpu", None, "strict", FAILED),
        ("a10g-515", None, None, "strict", NOT_APPLICABLE),
    ],
)
def test_the_driver_against_the_cuda_of_pytorch(
    name: str, torch: str | None, cuda: str | None, policy: str, status: str
) -> None:
    assert gpu_fit.judge_torch(report(name), torch, cuda, policy).status == status


def memory_text(total: int, used: int) -> Completed:
    lines = [
        f"        {name:<34}: {mib} MiB" for name, mib in (("Total", total), ("Used", used), ("Free", total - used))
    ]
    return Completed(0, "GPU 00000000:00:1E.0\n    FB Memory Usage\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "answer", "needed", "status", "words"),
    [
        ("rtx-3090-525", Completed(0, text("memory-rtx-3090-525.txt")), 4000, PASSED, ""),
        ("quadro-p400-418", memory_text(1998, 0), 0, PASSED, ""),
        # Somebody's: that is gpu.processes' to say.
        ("tesla-t4-515", memory_text(15360, 1032), 4000, PASSED, ""),
        ("rtx-3060-570", memory_text(12288, 116), 4000, PASSED, ""),
        (
            "rtx-3080-595",
            memory_text(10240, 9184),
            4000,
            FAILED,
            "9184 MiB of NVIDIA GeForce RTX 3080 are used by nobody",
        ),
        ("quadro-p400-418", memory_text(1998, 0), 4000, FAILED, "needs 4000 MiB, there are 1998 MiB"),
        ("a100-mig-510", memory_text(40960, 38), 16000, PASSED, ""),
        ("a100-mig-510", memory_text(40960, 38), 24000, FAILED, "19968 MiB in its largest MIG instance"),
        ("rtx-3090-525", memory_text(32768, 2), 0, FAILED, "24576 MiB in the XML, 32768 MiB in the text"),
        ("rtx-3090-525", memory_text(24576, 9000), 0, FAILED, "1 MiB in the XML, 9000 MiB in the text"),
        ("rtx-3090-525", Completed(0, "nothing"), 0, FAILED, "the XML has 1 GPUs, the text 0"),
        ("rtx-3090-525", NO_MODULE, 0, FAILED, "status 9"),
    ],
)
def test_video_memory_is_visible_large_enough_and_free(
    name: str, answer: Completed, needed: int, status: str, words: str
) -> None:
    outcome = gpu_memory.judge(report(name), answer, needed, 200)
    assert outcome.status == status
    assert words in told(outcome)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<total>24576 MiB", "<total>N/A", "does not tell the memory"),
        ("<current_mig>N/A", "<current_mig>Enabled", "it has no instance"),
    ],
)
def test_memory_that_cannot_be_used_fails(old: str, new: str, words: str) -> None:
    changed = gpu_report.parse(text("rtx-3090-525.xml").replace(old, new))
    outcome = gpu_memory.judge(changed, Completed(0, text("memory-rtx-3090-525.txt")), 0, 200)
    assert outcome.status == FAILED
    assert words in outcome.detail


@pytest.mark.parametrize(
    ("name", "service", "status", "words"),
    [
        ("rtx-3090-525", (), PASSED, "none"),
        ("tesla-t4-515", (), FAILED, "675 /usr/lib/xorg/Xorg (22 MiB), 5762 python (1005 MiB)"),
        ("tesla-t4-515", (), FAILED, "kill 675 5762"),
        ("tesla-t4-515", (675, 5762), PASSED, "nano-banana.service alone"),
        ("tesla-t4-515", (5762,), FAILED, "kill 675"),
    ],
)
def test_leftover_processes_are_named_and_the_service_is_none(
    name: str, service: tuple[int, ...], status: str, words: str
) -> None:
    outcome = gpu_memory.judge_processes(
        report(name), lambda pid: "0::/system.slice/nano-banana.service" if pid in service else "0::/user.slice"
    )
    assert outcome.status == status
    assert words in told(outcome)


@pytest.mark.parametrize(
    ("answer", "container", "status", "words"),
    [
        (Completed(0, "[ 1.0] nvidia: loading\n"), "", PASSED, "none"),
        (Completed(0, text("xid-kernel.log")), "", FAILED, "Xid (PCI:0000:44:00): 79, GPU has fallen off the bus"),
        (Completed(0, text("xid-kernel.log").partition("\n[ 1843")[0]), "", WARNED, "MMU Fault"),
        (Completed(1, err="sudo: a password is required"), "", SKIPPED, "a password is required"),
        (Completed(0, text("xid-kernel.log")), "podman", SKIPPED, "the machine below it"),
    ],
)
def test_xids_of_the_gpu_fail_and_those_of_programs_warn(
    answer: Completed, container: str, status: str, words: str
) -> None:
    outcome = gpu_errors.judge(answer, container, {})
    assert outcome.status == status
    assert words in told(outcome)
