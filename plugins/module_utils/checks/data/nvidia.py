# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What NVIDIA and the distributions publish about drivers and CUDA; each row names its source. Read 2026-11.

This is Python and no YAML because module code on guests reads it too: Ansible carries along the Python files that a
module imports, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple


@dataclass(frozen=True)
class Toolkit:
    """The oldest driver that a toolkit's release was made for; ``windows`` is empty where none is published."""

    cuda: str
    linux: str
    windows: str
    source: str


@dataclass(frozen=True)
class Family:
    """The oldest driver that runs a major version's programs at all (minor-version compatibility)."""

    major: int
    linux: str
    windows: str
    source: str


@dataclass(frozen=True)
class Branch:
    """A driver branch; ``newest`` is the newest version that a source named, ``cuda`` what its driver offers itself."""

    name: str
    newest: str
    cuda: str
    source: str


@dataclass(frozen=True)
class Packages:
    """Packages of a driver; ``kernel`` are those for the running kernel. {branch} and {kernel} are filled in."""

    os: str
    origin: str
    branches: Tuple[str, ...]
    user: Tuple[str, ...]
    kernel: Tuple[str, ...]
    signed: bool
    source: str


@dataclass(frozen=True)
class Repository:
    """NVIDIA's repository for a system: its name there, its key, and which toolkits it has (empty = no bound known)."""

    os: str
    name: str
    key: str
    first: str
    last: str
    source: str


@dataclass(frozen=True)
class Gpu:
    """A device on the bus. ``open_modules`` says whether NVIDIA's open kernel modules support its generation."""

    device: str
    name: str
    generation: str
    open_modules: bool
    source: str


VENDOR = "10de"
_TABLE_3 = "NVIDIA CUDA Toolkit release notes, table of toolkits and corresponding driver versions"
_COMPATIBILITY = "docs.nvidia.com/deploy/cuda-compatibility, minor-version compatibility"
_UBUNTU = "packages.ubuntu.com"
_DEBIAN = "packages.debian.org"
_INSTALL = "NVIDIA CUDA Installation Guide for Linux"
_PCI = "pci-ids.ucw.cz, vendor 10de"
_MODULES = "NVIDIA Driver Installation Guide, kernel modules: open modules from Turing on"

