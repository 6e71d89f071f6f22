# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/model/files/run_case.py, run_test.sh: one JSON line for every outcome, a picture that is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.programs import loaded

FILES = Path(__file__).parents[3] / "roles/model/files"
CASE = {"id": "TC-1", "prompt": 'pump, it\'s "big"', "seed": 7, "size": "64x48", "format": "png"}
FIELDS = {
    *("id", "status", "profile", "engine_version", "seconds", "output", "sha256", "bytes", "prompt", "seed"),
    *("size", "format", "host", "started", "log", "error"),
}
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 64, 48) + b"rest"
# An engine: writes what it is told to, says more than its JSON, and ends as it is told to.
ENGINE = """
import json, sys, pathlib, time
how, output = sys.argv[1], sys.argv[2]
print("loading"); print("a word on standard error", file=sys.stderr)
if how == "sleep": time.sleep(60)
if how == "fail": print("no memory left", file=sys.stderr); sys.exit(3)
if how == "runner": print("no slice", file=sys.stderr); sys.exit(125)
if how != "nothing": pathlib.Path(output).write_bytes(bytes.fromhex(sys.argv[3]))
print(json.dumps({"engine_version": "9.9", "words": sys.argv[4:]}))
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded(FILES / "run_case.py")


def settings(how: str = "draw", data: bytes = PNG, case: dict[str, Any] | None = None, **more: Any) -> str:
    command = [sys.executable, "-c", ENGINE, how, "{output}", data.hex(), "{prompt}", "{size}", "{seed}"]
    values = {
        "profile": "p",
        "bin": "/x",
        "command": command,
        "timeout": 30,
        "runner": "/none",
        "cases": [case or CASE],
    }
    return json.dumps(values | more)


@pytest.mark.parametrize("name", ["run_case", "install", "probe", "weights"])
def test_programs_for_guests_need_nothing_that_came_with_python_311(name: str) -> None:
    # The environments of guests have Python 3.10: a name that it lacks ended every case there.
    program = "import datetime, runpy, sys; vars(datetime).pop('UTC', None); sys.modules['tomllib'] = None; "
    words = [sys.executable, "-I", "-c", f"{program} runpy.run_path({str(FILES / f'{name}.py')!r}, run_name='loaded')"]
    assert subprocess.run(words, capture_output=True, text=True, check=False).stderr == ""


def test_a_passed_case_says_all_and_leaves_one_picture(script: ModuleType, tmp_path: Path) -> None:
    status, found = script.outcome(settings(), "TC-1", tmp_path)
    assert (status, found["status"], found["error"], set(found)) == (0, "passed", None, FIELDS)
    assert (found["engine_version"], found["bytes"], found["prompt"]) == ("9.9", len(PNG), CASE["prompt"])
    assert Path(found["output"]).read_bytes() == PNG
    assert found["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert [path.name for path in (tmp_path / "output/TC-1").iterdir()] == [f"{found['host']}.png"]
    assert "a word on standard error" in Path(found["log"]).read_text()


@pytest.mark.parametrize(
    ("given", "status", "verdict", "words"),
    [
        ({"how": "fail"}, 1, "failed", "exit status 3: no memory left"),
        ({"how": "nothing"}, 1, "failed", "found no file"),
        ({"data": b""}, 1, "failed", "expected a png"),
        ({"data": PNG.replace(b"\0\0\0\x30", b"\0\0\0\x31")}, 1, "failed", "expected 64x48; found 64x49"),
        ({"data": PNG, "case": CASE | {"format": "webp"}}, 1, "failed", "expected a webp"),
        ({"how": "sleep", "timeout": 0.3}, 1, "error", "expected an end within 0.3 s"),
        ({"command": ["/nowhere/engine"]}, 1, "error", "expected a program"),
        ({"command": []}, 1, "error", "expected a case_command"),
        ({"case": CASE | {"id": "TC-2"}}, 2, "error", "expected one of TC-2"),
        ({"case": CASE | {"seed": "7"}}, 2, "error", "seed: expected a whole number"),
        ({"case": CASE | {"seed": True}}, 2, "error", "seed: expected a whole number"),
        ({"case": CASE | {"size": "64x"}}, 2, "error", "size: expected WIDTHxHEIGHT"),
        ({"case": CASE | {"format": "gif"}}, 2, "error", "format: expected png or jpg or webp"),
        ({"case": CASE | {"format": ["png"]}}, 2, "error", "format: expected png or jpg or webp"),
        ({"case": CASE | {"quality": 90}}, 2, "error", "quality: expected 1 to 100"),
        ({"case": CASE | {"format": "jpg", "quality": 101}}, 2, "error", "quality: expected 1 to 100"),
        ({"case": CASE | {"arguments": "--x"}}, 2, "error", "arguments: expected a list of words"),
        ({"case": CASE | {"steps": 30}}, 2, "error", "unknown ['steps']"),
        ({"case": {"id": "TC-1"}}, 2, "error", "missing ['prompt', 'seed', 'size', 'format']"),
    ],
)
def test_every_other_outcome_has_its_reason_and_leaves_no_picture(
    script: ModuleType, tmp_path: Path, given: dict[str, Any], status: int, verdict: str, words: str
) -> None:
    found_status, found = script.outcome(settings(**given), "TC-1", tmp_path)
    assert (found_status, found["status"]) == (status, verdict), found
    assert words in found["error"]
    assert set(found) == FIELDS
    assert [path for path in tmp_path.glob("output/**/*") if path.is_file()] == []


@pytest.mark.parametrize("case_id", ["", "../cases", "a/b", "-x", "TC 1", "TC-1\n", "ä", "x" * 64, "TC-1;id"])
def test_an_id_that_could_be_a_path_or_a_word_is_refused(script: ModuleType, tmp_path: Path, case_id: str) -> None:
    status, found = script.outcome(settings(), case_id, tmp_path)
    assert (status, found["status"]) == (2, "error")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cases": 1}', '{"cases": []}', '{"cases": [1]}'])
def test_cases_that_cannot_be_read_are_told(script: ModuleType, tmp_path: Path, text: str) -> None:
    status, found = script.outcome(text, "TC-1", tmp_path)
    assert (status, found["status"]) == (2, "error")
    assert "cases.json" in found["error"]


def test_a_prompt_with_braces_is_passed_on_as_it_is(script: ModuleType) -> None:
    given = json.loads(settings())
    words = script.command(given, CASE | {"prompt": "{output} {x}"}, "/out", "/none")
    assert "{output} {x}" in words


def test_the_runner_goes_first_and_its_refusal_is_no_verdict(script: ModuleType, tmp_path: Path) -> None:
    runner = tmp_path / "nano-banana-run"
    runner.write_text('#!/bin/sh\nexec "$@"\n')
    runner.chmod(0o755)
    assert script.command(json.loads(settings()), CASE, "/out", str(runner))[0] == str(runner)
    status, found = script.outcome(settings("runner", runner=str(runner)), "TC-1", tmp_path)
    assert (status, found["status"], found["error"]) == (1, "error", "no slice")


def test_an_older_picture_stays_until_a_new_one_is_whole(script: ModuleType, tmp_path: Path) -> None:
    _status, first = script.outcome(settings(), "TC-1", tmp_path)
    script.outcome(settings("fail"), "TC-1", tmp_path)
    assert Path(first["output"]).read_bytes() == PNG


def test_a_folder_that_cannot_be_written_is_told(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "output").write_text("a file")
    status, found = script.outcome(settings(), "TC-1", tmp_path)
    assert (status, found["status"]) == (1, "error")
    assert "Next: df -h" in found["error"]


def test_a_signal_ends_the_engine_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(settings("sleep"))
    program = [sys.executable, "-I", str(FILES / "run_case.py"), str(tmp_path), str(tmp_path / "cases.json"), "TC-1"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        deadline = time.monotonic() + 20
        while not [log for log in tmp_path.glob("logs/*") if log.stat().st_size] and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        said, _none = running.communicate(timeout=20)
    assert running.returncode == 1
    assert json.loads(said)["error"] == f"stopped by signal {signal.SIGTERM.value}"
    assert list(tmp_path.glob("output/TC-1/*")) == []


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """A folder as the role makes it, in a place with a space."""
    folder = tmp_path / "nano banana"
    folder.mkdir()
    for name in ("run_case.py", "run_test.sh"):
        (folder / name).write_bytes((FILES / name).read_bytes())
    (folder / "run_test.sh").chmod(0o755)
    (folder / "cases.json").write_text(settings())
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to(sys.executable)
    (folder / "environment").write_text(f"NANO_BANANA_VENV='{tmp_path}/venv'\nHF_HOME='/a b'\n")
    return folder


@pytest.mark.parametrize(
    ("words", "status", "verdict"),
    [
        (["TC-1"], 0, "passed"),
        ([], 2, "error"),
        (["TC-9"], 2, "error"),
        (["TC-1", "TC-1"], 2, "error"),
        (["a b"], 2, "error"),
    ],
)
def test_the_shell_script_prints_one_line_from_any_folder(
    guest: Path, words: list[str], status: int, verdict: str
) -> None:
    done = subprocess.run([str(guest / "run_test.sh"), *words], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == status, done.stderr
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [verdict]


@pytest.mark.parametrize("broken", ["environment", "python"])
@pytest.mark.parametrize("case_id", ["TC-1", 'x", "status": "passed'])
def test_the_shell_script_tells_what_is_missing_when_python_cannot(guest: Path, broken: str, case_id: str) -> None:
    (guest / "environment" if broken == "environment" else guest.parent / "venv/bin/python").unlink()
    done = subprocess.run([str(guest / "run_test.sh"), case_id], capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["status"]) == (1, "error")
    assert answer["id"] in ("TC-1", "")
    assert "Next:" in answer["error"]


def test_another_file_of_cases_may_be_named(guest: Path) -> None:
    other = guest.parent / "matrix.json"
    other.write_text(settings(case=CASE | {"id": "M-1"}))
    environment = {**os.environ, "NANO_BANANA_CASES": str(other)}
    done = subprocess.run([str(guest / "run_test.sh"), "M-1"], env=environment, stdout=subprocess.PIPE, check=False)
    assert (done.returncode, json.loads(done.stdout)["id"]) == (0, "M-1")
