# SPDX-License-Identifier: GPL-3.0-or-later
"""The library behind `nano-banana bench`: predictions for a folder, and what a run tells."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from diffusers import ControlNetModel

from nano_banana import bench
from nano_banana.backends import Settings
from nano_banana.diffusion import random_model
from nano_banana.errors import BadInputError
from nano_banana.request import Request


def test_the_memory_model_has_a_row_for_every_plan(tiny: Path) -> None:
    rows = bench.memory_model(Settings(model=str(tiny), device="cpu"), width=128, height=128)
    assert [row["plan"] for row in rows] == ["resident", "balanced", "streamed", "smallest"]
    by_name = {row["plan"]: row for row in rows}
    assert all(row["fits"] for row in rows)
    assert by_name["resident"]["bytes_per_step"] == 0 < by_name["balanced"]["bytes_per_step"]
    assert by_name["streamed"]["weights"] < by_name["balanced"]["weights"] < by_name["resident"]["weights"]


def test_the_memory_model_knows_weights_of_8_bits(tiny: Path) -> None:
    rows = [
        bench.memory_model(Settings(model=str(tiny), device="cpu", weights=weights), width=128, height=128)
        for weights in ("native", "int8")
    ]
    assert [row["weights_kept"] for row in rows[1]] == ["int8"] * 4
    assert all("weights of 8 bits" in row["text"] for row in rows[1])
    # A model this small is aligned to a good part of its bytes.
    assert rows[1][2]["bytes_per_step"] < 0.6 * rows[0][2]["bytes_per_step"]


def test_a_plan_beyond_the_budget_is_a_row_with_its_reason(tiny: Path) -> None:
    rows = bench.memory_model(Settings(model=str(tiny), device="cpu", vram_budget=24 << 20), width=128, height=128)
    assert [row["fits"] for row in rows] == [False, True, True, True]
    assert "--vram-budget" in rows[0]["refused"]


def test_the_largest_controlnet_is_counted(tiny: Path, tmp_path: Path) -> None:
    small = random_model.control_of(random_model.TINY.unet)
    ControlNetModel(**small).save_config(tmp_path / "small")
    ControlNetModel(**small, conditioning_embedding_out_channels=(32, 64, 192, 512)).save_config(tmp_path / "large")
    ControlNetModel(**small | {"cross_attention_dim": 32}).save_config(tmp_path / "other")
    plain = bench.memory_model(Settings(model=str(tiny), device="cpu"), width=128, height=128)
    networks = {name: str(tmp_path / name) for name in ("large", "small")}
    settings = Settings(model=str(tiny), device="cpu", controlnets=networks)
    rows = bench.memory_model(settings, width=128, height=128)
    assert {row["control"] for row in plain} == {None}
    assert {row["control"] for row in rows} == {"large"}
    for before, row in zip(plain, rows, strict=True):
        assert row["control_weights"] > before["control_weights"] == 0
        assert row["weights"] - before["weights"] >= 0.9 * row["control_weights"]
        assert row["activations"] > before["activations"]
        assert "ControlNet" in row["text"]
    for source, told in ((tmp_path / "other", "cross_attention_dim 64.*found 32"), ("hub/name", "no such folder")):
        with pytest.raises(BadInputError, match=told):
            bench.memory_model(dataclasses.replace(settings, controlnets={"iso": str(source)}))


def test_a_folder_without_configurations(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="--model"):
        bench.memory_model(Settings(model=str(tmp_path)))


def test_a_run_on_the_tiny_pipeline(tiny: Path) -> None:
    request = Request("pump, knolling: gear, spring", 64, 64, steps=3, style=False, sharpen=1.0)
    found = bench.run("diffusers", Settings(model=str(tiny), device="cpu"), request, pictures=2)
    assert found["first_picture_s"] > found["later_picture_s"] > 0
    assert found["steps_per_s"] > 0
    assert found["peak_host_bytes"] > 50 << 20
    assert found["state"]["pictures"] == 2
    assert found["peak_video_bytes"] is None or found["peak_video_bytes"] > 0


def test_the_preview_has_no_steps() -> None:
    found = bench.run("preview", Settings(), Request("pump", 64, 64), pictures=1)
    assert (found["steps_per_s"], found["later_picture_s"], found["peak_video_bytes"]) == (None, None, None)


@pytest.mark.parametrize("pictures", [0, 101])
def test_how_many_pictures(pictures: int) -> None:
    with pytest.raises(BadInputError, match="--pictures"):
        bench.run("preview", Settings(), Request("pump", 64, 64), pictures=pictures)
