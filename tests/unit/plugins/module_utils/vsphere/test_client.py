# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way in which vCenter cannot be reached has one clear error, against real sockets on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import client
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Connection, connected


def connection(port: int, ca_file: str | None = None) -> Connection:
    return Connection("127.0.0.1", port, "user", "pass-word", ca_file=ca_file)


def failure(target: Connection) -> TestbedError:
    with pytest.raises(TestbedError) as caught, connected(target):
        pass
    assert "pass-word" not in str(caught.value)
    return caught.value


@contextmanager
def server(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accepts connections on a free port until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    peer = listener.accept()[0]
                except TimeoutError:
                    continue
                with peer:
                    handle(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure(connection(port)).error_code == "refused"


def test_unknown_host() -> None:
    assert failure(Connection("no-such-host.invalid", 443, "user", "pass-word")).error_code == "unknown_host"


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.5)
    with server(lambda peer: time.sleep(1.5)) as port:
        assert failure(connection(port)).error_code == "no_answer"


def test_a_server_without_tls() -> None:
    with server(lambda peer: peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as port:
        error = failure(connection(port))
    assert error.error_code in ("no_tls", "unreachable")


@pytest.mark.parametrize(
    ("content", "found"), [(None, "no such file"), ("nonsense", "check that vsphere_ca_file is a PEM file")]
)
def test_a_bad_ca_file(tmp_path: Path, content: str | None, found: str) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    error = failure(connection(1, str(file)))
    assert error.error_code == "bad_ca_file"
    assert found in str(error)


def test_the_password_is_in_no_representation() -> None:
    assert "pass-word" not in repr(connection(443))


def test_what_is_not_known_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        client.explain(connection(443), ZeroDivisionError())
