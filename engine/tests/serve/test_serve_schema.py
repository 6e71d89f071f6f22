# SPDX-License-Identifier: GPL-3.0-or-later
"""The service does what its OpenAPI schema says, whatever is sent: schemathesis makes requests up from it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from nano_banana.request import Request
from nano_banana.serve.app import ServeSettings, create_app
from nano_banana.watch import UNWATCHED, Watch


class Tolerant:
    """Draws whatever passed the service's own checks."""

    name = "tolerant"
    summary = "one colour"

    def generate(self, request: Request, watch: Watch = UNWATCHED) -> Image.Image:
        watch.step(1, 1)
        return Image.new("RGB", (request.width * request.upscale, request.height * request.upscale))

    def generate_many(self, requests: Sequence[Request], watch: Watch = UNWATCHED) -> list[Image.Image]:
        return [self.generate(request, watch) for request in requests]

    def state(self) -> dict[str, Any]:
        return {"device": "cpu", "video_memory_bytes": 0}

    def close(self) -> None:
        pass


@pytest.fixture
def schema(presets: None) -> Any:
    app = create_app(ServeSettings(max_side=128), Tolerant())
    # Each client of schemathesis would start the service and stop it for good; the worker starts by itself.
    app.router.lifespan_context = lambda _: contextlib.nullcontext()
    return schemathesis.openapi.from_asgi("/openapi.json", app)


OPERATIONS = [
    ("/v1/pictures", "POST"),
    ("/v1/presets", "GET"),
    ("/v1/info", "GET"),
    ("/healthz", "GET"),
    ("/readyz", "GET"),
    ("/metrics", "GET"),
]


def test_every_operation_is_looked_at(schema: Any) -> None:
    found = [result.ok() for result in schema.get_all_operations()]
    assert sorted((each.path, each.method.upper()) for each in found) == sorted(OPERATIONS)


def _beyond_a_schema(body: Any) -> bool:
    """What no schema can say: base64 that is a picture, and that a PNG has no quality."""
    return isinstance(body, dict) and ("control" in body or ("quality" in body and body.get("format", "png") == "png"))


# Only the one with a body takes something that could be wrong.
CASES = [(*each, GenerationMode.POSITIVE) for each in OPERATIONS] + [(*OPERATIONS[0], GenerationMode.NEGATIVE)]


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_the_service_keeps_to_its_schema(schema: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = schema[path][method]
    seen: set[int] = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=80 if method == "POST" else 5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        response = case.call()
        beyond = mode is GenerationMode.POSITIVE and _beyond_a_schema(case.body)
        case.validate_response(response, excluded_checks=[CHECKS.get_one("positive_data_acceptance")] if beyond else [])
        if not beyond:
            seen.add(response.status_code)

    check()
    assert seen
    assert seen <= ({200} if mode is GenerationMode.POSITIVE else {400, 415, 422}), seen
