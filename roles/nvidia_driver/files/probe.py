# SPDX-License-Identifier: GPL-3.0-or-later
"""Say all that the roles nvidia_driver and cuda_toolkit want to know of a guest; runs there, Python >= 3.8 alone.

Its one argument is a JSON object: ``pci`` (the bus), ``packages`` and ``kernel_packages`` (wished; {kernel} is the
running kernel), ``pattern`` (packages that belong to the wish, a regular expression), ``files`` (path -> SHA-256 of the
content, empty = must not be there, and mode), ``links`` (path -> where it shall lead), ``marks`` and ``space`` (paths).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VENDOR = "0x10de"
# Base class of display controllers; an NVIDIA card may bring audio and USB along.
DISPLAY = "0x03"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
VERSION_LOCK = "/etc/yum/pluginconf.d/versionlock.list"
DPKG = [
    "dpkg-query",
    "--show",
    "--showformat",
    "${db:Status-Want} ${db:Status-Eflag} ${db:Status-Status} ${Package} ${Version}\\n",
]
RPM = ["rpm", "--query", "--all", "--queryformat", "%{NAME} %{VERSION}\\n"]
UNFINISHED = ("half-installed", "half-configured", "unpacked")


def read(path: str) -> str:
    """A file's text, empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def say(*command: str) -> str:
    """What a command prints, empty where it fails or is not there."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def gpus(bus: str) -> list[str]:
    """The device numbers of NVIDIA's display controllers, in the order of their addresses."""
    try:
        devices = sorted(Path(bus).iterdir())
    except OSError:
        return []
    return [
        read(f"{device}/device")[2:]
        for device in devices
        if read(f"{device}/vendor") == VENDOR and read(f"{device}/class").startswith(DISPLAY)
    ]


def secure_boot(path: str = SECURE_BOOT) -> bool:
    """Whether the firmware refuses unsigned modules: four bytes of attributes, then 1."""
    try:
        return Path(path).read_bytes()[4:5] == b"\x01"
    except OSError:
        return False


def from_dpkg(lines: Iterable[str]) -> tuple[dict[str, str], dict[str, bool], list[str]]:
    """Installed packages with their versions, those left in the middle and whether they must go, those on hold."""
    installed, unfinished, held = {}, {}, []
    for line in lines:
        want, flag, status, name, version = [*line.split(" "), ""][:5]
        if status == "installed" and flag == "ok":
            installed[name] = version
        elif flag == "reinstreq" or status in UNFINISHED:
            unfinished[name] = flag == "reinstreq"
        if want == "hold":
            held.append(name)
    return installed, unfinished, held


def from_rpm(lines: Iterable[str], lock: str) -> tuple[dict[str, str], dict[str, bool], list[str]]:
    """The same for RPM, whose packages are held by the list of yum's plugin versionlock."""
    installed = dict(line.split(" ", 1) for line in lines)
    held = [name for name in installed if re.search(rf"^(\d+:)?{re.escape(name)}-\d", lock, re.MULTILINE)]
    return installed, {}, held


def differs(path: str, sha256: str, mode: str) -> bool:
    """Whether a file is not as it shall be."""
    try:
        found = os.lstat(path)
    except OSError:
        return bool(sha256)
    if not sha256 or not stat.S_ISREG(found.st_mode):
        return True
    content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return content != sha256 or stat.S_IMODE(found.st_mode) != int(mode, 8)


def free_mb(paths: Iterable[str]) -> int:
    """The least that is free on the file systems of these paths."""
    found = [os.statvfs(path) for path in paths]
    return min((each.f_bavail * each.f_frsize for each in found), default=0) >> 20


def main(wish: dict[str, Any]) -> dict[str, Any]:
    """Entry point."""
    kernel = os.uname().release
    container = say("systemd-detect-virt", "--container").strip()
    lines = say(*DPKG).splitlines()
    installed, unfinished, held = from_dpkg(lines) if lines else from_rpm(say(*RPM).splitlines(), read(VERSION_LOCK))
    # A container shares the kernel of the machine below it: no package of its own system fits that.
    own_kernel = [] if container else [name.replace("{kernel}", kernel) for name in wish["kernel_packages"]]
    packages = {name: version for name, version in installed.items() if re.search(wish["pattern"], name)}
    first = next((installed[name] for name in wish["packages"] if name in installed), "")
    upstream = re.match(r"(?:\d+:)?(\d[\d.]*)", first)
    return {
        "container": container,
        "kernel": kernel,
        # A container sees the bus of the machine below it, whose devices are not its own.
        "gpus": [] if container and wish["pci"].startswith("/sys/") else gpus(wish["pci"]),
        "secure_boot": secure_boot(),
        "nouveau": Path("/sys/module/nouveau").is_dir(),
        "loaded": read("/sys/module/nvidia/version"),
        "module": say("modinfo", "--field", "version", "nvidia").strip(),
        "version": upstream.group(1).rstrip(".") if upstream else "",
        "packages": packages,
        "missing": [name for name in [*wish["packages"], *own_kernel] if name not in installed],
        "unfinished": list(unfinished),
        # Nobody else's package is taken away, however broken.
        "unusable": [name for name, useless in unfinished.items() if useless and re.search(wish["pattern"], name)],
        "unheld": [name for name in packages if name not in held],
        "files": [path for path, (sha256, mode) in wish["files"].items() if differs(path, sha256, mode)],
        "links": [path for path, target in wish["links"].items() if os.path.realpath(path) != os.path.realpath(target)],
        "marks": [path for path in wish["marks"] if not Path(path).exists()],
        "runfile": Path("/usr/bin/nvidia-uninstall").exists(),
        "free_mb": free_mb(wish["space"]),
    }


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
