# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the person who watches how far a long call is: JSON lines in a file that the action plugin reads."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

INTERVAL_SECONDS = 5.0


class Progress:
    """Appends one line at most every few seconds. Without a file it does nothing."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._started = self._last = time.monotonic()

    def tell(self, total: int, done: int, failed: int, doing: Iterable[tuple[str, str, float]]) -> None:
        """``doing`` has one row for each VM at work: its name, what is being done, since how many seconds."""
        now = time.monotonic()
        if self._path is None or now - self._last < INTERVAL_SECONDS:
            return
        self._last = now
        rows = sorted(doing, key=lambda row: -row[2])
        line = {
            "seconds": round(now - self._started, 1),
            "total": total,
            "done": done,
            "failed": failed,
            "doing": dict(Counter(kind for _name, kind, _seconds in rows)),
            "longest": {"name": rows[0][0], "kind": rows[0][1], "seconds": round(rows[0][2], 1)} if rows else None,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def readable(line: str) -> str:
    """One progress line for people."""
    row = json.loads(line)
    doing = [f"{count} {_words(kind)}" for kind, count in row["doing"].items()]
    text = f"{row['done']} of {row['total']} VMs done after {row['seconds']:.0f} s; {', '.join(doing) or 'waiting'}"
    if row["failed"]:
        text += f"; {row['failed']} failed"
    longest = row["longest"]
    if longest:
        text += f"; longest: {longest['name']} {_words(longest['kind'])} {longest['seconds']:.0f} s"
    return text


def _words(kind: str) -> str:
    return kind.replace("_", " ")


class Watchdog:
    """Knows whether the process that started us is still there (by its start time: ids are used again)."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._born = self._start_time()

    def alone(self) -> bool:
        """Whether that process has ended; never, when there is none to watch."""
        return bool(self._pid) and self._start_time() != self._born

    def _start_time(self) -> str:
        if not self._pid:
            return ""
        try:
            text = Path(f"/proc/{self._pid}/stat").read_text(encoding="utf-8")
        except FileNotFoundError:
            return "" if Path("/proc/self").exists() else self._by_signal()
        state, *fields = text.rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]

    def _by_signal(self) -> str:
        """Without /proc (a control node on macOS): whether any process has that id."""
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            return "there"
        return "there"
