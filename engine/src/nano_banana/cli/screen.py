# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see while they wait: a bar and notes on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nano_banana import backends
from nano_banana.watch import Watch

if TYPE_CHECKING:
    from nano_banana.backends import Backend, Settings
    from nano_banana.request import Request

_WIDTH = 30


def say(text: str) -> None:
    """A line for people, on standard error: standard output is the result's alone."""
    print(text, file=sys.stderr, flush=True)


def show(result: Any) -> None:
    """A result as JSON on one line; a reader at the other end of a pipe has it at once."""
    print(json.dumps(result), flush=True)


@contextlib.contextmanager
def opened(name: str, settings: Settings, request: Request | None = None) -> Iterator[Backend]:
    """The backend, loaded, its memory plan for a request said before the run; closed at the end.

    Raises EngineError, ImportError.
    """
    backend = backends.get(name, settings)
    try:
        # A backend with weights has these two beside the protocol; the preview needs neither.
        load, plan = getattr(backend, "load", None), getattr(backend, "plan", None)
        if load:
            load()
        if plan and request:
            say(plan(request).describe())
        yield backend
    finally:
        backend.close()


class Progress:
    """A bar that rewrites its line, on a terminal alone; `label` stands before it."""

    def __init__(self, *, quiet: bool) -> None:
        self.label = ""
        self._shown = False
        self._on = not quiet and sys.stderr.isatty()
        self._started = time.monotonic()

    @property
    def watch(self) -> Watch:
        """What the backend tells its steps to."""
        return Watch(on_step=self.step)

    def step(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are made."""
        if not self._on:
            return
        now = time.monotonic()
        if done <= 1:
            self._started = now
        each = (now - self._started) / (done - 1) if done > 1 else 0.0
        filled = _WIDTH * done // max(total, 1)
        left = f", {each * (total - done):.0f} s left" if each and done < total else ""
        line = f"{self.label}[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total}{left}"
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the bar off the line, so that what is printed next stands alone."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
