# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this machine's memory can hold another guest.

A guest has its VM's full memory, but takes of this machine only what it touches: without KVM some 450 MB for QEMU and
its translated code, and, of the VM's memory, what the guest's kernel and services use. So a power-on asks for a part
only, and this machine's out-of-memory killer is told to take a guest first when that was too little.
"""

from __future__ import annotations

from pathlib import Path

from lab.guests.base import GuestError, Vm

BASE_MB = 768
PART = 16  # of the VM's memory: page tables and what a small system touches grow with it

MEMINFO = Path("/proc/meminfo")


def check_room(vm: Vm, meminfo: Path = MEMINFO) -> None:
    """Raises GuestError when this machine has not even the memory with which a guest begins."""
    needed, available = BASE_MB + vm.memory_mb // PART, available_mb(meminfo)
    if available < needed:
        raise GuestError(
            f"{vm.name}: this machine has {available} MB of memory left; a guest with {vm.memory_mb} MB needs "
            f"{needed} MB to begin with; power off some VMs"
        )


def available_mb(meminfo: Path = MEMINFO) -> int:
    rows = (line.split() for line in meminfo.read_text().splitlines())
    return next(int(row[1]) for row in rows if row[0] == "MemAvailable:") // 1024
