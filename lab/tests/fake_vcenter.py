#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A vCenter program for tests, with the flags of the real one. What a test sends to its port goes to the guest driver line
by line; what the driver says goes to every connected test. As the real one, it exits when the driver's end closes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import threading
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("listen", "cert", "key", "user", "password-file", "calls", "ready", "inventory", "guests"):
        parser.add_argument(f"-{name}", required=True)
    options = parser.parse_args()
    for needed in (options.cert, options.key, options.password_file, options.inventory):
        Path(needed).read_text()
    if os.environ.get("FAKE_VCENTER_FAILS"):
        sys.exit("fake vCenter: told to fail")
    driver = socket.socket(fileno=int(options.guests.removeprefix("fd:")))
    host, port = options.listen.rsplit(":", 1)
    server = socket.create_server((host, int(port)))
    tests: list[socket.socket] = []
    threading.Thread(target=_accept, args=(server, driver, tests), daemon=True).start()
    address = "{}:{}".format(*server.getsockname())
    temporary = Path(options.ready + ".new")
    temporary.write_text(json.dumps({"address": address, "pid": os.getpid()}))
    temporary.replace(options.ready)
    while data := driver.recv(65536):
        for test in tests:
            with contextlib.suppress(OSError):
                test.sendall(data)


def _accept(server: socket.socket, driver: socket.socket, tests: list[socket.socket]) -> None:
    while True:
        test, _ = server.accept()
        tests.append(test)
        threading.Thread(target=_forward, args=(test, driver), daemon=True).start()


def _forward(test: socket.socket, driver: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := test.recv(65536):
            driver.sendall(data)


if __name__ == "__main__":
    main()
