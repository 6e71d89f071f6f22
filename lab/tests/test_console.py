# SPDX-License-Identifier: GPL-3.0-or-later
"""The terminal at a guest's console, on a pseudo terminal."""

from __future__ import annotations

import os
import socket
import termios
import threading
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.guests import console


def test_what_is_typed_reaches_the_guest_until_the_operator_leaves(tmp_path: Path) -> None:
    operator, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "console"))
        server.listen()
        attached = threading.Thread(target=console.attach, args=(tmp_path / "console", "nb-1", terminal, terminal))
        attached.start()
        guest, _ = server.accept()
        assert b"console of nb-1" in os.read(operator, 4096)
        guest.sendall(b"login: ")
        assert os.read(operator, 4096) == b"login: "
        os.write(operator, b"root\x03\r")  # Ctrl-C is the guest's
        assert guest.recv(4096) == b"root\x03\r"
        os.write(operator, b"bye\x1dnot this")
        attached.join(5)
        assert not attached.is_alive()
        assert (guest.recv(4096), guest.recv(4096)) == (b"bye", b"")
    assert termios.tcgetattr(terminal) == before
    for fd in (operator, terminal):
        os.close(fd)


@pytest.mark.parametrize("what", ["machine", "input"])
def test_the_end_of_machine_or_input_ends_it(tmp_path: Path, what: str) -> None:
    (source, typing), (showing, target) = os.pipe(), os.pipe()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "console"))
        server.listen()
        attached = threading.Thread(target=console.attach, args=(tmp_path / "console", "nb-1", source, target))
        attached.start()
        guest, _ = server.accept()
        if what == "machine":
            guest.close()
        else:
            os.close(typing)
        attached.join(5)
        assert not attached.is_alive()
        guest.close()
    for fd in {source, showing, target, *([typing] if what == "machine" else [])}:
        os.close(fd)


def test_a_guest_without_console_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="nb-1 has no console now"):
        console.attach(tmp_path / "none", "nb-1")
