# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue and its one worker: full, batches, time-outs, clients that leave, failures, the stop."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import httpx
import pytest

from nano_banana.errors import BadInputError, MachineError, NoRoomError
from nano_banana.serve.pool import Pool
from nano_banana.watch import CancelledError

GOOD = {"prompt": "pump", "width": 64, "height": 64}


def post(client: httpx.AsyncClient, **body: Any) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(client.post("/v1/pictures", json={**GOOD, **body}))


class Leaving:
    """A client at the level of ASGI, which goes when told to."""

    def __init__(self, app: Any, **body: Any) -> None:
        self._body: bytes | None = json.dumps({**GOOD, **body}).encode()
        self.gone = asyncio.Event()
        self.sent: list[Any] = []
        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/pictures",
            "raw_path": b"/v1/pictures",
            "headers": headers,
        }
        scope |= {
            "query_string": b"",
            "http_version": "1.1",
            "scheme": "http",
            "server": ("service", 80),
            "root_path": "",
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


def test_a_full_queue_is_told_and_never_counted_as_failed(serve: Any, fake: Any, until: Any) -> None:
    service = serve(queue=2, batch=1)
    fake.hold.set()

    async def go() -> None:
        async with service.client() as client:
            running = post(client, prompt="a")
            await until(lambda: service.pool.running == 1)
            waiting = [post(client, prompt=name) for name in "bc"]
            await until(lambda: service.pool.depth == 2)
            assert "nano_banana_queue_length 2.0" in (await client.get("/metrics")).text
            full = await post(client, prompt="d")
            assert (full.status_code, full.json()["reason"]) == (503, "queue full")
            assert 1 <= int(full.headers["retry-after"]) <= 60
            assert (await client.get("/readyz")).status_code == 200
            fake.hold.clear()
            assert [(await task).status_code for task in (running, *waiting)] == [200, 200, 200]

    asyncio.run(go())
    assert fake.batches == [["a"], ["b"], ["c"]]
    assert len(fake.threads) == 1
    assert threading.get_ident() not in fake.threads
    assert service.outcomes() == {"ok": 3, "rejected": 1}
    assert service.metric("nano_banana_queue_length") == 0
    assert service.metric("nano_banana_run_seconds_count") == 3
    assert service.metric("nano_banana_video_memory_bytes") == 123


def test_equal_shapes_share_a_pass_up_to_the_limit(serve: Any, fake: Any, until: Any) -> None:
    service = serve(batch=3)
    fake.hold.set()
    shapes: list[dict[str, Any]] = [
        {"prompt": "a", "seed": 1}, {"prompt": "wide", "width": 128}, {"prompt": "b", "seed": 2},
        {"prompt": "c", "format": "webp"}, {"prompt": "d"}, {"prompt": "steps", "steps": 2},
        {"prompt": "lora", "loras": [{"name": "x"}]}, {"prompt": "negative", "negative": "n"},
    ]  # fmt: skip

    async def go() -> list[httpx.Response]:
        async with service.client() as client:
            tasks = [post(client, prompt="first", height=72)]
            await until(lambda: service.pool.running == 1)
            for number, shape in enumerate(shapes):
                tasks.append(post(client, **shape))
                await until(lambda number=number: service.pool.depth == number + 1)
            fake.hold.clear()
            return await asyncio.gather(*tasks)

    answers = asyncio.run(go())
    assert [answer.status_code for answer in answers] == [200] * 9
    assert fake.batches == [["first"], ["a", "b", "c"], ["wide"], ["d"], ["steps"], ["lora"], ["negative"]]
    # Each client has its own picture of the shared pass.
    assert [answer.headers["x-nano-banana-seed"] for answer in answers[1:4]] == ["1", "0", "2"]
    assert len({answer.content for answer in answers[1:4]}) == 3


def test_one_bad_request_does_not_spoil_its_batch(serve: Any, fake: Any, until: Any) -> None:
    service = serve()
    fake.hold.set()
    fake.raises["bad"] = BadInputError("--prompt", expected="a", found="b", fix="c")
    fake.raises["huge"] = NoRoomError("memory", expected="3 GiB", found="2 GiB", fix="Type --size 64x64.")

    async def go() -> list[int]:
        async with service.client() as client:
            first = post(client, prompt="first", height=72)
            await until(lambda: service.pool.running == 1)
            tasks = [post(client, prompt=name) for name in ("good", "bad", "huge")]
            await until(lambda: service.pool.depth == 3)
            fake.hold.clear()
            await first
            return [(await task).status_code for task in tasks]

    assert asyncio.run(go()) == [200, 422, 503]
    assert service.outcomes() == {"ok": 2, "invalid": 1, "failed": 1}


def test_a_picture_guided_by_another_is_drawn_alone(serve: Any, fake: Any, until: Any) -> None:
    import base64
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "PNG")
    control = {"name": "c", "picture": base64.b64encode(stream.getvalue()).decode()}
    service = serve()
    fake.hold.set()

    async def go() -> None:
        async with service.client() as client:
            tasks = [post(client, prompt="first", height=72)]
            await until(lambda: service.pool.running == 1)
            tasks += [post(client, prompt=name, control=control) for name in "ab"]
            await until(lambda: service.pool.depth == 2)
            fake.hold.clear()
            await asyncio.gather(*tasks)

    asyncio.run(go())
    assert sorted(fake.batches[1:]) == [["a"], ["b"]]


