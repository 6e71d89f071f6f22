# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapters at run time: equal to merged weights, switched without a trace, and refused in words."""

from __future__ import annotations

import copy
import functools
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from nano_banana.diffusion import lora
from nano_banana.diffusion.random_model import random_lora
from nano_banana.errors import BadInputError
from nano_banana.request import Lora

MODULE = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


@functools.lru_cache(maxsize=1)
def _unet(tiny: Path) -> Any:
    unet = UNet2DConditionModel.from_pretrained(str(tiny), subfolder="unet", local_files_only=True)
    return unet.eval().requires_grad_(False)


def _fresh(tiny: Path) -> Any:
    """A pipeline of its own as the backend calls it: without encoders and VAE."""
    names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    absent: dict[str, Any] = dict.fromkeys(names)
    return StableDiffusionXLPipeline(**absent, unet=copy.deepcopy(_unet(tiny)), scheduler=EulerDiscreteScheduler())


@pytest.fixture
def pipeline(tiny: Path) -> Any:
    return _fresh(tiny)


@pytest.fixture
def files(tiny: Path, tmp_path: Path) -> dict[str, Path]:
    model = _fresh(tiny)
    return {
        "a": random_lora(model, tmp_path / "a.safetensors", seed=1),
        "b": random_lora(model, tmp_path / "b.safetensors", ("mid_block", "up_blocks.0"), rank=2, seed=2),
    }


@torch.no_grad()
def _predict(pipeline: Any) -> torch.Tensor:
    """What the UNet says of fixed noise: 1 x 4 x 16 x 16."""
    made = torch.Generator().manual_seed(3)
    return pipeline.unet(
        torch.randn(1, 4, 16, 16, generator=made),
        500,
        torch.randn(1, 7, 64, generator=made),
        added_cond_kwargs={
            "text_embeds": torch.randn(1, 32, generator=made),
            "time_ids": torch.tensor([[128.0, 128, 0, 0, 128, 128]]),
        },
    ).sample


@torch.no_grad()
def _merge(pipeline: Any, file: Path, weight: float) -> None:
    """Add the matrices' product to the weights by hand; alpha is the rank in these files."""
    state = load_file(str(file))
    for key, down in state.items():
        if key.endswith(".lora_A.weight"):
            up = state[key.replace(".lora_A.", ".lora_B.")]
            module = pipeline.unet.get_submodule(key.removeprefix("unet.").removesuffix(".lora_A.weight"))
            module.weight += weight * (up @ down)


def _weights(pipeline: Any) -> dict[str, torch.Tensor]:
    state = pipeline.unet.state_dict()
    return {key.replace(".base_layer", ""): value.clone() for key, value in state.items() if "lora_" not in key}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("weight", [0.8, -0.5])
def test_run_time_equals_merged_weights(tiny: Path, pipeline: Any, files: dict[str, Path], weight: float) -> None:
    before, plain = _weights(pipeline), _predict(pipeline)
    touched = lora.load(pipeline, "a", str(files["a"]))
    assert touched == len(load_file(str(files["a"]))) // 2
    assert torch.equal(_predict(pipeline), plain), "loaded is not yet switched on"
    lora.use(pipeline, [Lora("a", weight)])
    merged = _fresh(tiny)
    _merge(merged, files["a"], weight)
    torch.testing.assert_close(_predict(pipeline), _predict(merged), atol=2e-5, rtol=1e-4)
    assert (_predict(pipeline) - plain).abs().max() > 0.01
    assert _same(before, _weights(pipeline)), "nothing is merged"


def test_two_adapters_add_up(tiny: Path, pipeline: Any, files: dict[str, Path]) -> None:
    before = _weights(pipeline)
    for name, file in files.items():
        lora.load(pipeline, name, str(file))
    lora.use(pipeline, [Lora("a", 0.4), Lora("b", 0.7)])
    merged = _fresh(tiny)
    _merge(merged, files["a"], 0.4)
    _merge(merged, files["b"], 0.7)
    torch.testing.assert_close(_predict(pipeline), _predict(merged), atol=2e-5, rtol=1e-4)
    assert _same(before, _weights(pipeline))


