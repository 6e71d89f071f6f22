# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the machine: programs are ended in time, and what several ask runs once."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import (
    LINE,
    NOT_FOUND,
    TIMED_OUT,
    Completed,
    LocalHost,
    Once,
    shown,
)


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_program_gives_its_status_and_words() -> None:
    done = LocalHost().run(python("import sys; print('out'); sys.stderr.write('err'); sys.exit(3)"), 20)
    assert done == Completed(3, "out\n", "err")


def test_bytes_that_are_no_text_are_read_all_the_same() -> None:
    done = LocalHost().run(python("import sys; sys.stdout.buffer.write(bytes(range(256)))"), 20)
    assert done.rc == 0
    assert "\ufffd" in done.out


def test_a_program_that_is_missing_has_its_own_status() -> None:
    assert LocalHost().run(["/nowhere/program"], 5) == Completed(
        NOT_FOUND, err="/nowhere/program: No such file or directory"
    )


@pytest.mark.parametrize("text", ["import time; time.sleep(30)", "import os, time; os.fork(); time.sleep(30)"])
def test_what_hangs_is_ended_with_its_children(text: str) -> None:
    started = time.monotonic()
    assert LocalHost().run(python(text), 0.5).rc == TIMED_OUT
    assert time.monotonic() - started < 10


def test_a_child_that_left_the_group_and_keeps_the_pipe_is_not_waited_for() -> None:
    started = time.monotonic()
    done = LocalHost().run(["setsid", "-f", "sleep", "15"], 0.5)
    assert done.rc == TIMED_OUT
    assert time.monotonic() - started < 10


def test_files_are_found_by_pattern(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert LocalHost().glob(f"{tmp_path}/*") == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert LocalHost().read(f"{tmp_path}/none") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [("", ""), (" a\tb \n", "a b"), ("\x1b[31mred\x07", "[31mred"), ("x" * 999, "x" * (LINE - 3) + "...")],
)
def test_what_is_shown_is_one_line_without_control_characters(text: str, line: str) -> None:
    assert shown(text) == line


def test_the_last_line_is_the_one_that_says_why() -> None:
    assert Completed(1, "out", "Traceback\nValueError: no\n").last_line() == "ValueError: no"
    assert Completed(1, "", "\x07\n").last_line() == "nothing was written, exit status 1"


class Counting:
    """Takes down what it ran, and takes its time."""

    def __init__(self) -> None:
        self.ran: list[Sequence[str]] = []

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        self.ran.append(argv)
        time.sleep(0.05)
        return Completed(0, str(len(self.ran)))


def test_who_asks_while_it_runs_gets_the_same_answer() -> None:
    host = Counting()
    once = Once(host)  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _each: once.run(["a"], 1), range(4)))
    assert answers == [Completed(0, "1")] * 4
    once.run(["b"], 1)
    assert len(host.ran) == 2
