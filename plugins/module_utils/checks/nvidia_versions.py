# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver runs which CUDA, by data/nvidia.py. Pure; runs on guests with Python >= 3.8."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, List, Optional, Tuple

from .data.nvidia import (
    BRANCHES,
    FAMILIES,
    GPUS,
    PACKAGES,
    REPOSITORIES,
    TOOLKITS,
    Branch,
    Packages,
    Repository,
    Toolkit,
)
from .result import FAILED, PASSED, WARNED

Version = Tuple[int, ...]


@dataclass(frozen=True)
class Verdict:
    """A driver against a CUDA version. ``minimum`` is what would pass, ``reason`` is empty only when it passed."""

    status: str
    driver: str
    cuda: str
    minimum: str
    reason: str


def parse(text: str) -> Version:
    """'535.183.06' -> (535, 183, 6). Raises ValueError for anything that is no version."""
    if not re.match(r"^\d+(\.\d+)*$", text):
        raise ValueError(f"expected a version such as 535.183.06; found '{text}'")
    return tuple(int(part) for part in text.split("."))


def branch_of(version: str) -> str:
    """'535.183.06' -> '535', also where a package puts an epoch before it or a revision behind it."""
    return re.sub(r"^\d+:", "", version).split(".")[0]


def branch(name: str) -> Optional[Branch]:
    """The row of a branch."""
    return next((row for row in BRANCHES if row.name == name), None)


def toolkit(cuda: str) -> Optional[Toolkit]:
    """The row of a toolkit: of exactly this version, else of its first release (12.5.1 -> 12.5)."""
    rows = {row.cuda: row for row in TOOLKITS}
    minor = ".".join(cuda.split(".")[:2])
    return rows.get(cuda) or rows.get(minor)


def toolkits() -> List[str]:
    """Every known toolkit, from old to new."""
    return [row.cuda for row in TOOLKITS]


def branches() -> List[str]:
    """Every known branch, from old to new."""
    return [row.name for row in BRANCHES]


def repository(os: str) -> Optional[Repository]:
    """NVIDIA's repository for a system such as ubuntu-22.04."""
    return next((row for row in REPOSITORIES if row.os == os), None)


def packages(os: str, origin: str, name: str) -> Optional[Packages]:
    """How a branch is packaged there; a mirror is a copy of NVIDIA's repository."""
    origin = "nvidia" if origin == "mirror" else origin
    return next((row for row in PACKAGES if row.os == os and row.origin == origin and name in row.branches), None)


def gpu_name(device: str) -> str:
    """'1eb8' -> 'Tesla T4 (0x1eb8)'; a device that the table does not know keeps its number."""
    return next((f"{row.name} (0x{device})" for row in GPUS if row.device == device), f"NVIDIA device 0x{device}")


def judge(driver: str, cuda: str, strict: bool, platform: str = "linux") -> Verdict:
    """Does this driver run this CUDA?

    Failed below the family's minimum, and with ``strict`` below the toolkit's own driver; without it that is a warning
    (minor-version compatibility); a newer driver always passes. ``driver`` may be a branch: its newest version counts.
    ``platform`` is linux or windows. What the table does not know fails: a guess would be found out on the GPU.
    """
    row = branch(driver) if "." not in driver else None
    if "." not in driver and row is None:
        known = ", ".join(each.name for each in BRANCHES)
        return Verdict(
            FAILED, driver, cuda, "", f"driver branch '{driver}' is not in NVIDIA's table: known are {known}"
        )
    try:
        have, wanted = parse(row.newest if row else driver), parse(cuda)
    except ValueError as error:
        return Verdict(FAILED, driver, cuda, "", str(error))
    family = next((each for each in FAMILIES if each.major == wanted[0]), None)
    own = toolkit(cuda)
    minimum = (own.windows if platform == "windows" else own.linux) if own else ""
    lowest = (family.windows if platform == "windows" else family.linux) if family else ""
    if not lowest or not own:
        known = ", ".join(each.cuda for each in TOOLKITS)
        return Verdict(
            FAILED, driver, cuda, "", f"CUDA {cuda} for {platform} is not in NVIDIA's table: known are {known}"
        )
    # Where no figure is published for this toolkit, its family's is all there is.
    minimum = minimum or lowest
    if have >= parse(minimum):
        return Verdict(PASSED, driver, cuda, minimum, "")
    if have < parse(lowest):
        reason = f"driver {driver} is older than {lowest}, the oldest that runs any CUDA {wanted[0]}.x program"
        return Verdict(FAILED, driver, cuda, minimum if strict else lowest, reason)
    reason = f"driver {driver} is older than {minimum}, which CUDA {cuda} was made for"
    if strict:
        return Verdict(FAILED, driver, cuda, minimum, reason)
    limits = f"it runs by minor-version compatibility (from {lowest} on), with fewer features"
    return Verdict(WARNED, driver, cuda, minimum, f"{reason}; {limits}")


def in_repository(cuda: str, os: str) -> str:
    """Why NVIDIA's repository for a system has no packages of a toolkit; empty where it has."""
    row = repository(os)
    if row is None:
        return f"NVIDIA has no repository for {os}: known are {', '.join(each.os for each in REPOSITORIES)}"
    minor = parse(cuda)[:2]
    if row.last and minor > parse(row.last):
        return f"CUDA {row.last} is the last with packages for {os}"
    if row.first and minor < parse(row.first):
        return f"CUDA {row.first} is the first with packages for {os}"
    return ""


# Packages whose name or version tells the driver's branch; nvidia-settings and the like have versions of their own.
_NUMBERED = re.compile(r"^(?:nvidia-(?!settings)|libnvidia-|linux-modules-nvidia-|cuda-drivers-)\D*?(\d{3})(?:-|$)")
_BY_VERSION = re.compile(r"^(?:cuda-drivers|libcuda1|nvidia-driver|nvidia-smi|nvidia-kernel-dkms)$")


def other_branches(simulated: Iterable[str], wanted: str) -> List[str]:
    """The packages of another branch that ``apt-get --simulate install`` would bring along.

    Distributions end a branch with empty packages that depend on its successor's: 535 is asked for, 580 comes.
    """
    found = []
    for line in simulated:
        match = re.match(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", line)
        if not match:
            continue
        name, version = match.groups()
        number = _NUMBERED.match(name)
        of = number.group(1) if number else branch_of(version) if _BY_VERSION.match(name) else wanted
        if of != wanted:
            found.append(name)
    return found


def newest(name: str) -> str:
    """The newest version that the table knows of a branch."""
    row = branch(name)
    return row.newest if row else ""


def oldest_branch_with(minimum: str) -> str:
    """The oldest known branch that has at least this version; empty where there is none."""
    return next((row.name for row in BRANCHES if minimum and parse(row.newest) >= parse(minimum)), "")


def newest_toolkit_for(driver: str, strict: bool) -> str:
    """The newest known toolkit that this driver is not too old for; empty where there is none."""
    return next((row.cuda for row in reversed(TOOLKITS) if judge(driver, row.cuda, strict).status != FAILED), "")
