# SPDX-License-Identifier: GPL-3.0-or-later
"""The model on the guest: its environment, its import, a picture and another one by the same seed."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from conftest import Expected

PROMPT = "LEGO Technic crane set exploded view, colorful bricks separated by type, clean white background"
SIZE = (384, 256)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def venv(expected: Expected) -> str:
    return str(expected.of("model")["venv"])


def test_the_environment_runs_a_python_that_the_engine_supports(venv: str, as_user: Any) -> None:
    found = as_user(f"{venv}/bin/python -c 'import sys; print(*sys.version_info[:2])'").split()
    assert (int(found[0]), int(found[1])) >= (3, 8), f"{venv}: expected Python >= 3.8; found {'.'.join(found)}"


def test_the_engine_is_imported_from_the_environment(venv: str, as_user: Any) -> None:
    program = "import nano_banana; print(nano_banana.__version__, nano_banana.__file__)"
    version, path = as_user(f"cd / && {venv}/bin/python -I -c '{program}'").split()
    assert version[0].isdigit(), f"nano_banana: expected a version; found '{version}'"
    assert path.startswith(venv + "/"), f"nano_banana: expected it below {venv}; found {path}"


def test_the_engine_draws_the_same_picture_of_the_asked_size_twice(venv: str, as_user: Any) -> None:
    draw = (
        f"{venv}/bin/nano-banana generate --prompt '{PROMPT}' --size {SIZE[0]}x{SIZE[1]} --seed 7"
        f" --backend preview --json --output"
    )
    answer = as_user(
        "set -e; folder=$(mktemp -d); trap 'rm -rf $folder' EXIT; "
        f"{draw} $folder/1.png >&2; {draw} $folder/2.png >&2; "
        "head -c 24 $folder/1.png | base64; cmp $folder/1.png $folder/2.png && echo same"
    )
    header, _, verdict = answer.strip().partition("\n")
    start = base64.b64decode(header)
    assert start[:8] == PNG, f"expected a PNG; found a file that begins with {start[:8]!r}"
    size = struct.unpack(">II", start[16:24])
    assert size == SIZE, f"expected {SIZE[0]}x{SIZE[1]}; found {size[0]}x{size[1]}"
    assert verdict == "same", "expected the same picture for the same seed; found a different one"
