# SPDX-License-Identifier: GPL-3.0-or-later
"""A service for tests in a process of its own: python start.py PORT [SECONDS a picture] [GRACE seconds]."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from PIL import Image

from nano_banana.backends import Settings
from nano_banana.backends.preview import PreviewBackend
from nano_banana.errors import EngineError
from nano_banana.request import Request
from nano_banana.serve import ServeSettings, run
from nano_banana.watch import UNWATCHED, Watch


class Slow(PreviewBackend):
    """The preview after a wait in steps."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Settings())
        self._seconds = seconds

    def generate(self, request: Request, watch: Watch = UNWATCHED) -> Image.Image:
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            time.sleep(0.02)
            watch.step(1, 2)
        return super().generate(request, watch)

    def generate_many(self, requests: Sequence[Request], watch: Watch = UNWATCHED) -> list[Image.Image]:
        return [self.generate(request, watch) for request in requests]


if __name__ == "__main__":
    port, seconds, grace = (*sys.argv[1:], *("0", "60")[len(sys.argv) - 2 :])
    try:
        run(ServeSettings(port=int(port), batch=1, grace_s=float(grace)), Slow(float(seconds)))
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
