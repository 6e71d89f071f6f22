# SPDX-License-Identifier: GPL-3.0-or-later
"""ControlNets beside a pipeline: shapes, strength, shared weights, and guide pictures of any size."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLPipeline
from PIL import Image

from nano_banana.diffusion import control, lora
from nano_banana.diffusion.random_model import random_lora
from nano_banana.errors import BadInputError
from nano_banana.request import Control, Lora

CALL: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 3.0, "width": 128, "height": 128}


@pytest.fixture(scope="module")
def pipeline(tiny: Path) -> Any:
    made = StableDiffusionXLPipeline.from_pretrained(str(tiny), local_files_only=True, add_watermarker=False)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folder(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet that is a copy of the UNet's first half, with layers at its end that are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        made = ControlNetModel.from_unet(pipeline.unet)
        for block in [*made.controlnet_down_blocks, made.controlnet_mid_block, made.controlnet_cond_embedding.conv_out]:
            torch.nn.init.normal_(block.weight, std=0.2)
    path = tmp_path_factory.mktemp("control") / "net"
    made.save_pretrained(str(path))
    return path


@pytest.fixture(scope="module")
def network(folder: Path) -> ControlNetModel:
    return control.load(str(folder), torch.float32)


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for nano_banana.pictures where that is not there yet, by its contract."""

    def open_picture(source: Path | bytes) -> Any:
        if not isinstance(source, Path):
            raise BadInputError("picture", expected="a picture", found="none", fix="Give one.")
        return types.SimpleNamespace(image=Image.open(source).convert("RGB"), notes=("It is blurred.",))

    module = types.ModuleType("nano_banana.pictures")
    module.open_picture = open_picture  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nano_banana.pictures", module)


