# SPDX-License-Identifier: GPL-3.0-or-later
"""Twice the size, without seams, and no file that is not a network for it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from nano_banana.diffusion import upscale
from nano_banana.diffusion.upscale import LEAST_TILE, Upscaler
from nano_banana.errors import BadInputError, CancelledError
from nano_banana.watch import Watch


def _compact(scale: int, layers: int = 3, width: int = 8) -> dict[str, torch.Tensor]:
    """The keys by which spandrel knows a compact network (SRVGG), with random weights."""
    made = torch.Generator().manual_seed(scale)

    def convolution(number: int, inward: int, outward: int) -> dict[str, torch.Tensor]:
        weight = torch.randn(outward, inward, 3, 3, generator=made) / (9 * inward) ** 0.5
        return {f"body.{number}.weight": weight, f"body.{number}.bias": torch.zeros(outward)}

    state = convolution(0, 3, width) | {"body.1.weight": torch.full((width,), 0.2)}
    for layer in range(layers):
        number = 2 + 2 * layer
        state |= convolution(number, width, width) | {f"body.{number + 1}.weight": torch.full((width,), 0.2)}
    last = convolution(2 + 2 * layers, width, 3 * scale**2)
    return state | {key: value * 0.3 for key, value in last.items()}


def _esrgan() -> dict[str, torch.Tensor]:
    """An RRDBNet of one block and 4x, in the key names of Real-ESRGAN."""
    made = torch.Generator().manual_seed(9)
    shapes = {"conv_first": (8, 3), "conv_body": (8, 8), "conv_up1": (8, 8), "conv_up2": (8, 8)}
    shapes |= {"conv_hr": (8, 8), "conv_last": (3, 8)}
    for block in (1, 2, 3):
        for layer in range(1, 6):
            shapes[f"body.0.rdb{block}.conv{layer}"] = (8 if layer == 5 else 32, 8 + 32 * (layer - 1))
    state = {}
    for name, (outward, inward) in shapes.items():
        state[f"{name}.weight"] = torch.randn(outward, inward, 3, 3, generator=made) / (9 * inward) ** 0.5
        state[f"{name}.bias"] = torch.full((outward,), 0.1)
    return state


def _picture(width: int, height: int) -> Image.Image:
    """Slopes, edges and noise, so that a seam has something to show in."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)[None, :]
    pixels[..., 1] = np.linspace(255, 0, height, dtype=np.uint8)[:, None]
    pixels[..., 2] = np.random.default_rng(1).integers(0, 256, (height, width), dtype=np.uint8)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = 255
    return Image.fromarray(pixels)


@pytest.fixture
def compact(tmp_path: Path) -> Path:
    save_file(_compact(2), str(tmp_path / "compact.safetensors"))
    return tmp_path / "compact.safetensors"


def _difference(one: Image.Image, other: Image.Image) -> np.ndarray[Any, Any]:
    return np.abs(np.array(one).astype(int) - np.array(other).astype(int))


@pytest.mark.parametrize("size", [(64, 64), (201, 97), (97, 201), (5, 3)])
def test_exactly_twice_the_size(compact: Path, size: tuple[int, int]) -> None:
    result = Upscaler(compact).enlarge(_picture(*size), tile=96)
    assert (result.size, result.mode) == ((size[0] * 2, size[1] * 2), "RGB")
    assert np.array(result).std() > 10


def test_tiles_equal_the_whole_where_the_network_sees_less_than_the_margin(compact: Path) -> None:
    upscaler, image = Upscaler(compact), _picture(230, 170)
    difference = _difference(upscaler.enlarge(image, tile=LEAST_TILE), upscaler.enlarge(image, tile=0))
    # Two roundings: of the fade's mask, and of what it weighs.
    assert difference.max() <= 1