def test_a_time_out_ends_the_work(serve: Any, fake: Any, until: Any) -> None:
    service = serve(timeout_s=0.3, batch=1)
    fake.hold.set()

    async def go() -> None:
        async with service.client() as client:
            answers = await asyncio.gather(post(client, prompt="running"), post(client, prompt="queued"))
            for answer in answers:
                assert (answer.status_code, answer.json()["reason"]) == (504, "timed out")
            await until(lambda: service.pool.idle)

    asyncio.run(go())
    # The queued one may be begun in the moment between the two time-outs; then it is stopped as well.
    assert fake.batches[0] == ["running"]
    assert fake.stopped == len(fake.batches)
    assert service.outcomes() == {"timed_out": 2}
    fake.hold.clear()
    assert service.draw().status_code == 200


def test_a_client_that_leaves_frees_its_place_at_once(serve: Any, fake: Any, until: Any) -> None:
    service = serve(batch=1)
    fake.hold.set()

    async def go() -> None:
        running = Leaving(service.app, prompt="running")
        await until(lambda: service.pool.running == 1)
        queued = Leaving(service.app, prompt="queued")
        await until(lambda: service.pool.depth == 1)
        queued.gone.set()
        await queued.task
        assert (service.pool.depth, service.pool.running) == (0, 1)
        running.gone.set()
        await running.task
        await until(lambda: service.pool.idle)

    asyncio.run(go())
    # The queued one may be begun in the moment between the two time-outs; then it is stopped as well.
    assert fake.batches[0] == ["running"]
    assert fake.stopped == len(fake.batches)
    assert service.outcomes() == {"cancelled": 2}


def test_a_batch_goes_on_while_one_of_it_is_wanted(serve: Any, fake: Any, until: Any) -> None:
    service = serve()
    fake.hold.set()

    async def go() -> None:
        async with service.client() as client:
            first = post(client, prompt="first", height=72)
            await until(lambda: service.pool.running == 1)
            leaving = Leaving(service.app, prompt="leaving")
            staying = post(client, prompt="staying")
            await until(lambda: service.pool.depth == 2)
            fake.only = "staying"
            await first
            await until(lambda: service.pool.running == 2)
            leaving.gone.set()
            await leaving.task
            await asyncio.sleep(0.05)
            assert service.pool.running == 2
            fake.hold.clear()
            assert (await staying).status_code == 200

    asyncio.run(go())
    assert fake.stopped == 0
    assert fake.batches == [["first"], ["leaving", "staying"]]


def test_a_client_that_leaves_while_it_sends(serve: Any, fake: Any) -> None:
    service = serve()

    async def go() -> list[Any]:
        client = Leaving(service.app)
        client._body = None
        client.gone.set()
        await client.task
        return client.sent

    assert asyncio.run(go()) == []
    assert service.outcomes() == {"cancelled": 1}


def test_a_body_that_never_comes_is_too_slow(serve: Any) -> None:
    service = serve(body_s=0.1)

    async def go() -> Any:
        client = Leaving(service.app)
        client._body = None
        await client.task
        return client.sent[0]["status"]

    assert asyncio.run(go()) == 408


def test_bodies_of_all_clients_have_one_bound(serve: Any, fake: Any, until: Any) -> None:
    service = serve(bodies_bytes=600)
    fake.hold.set()

    async def go() -> None:
        async with service.client() as client:
            held = post(client, prompt="a" * 400)
            await until(lambda: service.pool.running == 1)
            more = await post(client, prompt="b" * 400)
            assert (more.status_code, more.json()["reason"]) == (503, "queue full")
            fake.hold.clear()
            assert (await held).status_code == 200
            assert (await post(client, prompt="b" * 400)).status_code == 200

    asyncio.run(go())
    assert service.outcomes() == {"ok": 2, "rejected": 1}


@pytest.mark.parametrize(
    ("error", "status", "reason", "found"),
    [
        (NoRoomError("memory", expected="3 GiB", found="2 GiB free", fix="f"), 503, "out of memory", "2 GiB free"),
        (MemoryError(), 503, "out of memory", "the end of it"),
        (MachineError("device", expected="a GPU", found="none", fix="f"), 500, "failed", "none"),
        (CancelledError(1, 2), 500, "failed", "a wish to stop after 1"),
        (RuntimeError("/secret/path"), 500, "failed", "an error inside the service"),
    ],
)
def test_failures_are_answered_and_the_worker_lives(
    serve: Any, fake: Any, error: Exception, status: int, reason: str, found: str
) -> None:
    service = serve()
    fake.raises["bad"] = error
    answer = service.draw({"prompt": "bad"})
    assert (answer.status_code, answer.json()["reason"], answer.json()["found"]) == (status, reason, found)
    assert "/secret" not in answer.text
    assert "retry-after" not in answer.headers
    assert service.draw().status_code == 200
    assert service.outcomes() == {"ok": 1, "failed": 1}
    assert service.metric("nano_banana_out_of_memory_total") == (reason == "out of memory")


