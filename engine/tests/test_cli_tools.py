# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands beside drawing: presets, lint, pack and bench; what they print and with which exit code they end."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nano_banana
from nano_banana import cli, lint
from nano_banana.backends import Settings
from nano_banana.presets import PRESETS
from nano_banana.request import Request


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """A module of nano_banana that exists for this test alone."""
    module = types.ModuleType(f"nano_banana.{name}")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, f"nano_banana.{name}", module)
    monkeypatch.setattr(nano_banana, name, module, raising=False)


def test_presets_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets", "list"]) == 0
    assert capsys.readouterr().out == "".join(f"{name}: {preset.prompt}\n" for name, preset in PRESETS.items())
    assert cli.main(["presets", "show", "lego", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == PRESETS["lego"].to_json()
    assert cli.main(["presets", "show", "dyson"]) == 0
    assert "lora_weight: 0.7\n" in capsys.readouterr().out
    assert cli.main(["presets", "list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(PRESETS)
    assert cli.main(["presets", "show", "ikea"]) == 2
    assert "--preset: expected one of: airpods, dyson, lego; found 'ikea'" in capsys.readouterr().err


def test_lint_tells_mends_and_is_strict_on_wish(capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "pump, parts scattered around"
    assert cli.main(["lint", prompt]) == 0
    said = capsys.readouterr().out
    assert said.startswith("6: scattered: 'parts scattered around': parts arranged in grid")
    assert cli.main(["lint", prompt, "--strict", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["findings"] == [dataclasses.asdict(finding) for finding in lint.lint(prompt)]
    assert (told["prompt"], told["fixed"]) == (prompt, None)
    assert cli.main(["lint", prompt, "--fix"]) == 0
    mended = capsys.readouterr().out
    assert mended == f"{lint.fix(prompt)}\n"
    assert cli.main(["lint", mended.strip(), "--strict"]) == 0
    assert capsys.readouterr().out == ""


def test_pack_says_what_it_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    @dataclass
    class Proof:
        embedding_difference: float = 0.0011
        psnr: float | None = 66.6

    @dataclass
    class Report:
        target: str
        before: dict[str, int]
        after: dict[str, int]
        dropped: tuple[str, ...] = ("unet: a second copy",)
        notes: tuple[str, ...] = ()
        proof: Proof = dataclasses.field(default_factory=Proof)
        saved: float = 0.5

    def pack(source: str, target: Path, dtype: str, *, vae_dtype: str) -> Report:
        calls.append((source, target, dtype, vae_dtype))
        return Report(str(target), {"unet": 32_000_000}, {"unet": 16_000_000})

    monkeypatch.setitem(sys.modules, "nano_banana.diffusion.pack", types.SimpleNamespace(pack=pack))
    new = tmp_path / "new"
    assert cli.main(["pack", "model", str(new), "--dtype", "bfloat16"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "unet                  32.0 -> 16.0 MB",
        "left out        unet: a second copy",
        "proof           embeddings differ by 0.0011, the picture: 66.6 dB",
        f"wrote {new}: 50.0% smaller",
    ]
    assert cli.main(["pack", "model", str(new), "--json", "--vae-dtype", "float16"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["saved"], found["after"], found["proof"]["psnr"]) == (0.5, {"unet": 16_000_000}, 66.6)
    assert calls == [("model", new, "bfloat16", "float32"), ("model", new, "float16", "float16")]


def test_bench_on_a_system_without_the_module_resource(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Windows is one; None is how Python marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "resource", None)
    assert cli.main(["bench", "--prompt", "pump", "--size", "64x64", "--pictures", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["peak_host_bytes"] is None
    assert found["first_picture_s"] > 0


def test_bench_measures_or_predicts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[Any] = []

    def run(name: str, settings: Settings, request: Request, pictures: int) -> dict[str, Any]:
        calls.append((name, settings, request, pictures))
        return {"steps_per_second": 2.5, "device": "cpu"}

    def memory_model(settings: Settings, **shape: Any) -> list[dict[str, Any]]:
        calls.append(shape | settings.controlnets)
        fits = {"plan": "streamed", "fits": True, "peak": 3, "text": "plan streamed: peak 3"}
        return [{"plan": "resident", "fits": False, "refused": "expected 10; found 5."}, fits]

    stand_in(monkeypatch, "bench", run=run, memory_model=memory_model)
    assert cli.main(["bench", "--prompt", "x", "--size", "64x64", "--pictures", "2", "--model", "m"]) == 0
    assert capsys.readouterr().out == "steps_per_second: 2.500\ndevice: cpu\n"
    assert cli.main(["bench", "--memory-model", "--guidance", "1"]) == 0
    said = capsys.readouterr().out
    assert said == "plan resident: does not fit: expected 10; found 5.\nplan streamed: peak 3\n"
    assert cli.main(["bench", "--memory-model", "--size", "80x64", "--json"]) == 0
    assert [row["plan"] for row in json.loads(capsys.readouterr().out)] == ["resident", "streamed"]
    assert calls == [
        ("preview", Settings(model="m"), Request("x", 64, 64), 2),
        {"width": 1024, "height": 1024, "guidance": False},
        {"width": 80, "height": 64, "guidance": True},
    ]
    assert cli.main(["bench", "--memory-model", "--control", "iso=folder"]) == 0
    assert calls[-1]["iso"] == "folder"
    assert cli.main(["bench", "--pictures", "few"]) == 2