@pytest.mark.parametrize("kind", ["compact4", "esrgan"])
def test_seams_of_networks_that_are_reduced_afterwards(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"{kind}.safetensors"
    save_file(_compact(4) if kind == "compact4" else _esrgan(), str(file))
    upscaler, image = Upscaler(file), _picture(150, 110)
    assert upscaler.scale == 4
    whole = upscaler.enlarge(image, tile=0)
    assert whole.size == (300, 220)
    difference = _difference(upscaler.enlarge(image, tile=96), whole)
    assert difference.max() <= 2
    assert difference.mean() < 0.1


def test_without_margin_there_would_be_a_seam(compact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler, image = Upscaler(compact), _picture(230, 170)
    whole = upscaler.enlarge(image, tile=0)
    monkeypatch.setattr(upscale, "MARGIN", 0)
    assert _difference(upscaler.enlarge(image, tile=96), whole).max() > 2


def test_pth_is_read_without_running_it(tmp_path: Path, compact: Path) -> None:
    torch.save({"params_ema": _compact(2)}, tmp_path / "net.pth")
    image = _picture(40, 40)
    expected = Upscaler(compact).enlarge(image)
    assert _difference(Upscaler(tmp_path / "net.pth").enlarge(image), expected).max() == 0

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    torch.save({"params_ema": Harm()}, tmp_path / "harm.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harm()))
    for name in ("harm.pth", "plain.pth"):
        with pytest.raises(BadInputError, match="not a whole model"):
            Upscaler(tmp_path / name)
    assert not (tmp_path / "harm").exists()


def test_memory_that_ends_in_reading_is_not_a_broken_file(compact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(upscale.ModelLoader, "load_from_file", full)
    with pytest.raises(MemoryError):
        Upscaler(compact)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("one.safetensors", _compact(1), "a network of 1x"),
        ("no.safetensors", {"a.weight": torch.zeros(2)}, "no network that spandrel knows"),
        ("nan.safetensors", {k: v * float("nan") for k, v in _compact(2).items()}, "not finite"),
        ("grey.safetensors", _compact(2) | {"body.0.weight": torch.zeros(8, 1, 3, 3)}, "channels|not a whole model"),
        ("odd.safetensors", _compact(2) | {"body.2.weight": torch.zeros(8, 7, 3, 3)}, "not a whole model"),
        ("text.safetensors", b"hello", "not a whole model"),
        ("text.pth", b"hello", "not a whole model"),
        ("empty.safetensors", b"", "not a whole model"),
        ("net.onnx", b"hello", "a file of kind .onnx"),
        ("program.pt", b"hello", "a file of kind .pt"),
    ],
)
def test_files_that_are_no_upscaler(tmp_path: Path, name: str, content: Any, words: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        save_file(content, str(tmp_path / name))
    with pytest.raises(BadInputError, match=words) as caught:
        Upscaler(tmp_path / name).enlarge(_picture(16, 16))
    assert "Type --upscaler FILE" in caught.value.fix


def test_a_cut_file(compact: Path) -> None:
    compact.write_bytes(compact.read_bytes()[:-50])
    with pytest.raises(BadInputError, match="not a whole model"):
        Upscaler(compact)


def test_absent_folder_and_large_files(tmp_path: Path, compact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        Upscaler(tmp_path / "absent.pth")
    with pytest.raises(BadInputError, match="a folder"):
        Upscaler(tmp_path)
    upscaler = Upscaler(compact)
    monkeypatch.setattr(upscale, "MOST_BYTES", 100)
    with pytest.raises(BadInputError, match=r"at most 0\.0 MiB"):
        Upscaler(compact)
    monkeypatch.setattr(upscale, "MOST_PIXELS", 100)
    with pytest.raises(BadInputError, match="at most 100 pixels; found 11x11"):
        upscaler.enlarge(_picture(11, 11))
    with pytest.raises(BadInputError, match=f"at least {LEAST_TILE}"):
        upscaler.enlarge(_picture(8, 8), tile=8)


def test_other_modes_become_rgb(compact: Path) -> None:
    for mode in ("L", "RGBA", "P", "1"):
        assert Upscaler(compact).enlarge(_picture(16, 16).convert(mode)).mode == "RGB"


@pytest.mark.parametrize(("tile", "tiles"), [(96, 4), (0, 1)])
def test_it_stops_between_tiles(compact: Path, monkeypatch: pytest.MonkeyPatch, tile: int, tiles: int) -> None:
    upscaler = Upscaler(compact)
    whole, made = upscaler._whole, []

    def counted(image: Image.Image) -> Image.Image:
        made.append(image.size)
        return whole(image)

    monkeypatch.setattr(upscaler, "_whole", counted)
    expected = upscaler.enlarge(_picture(128, 128), tile)
    assert len(made) == tiles
    for last in range(tiles):
        made.clear()
        with pytest.raises(CancelledError, match=f"{tiles} tiles; found a wish to stop after {last}"):
            upscaler.enlarge(_picture(128, 128), tile, Watch(stop=lambda wanted=last: len(made) >= wanted))
        assert len(made) == last
    assert upscaler.enlarge(_picture(128, 128), tile, Watch(stop=lambda: False)).tobytes() == expected.tobytes()
