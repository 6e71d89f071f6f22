# SPDX-License-Identifier: GPL-3.0-or-later
"""A terminal at the serial console of a guest."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

from lab.errors import LabError

LEAVE = b"\x1d"  # Ctrl-]
GREETING = "Connected to the console of {name}; Enter wakes it, Ctrl-] leaves.\r\n"


def attach(path: Path, name: str, source: int = 0, target: int = 1) -> None:
    """Until the operator leaves, the input ends or the guest's machine ends. One terminal at a time: another one waits
    until this one leaves. Raises LabError when the guest has no console now."""
    with socket.socket(socket.AF_UNIX) as console:
        try:
            console.connect(str(path))
        except OSError as error:
            raise LabError(f"{name} has no console now ({error}); see: lab/lab status") from error
        os.write(target, GREETING.format(name=name).encode())
        with _raw(source):
            _pass_on(console, source, target)
    os.write(target, b"\r\n")


def _pass_on(console: socket.socket, source: int, target: int) -> None:
    while True:
        ready, _, _ = select.select([console.fileno(), source], [], [])
        if console.fileno() in ready:
            data = console.recv(65536)
            if not data:
                return
            os.write(target, data)
        if source in ready:
            typed = os.read(source, 4096)
            before, leave, _ = typed.partition(LEAVE)
            console.sendall(before)
            if leave or not typed:
                return


@contextlib.contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Every key goes to the guest, Ctrl-C too. What is no terminal stays as it is."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