def test_switching_leaves_no_trace(tiny: Path, pipeline: Any, files: dict[str, Path]) -> None:
    plain, alone = _predict(pipeline), {}
    for name, file in files.items():
        fresh = _fresh(tiny)
        lora.load(fresh, name, str(file))
        lora.use(fresh, [Lora(name, 0.8)])
        alone[name] = _predict(fresh)
        lora.load(pipeline, name, str(file))
    for names in ("a", "b", "", "ba", "b", "a", ""):
        lora.use(pipeline, [Lora(name, 0.8) for name in names])
        if len(names) < 2:
            assert torch.equal(_predict(pipeline), alone.get(names, plain)), names
    assert not torch.equal(alone["a"], alone["b"])
    assert not any(parameter.requires_grad for parameter in pipeline.unet.parameters())


def test_weight_zero_is_none(pipeline: Any, files: dict[str, Path]) -> None:
    plain = _predict(pipeline)
    lora.load(pipeline, "a", str(files["a"]))
    lora.use(pipeline, [Lora("a", 0.0)])
    assert torch.equal(_predict(pipeline), plain)


def test_loading_another_keeps_what_is_on(pipeline: Any, files: dict[str, Path]) -> None:
    lora.load(pipeline, "a", str(files["a"]))
    lora.use(pipeline, [Lora("a", 0.8)])
    before = _predict(pipeline)
    lora.load(pipeline, "b", str(files["b"]))
    assert torch.equal(_predict(pipeline), before)


def test_blocks_restrict(tiny: Path, pipeline: Any, files: dict[str, Path]) -> None:
    touched = lora.load(pipeline, "a", str(files["a"]), ("mid_block",))
    assert touched == 16  # one transformer of two layers, each with four matrices in two attentions
    adapted = {name.split(".lora_")[0] for name, _ in pipeline.unet.named_parameters() if ".lora_" in name}
    assert len(adapted) == touched
    assert all(name.startswith("mid_block.") for name in adapted)
    lora.use(pipeline, [Lora("a", 0.8)])
    merged = _fresh(tiny)
    part = {key: value for key, value in load_file(str(files["a"])).items() if key.startswith("unet.mid_block.")}
    save_file(part, str(files["a"].with_name("part.safetensors")))
    _merge(merged, files["a"].with_name("part.safetensors"), 0.8)
    torch.testing.assert_close(_predict(pipeline), _predict(merged), atol=2e-5, rtol=1e-4)


def test_a_block_without_attention_is_told(pipeline: Any, files: dict[str, Path]) -> None:
    with pytest.raises(BadInputError) as caught:
        lora.load(pipeline, "a", str(files["a"]), ("mid_block", "up_blocks.2"))
    assert "up_blocks.2 (UpBlock2D) has no attention" in caught.value.found
    assert caught.value.fix == "Type for example --lora-blocks mid_block,up_blocks.1."
    assert lora.loaded_names(pipeline) == set()


def test_a_block_that_the_file_leaves_out_is_told(pipeline: Any, files: dict[str, Path]) -> None:
    with pytest.raises(BadInputError) as caught:
        lora.load(pipeline, "b", str(files["b"]), ("down_blocks.2",))
    assert caught.value.found == "no module for down_blocks.2"
    assert "--lora-blocks mid_block." in caught.value.fix


@pytest.mark.parametrize("block", ["up_blocks.3", "mid", "", "up_blocks.0.attentions.1"])
def test_unknown_blocks_list_those_that_exist(pipeline: Any, files: dict[str, Path], block: str) -> None:
    with pytest.raises(BadInputError, match=r"down_blocks\.0, .*mid_block, up_blocks\.0, up_blocks\.1, up_blocks\.2"):
        lora.load(pipeline, "a", str(files["a"]), (block,))


