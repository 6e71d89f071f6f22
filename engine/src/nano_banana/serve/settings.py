# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nano_banana.errors import BadInputError
from nano_banana.request import MAX_SIDE, MIN_SIDE

LOG_FORMATS = ("json", "text")


@dataclass(frozen=True)
class ServeSettings:
    """Raises BadInputError. Times in seconds, sizes in bytes, sides in pixels before upscaling.

    `queue` requests may wait beside those being drawn; `batch` equal shapes are drawn in one pass; `timeout_s` counts
    from arrival to answer. `body_bytes` bounds one body, `bodies_bytes` all that are held at once, `body_s` how long a
    body may take to arrive. `grace_s` is for what was accepted before the stop. `output` keeps a copy of each picture
    in that folder, under names that the service makes. Prompts are logged with `log_prompts` alone.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    queue: int = 16
    batch: int = 4
    timeout_s: float = 300.0
    token: str | None = field(default=None, repr=False)
    max_side: int = 2048
    output: Path | None = None
    log_format: str = "json"
    log_prompts: bool = False
    grace_s: float = 60.0
    body_bytes: int = 12 << 20
    bodies_bytes: int = 96 << 20
    body_s: float = 30.0

    def __post_init__(self) -> None:
        _check("--port", self.port, 0, 65535)
        _check("--queue", self.queue, 1, 10_000)
        _check("--batch", self.batch, 1, 64)
        _check("--timeout", self.timeout_s, 0.001, 86_400)
        _check("--max-side", self.max_side, MIN_SIDE, MAX_SIDE)
        if self.token is not None and not (self.token.strip() and self.token.isascii() and self.token.isprintable()):
            # The text itself is a secret: it is not shown.
            raise BadInputError(
                "--token",
                expected="printable ASCII text",
                found="something else or nothing",
                fix="Make one with: openssl rand -hex 32.",
            )
        if self.log_format not in LOG_FORMATS:
            raise BadInputError(
                "--log-format", expected="json or text", found=repr(self.log_format), fix="Type --log-format json."
            )


def _check(option: str, found: float, least: float, most: float) -> None:
    if not least <= found <= most:
        raise BadInputError(
            option, expected=f"{least:g} to {most:g}", found=f"{found:g}", fix="Type a number within these bounds."
        )
