#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A vCenter program for tests, with the flags of the real one. Its API is a TLS handshake and nothing more. What a test
sends to the port `control` of the ready file goes to the guest driver, what the driver says goes to every connected
test. As the real one, it exits when the driver's end closes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import ssl
import sys
import threading
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in (
        "listen",
        "cert",
        "key",
        "user",
        "password-file",
        "calls",
        "ready",
        "inventory",
        "work",
        "guests",
        "roles",
    ):
        parser.add_argument(f"-{name}", required=True)
    options = parser.parse_args()
    for needed in (options.password_file, options.inventory, options.roles):
        Path(needed).read_text()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    if os.environ.get("FAKE_VCENTER_FAILS"):
        sys.exit("fake vCenter: told to fail")
    driver = socket.socket(fileno=int(options.guests.removeprefix("fd:")))
    host, port = options.listen.rsplit(":", 1)
    server, control = socket.create_server((host, int(port))), socket.create_server(("127.0.0.1", 0))
    tests: list[socket.socket] = []
    threading.Thread(target=_shake_hands, args=(server, context), daemon=True).start()
    threading.Thread(target=_accept, args=(control, driver, tests), daemon=True).start()
    address = "{}:{}".format(*server.getsockname())
    temporary = Path(options.ready + ".new")
    ready = {"address": address, "pid": os.getpid(), "control": control.getsockname()[1]}
    temporary.write_text(json.dumps(ready))
    temporary.replace(options.ready)
    while data := driver.recv(65536):
        for test in tests:
            with contextlib.suppress(OSError):
                test.sendall(data)


def _shake_hands(server: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        connection, _ = server.accept()
        with contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()


def _accept(control: socket.socket, driver: socket.socket, tests: list[socket.socket]) -> None:
    while True:
        test, _ = control.accept()
        tests.append(test)
        threading.Thread(target=_forward, args=(test, driver), daemon=True).start()


def _forward(test: socket.socket, driver: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := test.recv(65536):
            driver.sendall(data)


if __name__ == "__main__":
    main()
