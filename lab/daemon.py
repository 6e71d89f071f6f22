# SPDX-License-Identifier: GPL-3.0-or-later
"""The one long-lived process of a lab: drives the guests and owns the vCenter program, its child.

They talk over a socket pair, so neither outlives the other: when the daemon dies, however it dies, the vCenter reads
end of file and exits; when the vCenter dies, the daemon exits. The guests stay; `lab up` removes those that no vCenter
knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import state
from lab.guests.base import Driver, Emit
from lab.guests.fake import FakeDriver
from lab.guests.mixed import Choice, Router
from lab.guests.podman import PodmanDriver
from lab.guests.podman_cli import Podman
from lab.guests.qemu import QemuDriver
from lab.paths import Paths
from lab.protocol import LINE_LIMIT, Server

CHILD_SECONDS = 5.0  # how long the vCenter may take to exit after end of file
log = logging.getLogger("lab.daemon")


@dataclass(frozen=True)
class Launch:
    """What `lab up` decided and the daemon carries out; kept in launch.json."""

    vcenter: list[str]  # the program with all arguments but -guests
    guests: str
    rules: tuple[tuple[str, str], ...] = ()
    image: str = ""  # of podman guests
    subnet: str = ""
    cap_mb: int = 0
    disk_image: str = ""  # of QEMU guests
    kvm: bool = False
    ports: tuple[int, ...] = ()
    faults: str = ""  # what tells the file of faults from another one

    @property
    def choice(self) -> Choice:
        return Choice(self.guests, tuple((pattern, driver) for pattern, driver in self.rules))

    def save(self, paths: Paths) -> None:
        state.write_json(paths.launch, asdict(self))

    @classmethod
    def load(cls, paths: Paths) -> Launch:
        known = state.read_json(paths.launch)
        return cls(**{**known, "ports": tuple(known["ports"])})


def main(paths: Paths) -> int:
    """Runs until SIGTERM or until the vCenter ends; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    held = state.hold_pid_file(paths)
    try:
        return asyncio.run(_run(paths, Launch.load(paths)))
    finally:
        os.close(held)


async def _run(paths: Paths, launch: Launch) -> int:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
    server = Server(reader, writer)
    find = Router(launch.choice, drivers_for(paths, launch, server.send_event))
    child = _start_vcenter(paths, launch, theirs)
    serving = asyncio.create_task(server.serve(find))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    stopped = serving.cancelled()
    await find.close()
    writer.close()
    try:
        status = await asyncio.to_thread(child.wait, CHILD_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        status = child.wait()
    paths.ready.unlink(missing_ok=True)
    if stopped:
        log.info("asked to stop; the vCenter has ended")
        return 0
    log.error("the vCenter ended on its own with %d; see %s", status, paths.logs / "vcenter.log")
    return 1


def drivers_for(paths: Paths, launch: Launch, emit: Emit) -> dict[str, Driver]:
    """Those that the launch may need, by name."""
    makers: dict[str, Callable[[], Driver]] = {
        "fake": lambda: FakeDriver(emit),
        "podman": lambda: PodmanDriver(
            emit,
            Podman(paths.lab_id, paths.containers_conf),
            launch.image,
            launch.subnet,
            paths.guests,
            launch.cap_mb,
            paths.share,
        ),
        "qemu": lambda: QemuDriver(
            emit, Path(launch.disk_image), paths.guests, paths.runtime, paths.lab_id, launch.ports, launch.kvm
        ),
    }
    return {name: makers[name]() for name in sorted(launch.choice.drivers)}


def _start_vcenter(paths: Paths, launch: Launch, theirs: socket.socket) -> subprocess.Popen[bytes]:
    with Path(paths.logs / "vcenter.log").open("ab") as log_file:
        child = subprocess.Popen(
            [*launch.vcenter, "-guests", f"fd:{theirs.fileno()}"],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
        )
    theirs.close()
    log.info("vCenter started, pid %d: %s", child.pid, launch.vcenter[0])
    return child
