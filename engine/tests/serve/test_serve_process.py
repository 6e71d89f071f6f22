# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as a process: its signals, its port, its log."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import nano_banana

START = Path(__file__).with_name("start.py")
SOURCE = Path(nano_banana.__file__).parents[1]
BODY = {"prompt": "pump: gear, 2 screws", "width": 64, "height": 64}
Process = subprocess.Popen  # typed below as Any: its text mode is no part of what is tested


@pytest.fixture
def start(free_port: int) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def go(*arguments: str, ready: bool = True) -> Any:
        command = [sys.executable, str(START), str(free_port), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        made.append(Process(command, stderr=subprocess.PIPE, text=True, env=environment))
        if ready:
            wait_ready(made[-1], free_port)
        return made[-1]

    yield go
    for process in made:
        process.kill()
        process.wait()


def wait_ready(process: Any, port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None, process.stderr.read()
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("not ready within 30 s")


def asked(port: int) -> tuple[threading.Thread, list[httpx.Response]]:
    """A request that is under way."""
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(httpx.post(f"http://127.0.0.1:{port}/v1/pictures", json=BODY, timeout=30))

    thread = threading.Thread(target=ask)
    thread.start()
    end = time.monotonic() + 10
    while httpx.get(f"http://127.0.0.1:{port}/v1/info").json()["running"] == 0:
        assert time.monotonic() < end
        time.sleep(0.02)
    return thread, answers


def test_sigterm_finishes_what_runs_refuses_what_is_new_and_ends_with_0(start: Any, free_port: int) -> None:
    process = start("4")
    thread, answers = asked(free_port)
    process.send_signal(signal.SIGTERM)
    end = time.monotonic() + 3
    while httpx.get(f"http://127.0.0.1:{free_port}/readyz").status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.02)
    refused = httpx.post(f"http://127.0.0.1:{free_port}/v1/pictures", json=BODY)
    assert (refused.status_code, refused.json()["reason"]) == (503, "stopping")
    thread.join(20)
    assert [answer.status_code for answer in answers] == [200]
    assert process.wait(15) == 0
    lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "listening"
    assert "stopping" in events
    assert events[-1] == "stopped"
    posted = [(line["status"], line["outcome"]) for line in lines if line.get("method") == "POST"]
    assert posted == [(503, "rejected"), (200, "ok")]


@pytest.mark.parametrize("signals", [1, 2])
def test_the_grace_ends_by_time_or_by_a_second_signal(start: Any, free_port: int, signals: int) -> None:
    process = start("30", "1" if signals == 1 else "60")
    thread, answers = asked(free_port)
    began = time.monotonic()
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    thread.join(20)
    assert [(answer.status_code, answer.json()["reason"]) for answer in answers] == [(503, "stopping")]
    assert process.wait(15) == 0
    assert time.monotonic() - began < 10


def test_a_port_in_use_is_one_clear_error(start: Any, free_port: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port))
        holder.listen()
        process = start(ready=False)
        assert process.wait(30) == 1
    lines = process.stderr.read().splitlines()
    assert len(lines) == 1
    assert f"--port {free_port}" in lines[0]
    assert "ss -ltnp" in lines[0]
    assert "Traceback" not in lines[0]


def test_a_killed_service_starts_again_on_its_port(start: Any, free_port: int) -> None:
    process = start("5")

    def ask() -> None:
        with pytest.raises(httpx.TransportError):
            httpx.post(f"http://127.0.0.1:{free_port}/v1/pictures", json=BODY, timeout=30)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    thread.join(10)
    assert not thread.is_alive()
    start("0")
    assert httpx.post(f"http://127.0.0.1:{free_port}/v1/pictures", json=BODY, timeout=30).status_code == 200
