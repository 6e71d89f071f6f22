# SPDX-License-Identifier: GPL-3.0-or-later
"""model.picture: what a picture must be, measured in real pictures that are made here."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import model_picture, picture_probe
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import TIMED_OUT, Completed, LocalHost
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.model_picture import Drawing, Order
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import FAILED, PASSED, Outcome
from PIL import Image, ImageDraw, PngImagePlugin

SIZE = (64, 64)
DRAWN = Completed(0, "{}")
PROBE = Path(picture_probe.__file__)


def order(path: Path) -> Order:
    return Order("engine", sys.executable, str(path), "prompt", "preview", size=SIZE, timeout=5)


def picture(path: Path, paper: str, parts: float, size: tuple[int, int] = SIZE, backend: str = "preview") -> Path:
    """A sheet of ``paper`` whose lower share ``parts`` is covered with dark grey."""
    image = Image.new("RGB", size, paper)
    ImageDraw.Draw(image).rectangle((0, round(size[1] * (1 - parts)), *size), fill="#303030")
    notes = PngImagePlugin.PngInfo()
    notes.add_text(model_picture.BACKEND_KEY, backend)
    image.save(path, "PNG", pnginfo=notes)
    return path


def judged(path: Path) -> Outcome:
    return model_picture.judge(order(path), Drawing(DRAWN, 0.5, measured(path)), {})


def measured(path: Path) -> Completed:
    answer = subprocess.run([sys.executable, str(PROBE), str(path)], capture_output=True, text=True, check=False)
    return Completed(answer.returncode, answer.stdout, answer.stderr)


@pytest.mark.parametrize(
    ("paper", "parts", "size", "backend", "fault"),
    [
        ("white", 0.3, SIZE, "preview", ""),
        ("#f2efe8", 0.5, SIZE, "preview", ""),
        ("black", 0.0, SIZE, "preview", "all black"),
        ("#050505", 0.0, SIZE, "preview", "all black"),
        ("white", 0.0, SIZE, "preview", "one colour only"),
        ("#2060c0", 0.3, SIZE, "preview", "colour shift"),
        ("white", 0.9, SIZE, "preview", "no white background"),
        ("white", 0.3, (64, 32), "preview", "its size is 64x32"),
        ("white", 0.3, SIZE, "diffusion", "backend 'diffusion'"),
        ("white", 0.3, SIZE, "", "names no backend"),
    ],
)
def test_a_picture_is_judged_by_what_it_shows(
    tmp_path: Path, paper: str, parts: float, size: tuple[int, int], backend: str, fault: str
) -> None:
    path = picture(tmp_path / "p.png", paper, parts, size, backend)
    outcome = judged(path)
    assert outcome.status == (FAILED if fault else PASSED)
    assert fault in outcome.detail
    assert outcome.evidence["backend"] == backend


def test_specks_on_an_empty_sheet_are_no_layout(tmp_path: Path) -> None:
    image = Image.new("RGB", SIZE, "white")
    image.putpixel((1, 1), (0, 0, 0))
    path = tmp_path / "p.png"
    image.save(path)
    assert "background covers 100.0%" in judged(path).detail


@pytest.mark.parametrize(
    ("content", "words", "actual"),
    [
        (None, "is missing", "no file"),
        (b"", "is empty", "a file of 0 bytes"),
        (b"not a picture", "cannot be decoded", "cannot identify image file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "cannot be decoded", ""),
    ],
    ids=["missing", "empty", "text", "header"],
)
def test_a_file_that_is_no_picture_fails_with_its_own_reason(
    tmp_path: Path, content: bytes | None, words: str, actual: str
) -> None:
    path = tmp_path / "p.png"
    if content is not None:
        path.write_bytes(content)
    outcome = judged(path)
    assert outcome.status == FAILED
    assert f"{path} {words}" in outcome.detail
    assert actual in outcome.actual


def test_a_truncated_picture_fails(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png", "white", 0.3, (512, 512))
    path.write_bytes(path.read_bytes()[:-200])
    assert judged(path).status == FAILED


@pytest.mark.parametrize(
    ("drawn", "word"),
    [
        (Completed(TIMED_OUT), "page sharing"),
        (Completed(1, err="OSError: [Errno 28] No space left on device"), "A disk is full"),
        (Completed(3, err="Traceback\nValueError: no such backend"), "status 3"),
    ],
)
def test_an_engine_that_fails_is_quoted(tmp_path: Path, drawn: Completed, word: str) -> None:
    outcome = model_picture.judge(order(tmp_path / "p.png"), Drawing(drawn, 5.0), {})
    assert outcome.status == FAILED
    assert word in outcome.detail


def engine(path: Path, body: str) -> str:
    path.write_text(f"#!{sys.executable}\nimport sys\noutput = sys.argv[sys.argv.index('--output') + 1]\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_an_older_picture_never_passes_for_todays(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png", "white", 0.3)
    asked = replace(order(path), engine=engine(tmp_path / "engine", "pass"))
    outcome = model_picture.judge(asked, model_picture.draw(LocalHost(), asked), {})
    assert (outcome.status, path.exists()) == (FAILED, False)


def test_a_picture_drawn_now_is_measured_by_the_environments_python(tmp_path: Path) -> None:
    source = picture(tmp_path / "source.png", "white", 0.3)
    copy = f"import shutil; shutil.copy({str(source)!r}, output)"
    asked = replace(order(tmp_path / "p.png"), engine=engine(tmp_path / "engine", copy))
    outcome = model_picture.judge(asked, model_picture.draw(LocalHost(), asked), {})
    assert outcome.status == PASSED, outcome
    assert outcome.evidence["size"] == [64, 64]


def test_an_engine_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    hang = engine(tmp_path / "engine", "import time; time.sleep(30)")
    asked = replace(order(tmp_path / "p.png"), engine=hang, timeout=0.3)
    outcome = model_picture.judge(asked, model_picture.draw(LocalHost(), asked), {})
    assert outcome.status == FAILED
    assert outcome.actual.startswith("nothing after 0.")


def test_an_older_picture_that_cannot_be_deleted_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "p.png"
    folder.mkdir()
    outcome = model_picture.judge(order(folder), model_picture.draw(LocalHost(), order(folder)), {})
    assert outcome.status == FAILED
    assert "cannot be deleted" in outcome.actual


@pytest.mark.parametrize("out", ["", "[]", "{}", '{"size": [1]}', '{"fault": 7}', "1" * 9999, '{"share": NaN}'])
def test_measures_that_are_none_fail_as_a_picture_that_cannot_be_decoded(tmp_path: Path, out: str) -> None:
    outcome = model_picture.judge(order(tmp_path / "p.png"), Drawing(DRAWN, 0.5, Completed(0, out)), {})
    assert outcome.status == FAILED
    assert "cannot be decoded" in outcome.detail


@pytest.mark.parametrize(
    ("seconds", "facts", "status", "cause"),
    [
        (1.2, {}, PASSED, ""),
        (34.0, {}, FAILED, "page-sharing"),
        (34.0, {"balloon_mb": 900}, FAILED, "ballooned-first-inference"),
        (34.0, {"swapped_mb": 900}, FAILED, "swapped-first-inference"),
    ],
)
def test_a_first_picture_that_is_late_has_a_cause(
    seconds: float, facts: dict[str, object], status: str, cause: str
) -> None:
    outcome = model_picture.judge_first(seconds, 30, facts)
    assert (outcome.status, outcome.cause) == (status, cause)


def test_the_order_is_a_complete_command_line(tmp_path: Path) -> None:
    command = " ".join(order(tmp_path / "p.png").command())
    assert command == (
        f"engine generate --prompt prompt --output {tmp_path}/p.png --size 64x64 --seed 12345 --backend preview --json"
    )
