# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the lab's state: whole or not there, and locks that the kernel lets go when their holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.paths import Paths


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Other processes see the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    temporary.replace(path)


def write_json(path: Path, data: Any) -> None:
    write_text(path, json.dumps(data, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """None when the file is missing or was left unreadable by a crash: both mean that it must be made again."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


@contextmanager
def only_one(paths: Paths, say: Callable[[str], None]) -> Iterator[None]:
    """Holds off a second `up` or `down` of the same lab. Locks the folder that holds the state folder: that one stays
    when the state goes, so the lock needs no file of its own."""
    fd = os.open(paths.state.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another `lab up` or `lab down` is at work; waiting for its end")
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def hold_pid_file(paths: Paths) -> int:
    """Writes this process's id and keeps the file locked until the process ends, however it ends. Returns the file
    descriptor; raises LabError when another daemon holds it."""
    fd = os.open(paths.pid, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + 1.0  # daemon_pid() of another process may hold it for an instant
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(fd)
                raise LabError(f"another daemon of this lab runs (see {paths.pid})") from error
            time.sleep(0.02)
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    return fd


def daemon_pid(paths: Paths) -> int | None:
    """The daemon's process id, or None. A left-over pid file never counts: its lock died with its writer."""
    try:
        fd = os.open(paths.pid, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(fd, 32).decode().strip()
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(fd)
