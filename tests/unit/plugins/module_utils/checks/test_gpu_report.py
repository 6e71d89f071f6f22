# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of nvidia-smi's two reports, over drivers from 418 to 595."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import gpu_report
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gpu_report import Memory, UnreadableReportError

FIXTURES = Path(__file__).parent / "fixtures"

# file, driver, CUDA, name, mode, MIG, total, reserved, used, free, processes
REPORTS = [
    ("quadro-p400-418", "418.43", "10.1", "Quadro P400", "", False, (1998, None, 0, 1998), 0),
    (
        "v100s-460",
        "460.73.01",
        "11.2",
        "Tesla V100S-PCIE-32GB",
        "Pass-Through",
        False,
        (32510, None, 31689, 821),
        0,
    ),
    ("a100-mig-510", "510.47.03", "11.6", "NVIDIA A100-SXM4-40GB", "Pass-Through", True, (40960, 605, 38, 40315), 0),
    ("tesla-t4-515", "515.105.01", "11.7", "Tesla T4", "Pass-Through", False, (15360, 388, 1032, 13939), 2),
    ("a10g-515", "515.105.01", "11.7", "NVIDIA A10G", "Pass-Through", False, (23028, 435, 22, 22569), 1),
    ("rtx-3090-525", "525.147.05", "12.0", "NVIDIA GeForce RTX 3090", "Pass-Through", False, (24576, 316, 1, 24258), 0),
    ("a100-mig-535", "535.54.03", "12.2", "NVIDIA A100-SXM4-80GB", "", True, (81920, 869, 50, 80999), 0),
    ("rtx-3060-570", "570.124.04", "12.8", "NVIDIA GeForce RTX 3060", "", False, (12288, 368, 116, 11806), 0),
    ("rtx-3080-595", "595.58.03", "13.2", "NVIDIA GeForce RTX 3080", "", False, (10240, 397, 9184, 660), 0),
    ("grid-p4-513-windows", "513.46", "11.6", "GRID P4-1Q", "VGPU", False, (1024, 110, 807, 106), 2),
    ("l40s-vgpu-580", "580.105.08", "13.0", "NVIDIA L40S-2Q", "VGPU", False, (2048, 458, 6, 1583), 0),
]


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "driver", "cuda", "gpu", "mode", "mig", "memory", "processes"), REPORTS)
def test_reports_of_all_generations_are_read(
    name: str, driver: str, cuda: str, gpu: str, mode: str, mig: bool, memory: tuple[int | None, ...], processes: int
) -> None:
    report = gpu_report.parse(text(f"{name}.xml"))
    found = report.gpus[0]
    assert (report.driver, report.cuda) == (driver, cuda)
    assert (found.name, found.mode, found.mig) == (gpu, mode, mig)
    # The frame buffer of the card, never BAR1's and never that of a MIG instance.
    assert found.memory == Memory(*memory)
    assert len(found.processes) == processes


@pytest.mark.parametrize(
    ("name", "count", "total"), [("a100-mig-510", 2, 19968), ("a100-mig-535", 4, 19968), ("tesla-t4-515", 0, 0)]
)
def test_each_mig_instance_has_a_memory_of_its_own(name: str, count: int, total: int) -> None:
    found = gpu_report.parse(text(f"{name}.xml")).gpus[0].instances
    assert [each.total for each in found] == [total] * count


@pytest.mark.parametrize(
    ("name", "vgpu", "licence"),
    [
        ("grid-p4-513-windows", True, "Licensed (Expiry: 2022-9-22 6:57:30 GMT)"),
        ("vgpu-unlicensed", True, "Unlicensed (Restricted)"),
        ("tesla-t4-515", False, ""),
    ],
)
def test_a_vgpu_and_its_licence_are_known(name: str, vgpu: bool, licence: str) -> None:
    gpu = gpu_report.parse(text(f"{name}.xml")).gpus[0]
    assert (gpu.vgpu, gpu.licence) == (vgpu, licence)


def test_the_licence_has_another_name_in_older_drivers() -> None:
    old = text("vgpu-unlicensed.xml").replace("vgpu_software_licensed_product", "grid_licensed_product")
    assert gpu_report.parse(old).gpus[0].licence == "Unlicensed (Restricted)"


def test_a_process_without_name_and_memory_is_still_one() -> None:
    first, second = gpu_report.parse(text("grid-p4-513-windows.xml")).gpus[0].processes
    assert (first.pid, first.name, first.mib) == (1188, "without a name", None)
    assert second.text() == "15104 C:\\Windows\\explorer.exe (? MiB)"


def test_warnings_around_the_report_are_passed_over() -> None:
    noisy = f"WARNING: infoROM is corrupted at gpu 0000:00:1E.0\n{text('tesla-t4-515.xml')}\nbye\n"
    assert gpu_report.parse(noisy).driver == "515.105.01"


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("memory-v100s-460", Memory(32510, None, 31689, 821)),
        ("memory-rtx-3090-525", Memory(24576, 316, 1, 24258)),
        ("memory-h200-550", Memory(143771, 700, 1, 143072)),
    ],
)
def test_the_text_gives_the_frame_buffer_and_never_bar1(name: str, memory: Memory) -> None:
    assert gpu_report.parse_memory(text(f"{name}.txt")) == [memory]


def test_two_gpus_in_the_text_are_two() -> None:
    one = text("memory-rtx-3090-525.txt")
    assert len(gpu_report.parse_memory(one + one[one.index("GPU 0") :])) == 2


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE nvidia_smi_log [<!ENTITY a "'
    + "x" * 1000
    + '">'
    + "".join(f'<!ENTITY b{n} "{("&" + (f"b{n - 1}" if n else "a") + ";") * 10}">' for n in range(9))
    + "]><nvidia_smi_log><driver_version>&b8;</driver_version></nvidia_smi_log>"
)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "holds no nvidia_smi_log"),
        ("No devices were found\n", "holds no nvidia_smi_log"),
        (text("tesla-t4-515.xml")[:900], "cut off"),
        ("<nvidia_smi_log><gpu></nvidia_smi_log>", "is no XML"),
        ("<nvidia_smi_log></nvidia_smi_log>", "names no driver version"),
        ("<nvidia_smi_log><driver_version>535\x00</driver_version></nvidia_smi_log>", "is no XML"),
        (BOMB, "is no XML"),
        ("<nvidia_smi_log>" + "<a>" * 300_000 + "</nvidia_smi_log>", "is no XML"),
        ("x" * (gpu_report.LARGEST + 1), "more than any report"),
    ],
    ids=["empty", "words", "cut", "open", "bare", "zero", "bomb", "deep", "huge"],
)
def test_what_is_no_report_is_refused_with_a_reason_and_soon(content: str, why: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnreadableReportError, match=why):
        gpu_report.parse(content)
    assert time.monotonic() - started < 2
