# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's two processes, seen from outside: start the daemon, tell whether a lab is well, end both for certain."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab import state
from lab.errors import LabError
from lab.paths import CHECKOUT, Paths

START_SECONDS = 30.0
STOP_SECONDS = 10.0


def start_daemon(paths: Paths) -> None:
    """Returns when the vCenter takes calls. Raises LabError with the log's last lines when it does not come up."""
    paths.ready.unlink(missing_ok=True)
    paths.logs.mkdir(parents=True, exist_ok=True)
    with (paths.logs / "daemon.log").open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "lab", "daemon"],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    if _until(lambda: answers(paths) or daemon.poll() is not None, START_SECONDS) and daemon.poll() is None:
        return
    stop(paths)
    tails = "\n".join(
        f"{name}: {line}" for name in ("vcenter.log", "daemon.log") for line in _tail(paths.logs / name, 6)
    )
    raise LabError(f"the vCenter did not come up within {START_SECONDS:.0f} s:\n{tails}\nwhole logs: {paths.logs}")


def answers(paths: Paths) -> bool:
    """True when the daemon lives and its vCenter shows the lab's certificate."""
    port = vcenter_port(paths)
    if not port or state.daemon_pid(paths) is None:
        return False
    try:
        context = ssl.create_default_context(cafile=str(paths.ca))
        with socket.create_connection(("127.0.0.1", port), timeout=2) as plain:
            context.wrap_socket(plain, server_hostname="127.0.0.1").close()
    except OSError:  # TLS errors are OSErrors too
        return False
    return True


def vcenter_port(paths: Paths) -> int | None:
    """From what the vCenter wrote when it was ready."""
    ready = state.read_json(paths.ready)
    return int(ready["address"].rsplit(":", 1)[1]) if ready else None


def stop(paths: Paths) -> bool:
    """Ends daemon and vCenter; returns whether there was something to end. A daemon that died before counts too: its
    vCenter may need another moment to notice."""
    pid = state.daemon_pid(paths)
    ready = state.read_json(paths.ready)
    if pid is not None:
        _signal(pid, signal.SIGTERM)
        if not _until(lambda: state.daemon_pid(paths) is None, STOP_SECONDS):
            _signal(pid, signal.SIGKILL)
            _until(lambda: state.daemon_pid(paths) is None, STOP_SECONDS)
    vcenter = int(ready["pid"]) if ready else 0
    if vcenter and _is_our_vcenter(vcenter, paths):
        if not _until(lambda: not _is_our_vcenter(vcenter, paths), STOP_SECONDS / 2):
            _signal(vcenter, signal.SIGKILL)
            _until(lambda: not _is_our_vcenter(vcenter, paths), STOP_SECONDS)
        return True
    return pid is not None


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for_podman(lab_id: str, seconds: float = STOP_SECONDS) -> None:
    """A daemon that was killed may leave a podman command at work, which would make a container behind our back."""
    _until(lambda: not _podman_commands(f"nblab-{lab_id}"), seconds)


def _podman_commands(prefix: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            words = _command_line(int(entry.name))
            if words and Path(words[0]).name == "podman" and any(word.startswith(prefix) for word in words):
                return True
    return False


def _is_our_vcenter(pid: int, paths: Paths) -> bool:
    """The process id may have gone to somebody else: ours names our ready file. A zombie has no command line."""
    return str(paths.ready) in _command_line(pid)


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _tail(path: Path, lines: int) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
