# SPDX-License-Identifier: GPL-3.0-or-later
"""One accepted request between the event loop that waits for its picture and the thread that draws it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING

from nano_banana.serve.problem import RefusalError

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.request import Request


@dataclasses.dataclass(eq=False)
class Job:
    """One accepted request; `future` belongs to the event loop that submitted it. Times by time.monotonic()."""

    request: Request
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Image.Image]
    identity: str
    queued: float = dataclasses.field(default_factory=time.monotonic)
    started: float | None = None
    ended: float | None = None
    abandoned: bool = False
    #: What the backend noticed about this picture.
    notes: tuple[str, ...] = ()

    @property
    def queue_seconds(self) -> float:
        """The wait so far, or until it was drawn."""
        return (self.started or time.monotonic()) - self.queued

    @property
    def run_seconds(self) -> float:
        """0 before it is drawn."""
        return 0.0 if self.started is None else (self.ended or time.monotonic()) - self.started

    def settle(self, result: Image.Image | RefusalError) -> None:
        """From any thread. Whoever waits gets the picture or the exception; nothing where nobody waits any more."""
        self.ended = time.monotonic()
        if not self.abandoned:
            # The loop may be closed by now, when the process ends.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(_put, self.future, result)


def shape(request: Request) -> Request | None:
    """What has to be equal for one pass: all but prompt and seed; None where a picture guides it."""
    return None if request.control else dataclasses.replace(request, prompt="-", seed=0)


def _put(future: asyncio.Future[Image.Image], result: Image.Image | RefusalError) -> None:
    if future.done():
        return
    if isinstance(result, RefusalError):
        future.set_exception(result)
    else:
        future.set_result(result)