# From old to new. 12.2.1 is what NVIDIA calls 12.2 Update 1.
TOOLKITS: Tuple[Toolkit, ...] = (
    Toolkit("11.1", "455.23", "", _TABLE_3),
    Toolkit("11.2", "460.27.03", "", _TABLE_3),
    Toolkit("11.3", "465.19.01", "", _TABLE_3),
    Toolkit("11.4", "470.42.01", "", _TABLE_3),
    Toolkit("11.5", "495.29.05", "", _TABLE_3),
    Toolkit("11.6", "510.39.01", "", _TABLE_3),
    Toolkit("11.7", "515.43.04", "", _TABLE_3),
    Toolkit("11.8", "520.61.05", "520.06", _TABLE_3),
    Toolkit("12.0", "525.60.13", "527.41", _TABLE_3),
    Toolkit("12.1", "530.30.02", "531.14", _TABLE_3),
    Toolkit("12.2", "535.54.03", "536.25", _TABLE_3),
    Toolkit("12.2.1", "535.86.09", "", _TABLE_3),
    Toolkit("12.2.2", "535.104.05", "537.13", _TABLE_3),
    Toolkit("12.3", "545.23.06", "545.84", _TABLE_3),
    Toolkit("12.4", "550.54.14", "551.61", _TABLE_3),
    Toolkit("12.4.1", "550.54.15", "551.78", _TABLE_3),
    Toolkit("12.5", "555.42.02", "555.85", _TABLE_3),
    Toolkit("12.6", "560.28.03", "560.76", _TABLE_3),
    Toolkit("12.8", "570.26", "570.65", _TABLE_3),
    Toolkit("12.9", "575.51.03", "576.02", _TABLE_3),
    Toolkit("13.0", "580.65.06", "", _TABLE_3),
    Toolkit("13.1", "590.44.01", "", _TABLE_3),
    Toolkit("13.2", "595.45.04", "", _TABLE_3),
)
FAMILIES: Tuple[Family, ...] = (
    Family(11, "450.80.02", "452.39", _COMPATIBILITY),
    Family(12, "525.60.13", "527.41", _COMPATIBILITY + "; newer release notes say 528.33 for Windows"),
    Family(13, "580", "", _COMPATIBILITY),
)
BRANCHES: Tuple[Branch, ...] = (
    Branch("470", "470.256.02", "11.4", "NVIDIA driver archive (unverified)"),
    Branch("525", "525.147.05", "12.0", "NVIDIA driver archive (unverified)"),
    Branch("535", "535.309.01", "12.2", _UBUNTU + ", nvidia-driver-535 in noble"),
    Branch("550", "550.163.01", "12.4", _DEBIAN + ", nvidia-driver in trixie"),
    Branch("570", "570.26", "12.8", _TABLE_3),
    Branch("580", "580.173.02", "13.0", _UBUNTU + ", libnvidia-extra-580-server in noble"),
)
PACKAGES: Tuple[Packages, ...] = (
    # Without X: these hosts have no desktop. The kernel's part is signed by Canonical. Since 2026 the packages of 535
    # may be empty ones that bring 580 (so in noble), which nvidia_versions.other_branches finds before installing.
    Packages(
        "ubuntu-22.04",
        "distribution",
        ("535", "550", "570", "580"),
        ("nvidia-headless-no-dkms-{branch}-server", "nvidia-utils-{branch}-server"),
        ("linux-modules-nvidia-{branch}-server-{kernel}",),
        True,
        _UBUNTU + ", jammy",
    ),
    Packages(
        "ubuntu-22.04",
        "nvidia",
        ("525", "535", "550", "570", "580"),
        ("cuda-drivers-{branch}",),
        ("linux-headers-{kernel}",),
        False,
        _INSTALL,
    ),
    Packages(
        "debian-12",
        "distribution",
        ("535",),
        ("nvidia-tesla-{branch}-driver",),
        ("linux-headers-{kernel}",),
        False,
        _DEBIAN + ", bookworm, components contrib and non-free",
    ),
    Packages(
        "debian-12",
        "nvidia",
        ("535", "550", "570", "580"),
        ("cuda-drivers-{branch}",),
        ("linux-headers-{kernel}",),
        False,
        _INSTALL + "; that debian12 has branch 535 is unverified",
    ),
    # The flavour branch-XXX keeps to its branch; it brings kernel modules that were built for single kernels of RHEL 7.
    Packages(
        "centos-7",
        "nvidia",
        ("470", "525", "535", "550"),
        ("nvidia-driver-branch-{branch}", "nvidia-driver-branch-{branch}-cuda"),
        ("kernel-devel-{kernel}", "kernel-headers-{kernel}"),
        False,
        "github.com/NVIDIA/yum-packaging-nvidia-driver, RHEL 7 flavours (on a real CentOS unverified)",
    ),
)
REPOSITORIES: Tuple[Repository, ...] = (
    Repository("ubuntu-22.04", "ubuntu2204", "3bf863cc.pub", "11.7", "", _INSTALL),
    Repository("debian-12", "debian12", "3bf863cc.pub", "12.3", "", _INSTALL + " (first toolkit inferred)"),
    Repository("centos-7", "rhel7", "D42D0685.pub", "", "12.4", _INSTALL + " 12.4 has RHEL 7, that of 12.6 does not"),
)
REPOSITORY_URL = "https://developer.download.nvidia.com/compute/cuda/repos/{name}/x86_64"
# What building a kernel module needs where a file is installed instead of packages.
BUILD_PACKAGES = {
    "Debian": ("gcc", "make", "dkms", "linux-headers-{kernel}"),
    "RedHat": ("gcc", "make", "dkms", "kernel-devel-{kernel}", "kernel-headers-{kernel}"),
}
GPUS: Tuple[Gpu, ...] = (
    Gpu("1eb8", "Tesla T4", "Turing", True, f"{_PCI}; {_MODULES}"),
    Gpu("2236", "A10", "Ampere", True, f"{_PCI}; {_MODULES}"),
    Gpu("2237", "A10G", "Ampere", True, f"{_PCI}; {_MODULES}"),
    Gpu("1db4", "Tesla V100 PCIe 16GB", "Volta", False, f"{_PCI}; {_MODULES}"),
)
