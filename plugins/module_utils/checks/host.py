# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only door from the checks to the machine: programs and files. Tests put a fake in its place."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Dict, List, Optional, Protocol, Sequence, Tuple

NOT_FOUND = 127
TIMED_OUT = 124
# Characters of a program's output that are kept, and of a line that is shown.
KEPT = 8 << 20
LINE = 300
# A program that even SIGKILL does not end waits in the kernel, for a dead file server or a broken GPU.
DEAD_SECONDS = 1.0


def shown(text: str) -> str:
    """One line of what a program wrote, without control characters, at most LINE characters long."""
    words = " ".join("".join(each if each.isprintable() else " " for each in text[: LINE * 4]).split())
    return words if len(words) <= LINE else words[: LINE - 3] + "..."


@dataclass(frozen=True)
class Completed:
    """How a program ended: exit status as a shell gives it (127 not found, 124 out of time) and what it wrote."""

    rc: int
    out: str = ""
    err: str = ""

    def last_line(self) -> str:
        """The line that says why a Python program ended: the last one of stderr, or of stdout; fit to be shown."""
        lines = (self.err.strip() or self.out.strip())[-LINE * 4 :].splitlines()
        last = shown(lines[-1]) if lines else ""
        return last if last else f"nothing was written, exit status {self.rc}"


class Host(Protocol):
    """What a probe may ask of the machine it runs on."""

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Run a program; never raises for its failure."""

    def read(self, path: str) -> Optional[str]:
        """A file's text, None when there is none."""

    def glob(self, pattern: str) -> List[str]:
        """The paths that fit a pattern, sorted."""

    def remove(self, path: str) -> None:
        """Delete a file if it is there."""


class LocalHost:
    """The machine that this Python runs on."""

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Run a program for at most ``timeout`` seconds, then end it with all its children."""
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            return Completed(NOT_FOUND, err=f"{argv[0]}: {error.strerror}")
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            out, err = _ended(process)
            return Completed(TIMED_OUT, out[-KEPT:], err[-KEPT:])
        return Completed(process.returncode, out[:KEPT], err[-KEPT:])

    def read(self, path: str) -> Optional[str]:
        """A file's text, None when it is missing or not for us to read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def glob(self, pattern: str) -> List[str]:
        """The paths that fit a pattern, sorted."""
        return sorted(str(path) for path in Path("/").glob(pattern.lstrip("/")))

    def remove(self, path: str) -> None:
        """Delete a file if it is there; raises OSError when it cannot be deleted."""
        target = Path(path)
        if target.exists():
            target.unlink()


def _ended(process: "subprocess.Popen[str]") -> Tuple[str, str]:
    """End a program with its children and give what it wrote; does not wait for one that cannot be ended."""
    # A program that runs as another user (sudo) is not ours to end.
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=DEAD_SECONDS)
    except subprocess.TimeoutExpired:
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
        return "", ""


class Once:
    """Programs that several checks ask: each command line runs once, and who asks while it runs waits for it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._guard = Lock()
        self._locks: Dict[Tuple[str, ...], Lock] = {}
        self._answers: Dict[Tuple[str, ...], Completed] = {}

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """The answer of the first run."""
        key = tuple(argv)
        with self._guard:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            if key not in self._answers:
                self._answers[key] = self._host.run(key, timeout)
            return self._answers[key]
