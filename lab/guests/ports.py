# SPDX-License-Identifier: GPL-3.0-or-later
"""Where QEMU guests are found on this machine: each has a loopback address of its own, on which some of its ports are."""

from __future__ import annotations

import os
from pathlib import Path

SSH = 22
SHIFT = 10_000  # of a port that only root may open
FIRST_FREE = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def network(lab_id: str) -> str:
    """Of this lab's guests. From its id, so that two labs do not meet."""
    number = int(lab_id[:4], 16)
    return f"127.{64 + number % 64}.{number // 64 % 256}.0/24"


def host_port(port: int, root: bool | None = None, first_free: int | None = None) -> int:
    """The port on this machine that leads to a guest's `port`: the same, unless this user may not open it."""
    is_root = os.geteuid() == 0 if root is None else root
    first = int(FIRST_FREE.read_text()) if first_free is None else first_free
    return port if is_root or port >= first else port + SHIFT
