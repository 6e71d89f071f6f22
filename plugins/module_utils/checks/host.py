# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only door from the checks to the machine: programs and files. Tests put a fake in its place."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol, Sequence

NOT_FOUND = 127
TIMED_OUT = 124


@dataclass(frozen=True)
class Completed:
    """How a program ended: exit status as a shell gives it (127 not found, 124 out of time) and what it wrote."""

    rc: int
    out: str = ""
    err: str = ""

    def last_line(self) -> str:
        """The line that says why a Python program ended: the last one of stderr, or of stdout."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip() if lines else f"nothing was written, exit status {self.rc}"


class Host(Protocol):
    """What a probe may ask of the machine it runs on."""

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Run a program; never raises for its failure."""

    def read(self, path: str) -> Optional[str]:
        """A file's text, None when there is none."""

    def remove(self, path: str) -> None:
        """Delete a file if it is there."""


class LocalHost:
    """The machine that this Python runs on."""

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Run a program for at most ``timeout`` seconds, then end it with all its children."""
        try:
            with subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
                errors="replace",
                start_new_session=True,
            ) as process:
                try:
                    out, err = process.communicate(timeout=timeout)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    out, err = process.communicate()
                    return Completed(TIMED_OUT, out, err)
                return Completed(process.returncode, out, err)
        except OSError as error:
            return Completed(NOT_FOUND, err=f"{argv[0]}: {error.strerror}")

    def read(self, path: str) -> Optional[str]:
        """A file's text, None when it is missing or not for us to read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def remove(self, path: str) -> None:
        """Delete a file if it is there; raises OSError when it cannot be deleted."""
        target = Path(path)
        if target.exists():
            target.unlink()