@pytest.mark.parametrize(
    ("stem", "block"), [("down_blocks_1_attentions_0", "down_blocks.1"), ("input_blocks_4_1", "down_blocks.1")]
)
def test_kohya_files_with_alpha(tiny: Path, pipeline: Any, tmp_path: Path, stem: str, block: str) -> None:
    made = torch.Generator().manual_seed(4)
    down, up = torch.randn(4, 64, generator=made) / 8, torch.randn(64, 4, generator=made)
    key = f"lora_unet_{stem}_transformer_blocks_0_attn1_to_q"
    state = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(2.0)}
    save_file(state, str(tmp_path / "kohya.safetensors"))
    assert lora.load(pipeline, "kohya", str(tmp_path), (block,)) == 1
    lora.use(pipeline, [Lora("kohya", 0.6)])
    merged = _fresh(tiny)
    with torch.no_grad():
        merged.unet.get_submodule(MODULE).weight += 0.6 * 2.0 / 4 * (up @ down)
    torch.testing.assert_close(_predict(pipeline), _predict(merged), atol=2e-5, rtol=1e-4)


def test_alphas_of_other_blocks_stay_out(tiny: Path, pipeline: Any, tmp_path: Path) -> None:
    made = torch.Generator().manual_seed(5)
    state, kept = {}, {}
    for stem, alpha in (("mid_block_attentions_0", 1.0), ("down_blocks_2_attentions_0", 4.0)):
        for name in ("to_q", "to_k"):
            key = f"lora_unet_{stem}_transformer_blocks_0_attn1_{name}"
            kept[name] = (torch.randn(4, 128, generator=made) / 11, torch.randn(128, 4, generator=made), alpha)
            state[f"{key}.lora_down.weight"], state[f"{key}.lora_up.weight"] = kept[name][:2]
            state[f"{key}.alpha"] = torch.tensor(alpha)
    save_file(state, str(tmp_path / "two.safetensors"))
    lora.load(pipeline, "two", str(tmp_path / "two.safetensors"), ("down_blocks.2",))
    lora.use(pipeline, [Lora("two", 1.0)])
    merged = _fresh(tiny)
    with torch.no_grad():
        for name, (down, up, alpha) in kept.items():
            place = f"down_blocks.2.attentions.0.transformer_blocks.0.attn1.{name}"
            merged.unet.get_submodule(place).weight += alpha / 4 * (up @ down)
    torch.testing.assert_close(_predict(pipeline), _predict(merged), atol=2e-5, rtol=1e-4)


def test_files_that_diffusers_saves(pipeline: Any, files: dict[str, Path], tmp_path: Path, tiny: Path) -> None:
    lora.load(pipeline, "a", str(files["a"]))
    lora.use(pipeline, [Lora("a", 1.0)])
    expected = _predict(pipeline)
    state = {key.removeprefix("unet."): value for key, value in load_file(str(files["a"])).items()}
    StableDiffusionXLPipeline.save_lora_weights(str(tmp_path / "saved"), unet_lora_layers=state)
    again = _fresh(tiny)
    assert lora.load(again, "again", str(tmp_path / "saved")) == len(state) // 2
    lora.use(again, [Lora("again", 1.0)])
    assert torch.equal(_predict(again), expected)


