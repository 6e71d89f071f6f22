# SPDX-License-Identifier: GPL-3.0-or-later
"""The process around the application: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import time
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from nano_banana.errors import MachineError
from nano_banana.serve import app as application
from nano_banana.serve import logs
from nano_banana.serve.pool import Pool
from nano_banana.serve.settings import ServeSettings

if TYPE_CHECKING:
    from nano_banana.backends import Backend

_BACKLOG = 2048
# Longer than clients keep an idle connection (httpx: 5 s, as uvicorn by default): a server that closes first may break
# the request that is being sent at that moment.
_IDLE_SECONDS = 75
# For answers that are being sent when the last picture is done.
_SEND_SECONDS = 10


class Server(uvicorn.Server):
    """uvicorn that goes on listening after the first signal: it refuses what is new and draws what was accepted."""

    def __init__(self, config: uvicorn.Config, pool: Pool, grace_s: float) -> None:
        super().__init__(config)
        self._pool = pool
        self._grace_s = grace_s
        self._deadline: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """In the signal handler, so it sets flags alone. The second signal ends without grace.

        uvicorn would raise the signal once more at the end; a stop that went as told is exit code 0.
        """
        if self._pool.stopping:
            self._grace_s = 0.0
            self._deadline = 0.0
        self._pool.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end now."""
        if self._pool.failure is not None:
            self.should_exit = True
        elif self._pool.stopping and not self.should_exit:
            now = time.monotonic()
            if self._deadline is None:
                self._deadline = now + self._grace_s
                logs.event("stopping", waiting=self._pool.depth, running=self._pool.running, grace_s=self._grace_s)
            if self._pool.idle:
                self.should_exit = True
            elif now >= self._deadline:
                logs.event("grace is over", level=30, cut=self._pool.cut())
                self.should_exit = True
        return await super().on_tick(counter)


def run(settings: ServeSettings, backend: Backend) -> None:
    """See nano_banana.serve.run."""
    logs.to_stderr(settings.log_format)
    listener = bind(settings.host, settings.port)
    app = application.create_app(settings, backend)
    pool: Pool = app.state.pool
    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_SEND_SECONDS,
    )
    logs.event(
        "listening",
        host=settings.host,
        port=listener.getsockname()[1],
        backend=backend.name,
        pid=os.getpid(),
        token=settings.token is not None,
    )
    if settings.token is None and not _loopback(listener.getsockname()[0]):
        logs.event("no token: whoever reaches this address can use it", level=30)
    try:
        asyncio.run(Server(config, pool, settings.grace_s).serve(sockets=[listener]))
    finally:
        listener.close()
    if pool.failure is not None:
        raise pool.failure
    logs.event("stopped")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises MachineError with what is in the way."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise _no_address(host, port, error.strerror or str(error), "Type for example --host 127.0.0.1.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        # A service that was killed leaves connections behind that would keep its port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        fix = f"Type: ss -ltnp 'sport = :{port}' to see who has it, or another --port."
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            fix = "Type an address of this machine: ip address shows them."
        raise _no_address(host, port, error.strerror or str(error), fix) from error
    return listener


def _no_address(host: str, port: int, found: str, fix: str) -> MachineError:
    return MachineError(f"--host {host} --port {port}", expected="an address to listen on", found=found, fix=fix)


def _loopback(address: str) -> bool:
    return ipaddress.ip_address(address.split("%")[0]).is_loopback
