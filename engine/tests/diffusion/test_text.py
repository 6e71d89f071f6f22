# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompt embeddings: what the pipeline itself would compute, kept for the next picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTextModel

from nano_banana.diffusion import load
from nano_banana.diffusion.folder import NETWORKS, NOTE
from nano_banana.diffusion.text import PromptEncoder
from nano_banana.errors import BadInputError, MachineError

PROMPTS = ["hair dryer, knolling", "four screws, 2 cm apart", "x " * 200]


@pytest.fixture(scope="module")
def model(tiny: Path) -> load.Model:
    return load.load(str(tiny), torch.float32)


def encoder(model: load.Model, **more: int) -> PromptEncoder:
    return PromptEncoder(model.tokenizers, model.text_encoders, layers_from_end=model.text_layers_from_end, **more)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("negative", ["", "blurred"])
def test_equals_what_the_pipeline_encodes(tiny: Path, model: load.Model, prompt: str, negative: str) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny)
    with torch.no_grad():
        states, no_states, pooled, no_pooled = pipeline.encode_prompt(prompt, negative_prompt=negative or None)
    found = encoder(model).encode(prompt, negative)
    for one, other in (
        (found.prompt.states, states),
        (found.prompt.pooled, pooled),
        (found.negative.states, no_states),
        (found.negative.pooled, no_pooled),
    ):
        assert torch.equal(one, other)
    assert float(found.prompt.states.abs().max()) > 0


def test_an_empty_negative_is_encoded_where_the_model_was_trained_so(model: load.Model) -> None:
    trained = PromptEncoder(model.tokenizers, model.text_encoders, zeros_for_empty=False).encode("screw")
    assert float(trained.negative.states.abs().max()) > 0
    assert float(encoder(model).encode("screw").negative.states.abs().max()) == 0


def test_known_texts_are_not_computed_again_and_the_oldest_goes(model: load.Model) -> None:
    reader = encoder(model, entries=2)
    first = reader.encode("one", "never")
    assert reader.computed == 2
    again = reader.encode("one", "never")
    assert reader.computed == 2
    assert again.prompt is first.prompt
    reader.encode("two")
    reader.encode("three")
    assert len(reader._known) == 2
    reader.encode("one")
    assert reader.computed == 5


def test_what_is_not_read_is_told(model: load.Model) -> None:
    # The tiny tokenizer has one token a byte: 75 fit.
    assert encoder(model).encode("a" * 75).notes == ()
    (note,) = encoder(model).encode("a" * 75 + "bc").notes
    assert "77 tokens" in note
    assert "reads 75" in note
    assert "bc" in note.replace(" ", "")


def trimmed(tiny: Path, folder: Path) -> Path:
    """The tiny folder without the last layer of encoder 1, as `nano-banana pack` leaves it."""
    shutil.copytree(tiny, folder)
    whole = CLIPTextModel.from_pretrained(tiny / "text_encoder")
    shutil.rmtree(folder / "text_encoder")
    config = type(whole.config)(**(whole.config.to_dict() | {"num_hidden_layers": whole.config.num_hidden_layers - 1}))
    cut = CLIPTextModel(config)
    kept = {name: value for name, value in whole.state_dict().items() if name in cut.state_dict()}
    cut.load_state_dict(kept, strict=True)
    cut.save_pretrained(folder / "text_encoder")
    (folder / NOTE).write_text(json.dumps({"format": 1, "text_encoder_layers_from_end": 1}))
    return folder


def test_a_trimmed_folder_gives_the_same(tiny: Path, model: load.Model, tmp_path: Path) -> None:
    cut = load.load(str(trimmed(tiny, tmp_path / "trimmed")), torch.float32)
    assert cut.text_layers_from_end == 1
    assert cut.text_encoders[0].config.num_hidden_layers == model.text_encoders[0].config.num_hidden_layers - 1
    one, other = encoder(cut).encode("screw", "blur"), encoder(model).encode("screw", "blur")
    assert torch.equal(one.prompt.states, other.prompt.states)
    assert torch.equal(one.negative.states, other.negative.states)
    assert torch.equal(one.prompt.pooled, other.prompt.pooled)


def test_a_loaded_model_has_the_asked_precision(tiny: Path) -> None:
    half = load.load(str(tiny), torch.float16)
    assert half.unet.dtype == torch.float16
    assert {half.vae.dtype, half.text_encoders[0].dtype, half.text_encoders[1].dtype} == {torch.float32}
    assert not half.unet.training
    assert not any(parameter.requires_grad for parameter in half.unet.parameters())


def no_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def broken_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def other_model(folder: Path) -> None:
    _change(folder / "model_index.json", _class_name="FluxPipeline")


def foreign_code(folder: Path) -> None:
    _change(folder / "model_index.json", unet=["my_unet", "MyUNet"])


def no_vae(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def no_weights(folder: Path) -> None:
    for file in (folder / "unet").glob("*.safetensors"):
        file.unlink()


def pickled(folder: Path) -> None:
    no_weights(folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")


def cut_off(folder: Path) -> None:
    file = next((folder / "unet").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:1000])


def strange_note(folder: Path) -> None:
    (folder / NOTE).write_text('{"format": 7}')


def _change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (no_index, "model_index.json"),
        (broken_index, "readable JSON"),
        (other_model, "FluxPipeline"),
        (foreign_code, "my_unet"),
        (no_vae, "folder vae"),
        (no_weights, "no weights"),
        (pickled, "can hold code"),
        (cut_off, "diffusers can load"),
        (strange_note, "format 1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_unfit_folder_is_told_by_what_is_wrong(
    tiny: Path, tmp_path: Path, harm: Callable[[Path], None], told: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    harm(folder)
    with pytest.raises(BadInputError, match=told):
        load.load(str(folder), torch.float32)


def test_variant_files_are_found(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    StableDiffusionXLPipeline.from_pretrained(tiny).save_pretrained(folder, variant="fp16", safe_serialization=True)
    for name in NETWORKS:
        for file in (folder / name).glob("*.safetensors"):
            if ".fp16" not in file.name:
                file.unlink()
    assert load.inspect(folder) == "fp16"
    assert load.load(str(folder), torch.float32).unet.dtype == torch.float32


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "a/b/c", "~/nowhere"])
def test_a_folder_that_is_not_there_asks_no_network(source: str) -> None:
    with pytest.raises(BadInputError, match="no such folder"):
        load.load(source, torch.float32)


def test_a_hub_that_does_not_answer_is_the_machines_trouble() -> None:
    """The tests' environment forbids the network."""
    with pytest.raises(MachineError, match="model hub"):
        load.load("nobody/such-a-model-is-not-cached", torch.float32)