def test_other_text_encoders_are_told(
    pipeline: Any, files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = load_file(str(files["b"]))
    count = len(state) // 2
    for side, shape in (("A", (2, 32)), ("B", (32, 2))):
        state[f"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_{side}.weight"] = torch.ones(shape)
        state[f"unet.down_blocks.7.attentions.0.proj_in.lora_{side}.weight"] = torch.ones(shape)
    save_file(state, str(tmp_path / "more.safetensors"))
    with caplog.at_level(logging.WARNING, logger="nano_banana"):
        assert lora.load(pipeline, "more", str(tmp_path / "more.safetensors")) == count
    assert "also holds weights for text_encoder" in caplog.text
    assert f"1 of {count + 1} modules are not in this UNet" in caplog.text


def _broken(kind: str, good: Path, folder: Path) -> Path:
    file = folder / f"{kind}.safetensors"
    state = load_file(str(good))
    first = next(key for key in state if ".lora_A." in key)
    if kind == "truncated":
        file.write_bytes(good.read_bytes()[:-100])
        return file
    if kind == "text":
        file.write_text("no tensors at all")
        return file
    if kind == "empty":
        file.write_bytes(b"")
        return file
    changed = {
        "shape": lambda: state | {first: torch.ones(4, 3)},
        "rank": lambda: state | {first: torch.ones(5, state[first].shape[1])},
        "half": lambda: {key: value for key, value in state.items() if key != first},
        "nan": lambda: state | {first: torch.full_like(state[first], float("nan"))},
        "model": lambda: {"conv_in.weight": torch.ones(3, 3)},
        "elsewhere": lambda: {f"unet.blocks.9.lora_{side}.weight": torch.ones(2, 2) for side in "AB"},
        "norm": lambda: {f"unet.conv_norm_out.lora_{side}.weight": torch.ones(2, 2) for side in "AB"},
        "text_encoder": lambda: {f"text_encoder.a.lora_{side}.weight": torch.ones(2, 2) for side in "AB"},
        "foreign": lambda: {"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": torch.ones(2, 2)},
        "unconverted": lambda: {"unet.mid_block.attentions.0.proj_in.lora_C.weight": torch.ones(2, 2)},
    }
    save_file(changed[kind](), str(file))
    return file


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "expected a whole .safetensors file"),
        ("text", "expected a whole .safetensors file"),
        ("empty", "expected a whole .safetensors file"),
        ("shape", r"found 4x3 and \d+x4"),
        ("rank", "expected matrices of 5x"),
        ("half", "only one of two matrices"),
        ("nan", "not finite"),
        ("model", "the first being 'conv_in.weight'"),
        ("elsewhere", "none of which this UNet has"),
        ("norm", "a GroupNorm"),
        ("text_encoder", "nothing for the UNet, only for: text_encoder"),
        ("foreign", "expected a LoRA"),
        ("unconverted", "does not convert"),
    ],
)
def test_bad_files_leave_the_pipeline_as_it_was(
    pipeline: Any, files: dict[str, Path], tmp_path: Path, kind: str, words: str
) -> None:
    before = {key: value.clone() for key, value in pipeline.unet.state_dict().items()}
    with pytest.raises(BadInputError, match=words) as caught:
        lora.load(pipeline, "bad", str(_broken(kind, files["a"], tmp_path)))
    assert "Type --lora" in caught.value.fix or "again" in caught.value.fix
    assert _same(before, pipeline.unet.state_dict())
    assert lora.loaded_names(pipeline) == set()


def test_a_late_failure_takes_the_adapter_back(
    pipeline: Any, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _predict(pipeline)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("late")

    monkeypatch.setattr("peft.set_peft_model_state_dict", fail)
    with pytest.raises(BadInputError, match="late"):
        lora.load(pipeline, "a", str(files["a"]))
    assert lora.loaded_names(pipeline) == set()
    assert torch.equal(_predict(pipeline), plain)


def test_names_and_places_are_checked(pipeline: Any, files: dict[str, Path], tmp_path: Path) -> None:
    lora.load(pipeline, "a", str(files["a"]))
    pickled = tmp_path / "x" / "lora.bin"
    pickled.parent.mkdir()
    pickled.write_bytes(b"x")
    for name, source, words in (
        ("a", files["a"], "'a' twice"),
        ("x.y", files["b"], "letters, digits"),
        ("c", tmp_path / "absent", "none there"),
        ("c", tmp_path, "found 2: a.safetensors, b.safetensors"),
        ("c", pickled.parent, "found none"),
        ("c", pickled, "can hold code"),
    ):
        with pytest.raises(BadInputError, match=words):
            lora.load(pipeline, name, str(source))
    with pytest.raises(BadInputError, match="expected one of: a; found 'z'"):
        lora.use(pipeline, [Lora("z")])
    with pytest.raises(BadInputError, match="'a' twice"):
        lora.use(pipeline, [Lora("a"), Lora("a")])