def test_memory_that_the_backend_recovered_from_counts_too(serve: Any, fake: Any) -> None:
    service = serve()
    fake.figures["out_of_memory"] = 3
    assert service.draw().status_code == 200
    assert service.metric("nano_banana_out_of_memory_total") == 3
    fake.raises["bad"] = NoRoomError("memory", expected="a", found="b", fix="c")
    fake.figures["out_of_memory"] = 4
    service.draw({"prompt": "bad"})
    assert service.metric("nano_banana_out_of_memory_total") == 4


def test_a_backend_that_tells_no_state_still_draws(serve: Any, fake: Any, monkeypatch: Any) -> None:
    service = serve()
    monkeypatch.setattr(fake, "state", lambda: 1 // 0)
    assert service.draw().status_code == 200


def test_not_ready_while_the_model_loads(serve: Any, fake: Any, until: Any) -> None:
    loads = threading.Event()
    fake.load = lambda: loads.wait(5)
    service = serve()

    async def go() -> None:
        async with service.app.router.lifespan_context(service.app), service.client() as client:
            assert (await client.get("/healthz")).status_code == 200
            for answer in (await client.get("/readyz"), await post(client)):
                assert (answer.status_code, answer.json()["reason"]) == (503, "loading")
                assert answer.headers["retry-after"]
            loads.set()
            await until(lambda: service.pool.ready)
            assert (await client.get("/readyz")).status_code == 200
            assert (await post(client)).status_code == 200

    asyncio.run(go())
    assert fake.closed


@pytest.mark.parametrize("error", [MachineError("model", expected="a", found="b", fix="c"), ValueError("bad file")])
def test_a_load_that_fails_is_kept_for_the_end(serve: Any, fake: Any, error: Exception) -> None:
    def load() -> None:
        raise error

    fake.load = load
    service = serve()
    service.pool.start()
    service.pool._thread.join(5)
    assert isinstance(service.pool.failure, MachineError)
    assert service.ask("GET", "/readyz").status_code == 503
    assert fake.closed


def test_a_stop_refuses_what_is_new_and_finishes_the_rest(serve: Any, fake: Any, until: Any) -> None:
    service = serve(batch=1)
    fake.hold.set()

    async def go() -> None:
        async with service.client() as client:
            accepted = [post(client, prompt="running")]
            await until(lambda: service.pool.running == 1)
            accepted.append(post(client, prompt="queued"))
            await until(lambda: service.pool.depth == 1)
            service.pool.stopping = True
            for answer in (await post(client), await client.get("/readyz")):
                assert (answer.status_code, answer.json()["reason"]) == (503, "stopping")
            assert (await client.get("/healthz")).status_code == 200
            fake.hold.clear()
            assert [(await task).status_code for task in accepted] == [200, 200]

    asyncio.run(go())
    assert service.outcomes() == {"ok": 2, "rejected": 1}


def test_what_outlasts_the_grace_is_told_so(serve: Any, fake: Any, until: Any) -> None:
    service = serve(batch=1)
    fake.hold.set()

    async def go() -> None:
        async with service.client() as client:
            tasks = [post(client, prompt="running")]
            await until(lambda: service.pool.running == 1)
            tasks.append(post(client, prompt="queued"))
            await until(lambda: service.pool.depth == 1)
            assert service.pool.cut() == 2
            for task in tasks:
                assert ((await task).status_code, (await task).json()["reason"]) == (503, "stopping")
            await until(lambda: service.pool.idle)

    asyncio.run(go())
    # The queued one may be begun in the moment between the two time-outs; then it is stopped as well.
    assert fake.batches[0] == ["running"]
    assert fake.stopped == len(fake.batches)


def test_the_wait_told_to_clients_follows_the_time_a_picture_takes(serve: Any) -> None:
    pool: Pool = serve(queue=16, batch=4).pool
    pool._mean_run = 10.0
    assert pool._retry_after() == 20
    pool._mean_run = 0.001
    assert pool._retry_after() == 1
    pool._mean_run = 1000.0
    assert pool._retry_after() == 60


def test_the_worker_keeps_no_picture_while_it_waits(serve: Any, fake: Any, until: Any, monkeypatch: Any) -> None:
    import gc
    import weakref

    kept: list[weakref.ref[Any]] = []
    draw = fake._draw

    def remember(*given: Any) -> Any:
        images = draw(*given)
        kept.extend(weakref.ref(image) for image in images)
        return images

    monkeypatch.setattr(fake, "_draw", remember)
    service = serve()
    assert service.draw().status_code == 200
    end = time.monotonic() + 5
    while kept[0]() is not None and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    assert kept[0]() is None
