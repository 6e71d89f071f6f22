# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest in namespaces of this machine says about itself, read from outside without starting a process."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import re
import threading
from pathlib import Path

CLONE_NEWUTS = 0x04000000
_libc = ctypes.CDLL(None, use_errno=True)
_LOCAL = re.compile(r"\|-- ([\d.]+)\n\s+/32 host LOCAL")


def hostname(pid: int) -> str | None:
    """The host name in the UTS namespace of `pid`; None when the process is gone."""
    names: list[str] = []
    # setns changes the calling thread alone, and a thread that ends needs no way back.
    thread = threading.Thread(target=_hostname_into, args=(pid, names))
    thread.start()
    thread.join()
    return names[0] if names else None


def _hostname_into(pid: int, names: list[str]) -> None:
    try:
        fd = os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if _libc.setns(fd, CLONE_NEWUTS) == 0:
            names.append(os.uname().nodename)
    finally:
        os.close(fd)


def addresses(pid: int) -> tuple[str, ...]:
    """Addresses in the network namespace of `pid` that another machine could use, IPv4 first; () when it is gone."""
    try:
        tables = (Path(f"/proc/{pid}/net/fib_trie").read_text(), Path(f"/proc/{pid}/net/if_inet6").read_text())
    except OSError:
        return ()
    return parse_fib_trie(tables[0]) + parse_if_inet6(tables[1])


def parse_fib_trie(text: str) -> tuple[str, ...]:
    """IPv4 addresses of the interfaces, without loopback."""
    found = dict.fromkeys(_LOCAL.findall(text))
    return tuple(address for address in found if not ipaddress.ip_address(address).is_loopback)


def parse_if_inet6(text: str) -> tuple[str, ...]:
    """IPv6 addresses of global scope."""
    rows = [line.split() for line in text.splitlines()]
    return tuple(str(ipaddress.IPv6Address(bytes.fromhex(row[0]))) for row in rows if len(row) > 3 and row[3] == "00")
