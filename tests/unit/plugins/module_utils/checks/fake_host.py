# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that answers as it is told: by default a healthy baseline VM with a passed-through GPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import guest_wish
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import NOT_FOUND, Completed

FIXTURES = Path(__file__).parent / "fixtures"
MEASURED = {
    "format": "PNG",
    "size": [512, 512],
    "brightness": [10, 255],
    "dominant": [248, 248, 248],
    "share": 0.6,
    "metadata": {"nano_banana.backend": "preview"},
}
PACKAGES = {"missing": [], "broken": {}, "torch": "2.1.0+cu118", "torch_cuda": "11.8", "pillow": "10.1.0"}
# The wish of that VM; other options have their defaults.
PARAMS: dict[str, Any] = {
    "name": "nb-baseline-01",
    "environment": "baseline",
    "os_expected": "Ubuntu 22.04",
    "python_expected": "3.10.12",
    "venv": "/v",
    "isolated_cores": [1, 2, 3],
    "swap_off": True,
    "disk_path": "/srv/nano-banana",
    "share_type": "nfs",
    "share_source": "files:/results",
    "share_path": "/srv/share",
    "share_folder": "/srv/share/nb-baseline-01",
    "gpu": "required",
    "driver_branch": "525",
    "cuda": "12.0",
    "cuda_policy": "strict",
    "modules": ["PIL", "nano_banana", "torch"],
    "video_memory_mb": 4000,
    "picture_path": "/o/p.png",
    "picture_prompt": "a crane",
}


def params(**changed: Any) -> dict[str, Any]:
    """A module's options as AnsibleModule would fill them in."""
    defaults = {name: option.get("default") for name, option in guest_wish.options().items()}
    return {**defaults, **PARAMS, **changed}


def wish(check_mode: bool = False, **changed: Any) -> guest_wish.Wish:
    """The wish of these options."""
    return guest_wish.from_options(params(**changed), check_mode)


FILES = {
    "/etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.4 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\n',
    "/proc/sys/kernel/osrelease": "5.15.0-101-generic\n",
    "/boot/vmlinuz-5.15.0-101-generic": "",
    "/sys/devices/system/cpu/isolated": "1-3\n",
    "/proc/cmdline": "ro isolcpus=1,2,3 nohz_full=1,2,3 rcu_nocbs=1,2,3 irqaffinity=0\n",
    "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "/proc/self/mountinfo": (
        "31 1 8:16 / /srv/nano-banana rw,relatime shared:1 - ext4 /dev/sdb rw\n"
        "40 1 0:50 / /srv/share rw,relatime shared:9 - nfs4 files:/results rw\n"
    ),
    "/sys/module/nvidia/version": "525.147.05\n",
    "/sys/bus/pci/devices/0000:06:10.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:06:10.0/class": "0x030000\n",
    "/sys/bus/pci/devices/0000:06:10.0/device": "0x2204\n",
}
# By a word of the command line; the first that fits answers.
PROGRAMS = {
    "systemd-detect-virt": Completed(0, "vmware\n"),
    "balloon": Completed(0, "0 MB\n"),
    "stat swap": Completed(0, "0 MB\n"),
    "nvidia-smi -q -x": Completed(0, (FIXTURES / "rtx-3090-525.xml").read_text(encoding="utf-8")),
    "nvidia-smi -q -d": Completed(0, (FIXTURES / "memory-rtx-3090-525.txt").read_text(encoding="utf-8")),
    "dmesg": Completed(0, "[    0.000000] Linux version 5.15.0\n"),
    "df -P": Completed(
        0, "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sdb 9 1 8388608 1% /srv/nano-banana\n"
    ),
    "exit 2": Completed(0),
    "du -x": Completed(0, "900000\t/srv/nano-banana/cache\n"),
    "dd if=": Completed(0, err="67108864 bytes (67 MB, 64 MiB) copied, 0.3 s, 224 MB/s\n"),
    ".preflight": Completed(0),
    "test -w": Completed(0),
    "--version": Completed(0, "Python 3.10.12\n"),
    "generate": Completed(0, "{}"),
    "def measure": Completed(0, json.dumps(MEASURED)),
    "def missing": Completed(0, json.dumps(PACKAGES)),
    "import nano_banana": Completed(0, "0.1.0\n/v/nano_banana/__init__.py\n"),
}


class FakeHost:
    """Counts what it was asked; ``missing`` programs are named by their word."""

    def __init__(
        self, programs: dict[str, Completed] | None = None, files: dict[str, str | None] | None = None
    ) -> None:
        self.programs = {**PROGRAMS, **(programs or {})}
        self.files = {**FILES, **(files or {})}
        self.ran: list[str] = []
        self.removed: list[str] = []

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        assert timeout > 0
        line = " ".join(argv)
        word = next((word for word in self.programs if word in line), "")
        self.ran.append(word or line)
        return self.programs[word] if word else Completed(NOT_FOUND, err=f"{argv[0]}: No such file or directory")

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def glob(self, pattern: str) -> list[str]:
        return sorted(path for path, text in self.files.items() if text is not None and fnmatch(path, pattern))

    def remove(self, path: str) -> None:
        self.removed.append(path)
