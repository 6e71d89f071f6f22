# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape in which every request that gets no picture is answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from nano_banana.errors import BadInputError, EngineError, NoRoomError

Reason = Literal[
    "bad request",
    "unauthorized",
    "not found",
    "wrong method",
    "too slow",
    "too large",
    "wrong type",
    "bad input",
    "cancelled",
    "failed",
    "queue full",
    "loading",
    "stopping",
    "out of memory",
    "timed out",
]
# "queue full" in the answer's text is what preflight's known causes read as a limit at work, not as a fault.
STATUS: dict[Reason, int] = {
    "bad request": 400,
    "unauthorized": 401,
    "not found": 404,
    "wrong method": 405,
    "too slow": 408,
    "too large": 413,
    "wrong type": 415,
    "bad input": 422,
    # Nobody is left to read it; the number is what proxies write into their logs for it.
    "cancelled": 499,
    "failed": 500,
    "queue full": 503,
    "loading": 503,
    "stopping": 503,
    "out of memory": 503,
    "timed out": 504,
}
OUTCOMES = ("ok", "rejected", "failed", "cancelled", "timed_out", "invalid")
_OUTCOME: dict[Reason, str] = {
    "queue full": "rejected",
    "loading": "rejected",
    "stopping": "rejected",
    "cancelled": "cancelled",
    "timed out": "timed_out",
    "failed": "failed",
    "out of memory": "failed",
}
# A client may have sent megabytes in that value.
_MOST_SHOWN = 500


class Problem(BaseModel):
    """Why there is no picture: the thing, what was expected and found, what to do, and the reason in fixed words."""

    model_config = ConfigDict(extra="forbid")

    what: str = Field(description="The field, header or part that is meant.")
    expected: str
    found: str
    fix: str = Field(description="What to do about it.")
    reason: Reason = Field(description="Fixed words; programs decide by this and the status.")
    request_id: str = Field(description="The same as in the header X-Request-ID and in the service's log.")


class RefusalError(Exception):
    """Ends a request without a picture. `retry_after` in seconds becomes the header."""

    def __init__(
        self, reason: Reason, what: str, *, expected: str, found: str, fix: str, retry_after: int | None = None
    ) -> None:
        super().__init__(f"{what}: {reason}")
        self.reason: Reason = reason
        self.what = what
        self.expected = expected
        self.found = found
        self.fix = fix
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status of this reason."""
        return STATUS[self.reason]

    @property
    def outcome(self) -> str:
        """The metric's word: what the client sent wrong is "invalid", and a full queue is never "failed"."""
        return _OUTCOME.get(self.reason, "invalid")

    def response(self, request_id: str) -> JSONResponse:
        """The answer to send."""
        texts = (_shown(text) for text in (self.what, self.expected, self.found, self.fix))
        what, expected, found, fix = texts
        problem = Problem(what=what, expected=expected, found=found, fix=fix, reason=self.reason, request_id=request_id)
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.reason == "unauthorized":
            headers["WWW-Authenticate"] = "Bearer"
        if self.reason in ("too large", "too slow"):
            # The rest of that body is not read.
            headers["Connection"] = "close"
        return JSONResponse(problem.model_dump(), self.status, headers)


def of_engine(error: EngineError) -> RefusalError:
    """What a backend or a check of the engine raised, in the service's words; options lose their dashes."""
    reason: Reason = "failed"
    if isinstance(error, BadInputError):
        reason = "bad input"
    elif isinstance(error, NoRoomError):
        reason = "out of memory"
    return RefusalError(
        reason, error.what.removeprefix("--"), expected=error.expected, found=error.found, fix=error.fix
    )


def broken(request_id: str = "") -> RefusalError:
    """An error that nobody foresaw: its text is in the log alone, for it may tell of the machine."""
    return RefusalError(
        "failed",
        "picture",
        expected="a picture",
        found="an error inside the service",
        fix=f"Look in the service's log for the request {request_id}." if request_id else "Look in the service's log.",
    )


def loading() -> RefusalError:
    """What requests get that come before the model is there."""
    return RefusalError(
        "loading",
        "service",
        expected="a loaded model",
        found="one that is still loading",
        fix="Wait until GET /readyz answers 200.",
        retry_after=5,
    )


def full(queue: int, retry_after: int) -> RefusalError:
    """What requests get for which `queue`, the places there are, has none left."""
    return RefusalError(
        "queue full",
        "queue",
        expected=f"fewer than {queue} waiting requests",
        found=f"{queue}: the queue is full",
        fix="Ask again later; --queue makes it longer.",
        retry_after=retry_after,
    )


def stopping() -> RefusalError:
    """What requests get that a stop leaves no time for."""
    return RefusalError(
        "stopping",
        "service",
        expected="a service that takes requests",
        found="one that is stopping",
        fix="Ask again when it is back.",
        retry_after=10,
    )


def _shown(text: str) -> str:
    # Lone surrogates cannot be written as UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + " ..."
