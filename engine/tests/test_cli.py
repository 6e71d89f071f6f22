# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: what it writes, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import nano_banana
from nano_banana import cli, metadata, output
from nano_banana.errors import MachineError

SOURCE = Path(nano_banana.__file__).parents[1]
GOOD = ["generate", "--prompt", "pump: gear, 2 screws", "--size", "96x80", "--seed", "5"]


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "nano_banana", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.jpeg", "a.webp"])
def test_generate_writes_the_picture_and_its_origin(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    assert cli.main([*GOOD, "--backend", "preview", "--output", str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert metadata.read(path) == metadata.Metadata(
        "preview", 5, "pump: gear, 2 screws", 96, 80, nano_banana.__version__
    )
    assert result["bytes"] == path.stat().st_size
    assert (result["backend"], result["seed"], result["width"], result["height"]) == ("preview", 5, 96, 80)
    with Image.open(path) as image:
        assert image.size == (96, 80)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_same_command_same_bytes(tmp_path: Path) -> None:
    for name in ("a.webp", "b.webp"):
        assert cli.main([*GOOD, "--output", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes()


def test_quality_makes_the_file_smaller(tmp_path: Path) -> None:
    for name, quality in (("low.jpg", "10"), ("high.jpg", "95")):
        assert cli.main([*GOOD, "--output", str(tmp_path / name), "--quality", quality]) == 0
    assert (tmp_path / "low.jpg").stat().st_size < (tmp_path / "high.jpg").stat().st_size / 2


def test_line_for_people_names_the_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*GOOD, "--output", str(tmp_path / "a.png")]) == 0
    assert "backend preview (layout drawing, not a diffusion image), seed 5" in capsys.readouterr().out


BAD = [
    (["--size", "big"], "--size: expected WIDTHxHEIGHT in pixels; found 'big'"),
    (["--size", "96"], "--size: expected WIDTHxHEIGHT"),
    (["--size=-96x96"], "--size: expected WIDTHxHEIGHT"),
    (["--size", "63x64"], "between 64 and 4096 pixels; found 63x64"),
    (["--size", "64x4097"], "between 64 and 4096 pixels; found 64x4097"),
    (["--seed", "-1"], "--seed: expected a whole number from 0 to 4294967295; found '-1'"),
    (["--seed", "4294967296"], "found 4294967296"),
    (["--seed", "1.5"], "--seed: expected a whole number"),
    (["--prompt", "  "], "--prompt: expected a description of the picture; found nothing"),
    (["--prompt", "x" * 4001], "at most 4000 characters; found 4001"),
    (["--prompt", "bell\x07"], "the control character '\\x07' at position 4"),
    (["--backend", "difusion"], "--backend: expected one of: diffusers, preview; found 'difusion'"),
    (["--output", "a.gif"], "ends in .png, .jpg, .jpeg, .webp; found '.gif'"),
    (["--output", "picture"], "found no extension"),
    (["--output", "none/here/a.png"], "Make it with: mkdir -p 'none/here'"),
    (["--output", "file.txt/a.png"], "a folder file.txt; found a file"),
    (["--output", "folder.png"], "something else of that name"),
    (["--output", "x" * 300 + ".png"], "a usable file name"),
    (["--quality", "50"], "which keeps every pixel"),
    (["--output", "a.jpg", "--quality", "0"], "--quality: expected a whole number from 1 to 100; found '0'"),
    (["--output", "a.jpg", "--quality", "good"], "found 'good'"),
    (["--colour", "red"], "No such option: --colour"),
    (["--siz", "64x64"], "No such option: --siz"),
    (["--size"], "Option '--size' requires an argument"),
]


@pytest.mark.parametrize(("more", "message"), BAD, ids=[" ".join(more)[:30] for more, _ in BAD])
def test_bad_input_is_one_message_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").touch()
    before = sorted(tmp_path.iterdir())
    assert cli.main([*GOOD, "--output", "good.png", *more]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("nano-banana: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [[], ["paint"], ["generate"], ["generate", "--prompt", "x"]])
def test_incomplete_command_is_bad_input(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "--help" in capsys.readouterr().err


def test_folder_without_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Tests often run as root, whom no permission stops: the question is answered for them.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cli.main([*GOOD, "--output", str(tmp_path / "a.png")]) == 2
    assert "found no permission" in capsys.readouterr().err


def test_full_disk_leaves_the_old_file_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert cli.main([*GOOD, "--output", str(path)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_missing_webp_support_is_a_machine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.features, "check", lambda feature: False)
    with pytest.raises(MachineError, match="built without it"):
        output.format_of(Path("a.webp"))


@pytest.mark.skipif(os.name != "posix", reason="modes and symbolic links of POSIX")
def test_mode_follows_the_umask_and_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    earlier = os.umask(0o027)
    try:
        assert cli.main([*GOOD, "--output", str(tmp_path / "link.png")]) == 0
    finally:
        os.umask(earlier)
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no UTF-8")
def test_any_file_name_is_printable(tmp_path: Path) -> None:
    done = run_module(*GOOD, "--output", os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.png"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "a\\udcff.png" in done.stdout


def test_python_dash_m_works_and_prints_the_version() -> None:
    done = run_module("--version")
    assert (done.returncode, done.stdout) == (0, f"nano-banana {nano_banana.__version__}\n")


def test_python_dash_m_fails_without_traceback(tmp_path: Path) -> None:
    done = run_module("generate", "--prompt", "x", "--size", "1x1", "--output", str(tmp_path / "a.png"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("nano-banana: --size: expected both sides")


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--help"]) == 0
    assert "2 bad input" in " ".join(capsys.readouterr().out.split())
