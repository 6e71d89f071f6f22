# SPDX-License-Identifier: GPL-3.0-or-later
"""doctor: each finding on a machine that is made for it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFont

from nano_banana import cli, doctor, text
from nano_banana.backends import Settings
from nano_banana.doctor import ABSENT, FAILED, OK, Gpu, Row

CARD = Gpu("NVIDIA RTX 3050", "550.54", 4096, 3900)


@pytest.mark.parametrize(
    ("version", "status"), [((3, 9, 1), FAILED), ((3, 10, 0), OK), ((3, 12, 9), OK), ((3, 14, 0), OK)]
)
def test_python(version: tuple[int, int, int], status: str) -> None:
    row = doctor.python(version)
    assert (row.status, row.found.startswith(".".join(map(str, version)))) == (status, True)
    assert bool(row.fix) is (status == FAILED)
    assert ("newer" in row.found) is (version > (3, 13))


def test_pillow_of_today_is_fine_and_an_old_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.pillow().status == OK
    monkeypatch.setattr("PIL.__version__", "9.4.0")
    assert doctor.pillow().found == "9.4.0, expected 9.5 or later"
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert (doctor.pillow().status, "pip install" in doctor.pillow().fix) == (FAILED, True)


def test_webp_is_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.webp() == Row("WebP", OK, "written and read back")

    def refuse(*_words: Any, **_more: Any) -> None:
        raise KeyError("WEBP")

    monkeypatch.setattr(Image.Image, "save", refuse)
    assert doctor.webp().status == FAILED


def test_a_bitmap_font_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.fonts().status == OK
    bitmap = getattr(ImageFont, "load_default_imagefont", ImageFont.load_default)()
    monkeypatch.setattr(text, "font", lambda size: bitmap)
    assert (doctor.fonts().status, "DejaVu" in doctor.fonts().fix) == (ABSENT, True)


def test_an_extra_is_there_when_all_of_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"whole": ("PIL", "json"), "half": ("json", "no_such_module")})
    assert doctor.extra("whole").status == OK
    row = doctor.extra("half")
    assert (row.status, row.found) == (ABSENT, "no no_such_module")
    assert "pip install '.[half]'" in row.fix


def fake_torch(monkeypatch: pytest.MonkeyPatch, *, built: str | None, devices: int) -> None:
    library: Any = types.ModuleType("torch")
    library.__version__ = "2.5.1"
    library.version = types.SimpleNamespace(cuda=built)
    library.cuda = types.SimpleNamespace(is_available=lambda: devices > 0, device_count=lambda: devices)
    monkeypatch.setitem(sys.modules, "torch", library)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("built", "devices", "device", "cards", "status", "fix"),
    [
        ("12.4", 1, "auto", [CARD], OK, ""),
        (None, 0, "auto", [], OK, ""),
        (None, 0, "auto", [CARD], FAILED, "built for CUDA"),
        ("12.4", 0, "auto", [CARD], FAILED, "Update the driver"),
        (None, 0, "cuda", [], FAILED, "built for CUDA"),
        (None, 0, "cpu", [], OK, ""),
    ],
)
def test_torch_must_see_the_card_that_the_driver_sees(
    monkeypatch: pytest.MonkeyPatch, built: str, devices: int, device: str, cards: list[Gpu], status: str, fix: str
) -> None:
    fake_torch(monkeypatch, built=built, devices=devices)
    row = doctor.torch(device, cards)
    assert row.status == status
    assert fix in row.fix
    assert bool(row.fix) is bool(fix)
    assert f"sees {devices} CUDA devices" in row.found


def test_a_torch_that_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch(monkeypatch, built=None, devices=0)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert doctor.torch("auto", []).status == FAILED
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert doctor.torch("auto", []).status == ABSENT


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("NVIDIA RTX 3050, 550.54, 4096, 3900\n", [CARD]),
        ("NVIDIA RTX 3050, 550.54, 4096, 3900\nA, 1, [N/A], [N/A]\n", [CARD]),
        ("", []),
        ("No devices were found", []),
    ],
)
def test_cards_are_read_from_nvidia_smi(said: str, expected: list[Gpu]) -> None:
    assert doctor.gpus(lambda: said) == expected


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), subprocess.CalledProcessError(9, "nvidia-smi"), subprocess.TimeoutExpired("x", 30)]
)
def test_an_nvidia_smi_that_fails_is_no_card(error: Exception) -> None:
    def ask() -> str:
        raise error

    assert doctor.gpus(ask) == []


def test_no_card_matters_where_cuda_was_asked_for() -> None:
    assert doctor.driver([], "auto").status == ABSENT
    assert doctor.driver([], "cuda:0").status == FAILED
    assert doctor.driver([CARD], "cuda").found == "NVIDIA RTX 3050, driver 550.54, 4096 MiB"


def test_free_memory_is_held_against_the_budget() -> None:
    assert doctor.video_memory([CARD], None) == [Row("memory GPU 0", OK, "3900 of 4096 MiB free")]
    assert [row.status for row in doctor.video_memory([CARD], 3900 * 2**20)] == [OK]
    (short,) = doctor.video_memory([CARD], 3901 * 2**20)
    assert (short.status, "smaller --vram-budget" in short.fix) == (FAILED, True)


def model(folder: Path) -> Path:
    """A folder in the form of a model, its weights a few bytes."""
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "vae": [None, None],
    }
    (folder / "unet").mkdir(parents=True)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    (folder / "unet" / "weights.safetensors").write_bytes(bytes(2**20))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline", **parts}))
    return folder


def test_a_whole_model_is_ok_and_its_size_is_told(tmp_path: Path) -> None:
    row = doctor.model(str(model(tmp_path / "m")))
    assert (row.status, row.found) == (OK, f"{tmp_path / 'm'}: unet, tokenizer; 0.00 GiB of weights")


@pytest.mark.parametrize("broken", ["index", "json", "list", "weights", "part"])
def test_a_broken_model_is_told(tmp_path: Path, broken: str) -> None:
    folder = model(tmp_path)
    index = folder / "model_index.json"
    {
        "index": index.unlink,
        "json": lambda: index.write_text("{"),
        "list": lambda: index.write_text("[]"),
        "weights": (folder / "unet" / "weights.safetensors").unlink,
        "part": lambda: (folder / "tokenizer").rename(folder / "elsewhere"),
    }[broken]()
    row = doctor.model(str(folder))
    assert (row.status, bool(row.fix)) == (FAILED, True)


def test_names_are_files_hub_ids_or_wrong(tmp_path: Path) -> None:
    assert doctor.model("").status == ABSENT
    assert doctor.model("stabilityai/sdxl").status == ABSENT
    assert doctor.model("./nowhere/model").status == FAILED
    assert doctor.source("upscaler", "a/b.pth", hub=False).status == FAILED
    assert doctor.source("lora a", str(tmp_path)).status == OK


def test_examine_has_a_row_for_all_that_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "gpus", lambda: [CARD])
    monkeypatch.setattr(doctor, "torch", lambda device, cards: Row("torch", OK, f"{device} {len(cards)}"))
    settings = Settings(loras={"a": str(tmp_path)}, controlnets={"iso": "x"}, upscaler="none.pth", vram_budget=2**40)
    rows = {row.name: row.status for row in doctor.examine(settings)}
    wanted = ("Python", "Pillow", "WebP", "fonts", "extra quality", "extra serve", "extra diffusion", "torch", "model")
    assert set(wanted) <= set(rows)
    assert (rows["lora a"], rows["control iso"], rows["upscaler"], rows["memory GPU 0"]) == (OK, FAILED, FAILED, FAILED)


def test_the_command_prints_rows_and_fails_when_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row("Python", OK, "3.12"), Row("torch", ABSENT, "not installed", "Type this")]
    monkeypatch.setattr(doctor, "examine", lambda settings: rows)
    assert cli.main(["doctor"]) == 0
    assert (
        capsys.readouterr().out == "ok       Python         3.12\nabsent   torch          not installed -> Type this\n"
    )
    rows.append(Row("model", FAILED, "broken", "Copy it anew"))
    assert cli.main(["doctor", "--json"]) == 1
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == [OK, ABSENT, FAILED]
