# SPDX-License-Identifier: GPL-3.0-or-later
"""The command as a process of its own: what it imports, signals, and readers that leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import nano_banana

SOURCE = Path(nano_banana.__file__).parents[1]


def test_drawing_a_preview_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ["fastapi", "torch", "numpy", "rich", "transformers", "diffusers", "uvicorn", "scipy"]
    picture = str(tmp_path / "a.png")
    program = (
        "import sys; from nano_banana import cli; "
        f"code = cli.main(['generate', '--prompt', 'pump', '--size', '64x64', '--output', {picture!r}]); "
        f"print(code, [name for name in {heavy!r} if name in sys.modules])"
    )
    assert run_python("-c", program).stdout.splitlines()[-1] == "0 []"


def test_the_version_needs_neither_pillow_nor_typer() -> None:
    program = (
        "import sys; sys.modules['PIL'] = sys.modules['typer'] = None; from nano_banana import cli; "
        "print(cli.main(['--version']), cli.main(['generate']))"
    )
    done = run_python("-c", program)
    assert done.stdout == f"nano-banana {nano_banana.__version__}\n0 1\n"
    assert "typer: expected an importable typer 0.12.5 or later" in done.stderr


def run_python(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, check=False, timeout=60
    )


def start_batch(folder: Path, words: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nano_banana", "batch", "--output-dir", str(folder), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_real_ctrl_c_in_a_batch_keeps_what_is_done_and_ends_with_130(tmp_path: Path) -> None:
    with start_batch(tmp_path) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(b'{"prompt": "pump: gear", "size": "64x64"}\n')
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["status"] == "ok"
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 130
        said = child.stderr.read().decode()
    assert said == "nano-banana: interrupted, no unfinished file is left\n"
    assert [path.name for path in tmp_path.iterdir()] == ["000001.png"]


def test_a_reader_that_leaves_ends_the_batch_without_a_traceback(tmp_path: Path) -> None:
    with start_batch(tmp_path) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdout.close()
        child.stdin.write(b'{"prompt": "pump: gear", "size": "64x64"}\n' * 2)
        child.stdin.close()
        assert child.wait(timeout=30) == 1
        assert b"Traceback" not in child.stderr.read()
