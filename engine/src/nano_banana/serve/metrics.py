# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads. Each service has a registry of its own, so that two in one process do not add up."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from nano_banana.serve.problem import OUTCOMES

_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Times in seconds, memory in bytes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "nano_banana_requests",
            "Requests for a picture by outcome: rejected is the queue's limit or a stop at work, failed is a fault",
            ("outcome",),
            registry=self.registry,
        )
        for outcome in OUTCOMES:
            # A rate over a series needs its zero.
            self.requests.labels(outcome)
        self.out_of_memory = Counter(
            "nano_banana_out_of_memory", "Times that memory ended, recovered ones included", registry=self.registry
        )
        self.queue_seconds = self._histogram("nano_banana_queue_seconds", "Wait of a request before it was drawn")
        self.run_seconds = self._histogram("nano_banana_run_seconds", "Drawing of a request, with its batch")
        self.batch = Histogram(
            "nano_banana_batch_size",
            "Requests drawn in one pass",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=_BUCKETS, registry=self.registry)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A value that is asked for at each reading."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """The page in Prometheus' text format."""
        return generate_latest(self.registry)
