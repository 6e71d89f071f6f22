# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses without root: each guest has a loopback address of this machine, to which QEMU forwards some ports."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from lab.guests.base import GuestError

PORTS = (22, 8000, 9100)  # SSH, engine, metrics
PORT_SHIFT = 10000
UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
FIRST, LAST = 2, 254


def network_of(lab_id: str) -> str:
    """Three octets, in the half of 127/8 that nothing else is known to use."""
    number = int(lab_id[:4], 16)
    return f"127.{64 + (number >> 8) % 64}.{number & 255}"


def host_ports(ports: Iterable[int], network: str, unprivileged: int | None = None) -> dict[int, int]:
    """The port here for each port of a guest: the same one where this user may listen to it."""
    first = int(UNPRIVILEGED.read_text()) if unprivileged is None else unprivileged
    low = [port for port in ports if port < first]
    shift = 0 if is_free(f"{network}.1", low) else PORT_SHIFT
    return {port: port + shift if port < first else port for port in ports}


def is_free(address: str, ports: Iterable[int]) -> bool:
    """Whether we can listen to all of them."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                    raise
                return False
    return True


def choose_address(network: str, in_use: Collection[str], ports: Mapping[int, int], begin: int) -> str:
    """The next free one from `begin` on, round and round: clients remember host keys."""
    count = LAST - FIRST + 1
    for step in range(count):
        address = f"{network}.{FIRST + (begin + step) % count}"
        if address not in in_use and is_free(address, ports.values()):
            return address
    raise GuestError(f"all {count} addresses of {network}.0 are in use; remove some VMs")
