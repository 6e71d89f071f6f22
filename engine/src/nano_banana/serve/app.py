# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from nano_banana import __version__
from nano_banana.errors import EngineError
from nano_banana.serve import drawing, metrics, problem, schema
from nano_banana.serve.gate import PICTURES, Gate, Record
from nano_banana.serve.metrics import Metrics
from nano_banana.serve.pool import Pool
from nano_banana.serve.problem import Problem, Reason, RefusalError
from nano_banana.serve.settings import ServeSettings

if TYPE_CHECKING:
    from nano_banana.backends import Backend

__all__ = ["ServeSettings", "create_app"]

_ABOUT = """Pictures of products taken apart. Every request without a picture is answered by one shape, Problem, whose
`reason` is a fixed word. A 503 with the reason "queue full" is this service's limit at work, never a fault: ask again
after Retry-After seconds. No field names a file of the server."""
# What a backend tells of itself that is no business of a client, such as the folder of its model, stays here.
_SHOWN = ("device", "plan", "plan_text", "video_memory_bytes", "peak_video_memory_bytes", "pictures", "loras")


def create_app(settings: ServeSettings, backend: Backend) -> FastAPI:
    """The application around one backend, which its pool owns from now on and closes at shutdown.

    A backend with a method `load()` is loaded in the pool's thread after start-up; /readyz answers 503 until then.
    `app.state.pool` is the Pool.
    """
    counts = Metrics()
    pool = Pool(backend, counts, queue=settings.queue, batch=settings.batch)
    _gauges(counts, pool)
    drawer = drawing.Drawer(settings, pool, counts)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        pool.start()
        yield
        # In another thread: answers that are still being sent go on.
        await asyncio.get_running_loop().run_in_executor(None, pool.close)
        drawer.close()

    app = FastAPI(
        title="nano-banana",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.pool = pool
    app.add_middleware(Gate, settings=settings, metrics=counts)
    app.add_exception_handler(RefusalError, _refused)
    app.add_exception_handler(EngineError, _engine_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    _pictures(app, settings, drawer)
    _facts(app, settings, pool)
    _probes(app, pool, counts)
    if settings.token:
        _tell_of_token(app)
    return app


def _pictures(app: FastAPI, settings: ServeSettings, drawer: drawing.Drawer) -> None:
    async def picture(body: Any, request: Request) -> Response:
        """Draw one picture. The answer is the file, or JSON with it in base64 where Accept prefers that."""
        return await drawer.answer(body, request)

    # The model carries this service's own limits, so it cannot be written as an annotation.
    picture.__annotations__["body"] = schema.body_model(settings.max_side)
    app.post(
        PICTURES,
        response_class=Response,
        responses={200: _PICTURE, **_problems(*_PICTURE_REASONS)},
        tags=["pictures"],
    )(picture)


def _facts(app: FastAPI, settings: ServeSettings, pool: Pool) -> None:
    @app.get("/v1/presets", tags=["facts"])
    def presets() -> list[schema.PresetAnswer]:
        """Prompts and settings that are known to work together."""
        from nano_banana.presets import PRESETS

        return [schema.PresetAnswer(**preset.to_json()) for preset in PRESETS.values()]

    @app.get("/v1/info", tags=["facts"])
    async def info() -> schema.Info:
        """What draws here, its limits, and how busy it is."""
        return schema.Info(
            backend=pool.backend.name,
            summary=pool.backend.summary,
            engine_version=__version__,
            ready=pool.ready,
            waiting=pool.depth,
            running=pool.running,
            queue=settings.queue,
            batch=settings.batch,
            timeout_s=settings.timeout_s,
            max_side=settings.max_side,
            body_bytes=settings.body_bytes,
            formats=list(schema.MEDIA_TYPES),
            state={key: pool.state[key] for key in _SHOWN if key in pool.state},
        )


def _probes(app: FastAPI, pool: Pool, counts: Metrics) -> None:
    @app.get("/healthz", tags=["probes"])
    async def healthz() -> schema.Health:
        """The process lives. Needs no token."""
        return schema.Health(status="ok")

    @app.get("/readyz", tags=["probes"], responses=_problems("loading"))
    async def readyz() -> schema.Health:
        """It takes requests: not while loading or stopping; a full queue is ready. Needs no token."""
        pool.check(room=False)
        return schema.Health(status="ok")

    @app.get(
        "/metrics",
        tags=["probes"],
        response_class=Response,
        responses={200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def figures() -> Response:
        """Prometheus' page. It needs the token where there is one: the figures tell who works when."""
        return Response(counts.text(), media_type=metrics.MEDIA_TYPE)


def _gauges(counts: Metrics, pool: Pool) -> None:
    counts.gauge("nano_banana_queue_length", "Requests that wait", lambda: pool.depth)
    counts.gauge("nano_banana_running", "Requests being drawn", lambda: pool.running)
    counts.gauge("nano_banana_ready", "1 while requests are taken", lambda: float(pool.ready))
    for key in ("video_memory_bytes", "peak_video_memory_bytes"):
        counts.gauge(f"nano_banana_{key}", f"The backend's {key} after its last picture", partial(_figure, pool, key))


def _figure(pool: Pool, key: str) -> float:
    return float(pool.state.get(key) or 0)


_PICTURE_REASONS: tuple[Reason, ...] = (
    "bad request",
    "too slow",
    "too large",
    "wrong type",
    "bad input",
    "failed",
    "queue full",
    "timed out",
)
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_PICTURE: dict[str, Any] = {
    "description": "The picture",
    "model": schema.PictureAnswer,
    "content": dict.fromkeys(schema.MEDIA_TYPES.values(), _BINARY),
    "headers": {
        "X-Nano-Banana-Seed": {"schema": {"type": "integer"}, "description": "The seed that drew it."},
        "X-Nano-Banana-Backend": {"schema": {"type": "string"}},
        "X-Nano-Banana-Seconds": {"schema": {"type": "number"}, "description": "Drawing, with its batch."},
        "X-Nano-Banana-Queue-Seconds": {"schema": {"type": "number"}, "description": "The wait before it."},
        "X-Nano-Banana-Notes": {"schema": {"type": "string"}, "description": "A JSON list, where there are notes."},
    },
}
_SAID: dict[int, str] = {
    400: "The body is no JSON.",
    401: "No token, or another.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is said to be something other than plain JSON.",
    422: "A value does not fit, or this backend cannot draw it.",
    500: "The service or its backend failed; the log has more.",
    503: "Reasons: queue full, loading, stopping, out of memory.",
    504: "The time-out of the service ran out; the work was stopped.",
}


def _problems(*reasons: Reason) -> dict[int | str, dict[str, Any]]:
    answers: dict[int | str, dict[str, Any]] = {}
    for reason in reasons:
        status = problem.STATUS[reason]
        answers[status] = {"model": Problem, "description": _SAID[status]}
        if status == 503:
            about = {"schema": {"type": "integer"}, "description": "Seconds; not with the reason out of memory."}
            answers[status]["headers"] = {"Retry-After": about}
    return answers


def _tell_of_token(app: FastAPI) -> None:
    """Put the token into the description: which paths need it, and what they answer without."""
    document = app.openapi()
    document["components"].setdefault("securitySchemes", {})["token"] = {"type": "http", "scheme": "bearer"}
    refused = {
        "description": _SAID[401],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in (PICTURES, "/v1/presets", "/v1/info", "/metrics"):
        for operation in document["paths"][path].values():
            operation["security"] = [{"token": []}]
            operation["responses"]["401"] = refused


def _answer(request: Request, refusal: RefusalError) -> JSONResponse:
    record: Record = request.state.record
    return record.refuse(refusal).response(record.identity)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return _answer(request, error)


async def _engine_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EngineError)
    return _answer(request, problem.of_engine(error))


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: a path or method that does not exist, a body that cannot be read at all."""
    assert isinstance(error, HTTPException)
    words: dict[int, tuple[Reason, str, str]] = {
        404: ("not found", "path", "a path of /openapi.json"),
        405: ("wrong method", "method", "a method of /openapi.json"),
    }
    reason, what, expected = words.get(error.status_code, ("bad request", "body", "one JSON object in UTF-8"))
    found = request.method if reason == "wrong method" else request.url.path
    if reason == "bad request":
        found = "something that cannot be parsed"
    response = _answer(
        request, RefusalError(reason, what, expected=expected, found=found, fix="See GET /openapi.json.")
    )
    response.headers.update(error.headers or {})
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = dict(error.errors()[0])
    fix = "See the schema Picture in GET /openapi.json."
    if first["type"] == "json_invalid":
        where = f"{first.get('ctx', {}).get('error', 'no JSON')} at character {first['loc'][-1]}"
        return _answer(request, RefusalError("bad request", "body", expected="one JSON object", found=where, fix=fix))
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    # ascii(): a value may hold what UTF-8 cannot; nothing else of the client's comes back.
    found = "nothing" if first["type"] == "missing" else ascii(first.get("input"))[:200]
    if first["type"] == "model_attributes_type":
        first["msg"] = "one JSON object"
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return _answer(request, RefusalError("bad input", place[:200], expected=expected, found=found, fix=fix))