def _guide(width: int = 128, height: int = 128) -> Image.Image:
    image = Image.new("RGB", (width, height), "black")
    image.paste("white", (width // 4, height // 4, width // 2, height // 2))
    return image


def _draw(pipeline: Any, **call: Any) -> np.ndarray[Any, Any]:
    made = torch.Generator().manual_seed(1)
    return np.array(pipeline("a pump", generator=made, **CALL, **call).images[0]).astype(int)


def _guided(pipeline: Any, network: ControlNetModel, strength: float, picture: Image.Image) -> np.ndarray[Any, Any]:
    made = torch.Generator().manual_seed(1)
    output = control.run(pipeline, network, picture, strength, prompt="a pump", generator=made, **CALL)
    return np.array(output.images[0]).astype(int)


def test_strength_and_picture_change_the_result(pipeline: Any, network: ControlNetModel) -> None:
    plain = _draw(pipeline)
    guided = _guided(pipeline, network, 0.8, _guide())
    assert guided.shape == plain.shape == (128, 128, 3)
    assert np.abs(guided - plain).mean() > 1
    assert np.array_equal(_guided(pipeline, network, 0.8, _guide()), guided)
    assert np.array_equal(_guided(pipeline, network, 0.0, _guide()), plain)
    assert not np.array_equal(_guided(pipeline, network, 0.8, _guide().rotate(180)), guided)


def test_nothing_is_copied(pipeline: Any, network: ControlNetModel) -> None:
    shared = control.share(pipeline, network)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        own, others = getattr(pipeline, name).state_dict(), getattr(shared, name).state_dict()
        assert own.keys() == others.keys()
        assert {key: value.data_ptr() for key, value in own.items()} == {
            key: value.data_ptr() for key, value in others.items()
        }
    assert shared.controlnet is network


def test_adapters_act_in_both(tiny: Path, network: ControlNetModel, tmp_path: Path) -> None:
    own = StableDiffusionXLPipeline.from_pretrained(str(tiny), local_files_only=True, add_watermarker=False)
    before = _guided(own, network, 0.8, _guide())
    lora.load(own, "a", str(random_lora(own, tmp_path / "a.safetensors")))
    assert np.array_equal(_guided(own, network, 0.8, _guide()), before)
    lora.use(own, [Lora("a", 1.0)])
    assert not np.array_equal(_guided(own, network, 0.8, _guide()), before)


def test_dtype_and_gradients(folder: Path) -> None:
    loaded = control.load(str(folder), torch.float16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float16}
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("size", "inner"), [((128, 64), (0, 32, 128, 96)), ((32, 64), (32, 0, 96, 128)), ((1000, 10), (0, 63, 128, 64))]
)
def test_other_sizes_keep_their_aspect(
    pictures: None, tmp_path: Path, size: tuple[int, int], inner: tuple[int, ...]
) -> None:
    image = Image.new("RGB", size, (10, 20, 30))
    image.paste((200, 100, 50), (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4))
    image.save(tmp_path / "guide.png")
    made, notes = control.prepare(Control("iso", tmp_path / "guide.png"), 128, 128)
    assert (made.size, made.mode) == ((128, 128), "RGB")
    assert notes[0] == "It is blurred."
    assert f"has {size[0]}x{size[1]} pixels and was resized to {inner[2] - inner[0]}x{inner[3] - inner[1]}" in notes[1]
    assert "fill 128x128" in notes[1]
    outside = np.array(made).reshape(128, 128, 3)
    outside = np.delete(outside, slice(inner[1], inner[3]), axis=0) if inner[0] == 0 else outside[:, : inner[0]]
    assert set(map(tuple, outside.reshape(-1, 3))) == {(10, 20, 30)}
    centre = made.getpixel((64, 63))
    assert isinstance(centre, tuple)
    assert centre[0] > 100


def test_same_aspect_is_not_padded() -> None:
    made, notes = control.fit(_guide(64, 64), 128, 128)
    assert made.size == (128, 128)
    assert notes == ("The guide picture has 64x64 pixels and was resized to 128x128.",)
    same, none = control.fit(made, 128, 128)
    assert same is made
    assert none == ()


def test_notes_are_told_and_not_logged(pictures: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _guide(64, 32).save(tmp_path / "guide.png")
    image, notes = control.prepare(Control("iso", tmp_path / "guide.png"), 64, 64)
    assert image.size == (64, 64)
    assert notes[0] == "It is blurred."
    assert "64x32" in notes[1]
    assert not caplog.records
    with pytest.raises(BadInputError, match="expected a picture"):
        control.prepare(Control("iso", b"no picture"), 64, 64)


def _altered(folder: Path, target: Path, **values: Any) -> Path:
    target.mkdir()
    config = json.loads((folder / "config.json").read_text()) | values
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_folders_that_are_no_controlnet(folder: Path, tiny: Path, tmp_path: Path) -> None:
    weights = "diffusion_pytorch_model.safetensors"
    cut = _altered(folder, tmp_path / "cut")
    (cut / weights).write_bytes((folder / weights).read_bytes()[:-9])
    other = _altered(folder, tmp_path / "other", addition_embed_type=None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("[")
    for path, words in (
        (tmp_path / "absent", "no such folder"),
        (folder / "config.json", "a file"),
        (tiny / "unet", "a UNet2DConditionModel"),
        (tmp_path / "broken", "JSONDecodeError"),
        (other, "addition_embed_type None"),
        (_altered(folder, tmp_path / "bare"), r"no \*\.safetensors"),
        (cut, "does not load"),
    ):
        with pytest.raises(BadInputError, match=words) as caught:
            control.load(str(path), torch.float32)
        assert "Type --control NAME=FOLDER" in caught.value.fix


def test_a_controlnet_of_another_model_is_refused(pipeline: Any) -> None:
    config = dict(ControlNetModel.from_unet(pipeline.unet, load_weights_from_unet=False).config)
    other = ControlNetModel.from_config(config | {"cross_attention_dim": 32})
    with pytest.raises(BadInputError, match="cross_attention_dim 64, as the model has; found 32"):
        control.share(pipeline, other)
