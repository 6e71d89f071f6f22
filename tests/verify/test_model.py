# SPDX-License-Identifier: GPL-3.0-or-later
"""The model on the guest: its environment, imports, a picture by the same seed, a case by its id, weights, service."""

from __future__ import annotations

import base64
import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Expected

PROFILES = Path(__file__).parents[2] / "roles/model/files/profiles"
PROMPT = "LEGO Technic crane set exploded view, colorful bricks separated by type, clean white background"
SIZE = (384, 256)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def wish(expected: Expected) -> dict[str, Any]:
    """What the role promises, with what its profile says of the variant."""
    promised = expected.of("model")
    profile = yaml.safe_load((PROFILES / f"{promised['profile']}.yml").read_text(encoding="utf-8"))
    variant = profile["variants"][promised["variant"]]

    def runs(command: list[str]) -> bool:
        return bool(command) and ("{weights}" not in " ".join(command) or bool(promised["weights"]))

    return {
        **promised,
        "engine": profile["engine"],
        "modules": variant["modules"],
        "runs_cases": runs(variant["case_command"]),
        "serves": runs(variant["serve_command"]),
    }


@pytest.fixture(scope="module")
def engine(wish: dict[str, Any]) -> None:
    if not wish["engine"]:
        pytest.skip(f"the profile {wish['profile']} brings no engine of this repository")


@pytest.fixture(scope="module")
def runs_cases(wish: dict[str, Any]) -> None:
    if not wish["runs_cases"]:
        pytest.skip(f"the profile {wish['profile']} {wish['variant']} draws no cases yet")


@pytest.fixture(scope="module")
def venv(expected: Expected) -> str:
    return str(expected.of("model")["venv"])


def test_the_environment_runs_a_python_that_the_engine_supports(venv: str, as_user: Any) -> None:
    found = as_user(f"{venv}/bin/python -c 'import sys; print(*sys.version_info[:2])'").split()
    assert (int(found[0]), int(found[1])) >= (3, 8), f"{venv}: expected Python >= 3.8; found {'.'.join(found)}"


def test_the_modules_of_the_profile_are_imported(wish: dict[str, Any], as_user: Any) -> None:
    program = f"import {', '.join(wish['modules'])}"
    as_user(f"cd / && . {wish['folder']}/environment && {wish['venv']}/bin/python -I -c '{program}'")


def test_the_engine_is_imported_from_the_environment(engine: None, venv: str, as_user: Any) -> None:
    program = "import nano_banana; print(nano_banana.__version__, nano_banana.__file__)"
    version, path = as_user(f"cd / && {venv}/bin/python -I -c '{program}'").split()
    assert version[0].isdigit(), f"nano_banana: expected a version; found '{version}'"
    assert path.startswith(venv + "/"), f"nano_banana: expected it below {venv}; found {path}"


def test_the_engine_draws_the_same_picture_of_the_asked_size_twice(
    engine: None, runs_cases: None, venv: str, as_user: Any
) -> None:
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


def one_line(text: str) -> dict[str, Any]:
    lines = text.splitlines()
    assert len(lines) == 1, f"run_test.sh: expected one JSON line on standard output; found {len(lines)} lines"
    answer: dict[str, Any] = json.loads(lines[0])
    return answer


def test_one_case_runs_by_its_id(wish: dict[str, Any], runs_cases: None, as_user: Any) -> None:
    case_id = wish["cases"][0]
    answer = one_line(as_user(f"cd / && {wish['folder']}/run_test.sh {case_id}"))
    assert (answer["id"], answer["status"]) == (case_id, "passed"), f"expected {case_id} passed; found {answer}"
    found = as_user(f"sha256sum < {answer['output']}").split()[0]
    assert found == answer["sha256"], f"{answer['output']}: expected SHA-256 {answer['sha256']}; found {found}"


@pytest.mark.parametrize("words", ["TC-0000-000", "../environment", "", "a b"])
def test_an_unknown_case_is_told_in_one_line(wish: dict[str, Any], host: Any, expected: Expected, words: str) -> None:
    with host.sudo(expected.user):
        done = host.run(f"{wish['folder']}/run_test.sh {words}")
    assert done.rc == 2, f"run_test.sh {words}: expected exit status 2; found {done.rc}"
    assert one_line(done.stdout)["status"] == "error"


def test_the_weights_are_in_the_cache(wish: dict[str, Any], as_user: Any) -> None:
    if not wish["weights"]:
        pytest.skip(f"the wish has no weights for {wish['profile']} {wish['variant']}")
    tests = "; ".join(f'test -s "$NANO_BANANA_WEIGHTS/{name}" || echo {name}' for name in wish["weights"])
    missing = as_user(f". {wish['folder']}/environment; {tests}; true").split()
    assert not missing, f"weights: expected {len(wish['weights'])} files; found none of {', '.join(missing)}"


def test_the_service_answers_where_the_variant_serves(wish: dict[str, Any], engine: None, host: Any) -> None:
    if not host.file("/run/systemd/system").exists:
        pytest.skip("the guest runs no systemd")
    assert host.file(wish["service"]).exists, f"expected {wish['service']}; found none"
    found = host.run("systemctl is-enabled nano-banana.service").stdout.strip()
    wished = "enabled" if wish["serves"] else "disabled"
    assert found == wished, f"nano-banana.service: expected {wished}; found {found}"
    if not wish["serves"]:
        return
    ask = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).status)"
    for _try in range(20):  # a unit counts as started before its program listens
        done = host.run(f"{wish['venv']}/bin/python -c '{ask}' http://127.0.0.1:{wish['port']}/healthz")
        if done.rc == 0:
            break
        time.sleep(1)
    assert done.stdout.strip() == "200", (
        f"nano-banana.service: expected an answer at its port {wish['port']}; found {done.stderr[-300:]}"
    )
