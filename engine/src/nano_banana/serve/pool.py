# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue and the one thread that owns the backend: a GPU has one owner."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nano_banana.errors import BadInputError, CancelledError, EngineError, MachineError, NoRoomError
from nano_banana.serve import logs, problem
from nano_banana.serve.job import Job, shape
from nano_banana.serve.metrics import Metrics
from nano_banana.serve.problem import RefusalError
from nano_banana.watch import Watch

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.backends import Backend
    from nano_banana.request import Request

_LONGEST_RETRY = 60


class Pool:
    """`submit` and `abandon` are for the event loop; a signal handler may set `stopping`, so that takes no lock."""

    def __init__(self, backend: Backend, metrics: Metrics, *, queue: int, batch: int) -> None:
        self.backend = backend
        self.metrics = metrics
        self.stopping = False
        self.failure: EngineError | None = None
        self.state: dict[str, Any] = {}
        self._queue = queue
        self._batch = batch
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._seen_out_of_memory = 0
        self._mean_run = 1.0
        # A backend that has nothing to load is ready at once.
        self._loaded = getattr(backend, "load", None) is None
        if self._loaded:
            self._look()

    @property
    def ready(self) -> bool:
        """False while loading, stopping, or after a load that failed."""
        return self._loaded and not self.stopping and self.failure is None

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests being drawn, abandoned ones included."""
        return len(self._running)

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing runs."""
        with self._change:
            return not self._waiting and not self._running

    def start(self) -> None:
        """Start the thread, once; it loads the backend first."""
        with self._change:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="backend", daemon=True)
                self._thread.start()

    def check(self, *, room: bool = True) -> None:
        """Whether a request may come in now; without `room`, into a queue with places. Raises RefusalError."""
        if self.stopping:
            raise problem.stopping()
        if not self._loaded or self.failure:
            raise problem.loading()
        if room and len(self._waiting) >= self._queue:
            raise problem.full(self._queue, self._retry_after())

    def submit(self, request: Request, identity: str) -> Job:
        """Put it into the queue. Call it on the event loop that awaits `job.future`. Raises RefusalError."""
        loop = asyncio.get_running_loop()
        self.start()
        with self._change:
            self.check()
            job = Job(request, loop, loop.create_future(), identity)
            self._waiting.append(job)
            self._change.notify()
        return job

    def abandon(self, job: Job) -> None:
        """Nobody waits for it: out of the queue at once, or stopped when the rest of its batch is unwanted too."""
        with self._change:
            job.abandoned = True
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)
        job.future.cancel()

    def cut(self) -> int:
        """Answer all that wait or run with "stopping"; returns how many those were."""
        with self._change:
            jobs = [job for job in (*self._waiting, *self._running) if not job.abandoned]
            self._waiting.clear()
            for job in jobs:
                job.settle(problem.stopping())
                job.abandoned = True
        return len(jobs)

    def close(self, seconds: float = 5.0) -> None:
        """End the thread; it closes the backend itself. Waits at most that long for a step that is under way."""
        self.stopping = True
        self.cut()
        with self._change:
            self._closed = True
            self._change.notify()
        if self._thread:
            self._thread.join(seconds)

    def _retry_after(self) -> int:
        passes = math.ceil(self._queue / self._batch) / 2
        return max(1, min(_LONGEST_RETRY, math.ceil(passes * self._mean_run)))

    def _work(self) -> None:
        try:
            self._load()
            # In a function of its own: a local name here would keep the last pictures alive while the thread waits.
            while self._turn():
                pass
        except EngineError as error:
            self.failure = error
        finally:
            # A backend may hang or fail while it gives memory back, and the process ends all the same.
            with contextlib.suppress(Exception):
                self.backend.close()

    def _load(self) -> None:
        load = getattr(self.backend, "load", None)
        if load is None:
            return
        try:
            load()
        except EngineError:
            raise
        except Exception as error:
            # What a model's files can do to a loader has no common type.
            logs.event("load failed", level=40, error=error)
            raise MachineError(
                "model", expected="one that loads", found=type(error).__name__, fix="Look in the service's log."
            ) from error
        self._look()
        self._loaded = True
        logs.event("loaded", backend=self.backend.name)

    def _turn(self) -> bool:
        with self._change:
            while not self._waiting and not self._closed:
                self._change.wait()
            if self._closed:
                return False
            jobs = self._take()
            self._running = jobs
        try:
            self._run(jobs)
        finally:
            with self._change:
                self._running = []
        return True

    def _take(self) -> list[Job]:
        """The oldest, and those behind it that can share its pass."""
        first = self._waiting.popleft()
        key, jobs = shape(first.request), [first]
        if key is not None:
            for job in tuple(self._waiting):
                if len(jobs) >= self._batch:
                    break
                if shape(job.request) == key:
                    self._waiting.remove(job)
                    jobs.append(job)
        return jobs

    def _run(self, jobs: list[Job]) -> None:
        now = time.monotonic()
        for job in jobs:
            job.started = now
        self.metrics.batch.observe(len(jobs))
        results: Sequence[Image.Image | RefusalError]
        try:
            results = self._draw(jobs)
        except (BadInputError, NoRoomError) as error:
            self._count(error)
            if len(jobs) > 1:
                # One of them may be at fault, or all at once too many.
                for job in jobs:
                    if not job.abandoned:
                        self._run([job])
                return
            results = [problem.of_engine(error)]
        except CancelledError as error:
            results = [problem.of_engine(error)] * len(jobs)
        except EngineError as error:
            logs.event("backend failed", level=40, error=error, id=jobs[0].identity)
            results = [problem.of_engine(error)] * len(jobs)
        except Exception as error:
            # Drivers and libraries raise what they like; this thread has to live, or all later requests hang.
            logs.event("backend broke", level=40, error=error, id=jobs[0].identity)
            results = [problem.broken(job.identity) for job in jobs]
        self._mean_run += 0.3 * (time.monotonic() - now - self._mean_run)
        # Before anybody gets an answer: who reads the metrics then finds this picture in them.
        self._look()
        for job, result in zip(jobs, results, strict=True):
            job.settle(result)

    def _draw(self, jobs: list[Job]) -> list[Image.Image]:
        watch = Watch(stop=lambda: all(job.abandoned for job in jobs))
        try:
            if len(jobs) == 1:
                images = [self.backend.generate(jobs[0].request, watch)]
            else:
                images = self.backend.generate_many([job.request for job in jobs], watch)
        except MemoryError as error:
            raise NoRoomError(
                "memory", expected="room for the picture", found="the end of it", fix="Ask for a smaller picture."
            ) from error
        if len(images) != len(jobs):
            raise RuntimeError(f"{len(images)} pictures for {len(jobs)} requests")
        self._note(jobs)
        return images

    def _note(self, jobs: list[Job]) -> None:
        """Give each job its own notes: they quote its prompt, which is no business of others in its pass or of logs."""
        self._look()
        each = self.state.get("notes_of_each") or ()
        if len(each) == len(jobs):
            for job, notes in zip(jobs, each, strict=True):
                job.notes = tuple(notes)

    def _count(self, error: EngineError) -> None:
        if isinstance(error, NoRoomError):
            known = self._seen_out_of_memory
            self._look()
            # Backends that count for themselves have counted this one.
            if self._seen_out_of_memory == known:
                self.metrics.out_of_memory.inc()

    def _look(self) -> None:
        """Keep what the backend says of itself, asked in the thread that owns it."""
        try:
            state = self.backend.state()
        except Exception as error:
            # A driver that does not tell its memory must not cost the picture.
            logs.event("backend state unknown", level=30, error=error)
            return
        count = state.get("out_of_memory")
        if isinstance(count, int) and count > self._seen_out_of_memory:
            self.metrics.out_of_memory.inc(count - self._seen_out_of_memory)
            self._seen_out_of_memory = count
        self.state = state
