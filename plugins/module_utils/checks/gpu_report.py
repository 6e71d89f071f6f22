# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi reports, read from its two forms: XML of everything, and the text about memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple
from xml.etree import ElementTree

from .host import Completed, Once, shown

XML = ("nvidia-smi", "-q", "-x")
TEXT = ("nvidia-smi", "-q", "-d", "MEMORY")
# A GPU without persistence mode starts up for each call, some seconds a card.
SECONDS = 20.0
# Eight GPUs with all their clocks are some 300 KB; what is larger is no report.
LARGEST = 4 << 20
# C-series vGPUs and their kin: GRID T4-16Q, NVIDIA A10-4C, NVIDIA H100-80C.
VGPU_NAME = re.compile(r"^GRID |-\d{1,3}[ABCQ]$")


class UnreadableReportError(Exception):
    """The text says why nvidia-smi's answer is no report."""


@dataclass(frozen=True)
class Memory:
    """Video memory in MiB; None where the driver does not tell. ``reserved`` is told since driver 510."""

    total: Optional[int] = None
    reserved: Optional[int] = None
    used: Optional[int] = None
    free: Optional[int] = None

    def text(self) -> str:
        """All four in a line, with ? for what is not told."""
        words = [
            f"{name} {'?' if mib is None else mib}"
            for name, mib in (("total", self.total), ("reserved", self.reserved), ("used", self.used))
        ]
        return ", ".join([*words, f"free {'?' if self.free is None else self.free} MiB"])


@dataclass(frozen=True)
class Process:
    """A process on the GPU; ``mib`` is None where the driver does not tell, as in a container."""

    pid: int
    name: str
    mib: Optional[int]

    def text(self) -> str:
        """pid, name and memory."""
        return f"{self.pid} {self.name} ({'?' if self.mib is None else self.mib} MiB)"


@dataclass(frozen=True)
class Gpu:
    """A card. ``mode`` is nvidia-smi's virtualization mode, ``instances`` the memory of its MIG devices."""

    bus: str
    name: str
    mode: str
    product: str
    licence: str
    mig: bool
    memory: Memory
    instances: Tuple[Memory, ...]
    processes: Tuple[Process, ...]

    @property
    def vgpu(self) -> bool:
        """Whether the VM has a part of a card."""
        return self.mode.upper() == "VGPU" or bool(VGPU_NAME.search(self.name))


@dataclass(frozen=True)
class Report:
    """The driver, the newest CUDA that it offers, and its GPUs."""

    driver: str
    cuda: str
    gpus: Tuple[Gpu, ...]


def _word(element: Optional[ElementTree.Element], path: str) -> str:
    text = element.findtext(path) if element is not None else None
    word = shown(text or "")
    return "" if word in ("N/A", "[N/A]", "None") else word


def _mib(text: str) -> Optional[int]:
    match = re.match(r"^(\d{1,9}) MiB$", text.strip())
    return int(match.group(1)) if match else None


def _memory(element: Optional[ElementTree.Element]) -> Memory:
    part = element.find("fb_memory_usage") if element is not None else None
    return Memory(*(_mib(_word(part, name)) for name in ("total", "reserved", "used", "free")))


def _process(element: ElementTree.Element) -> Optional[Process]:
    pid = _word(element, "pid")
    if not re.match(r"^[1-9][0-9]{0,9}$", pid):
        return None
    return Process(int(pid), _word(element, "process_name") or "without a name", _mib(_word(element, "used_memory")))


def _gpu(element: ElementTree.Element) -> Gpu:
    # Drivers before 13.0 of the vGPU software (R470) say grid_, later ones vgpu_software_.
    licence = element.find("vgpu_software_licensed_product")
    if licence is None:
        licence = element.find("grid_licensed_product")
    processes = [_process(each) for each in element.findall("processes/process_info")]
    return Gpu(
        bus=shown(element.get("id", "")),
        name=_word(element, "product_name") or "a GPU without a name",
        mode=_word(element, "gpu_virtualization_mode/virtualization_mode"),
        product=_word(licence, "licensed_product_name"),
        licence=_word(licence, "license_status"),
        mig=_word(element, "mig_mode/current_mig") == "Enabled",
        memory=_memory(element),
        instances=tuple(_memory(each) for each in element.findall("mig_devices/mig_device")),
        processes=tuple(each for each in processes if each),
    )


def parse(text: str) -> Report:
    """Read ``nvidia-smi -q -x``. Raises UnreadableReportError."""
    # Warnings of the driver may stand before and after the report.
    start, end = text.find("<nvidia_smi_log"), text.rfind("</nvidia_smi_log>")
    if len(text) > LARGEST:
        raise UnreadableReportError(f"{len(text)} characters are more than any report has")
    if start < 0 or end < 0:
        raise UnreadableReportError("it is cut off" if start >= 0 else "it holds no nvidia_smi_log")
    # What stands before the first element, where entities could be declared, is not read at all.
    try:
        root = ElementTree.fromstring(text[start : end + len("</nvidia_smi_log>")])  # noqa: S314  # no DTD is left in it
    except (ElementTree.ParseError, ValueError) as error:
        raise UnreadableReportError(f"it is no XML ({shown(str(error))})") from error
    driver = _word(root, "driver_version")
    if not re.match(r"^\d{1,5}(\.\d{1,5}){1,3}$", driver):
        raise UnreadableReportError(f"it names no driver version ('{driver}')")
    return Report(driver, _word(root, "cuda_version"), tuple(_gpu(each) for each in root.findall("gpu")))


def parse_memory(text: str) -> List[Memory]:
    """The frame buffer of each GPU in ``nvidia-smi -q -d MEMORY``; never BAR1, which is a window to it.

    The frame buffers of MIG devices stand deeper than those of the GPUs, and are left out.
    """
    found: List[Memory] = []
    section = ""
    figures: Dict[str, Optional[int]] = {}
    for line in text[:LARGEST].splitlines():
        heading = re.match(r"^ {4}(\S[^:]{0,80})$", line)
        if heading or re.match(r"^GPU [0-9A-Fa-f:.]{5,20}$", line):
            section = heading.group(1).strip() if heading else ""
            if section == "FB Memory Usage":
                figures = {}
        field = re.match(r"^ {8}(\w{1,20}) *: (.{1,40})$", line)
        if field and section == "FB Memory Usage":
            figures[field.group(1)] = _mib(field.group(2))
            if field.group(1) == "Free":
                found.append(Memory(*(figures.get(name) for name in ("Total", "Reserved", "Used", "Free"))))
    return found


class Smi:
    """nvidia-smi, asked at most once for each of its two reports."""

    def __init__(self, once: Once) -> None:
        self._once = once

    def answer(self) -> Completed:
        """What ``nvidia-smi -q -x`` did."""
        return self._once.run(XML, SECONDS)

    def text(self) -> Completed:
        """What ``nvidia-smi -q -d MEMORY`` did."""
        return self._once.run(TEXT, SECONDS)

    def report(self) -> Optional[Report]:
        """The report with its GPUs, None where there is none to be had."""
        answer = self.answer()
        if answer.rc:
            return None
        try:
            report = parse(answer.out)
        except UnreadableReportError:
            return None
        return report if report.gpus else None
