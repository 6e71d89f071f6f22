# SPDX-License-Identifier: GPL-3.0-or-later
"""Packed folders: smaller, whole or absent, and drawing what their source draws."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nano_banana.diffusion import pack as library
from nano_banana.diffusion import pack_proof
from nano_banana.diffusion.folder import Folder
from nano_banana.diffusion.pack import pack
from nano_banana.diffusion.pack_weights import Part
from nano_banana.errors import BadInputError, MachineError

Usage = namedtuple("Usage", "total used free")
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def source(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "source"))


def _types(file: Path) -> set[str]:
    with safe_open(str(file), "pt") as opened:
        return {opened.get_slice(key).get_dtype() for key in opened.keys()}  # noqa: SIM118


def _leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def _layers(file: Path) -> set[str]:
    return {key.split("layers.")[1].split(".")[0] for key in load_file(str(file)) if "layers." in key}


def test_fp16_is_smaller_and_draws_alike(source: Path, tmp_path: Path) -> None:
    report = pack(str(source), tmp_path / "packed")
    packed = tmp_path / "packed"
    assert json.loads((packed / "nano_banana.json").read_text()) == {"format": 1, "text_encoder_layers_from_end": 1}
    assert _types(packed / UNET) == _types(packed / TEXT) == {"F16"}
    assert _types(packed / "vae" / "diffusion_pytorch_model.safetensors") == {"F32"}
    assert _layers(source / TEXT) == {"0", "1", "2"}
    assert _layers(packed / TEXT) == {"0", "1"}
    assert json.loads((packed / "text_encoder" / "config.json").read_text())["num_hidden_layers"] == 2
    assert _layers(packed / "text_encoder_2" / "model.safetensors") == {"0", "1", "2"}
    assert report.before["unet"] > 1.9 * report.after["unet"]
    assert report.before["text_encoder"] > 2.4 * report.after["text_encoder"]
    assert report.after == {**report.after, **library._sizes(packed)}
    assert 0.2 < report.saved < 0.6
    assert report.dropped == ("text_encoder: layers from 2 on, behind the state that SDXL reads",)
    proof = report.proof
    assert proof is not None
    assert not proof.exact
    assert 0 < proof.embedding_difference < 0.01 * proof.embedding_size
    assert proof.psnr is not None
    assert proof.psnr > 40
    assert "one layer too early" in report.notes[0]
    assert json.loads(json.dumps(dataclasses.asdict(report)))["proof"]["psnr"] == proof.psnr
    assert not _leftovers(tmp_path)


def test_fp32_keeps_every_bit(source: Path, tmp_path: Path) -> None:
    report = pack(str(source), tmp_path / "packed", "float32")
    assert report.proof is not None
    assert report.proof == pack_proof.Proof(True, 0.0, report.proof.embedding_size, None)
    for name in (UNET, "text_encoder_2/model.safetensors"):
        before, after = load_file(str(source / name)), load_file(str(tmp_path / "packed" / name))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    # Packed again there is nothing to trim and nothing to lose.
    again = pack(str(tmp_path / "packed"), tmp_path / "again", "float32")
    assert again.proof is not None
    assert again.proof.exact
    assert _layers(tmp_path / "again" / TEXT) == {"0", "1"}
    assert json.loads((tmp_path / "again" / "nano_banana.json").read_text())["text_encoder_layers_from_end"] == 1


def test_plain_diffusers_loads_it_and_reads_too_early(source: Path, tmp_path: Path) -> None:
    pack(str(source), tmp_path / "packed", "float32", proof=False)
    whole = StableDiffusionXLPipeline.from_pretrained(str(source), local_files_only=True)
    plain = StableDiffusionXLPipeline.from_pretrained(str(tmp_path / "packed"), local_files_only=True)
    tokens = whole.tokenizer("a pump", return_tensors="pt").input_ids
    with torch.no_grad():
        states = [one.text_encoder(tokens, output_hidden_states=True).hidden_states for one in (whole, plain)]
    assert torch.equal(states[0][-2], states[1][-1])
    assert not torch.equal(states[0][-2], states[1][-2])


def test_duplicates_and_unused_parts_stay_out(source: Path, tmp_path: Path) -> None:
    half = {key: value.half() for key, value in load_file(str(source / UNET)).items()}
    save_file(half, str(source / "unet" / "diffusion_pytorch_model.fp16.safetensors"))
    for name in ("unet/diffusion_pytorch_model.bin", "sd_xl_base.safetensors", "vae_decoder/model.onnx", "readme.md"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"x" * 1000)
    (source / "vae" / "flax_model.msgpack").write_bytes(b"x" * 1000)
    index = json.loads((source / "model_index.json").read_text())
    index["image_encoder"] = ["transformers", "CLIPVisionModelWithProjection"]
    (source / "model_index.json").write_text(json.dumps(index))
    report = pack(str(source), tmp_path / "packed", proof=False)
    names = {str(path.relative_to(tmp_path / "packed")) for path in (tmp_path / "packed").rglob("*") if path.is_file()}
    assert {name for name in names if not name.endswith((".json", ".txt"))} == {
        UNET,
        TEXT,
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder_2/model.safetensors",
    }
    assert json.loads((tmp_path / "packed" / "model_index.json").read_text())["image_encoder"] == [None, None]
    assert {line.split(" ")[0] for line in report.dropped} == {
        "readme.md",
        "sd_xl_base.safetensors",
        "text_encoder:",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/flax_model.msgpack",
        "vae_decoder/model.onnx",
    }
    assert report.before["other"] > report.after["other"]
    assert report.proof is None


def test_a_source_in_fp16_alone_keeps_every_bit(source: Path, tmp_path: Path) -> None:
    for folder in library.NETWORKS:
        for file in (source / folder).glob("*.safetensors"):
            state = {key: value.half() for key, value in load_file(str(file)).items()}
            save_file(
                state, str(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors"))), {"format": "pt"}
            )
            file.unlink()
    report = pack(str(source), tmp_path / "packed")
    assert report.proof is not None
    assert report.proof.exact
    assert (tmp_path / "packed" / UNET).exists()
    assert _types(tmp_path / "packed" / "vae" / "diffusion_pytorch_model.safetensors") == {"F32"}


def test_shards(source: Path, tmp_path: Path) -> None:
    state = load_file(str(source / UNET))
    (source / UNET).unlink()
    keys, stem = sorted(state), "unet/diffusion_pytorch_model"
    names = [f"{stem}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, share in zip(names, (keys[::2], keys[1::2]), strict=True):
        save_file({key: state[key] for key in share}, str(source / name), {"format": "pt"})
    places = {key: Path(names[number % 2]).name for number, key in enumerate(keys)}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (source / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    report = pack(str(source), tmp_path / "packed", "float32")
    assert report.proof is not None
    assert report.proof.exact
    made = json.loads((tmp_path / "packed" / f"{stem}.safetensors.index.json").read_text())
    assert made["weight_map"] == places
    assert made["metadata"]["total_size"] == sum(value.numel() * 4 for value in state.values())


def test_targets(source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name, words in (("full", "found mine.txt"), ("file", "found a file"), ("source", "another folder than SOURCE")):
        with pytest.raises(BadInputError, match=words):
            pack(str(source), tmp_path / name, proof=False)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    pack(str(source), tmp_path / "empty", proof=False)
    pack(str(source), tmp_path / "empty", "float32", proof=False)
    assert _types(tmp_path / "empty" / UNET) == {"F32"}, "an earlier pack is replaced"
    (tmp_path / "empty" / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match="an earlier pack; found"):
        pack(str(source), tmp_path / "empty", proof=False)
    assert not _leftovers(tmp_path)


def test_disk_is_checked_before(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.shutil, "disk_usage", lambda _: Usage(10**9, 0, 2**20))
    with pytest.raises(MachineError, match=r"expected \d+\.\d MiB free; found 1\.0 MiB"):
        pack(str(source), tmp_path / "deep" / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_the_estimate_is_what_is_written(source: Path, tmp_path: Path) -> None:
    parts, _ = library._plan(Folder(source, "SOURCE", ""), "float16", "float32")
    pack(str(source), tmp_path / "packed", proof=False)
    for part in parts:
        (file,) = (tmp_path / "packed" / part.name).glob("*.safetensors")
        # A header of this length, whose first eight bytes say how long, precedes the tensors.
        header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
        assert part.bytes_after() == file.stat().st_size - header


def _rewrite(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("kind", ["class", "unet", "missing", "bin", "cut", "index", "note", "file", "large"])
def test_sources_that_cannot_be_packed(source: Path, tmp_path: Path, kind: str) -> None:
    words = {
        "class": "found _class_name 'StableDiffusionPipeline'",
        "unet": "size conditioning",
        "missing": "text_encoder_2 of diffusers or transformers",
        "bin": "one set of",
        "cut": "a whole .safetensors file",
        "index": "JSONDecodeError",
        "note": "format 1 with",
        "file": "a folder; found a file",
        "large": "numbers that torch.float16 can hold",
    }
    given = source
    if kind == "class":
        _rewrite(source / "model_index.json", _class_name="StableDiffusionPipeline")
    elif kind == "unet":
        _rewrite(source / "unet" / "config.json", addition_embed_type=None)
    elif kind == "missing":
        _rewrite(source / "model_index.json", text_encoder_2=[None, None])
    elif kind == "bin":
        (source / UNET).rename(source / "unet" / "diffusion_pytorch_model.bin")
    elif kind == "cut":
        (source / UNET).write_bytes((source / UNET).read_bytes()[:-10])
    elif kind == "index":
        (source / "model_index.json").write_text("{")
    elif kind == "note":
        (source / "nano_banana.json").write_text('{"format": 2}')
    elif kind == "file":
        given = source / UNET
    else:
        state = load_file(str(source / UNET))
        state["conv_in.bias"][0] = 1e6
        save_file(state, str(source / UNET), {"format": "pt"})
    with pytest.raises(BadInputError, match=words[kind]):
        pack(str(given), tmp_path / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_unknown_types(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="expected one of: float16, bfloat16, float32; found 'int8'"):
        pack(str(source), tmp_path / "packed", "int8")


def test_a_proof_that_fails_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Part.write

    def spoil(part: Part, folder: Path) -> None:
        honest(part, folder)
        if part.name == "unet":
            state = load_file(str(folder / Path(UNET).name))
            state["conv_in.weight"] += 1e-4
            save_file(state, str(folder / Path(UNET).name), {"format": "pt"})

    monkeypatch.setattr(Part, "write", spoil)
    with pytest.raises(MachineError, match="expected the same bits"):
        pack(str(source), tmp_path / "packed", "float32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_psnr_of_known_pictures() -> None:
    one = np.zeros((4, 4))
    assert math.isinf(pack_proof.psnr(one, one))
    assert pack_proof.psnr(one, one + 255) == pytest.approx(0.0)
    assert pack_proof.psnr(one, one + 25.5) == pytest.approx(20.0)
