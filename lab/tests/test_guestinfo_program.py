# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine image's stand-in for vmware-rpctool and vmtoolsd, with a terminal in place of the virtio-serial port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tty
from pathlib import Path

import pytest

from lab.paths import CHECKOUT

PROGRAM = CHECKOUT / "lab" / "images" / "machine" / "rootfs" / "usr" / "lib" / "nanobanana-lab" / "guestinfo"


def call(tmp_path: Path, port: str, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    link = tmp_path / name
    link.symlink_to(PROGRAM)
    environment = {**os.environ, "NANOBANANA_GUESTINFO_PORT": port}
    return subprocess.run(
        [sys.executable, "-IS", str(link), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Host:
    """Answers one request, and keeps it."""

    def __init__(self, answer: bytes) -> None:
        self.request: object = None
        self._answer = answer
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self._master, 4096)
        self.request = json.loads(line)
        os.write(self._master, self._answer)


GET, SET = {"get": "guestinfo.role"}, {"set": "guestinfo.role", "value": "db and more"}


@pytest.mark.parametrize(
    ("name", "arguments", "request_", "answer", "status", "out", "error"),
    [
        ("vmware-rpctool", ["info-get guestinfo.role"], GET, {"ok": True, "value": "db"}, 0, "db\n", ""),
        ("vmware-rpctool", ["info-get", "guestinfo.role"], GET, {"ok": True, "value": ""}, 0, "\n", ""),
        ("vmware-rpctool", ["info-get guestinfo.role"], GET, {"ok": False}, 1, "", "No value found\n"),
        ("vmware-rpctool", ["info-set guestinfo.role db and more"], SET, {"ok": True}, 0, "\n", ""),
        ("vmtoolsd", ["--cmd", "info-get guestinfo.role"], GET, {"ok": True, "value": "db"}, 0, "db\n", ""),
        ("vmtoolsd", ["--cmd=info-get guestinfo.role"], GET, {"ok": False, "error": "full"}, 1, "", "full\n"),
    ],
)
def test_a_request_and_its_answer(
    tmp_path: Path,
    name: str,
    arguments: list[str],
    request_: object,
    answer: object,
    status: int,
    out: str,
    error: str,
) -> None:
    host = Host(json.dumps(answer).encode() + b"\n")
    done = call(tmp_path, host.port, name, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, error)
    assert host.request == request_


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("vmware-rpctool", [], "usage: vmware-rpctool"),
        ("vmware-rpctool", ["machine.id.get"], "Unknown command"),
        ("vmware-rpctool", ["info-get"], "Unknown command"),
        ("vmtoolsd", ["--help"], "usage: vmtoolsd"),
        ("vmtoolsd", ["--cmd", "info-get guestinfo.x"], "Failed to open the channel to the host: No such file"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, arguments: list[str], error: str) -> None:
    done = call(tmp_path, str(tmp_path / "none"), name, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(error)


def test_an_answer_that_makes_no_sense(tmp_path: Path) -> None:
    host = Host(b"what?\n")
    done = call(tmp_path, host.port, "vmware-rpctool", "info-get guestinfo.x")
    assert (done.returncode, done.stderr) == (1, "The host's answer cannot be understood\n")
