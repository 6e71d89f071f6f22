# SPDX-License-Identifier: GPL-3.0-or-later
"""One request for a picture, from its checked body to its bytes."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.responses import JSONResponse, Response

from nano_banana.errors import MachineError
from nano_banana.serve import logs, schema
from nano_banana.serve.gate import Record
from nano_banana.serve.job import Job
from nano_banana.serve.metrics import Metrics
from nano_banana.serve.pool import Pool
from nano_banana.serve.problem import RefusalError
from nano_banana.serve.settings import ServeSettings

if TYPE_CHECKING:
    from fastapi import Request
    from PIL import Image

T = TypeVar("T")
# Opening and encoding are Pillow's work on the CPU; more threads would take it from the backend.
_HELPERS = 2


class Drawer:
    """Waits for the pool on behalf of clients: the time-out, a client that leaves, and what to send."""

    def __init__(self, settings: ServeSettings, pool: Pool, metrics: Metrics) -> None:
        self._settings = settings
        self._pool = pool
        self._metrics = metrics
        self._helpers = ThreadPoolExecutor(_HELPERS, "picture")

    def close(self) -> None:
        """End the helper threads; nothing is waited for."""
        self._helpers.shutdown(wait=False)

    async def answer(self, body: schema.PictureWish, request: Request) -> Response:
        """The response with the picture. Raises RefusalError, BadInputError, MachineError."""
        record: Record = request.state.record
        deadline = record.started + self._settings.timeout_s
        # Before a picture is opened for a request that has no place anyway.
        self._pool.check()
        wish = await self._within(deadline, partial(schema.read, body, self._pool.state.get("loras") or ()))
        self._note(record, wish)
        job = self._pool.submit(wish.request, record.identity)
        try:
            image = await self._wait(job, request, deadline)
        finally:
            self._pool.abandon(job)
            record.fields |= {"queue_seconds": round(job.queue_seconds, 4), "run_seconds": round(job.run_seconds, 4)}
            self._metrics.queue_seconds.observe(job.queue_seconds)
        self._metrics.run_seconds.observe(job.run_seconds)
        data = await self._within(None, partial(encode, image, wish, self._pool.backend.name, self._pool.state))
        # A guide picture's notes are known to both.
        notes = tuple(dict.fromkeys((*wish.notes, *job.notes)))
        if self._settings.output is not None:
            notes += await self._within(None, partial(self._keep, data, wish, record))
        if _prefers_json(request.headers.get("accept", "")):
            return _as_json(data, image, wish, job, self._pool.backend.name, notes)
        return _as_file(data, wish, job, self._pool.backend.name, notes)

    async def _within(self, deadline: float | None, work: Callable[[], T]) -> T:
        """Run it in a helper thread. Raises RefusalError when the deadline passes first."""
        future = asyncio.get_running_loop().run_in_executor(self._helpers, work)
        if deadline is None:
            return await future
        try:
            return await asyncio.wait_for(future, max(0.0, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            raise self._timed_out() from None

    async def _wait(self, job: Job, request: Request, deadline: float) -> Image.Image:
        gone: asyncio.Future[None] = asyncio.ensure_future(_gone(request))
        awaited: set[asyncio.Future[Any]] = {job.future, gone}
        try:
            await asyncio.wait(
                awaited, timeout=max(0.0, deadline - time.monotonic()), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            gone.cancel()
        if job.future.done():
            return job.future.result()
        if gone.done() and not gone.cancelled():
            raise RefusalError(
                "cancelled",
                "client",
                expected="one that waits",
                found="one that left",
                fix="Ask again when it is wanted.",
            )
        raise self._timed_out()

    def _timed_out(self) -> RefusalError:
        return RefusalError(
            "timed out",
            "picture",
            expected=f"one within {self._settings.timeout_s:g} s",
            found="more time needed; the work was stopped",
            fix="Ask for fewer steps or a smaller picture, or raise --timeout.",
        )

    def _note(self, record: Record, wish: schema.Wish) -> None:
        request = wish.request
        record.fields |= {
            "width": request.width,
            "height": request.height,
            "seed": request.seed,
            "steps": request.steps,
        }
        if self._settings.log_prompts:
            record.fields |= {"prompt": request.prompt, "negative": request.negative or None}

    def _keep(self, data: bytes, wish: schema.Wish, record: Record) -> tuple[str, ...]:
        """A copy under a name of our own making; a client has its picture even where the disk is full."""
        from nano_banana import output

        assert self._settings.output is not None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self._settings.output / f"{stamp}-{secrets.token_hex(8)}{wish.extension}"
        try:
            output.write_atomically(path, data)
        except MachineError as error:
            logs.event("copy not kept", level=40, error=error, id=record.identity)
            return ("the service could not keep its copy",)
        record.fields["file"] = path.name
        return ()


def encode(image: Image.Image, wish: schema.Wish, backend: str, state: Mapping[str, Any]) -> bytes:
    """The file's bytes, with the origin in its metadata as `nano-banana generate` writes it."""
    from nano_banana import metadata, output

    meta = metadata.of(backend, state, wish.request, image.size)
    return output.encode(image, wish.image_format, meta, wish.quality)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _as_file(data: bytes, wish: schema.Wish, job: Job, backend: str, notes: tuple[str, ...]) -> Response:
    headers = {
        "X-Nano-Banana-Seed": str(wish.request.seed),
        "X-Nano-Banana-Backend": backend,
        "X-Nano-Banana-Seconds": f"{job.run_seconds:.3f}",
        "X-Nano-Banana-Queue-Seconds": f"{job.queue_seconds:.3f}",
    }
    if notes:
        headers["X-Nano-Banana-Notes"] = json.dumps(notes)
    return Response(data, media_type=wish.media_type, headers=headers)


def _as_json(
    data: bytes, image: Image.Image, wish: schema.Wish, job: Job, backend: str, notes: tuple[str, ...]
) -> Response:
    return JSONResponse(
        {
            "picture": base64.b64encode(data).decode(),
            "media_type": wish.media_type,
            "bytes": len(data),
            "width": image.width,
            "height": image.height,
            "seed": wish.request.seed,
            "backend": backend,
            "seconds": round(job.run_seconds, 3),
            "queue_seconds": round(job.queue_seconds, 3),
            "notes": list(notes),
            "request_id": job.identity,
        }
    )


def _prefers_json(accept: str) -> bool:
    """Whether application/json comes before pictures in this header; a tie goes to the picture."""
    weights = {"json": 0.0, "picture": 0.0}
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((_weight(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
        if kind == "application/json":
            weights["json"] = max(weights["json"], weight)
        elif kind.startswith("image/") or kind == "*/*":
            weights["picture"] = max(weights["picture"], weight)
    return weights["json"] > weights["picture"]


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
