# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend that does what a test tells it, and a service around it."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from nano_banana.backends import Backend
from nano_banana.request import Lora, Request
from nano_banana.serve.app import ServeSettings, create_app
from nano_banana.watch import UNWATCHED, Watch

GOOD = {"prompt": "pump: gear, 2 screws", "width": 64, "height": 64}


class FakeBackend:
    """Waits in steps while `hold` is set (for the prompt `only`, if any); raises what `raises` has for a prompt."""

    name = "fake"
    summary = "colours"

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.only: str | None = None
        self.raises: dict[str, Exception] = {}
        self.batches: list[list[str]] = []
        self.requests: list[Request] = []
        self.threads: set[int] = set()
        self.stopped = 0
        self.closed = False
        self.figures: dict[str, Any] = {"device": "cpu", "video_memory_bytes": 123, "model": "/secret/model"}

    def generate(self, request: Request, watch: Watch = UNWATCHED) -> Image.Image:
        return self._draw([request], watch)[0]

    def generate_many(self, requests: Sequence[Request], watch: Watch = UNWATCHED) -> list[Image.Image]:
        return self._draw(requests, watch)

    def _draw(self, requests: Sequence[Request], watch: Watch) -> list[Image.Image]:
        self.batches.append([request.prompt for request in requests])
        self.requests += requests
        self.threads.add(threading.get_ident())
        step = 0
        while self.hold.is_set() and self.only in (None, *(request.prompt for request in requests)):
            step += 1
            time.sleep(0.005)
            try:
                watch.step(step, step + 1)
            except Exception:
                self.stopped += 1
                raise
        for request in requests:
            if request.prompt in self.raises:
                raise self.raises[request.prompt]
        return [Image.new("RGB", (request.width, request.height), (request.seed % 256, 9, 9)) for request in requests]

    def state(self) -> dict[str, Any]:
        return dict(self.figures)

    def close(self) -> None:
        self.closed = True


class Preset:
    """One with an adapter."""

    def request(self, seed: int = 12, width: int = 1024, height: int = 1024, **_: Any) -> Request:
        return Request("preset prompt", width, height, seed, steps=9, loras=(Lora("style", 0.7),))

    def to_json(self) -> dict[str, Any]:
        named = {"name": "one", "prompt": "preset prompt", "lora": "style", "controlnet": ""}
        return {**named, "lora_weight": 0.7, "guidance": 7.5, "steps": 9, "seed": 12, "defaulted": ["guidance"]}


class Service:
    """One application, asked in process."""

    def __init__(self, app: FastAPI, backend: Backend) -> None:
        self.app = app
        self.backend = backend
        self.pool = app.state.pool

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://service", timeout=30)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **options)

        return asyncio.run(go())

    def draw(self, body: Any = None, **options: Any) -> httpx.Response:
        return self.ask("POST", "/v1/pictures", json={**GOOD, **(body or {})}, **options)

    def metric(self, line: str) -> float:
        text = self.ask("GET", "/metrics", headers=options_of(self)).text
        return float(next(row.rsplit(" ", 1)[1] for row in text.splitlines() if row.startswith(line + " ")))

    def outcomes(self) -> dict[str, int]:
        names = ("ok", "rejected", "failed", "cancelled", "timed_out", "invalid")
        found = {name: int(self.metric(f'nano_banana_requests_total{{outcome="{name}"}}')) for name in names}
        return {name: count for name, count in found.items() if count}


def options_of(service: Service) -> dict[str, str]:
    token = getattr(service, "token", None)
    return {"Authorization": f"Bearer {token}"} if token else {}


@pytest.fixture
def fake() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def serve(fake: FakeBackend) -> Iterator[Callable[..., Service]]:
    """Make a service: serve(backend=..., **settings)."""
    made: list[Service] = []

    def make(backend: Backend | None = None, **settings: Any) -> Service:
        backend = backend or fake
        made.append(Service(create_app(ServeSettings(**settings), backend), backend))
        made[-1].token = settings.get("token")  # type: ignore[attr-defined]
        return made[-1]

    yield make
    fake.hold.clear()
    for service in made:
        service.pool.close()


@pytest.fixture(autouse=True)
def presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets of the tests' own."""
    module = types.ModuleType("nano_banana.presets")
    module.PRESETS = {"one": Preset()}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nano_banana.presets", module)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.005)


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until
