# SPDX-License-Identifier: GPL-3.0-or-later
"""What every request passes before its body is parsed (identity, token, type, size), and its line in the log."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nano_banana.serve import logs, problem
from nano_banana.serve.metrics import Metrics
from nano_banana.serve.problem import RefusalError
from nano_banana.serve.settings import ServeSettings

PICTURES = "/v1/pictures"
# Probes ask without a token, and the description of the service is no secret. The figures of /metrics are.
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
_IDENTITY = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


@dataclass
class Record:
    """One request as the log and the metrics see it."""

    identity: str
    started: float = field(default_factory=time.monotonic)
    status: int = 0
    reason: str | None = None
    outcome: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    fields: dict[str, Any] = field(default_factory=dict)

    def refuse(self, refusal: RefusalError) -> RefusalError:
        """Note it, and hand it back."""
        self.reason, self.outcome = refusal.reason, refusal.outcome
        return refusal


class _LeftError(Exception):
    """The client went while it was sending."""


class Gate:
    """ASGI middleware. No exception passes it: a client gets a problem, the log gets the traceback."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._held = 0
        self._token = _digest(settings.token.encode()) if settings.token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        record = Record(given if _IDENTITY.fullmatch(given) else secrets.token_hex(8))
        scope.setdefault("state", {})["record"] = record
        answer = _Answer(record, send)
        try:
            await self._serve(scope, receive, answer, headers, record)
        except RefusalError as refusal:
            await record.refuse(refusal).response(record.identity)(scope, receive, answer)
        except _LeftError:
            record.status, record.reason, record.outcome = 499, "cancelled", "cancelled"
        except Exception as error:  # whatever it is, the client gets an answer in the one shape and no traceback
            logs.event("request broke", level=40, error=error, id=record.identity)
            if not record.status:
                unforeseen = record.refuse(problem.broken(record.identity))
                await unforeseen.response(record.identity)(scope, receive, answer)
        finally:
            self._held -= record.bytes_in
            self._tell(scope, record)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, headers: Headers, record: Record) -> None:
        self._admit(scope["path"], headers)
        if scope["method"] != "POST" or scope["path"] != PICTURES:
            await self._app(scope, receive, send)
            return
        self._check_type(headers)
        self._check_length(headers.get("content-length"))
        try:
            body = await asyncio.wait_for(self._read(receive, record), self._settings.body_s)
        except asyncio.TimeoutError:
            raise RefusalError(
                "too slow",
                "body",
                expected=f"all of it within {self._settings.body_s:g} s",
                found=f"{record.bytes_in} bytes by then",
                fix="Send a smaller picture, or over a faster line.",
            ) from None
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)

    def _admit(self, path: str, headers: Headers) -> None:
        if self._token is None or path in OPEN:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Digests are compared, so that not even the length of the token shows in the time it takes.
        same = hmac.compare_digest(_digest(given.strip().encode("utf-8", "surrogateescape")), self._token)
        if scheme.lower() != "bearer" or not same:
            raise RefusalError(
                "unauthorized",
                "Authorization",
                expected="Bearer and this service's token",
                found="another" if given else "none",
                fix="Send the header Authorization: Bearer TOKEN.",
            )

    def _check_type(self, headers: Headers) -> None:
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json":
            raise _wrong_type("Content-Type", "application/json", kind)
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding != "identity":
            raise _wrong_type("Content-Encoding", "none", coding)

    def _check_length(self, length: str | None) -> None:
        if length and length.isascii() and length.isdecimal() and int(length[:20]) > self._settings.body_bytes:
            raise self._too_large(f"{length[:20]} bytes")

    async def _read(self, receive: Receive, record: Record) -> bytes:
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _LeftError
            part = message.get("body", b"")
            more = message.get("more_body", False)
            record.bytes_in += len(part)
            self._held += len(part)
            if record.bytes_in > self._settings.body_bytes:
                raise self._too_large(f"more than {self._settings.body_bytes} bytes")
            if self._held > self._settings.bodies_bytes:
                raise RefusalError(
                    "queue full",
                    "body",
                    expected=f"at most {self._settings.bodies_bytes} bytes of all clients' bodies at once",
                    found="more: the queue is full",
                    fix="Ask again later.",
                    retry_after=2,
                )
            parts.append(part)
        return b"".join(parts)

    def _too_large(self, found: str) -> RefusalError:
        return RefusalError(
            "too large",
            "body",
            expected=f"at most {self._settings.body_bytes} bytes",
            found=found,
            fix="Send a smaller control picture.",
        )

    def _tell(self, scope: Scope, record: Record) -> None:
        outcome = record.outcome or ("ok" if 200 <= record.status < 400 else "failed")
        if scope["path"] == PICTURES and scope["method"] == "POST":
            self._metrics.requests.labels(outcome).inc()
        logs.event(
            "request",
            id=record.identity,
            method=scope["method"][:16],
            path=scope["path"][:200],
            status=record.status,
            outcome=outcome,
            reason=record.reason,
            seconds=round(time.monotonic() - record.started, 4),
            bytes_in=record.bytes_in,
            bytes_out=record.bytes_out,
            **record.fields,
        )


class _Answer:
    """`send` that adds the identity and keeps count."""

    def __init__(self, record: Record, send: Send) -> None:
        self._record = record
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._record.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._record.identity
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Cache-Control"] = "no-store"
        elif message["type"] == "http.response.body":
            self._record.bytes_out += len(message.get("body", b""))
        await self._send(message)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _wrong_type(header: str, expected: str, found: str) -> RefusalError:
    return RefusalError(
        "wrong type", header, expected=expected, found=found or "none", fix="Send the body as plain application/json."
    )
