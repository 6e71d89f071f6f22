# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu.present: does the guest have the GPU that is wished for it?"""

from __future__ import annotations

from typing import List, Optional

from .gpu_report import Report
from .host import Host
from .nvidia_versions import gpu_name
from .result import FAILED, NOT_APPLICABLE, PASSED, Outcome

NONE, OPTIONAL, REQUIRED = "none", "optional", "required"
POLICIES = (NONE, OPTIONAL, REQUIRED)
BUS = "/sys/bus/pci/devices"
VENDOR = "0x10de"
# Base class of display controllers: an NVIDIA card may bring audio and USB along.
DISPLAY = "0x03"
EXPECTED = "an NVIDIA GPU"


def on_bus(host: Host, root: str) -> List[str]:
    """NVIDIA's display controllers below a folder such as /sys/bus/pci/devices, as names with addresses."""
    found = []
    for path in host.glob(f"{root}/*/vendor"):
        folder = path[: -len("/vendor")]
        if (host.read(path) or "").strip() != VENDOR or not (host.read(f"{folder}/class") or "").startswith(DISPLAY):
            continue
        device = (host.read(f"{folder}/device") or "").strip()[2:]
        found.append(f"{gpu_name(device)} at {folder.rpartition('/')[2]}")
    return found


def judge(policy: str, report: Optional[Report], bus: List[str], container: str, real_bus: bool) -> Outcome:
    """``report`` is proof in itself; a container's own view of the real bus is none: it sees the machine below it."""
    if policy == NONE:
        return Outcome(NOT_APPLICABLE, detail="no GPU is wished for this host (preflight_gpu is none)")
    if report:
        names = [gpu.name for gpu in report.gpus]
        return Outcome(PASSED, EXPECTED, ", ".join(names), evidence={"gpu": names[0], "gpus": len(names)})
    seen = bus if not (container and real_bus) else []
    if seen:
        return Outcome(PASSED, EXPECTED, ", ".join(seen), evidence={"gpu": seen[0], "gpus": len(seen)})
    why = "nvidia-smi shows none and there is none on the PCI bus"
    if container and real_bus:
        why = f"nvidia-smi shows none, and a container ({container}) sees the bus of the machine below it"
    if policy == OPTIONAL:
        return Outcome(NOT_APPLICABLE, EXPECTED, "none", f"{why}; this host may do without (preflight_gpu is optional)")
    return Outcome(FAILED, EXPECTED, "none", f"{why}; this host must have one (preflight_gpu is required)")
