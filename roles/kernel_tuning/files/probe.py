# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what the guest's kernel, boot menu, swap and units are; runs on the guest, Python >= 3.8 alone.

Argument: a JSON object with ``boot_file``, ``boot_menu`` (``grubby`` or a path of grub.cfg), ``files``, and
``swap_services`` (null where swap is none of our business). Prints one JSON object, for the
filter kernel_tuning.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

NAMES = ("isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity")
UNITS = ("nano-banana.slice", "irqbalance.service")


def read(path: str) -> str:
    """A file's text, empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def run(*command: str) -> str:
    """What a program prints, empty where there is no such program."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def cpus(text: str) -> list[int]:
    """'0-2,5' -> [0, 1, 2, 5]; what the kernel writes for none of them is an empty list."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            found.extend(range(int(first), int(last or first) + 1))
    return found


def ours(words: str) -> list[str]:
    """The arguments of a kernel's command line that the role writes."""
    return [word for word in words.split() if word.partition("=")[0] in NAMES]


def grub_menu(text: str) -> list[list[str]]:
    """Our arguments in each entry of a grub.cfg that boots a Linux."""
    lines = re.findall(r"^\s*linux(?:16|efi)?\s+(\S*vmlinu\S*.*)$", text, re.MULTILINE)
    return [ours(line) for line in lines]


def grubby_menu(text: str) -> list[list[str]]:
    """The same of what `grubby --info=ALL` prints."""
    return [ours(line) for line in re.findall(r'^args="(.*)"\s*$', text, re.MULTILINE)]


def boot_arguments(text: str) -> str:
    """The arguments in the role's own file of boot settings, in the line that says so."""
    found = re.search(r"^# arguments:(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else "?"


def fstab_swaps(text: str) -> list[str]:
    """The swap of an fstab."""
    rows = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [row[0] for row in rows if len(row) > 2 and row[2] == "swap"]


def swap_units(text: str) -> list[str]:
    """Units that would bring swap back, of what `systemctl list-unit-files` prints; fstab's are among them."""
    rows = [line.split() for line in text.splitlines()]
    return [row[0] for row in rows if len(row) > 1 and row[1] not in ("masked", "masked-runtime", "transient")]


def blocks(text: str) -> dict[str, dict[str, str]]:
    """Units and their properties, of what `systemctl show` prints."""
    found = {}
    for block in text.split("\n\n"):
        rows = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        found[rows.get("Id", "")] = rows
    return found


def fingerprint(path: str) -> str:
    """A file's path, content and mode; the path alone where there is none."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return path
    return f"{path} {hashlib.sha256(content).hexdigest()} {Path(path).stat().st_mode & 0o7777:04o}"


def capping(container: str) -> bool:
    """Whether this guest's systemd can cap memory. With control groups of version 1 a container's systemd has no
    controller; with version 2 it has those that were given to it."""
    controllers = read("/sys/fs/cgroup/cgroup.controllers")
    return "memory" in controllers.split() or (not container and Path("/sys/fs/cgroup/memory").is_dir())


def irqbalance(pid: str) -> str | None:
    """The cores that a running irqbalance was told to leave alone; null where it does not run."""
    environment = read(f"/proc/{pid}/environ").split("\0") if pid not in ("", "0") else []
    values = dict(each.split("=", 1) for each in environment if "=" in each)
    return values.get("IRQBALANCE_BANNED_CPULIST", "") if environment else None


def main(wish: dict[str, Any]) -> None:
    """Entry point."""
    container = run("systemd-detect-virt", "--container").strip().replace("none", "")
    boot_file = Path(wish["boot_file"])
    menu = wish["boot_menu"]
    entries = grubby_menu(run("grubby", "--info=ALL")) if menu == "grubby" else grub_menu(read(menu))
    units = blocks(run("systemctl", "show", "--property=Id,NeedDaemonReload,MainPID", *UNITS))
    services = wish["swap_services"]
    listed = run("systemctl", "list-unit-files", "--no-legend", "--no-pager", "*.swap", *services) if services else ""
    isolated = Path("/sys/devices/system/cpu/isolated")
    memory = re.search(r"^MemTotal:\s+(\d+) kB", read("/proc/meminfo"), re.MULTILINE)
    version = re.search(r"^systemd (\d+)", run("systemctl", "--version"))
    answer = {
        "container": container,
        "systemd": int(version.group(1)) if version else 0,
        "cores": len(cpus(read("/sys/devices/system/cpu/present"))),
        "memory_mb": int(memory.group(1)) // 1024 if memory else 0,
        "capping": capping(container),
        "running": ours(read("/proc/cmdline")),
        "isolated": cpus(read(str(isolated))) if isolated.exists() else None,
        "menu": entries,
        "boot_folder": boot_file.parent.is_dir(),
        "boot_arguments": boot_arguments(read(str(boot_file))) if boot_file.exists() else None,
        "swaps": [line.split()[0] for line in read("/proc/swaps").splitlines()[1:]],
        "fstab_swaps": fstab_swaps(read("/etc/fstab")),
        "swap_units": swap_units(listed),
        "files": [fingerprint(path) for path in wish["files"]],
        "reload": any(unit.get("NeedDaemonReload") == "yes" for unit in units.values()),
        "irqbalance": irqbalance(units.get("irqbalance.service", {}).get("MainPID", "")),
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
