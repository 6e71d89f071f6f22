# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches: a result for each line, nothing outside the folder, a bad line beside good ones."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nano_banana import backends, batch, cli, metadata
from nano_banana.errors import BadInputError, CancelledError
from nano_banana.request import Control, Lora, Request
from nano_banana.watch import Watch

GOOD = {"prompt": "pump: gear, 2 screws", "size": "64x64"}


def drawn(folder: Path, *lines: Any, **more: Any) -> list[dict[str, Any]]:
    text = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return list(batch.run(io.BytesIO(text), batch.Batch(backends.get("preview"), folder, **more)))


def test_each_line_has_a_result_and_a_picture_of_its_own(tmp_path: Path) -> None:
    results = drawn(
        tmp_path,
        {**GOOD, "id": "first", "seed": 5},
        b"",
        {**GOOD, "id": 2, "output": "b.webp", "quality": 50, "size": "80x64"},
    )
    assert [(r["line"], r["id"], r["status"]) for r in results] == [(1, "first", "ok"), (3, 2, "ok")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001.png", "b.webp"]
    assert metadata.read(tmp_path / "000001.png").seed == 5
    assert (results[1]["width"], results[1]["quality"], results[1]["notes"]) == (80, 50, [])
    with Image.open(tmp_path / "b.webp") as picture:
        assert picture.size == (80, 64)


BAD: list[tuple[Any, str]] = [
    (b"{", "line: expected a JSON object in UTF-8"),
    (b'{"prompt": "\xff"}', "line: expected a JSON object in UTF-8"),
    (b"[" * 60000, "line: expected a JSON object in UTF-8"),
    (b'{"prompt": "' + b"x" * 70000 + b'"}', "line: expected at most 65536 bytes; found a longer one"),
    (["pump"], "line: expected a JSON object; found list"),
    ({**GOOD, "colour": "red"}, "'colour'"),
    ({**GOOD, "id": ["a"]}, "id: expected at most 200 characters or a number"),
    ({**GOOD, "id": "x" * 201}, "id: expected at most 200 characters"),
    ({"size": "64x64"}, "--prompt: expected a description of the picture; found nothing"),
    ({**GOOD, "prompt": 5}, "prompt: expected text; found 5"),
    ({**GOOD, "prompt": "\ud800"}, "the control character '\\ud800'"),
    ({**GOOD, "seed": "5"}, "seed: expected a whole number; found '5'"),
    ({**GOOD, "seed": True}, "seed: expected a whole number; found True"),
    ({**GOOD, "seed": -1}, "--seed: expected a whole number from 0"),
    ({**GOOD, "size": "99999x64"}, "--size: expected both sides between 64 and 4096 pixels"),
    ({**GOOD, "guidance": float("nan")}, "--guidance: expected a number from 0 to 30; found nan"),
    ({**GOOD, "guidance": float("inf")}, "guidance: expected a number"),
    ({**GOOD, "style": "yes"}, "style: expected true or false"),
    ({**GOOD, "loras": {"a": 0.5}}, "loras: expected one of those loaded: none; found 'a'"),
    ({**GOOD, "loras": {"a": "much"}}, "loras.a: expected a number"),
    ({**GOOD, "control": {"name": "iso"}}, "control: expected an object with name, picture and strength"),
    ({**GOOD, "quality": 50}, "--quality: expected a .jpg or .webp output"),
    ({**GOOD, "quality": 0, "output": "a.jpg"}, "--quality: expected a whole number from 1 to 100; found '0'"),
    ({**GOOD, "output": "a.gif"}, "ends in .png, .jpg, .jpeg, .webp"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[str(line)[:40] for line, _ in BAD])
def test_a_bad_line_is_a_result_and_the_rest_goes_on(tmp_path: Path, line: Any, message: str) -> None:
    bad, good = drawn(tmp_path, line, GOOD)
    assert (bad["line"], bad["status"], bad["error"]["exit_code"]) == (1, "failed", 2)
    assert message in bad["error"]["message"]
    assert json.loads(json.dumps(bad)) == bad
    assert (good["line"], good["status"]) == (2, "ok")
    assert [path.name for path in tmp_path.iterdir()] == ["000002.png"]


ESCAPES = ["../a.png", "/tmp/a.png", "b/a.png", "b\\a.png", "..", ".a.png", "a.png:x", "C:a.png", "nul.png", "COM1.png"]
ESCAPES += ["a.png.", "a\n.png", "", "a" * 129 + ".png", "link.png", "%2e%2e.png/", "~a.png"]


@pytest.mark.parametrize("name", ESCAPES)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"mine")
    (inside / "link.png").symlink_to(outside)
    (result,) = drawn(inside, {**GOOD, "output": name})
    assert result["status"] == "failed"
    assert result["error"]["message"].startswith("output: expected a file")
    assert outside.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inside", "link.png", "outside.png"]


def test_a_name_is_used_once_also_where_case_is_folded(tmp_path: Path) -> None:
    results = drawn(tmp_path, {**GOOD, "output": "a.png"}, {**GOOD, "output": "A.PNG"}, {**GOOD, "output": "b.png"})
    assert [result["status"] for result in results] == ["ok", "failed", "ok"]
    assert "A.PNG a second time" in results[1]["error"]["message"]


def test_a_second_run_draws_anew(tmp_path: Path) -> None:
    first, second = drawn(tmp_path, GOOD), drawn(tmp_path, {**GOOD, "seed": 3})
    assert [first[0]["status"], second[0]["status"]] == ["ok", "ok"]
    assert metadata.read(tmp_path / "000001.png").seed == 3


def test_fields_become_a_request(tmp_path: Path) -> None:
    fields = {
        **GOOD,
        "seed": 1,
        "negative": "dirt",
        "steps": 5,
        "guidance": 3,
        "loras": {"a": 1},
        "upscale": 2,
        "style": False,
        "sharpen": 1.5,
        "control": {"name": "iso", "picture": "view.png", "strength": 1},
    }
    assert batch.request_of(fields) == Request(
        "pump: gear, 2 screws",
        *(64, 64, 1, "dirt", 5, 3.0, (Lora("a", 1.0),), Control("iso", Path("view.png"), 1.0), 2),
        style=False,
        sharpen=1.5,
    )


def test_a_preset_goes_without_what_is_not_loaded_and_says_so(tmp_path: Path) -> None:
    def preset(name: str, width: int, height: int) -> Request:
        assert name == "dyson"
        return Request("motor", width, height, 12, guidance=8.0, loras=(Lora("knolling", 0.7),))

    (result,) = drawn(tmp_path, {"preset": "dyson", "size": "64x64", "seed": 2}, preset=preset)
    assert (result["prompt"], result["seed"], result["width"]) == ("motor", 2, 64)
    assert result["notes"] == ["without the LoRA knolling: load it with --lora knolling=FILE"]


def test_a_wish_to_stop_ends_the_batch(tmp_path: Path) -> None:
    with pytest.raises(CancelledError):
        drawn(tmp_path, GOOD, GOOD, watch=Watch(stop=lambda: True))
    assert list(tmp_path.iterdir()) == []


def test_safe_names_pass(tmp_path: Path) -> None:
    for name in ("a.png", "TC-2024-001.v2.webp", "0_1.JPG", "console.png"):
        assert batch.safe_path(tmp_path, name) == tmp_path / name
    with pytest.raises(BadInputError):
        batch.safe_path(tmp_path, "con.png")


class Input:
    """Standard input of these bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_the_command_reads_standard_input_and_tells_of_failed_lines_by_exit_code_5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Input(json.dumps(GOOD).encode() + b"\n{\n"))
    assert cli.main(["batch", "--output-dir", str(tmp_path)]) == 5
    said = capsys.readouterr()
    assert [json.loads(line)["status"] for line in said.out.splitlines()] == ["ok", "failed"]
    assert said.err == "1 drawn, 1 failed\n"


def test_the_command_reads_a_file_and_is_quiet_on_wish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\ufeff" + json.dumps(GOOD) + "\r\n" + json.dumps(GOOD), encoding="utf-8")
    assert cli.main(["batch", str(lines), "--output-dir", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["line"] for line in said.out.splitlines()] == [1, 2]
    assert said.err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.jsonl"], "none.jsonl: expected a readable file; found No such file"),
        (["empty.jsonl"], "empty.jsonl: expected at least one JSON line; found none"),
        (["empty.jsonl", "--output-dir", "none"], "--output-dir: expected an existing folder; found none at none"),
        (["empty.jsonl", "--backend", "paint"], "--backend: expected one of"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_stops_a_whole_batch_is_bad_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").write_text("\n\n")
    assert cli.main(["batch", *words]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.err.count("\n"), said.out) == (1, "")
