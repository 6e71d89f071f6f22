# SPDX-License-Identifier: GPL-3.0-or-later
"""Who looks on while a picture is made: told of each step, and able to stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nano_banana.errors import CancelledError


@dataclass(frozen=True)
class Watch:
    """`on_step(done, total)` after each step; `stop()` true ends the work before the next step, picture or tile."""

    on_step: Callable[[int, int], None] | None = None
    stop: Callable[[], bool] | None = None

    def step(self, done: int, total: int) -> None:
        """Say that `done` of `total` steps are made. Raises CancelledError when nobody wants the rest."""
        if self.on_step:
            self.on_step(done, total)
        self.check(done, total)

    def check(self, done: int, total: int, unit: str = "steps") -> None:
        """As `step` without telling anybody; `unit` is what is counted, such as tiles. Raises CancelledError."""
        if self.stop and self.stop():
            raise CancelledError(done, total, unit)


UNWATCHED = Watch()
