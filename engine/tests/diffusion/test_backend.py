# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend on the tiny pipeline: same seed same bytes, batches, cancellation, adapters and guides."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLPipeline
from PIL import Image
from standins import (
    REQUEST,
    RESIDENT,
    SMALLEST,
    STREAMED,
    Decoder,
    Plan,
    Planner,
    difference,
    fail_at,
    forget,
    unet_of,
)

from nano_banana import backends, cli
from nano_banana.backends import Settings
from nano_banana.backends.diffusers import DiffusersBackend
from nano_banana.diffusion import control, lora, upscale
from nano_banana.diffusion.buffers import Layout
from nano_banana.diffusion.device import pick_device
from nano_banana.diffusion.units import units
from nano_banana.errors import BadInputError, CancelledError, MachineError, NoRoomError
from nano_banana.request import Control, Lora
from nano_banana.watch import Watch


def test_it_is_found_by_name_and_loads_at_the_first_picture(tiny: Path, planner: Planner) -> None:
    backend = backends.get("diffusers", Settings(model=str(tiny), device="cpu"))
    assert backend.state()["loaded"] is False
    image = backend.generate(REQUEST)
    assert (image.mode, image.size) == ("RGB", (64, 64))
    state = backend.state()
    assert (state["loaded"], state["plan"], state["device"], state["pictures"]) == (True, "resident", "cpu", 1)
    backend.close()


def test_same_seed_same_bytes_other_seed_others(backend: DiffusersBackend) -> None:
    first = backend.generate(REQUEST).tobytes()
    assert backend.generate(replace(REQUEST, seed=6)).tobytes() != first
    assert backend.generate(replace(REQUEST, prompt="crane")).tobytes() != first
    assert backend.generate(replace(REQUEST, negative="blue")).tobytes() != first
    assert backend.generate(REQUEST).tobytes() == first


def test_draws_what_the_pipeline_draws(tiny: Path, backend: DiffusersBackend) -> None:
    """diffusers' own call from prompt to picture, with the same noise: equal to one step of 255."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny, add_watermarker=False)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    expected = pipeline(
        REQUEST.prompt, height=64, width=64, num_inference_steps=2, guidance_scale=5.0, latents=noise
    ).images[0]
    assert difference(backend.generate(REQUEST), expected) <= 1


@pytest.mark.parametrize("plan", [STREAMED, replace(STREAMED, prefetch=1)], ids=["two slots", "one slot"])
def test_streamed_pictures_are_the_same_bytes(backend: DiffusersBackend, planner: Planner, plan: Plan) -> None:
    expected = backend.generate(REQUEST).tobytes()
    forget(backend)
    planner.first = plan
    assert backend.generate(REQUEST).tobytes() == expected
    assert backend.state()["plan"] == "streamed"
    assert backend.state()["streamed_bytes"] > 0


def test_the_smallest_plan_draws_nearly_the_same(backend: DiffusersBackend, planner: Planner) -> None:
    """Split guidance and attention slices sum in another order: at most 2 of 255 (the one tile is the picture)."""
    expected = backend.generate(REQUEST)
    forget(backend)
    planner.first = SMALLEST
    assert difference(backend.generate(REQUEST), expected) <= 2
    # And back: the attention processors of before are in place again.
    forget(backend)
    planner.first = RESIDENT
    assert backend.generate(REQUEST).tobytes() == expected.tobytes()


def test_a_batch_equals_single_pictures_and_keeps_the_order(backend: DiffusersBackend) -> None:
    """Sums over a batch run in another order: at most 2 of 255."""
    requests = [replace(REQUEST, seed=1), replace(REQUEST, width=72), replace(REQUEST, seed=2, prompt="crane")]
    sizes: list[int] = []
    hook = unet_of(backend).conv_in.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[0]))
    together = backend.generate_many(requests)
    hook.remove()
    assert sizes == [4, 4, 2, 2]
    assert [image.size for image in together] == [(64, 64), (72, 64), (64, 64)]
    for request, image in zip(requests, together, strict=True):
        assert difference(image, backend.generate(request)) <= 2


def test_without_guidance_one_pass_a_step(backend: DiffusersBackend) -> None:
    sizes: list[int] = []
    hook = unet_of(backend).conv_in.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[0]))
    backend.generate(replace(REQUEST, guidance=1.0))
    hook.remove()
    assert sizes == [1, 1]


def test_steps_are_told(backend: DiffusersBackend) -> None:
    seen: list[tuple[int, int]] = []
    backend.generate(replace(REQUEST, steps=3), Watch(on_step=lambda done, total: seen.append((done, total))))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("plan", [RESIDENT, STREAMED], ids=lambda plan: plan.name)
def test_a_cancelled_picture_leaves_the_backend_usable(backend: DiffusersBackend, planner: Planner, plan: Plan) -> None:
    planner.first = plan
    expected = backend.generate(REQUEST).tobytes()
    done: list[int] = []
    watch = Watch(on_step=lambda step, _: done.append(step), stop=lambda: len(done) >= 1)
    with pytest.raises(CancelledError):
        backend.generate(REQUEST, watch)
    assert done == [1]
    with pytest.raises(CancelledError):
        backend.generate(REQUEST, Watch(stop=lambda: True))
    assert backend.generate(REQUEST).tobytes() == expected


def test_a_batch_can_be_cancelled_while_it_is_decoded_and_enlarged(
    tiny: Path, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = DiffusersBackend(Settings(model=str(tiny), device="cpu", upscaler="net.pth"))
    decoder, enlarged = Decoder(backend), []

    class Network:
        def __init__(self, path: Path) -> None:
            assert path == Path("net.pth")

        def enlarge(self, image: Image.Image, *, watch: Watch) -> Image.Image:
            watch.check(len(enlarged), 3, "tiles")
            enlarged.append(image)
            return image

    monkeypatch.setattr(upscale, "Upscaler", Network)
    wishes = [replace(REQUEST, seed=seed, upscale=2) for seed in range(3)]
    with pytest.raises(CancelledError, match="3 pictures; found a wish to stop after 1"):
        backend.generate_many(wishes, Watch(stop=lambda: decoder.runs == 1))
    with pytest.raises(CancelledError, match="3 tiles; found a wish to stop after 2"):
        backend.generate_many(wishes, Watch(stop=lambda: len(enlarged) == 2))
    assert (decoder.runs, len(enlarged)) == (1 + 3, 2)
    # The decoder's pictures of the cancelled run are gone, and the backend works.
    enlarged.clear()
    assert len(backend.generate_many(wishes)) == len(enlarged) == 3
    decoder.remove()


@pytest.mark.parametrize("plan", [RESIDENT, STREAMED], ids=lambda plan: plan.name)
def test_a_defect_in_the_middle_leaves_the_model_usable(
    backend: DiffusersBackend, planner: Planner, plan: Plan
) -> None:
    planner.first = plan
    expected = backend.generate(REQUEST).tobytes()
    undo = fail_at(backend, 2, ZeroDivisionError("injected"))
    with pytest.raises(ZeroDivisionError):
        backend.generate(REQUEST)
    undo()
    assert backend.generate(REQUEST).tobytes() == expected


def test_what_the_model_did_not_read_is_in_its_state(backend: DiffusersBackend) -> None:
    long = replace(REQUEST, prompt="x" * 100)
    backend.generate(long)
    (note,) = backend.state()["notes"]
    assert "100 tokens" in note
    backend.generate(REQUEST)
    assert (backend.state()["notes"], backend.state()["notes_of_each"]) == ([], [[]])
    # Each request's own, whatever was drawn with it.
    backend.generate_many([REQUEST, long, replace(long, width=72), REQUEST])
    assert backend.state()["notes_of_each"] == [[], [note], [note], []]
    assert backend.state()["notes"] == [note]


def test_a_note_is_told_once_where_it_is_looked_for(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """By `generate` as a line on standard error and in the JSON result, by `batch` in the line's result alone."""
    model = ["--backend", "diffusers", "--model", str(tiny), "--device", "cpu"]
    picture = ["--prompt", "x" * 100, "--size", "64x64", "--steps", "1", "--output", str(tmp_path / "a.png")]
    assert cli.main(["generate", *model, *picture, "--json"]) == 0
    said = capsys.readouterr()
    (note,) = json.loads(said.out)["notes"]
    assert "100 tokens" in note
    assert said.err.count(note) == said.err.count("100 tokens") == 1
    assert f"note: {note}\n" in said.err
    lines = tmp_path / "lines"
    lines.write_text(json.dumps({"prompt": "x" * 100, "size": "64x64", "steps": 1}))
    assert cli.main(["batch", str(lines), *model, "--output-dir", str(tmp_path), "--json"]) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out)["notes"], said.err) == ([note], "")
    # Nothing by way of a log, which would come to standard error beside it.
    assert "100 tokens" not in caplog.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"width": 70}, "multiples of 8.*70x64.*--size 72x64"),
        ({"width": 4095, "height": 67}, "--size 4096x64"),
        ({"loras": (Lora("knolling"),)}, "--lora.*'knolling'"),
        ({"control": Control("iso", b"")}, "--control.*'iso'"),
        ({"upscale": 2}, "--upscaler FILE"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_told_before_anything_loads(
    backend: DiffusersBackend, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadInputError, match=told):
        backend.generate(replace(REQUEST, **change))
    assert backend.state()["loaded"] is False


def test_settings_that_cannot_work_are_told(tiny: Path, planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match="--model"):
        DiffusersBackend(Settings())
    with pytest.raises(BadInputError, match="'tpu'"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(MachineError, match="CUDA device"):
            DiffusersBackend(Settings(model=str(tiny), device="cuda")).generate(REQUEST)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "peft" else name)
    with pytest.raises(MachineError, match="not installed: peft"):
        DiffusersBackend(Settings(model=str(tiny)))


def test_adapters_are_loaded_once_and_set_for_each_picture(
    tiny: Path, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(lora, "load", lambda pipeline, name, source, blocks: told.append((name, source, blocks)))
    monkeypatch.setattr(lora, "use", lambda pipeline, loras: told.append(loras))
    settings = Settings(model=str(tiny), device="cpu", loras={"flat": "flat.safetensors"}, lora_blocks=("mid_block",))
    backend = DiffusersBackend(settings)
    wanted = (Lora("flat", 0.7),)
    backend.generate(replace(REQUEST, loras=wanted))
    backend.generate(REQUEST)
    assert told == [("flat", "flat.safetensors", ("mid_block",)), wanted, ()]
    # This stand-in brings no weights.
    assert planner.asked[0][0].addons == 0


@pytest.fixture
def guided(tiny: Path, planner: Planner, monkeypatch: pytest.MonkeyPatch) -> tuple[DiffusersBackend, Any]:
    """A backend with the ControlNet `iso`, whose pictures are named b"white" and b"red"; and that network."""
    backend = DiffusersBackend(Settings(model=str(tiny), device="cpu", controlnets={"iso": "folder"}))
    torch.manual_seed(3)
    network = ControlNetModel.from_unet(unet_of(backend)).eval()
    for convolution in (*network.controlnet_down_blocks, network.controlnet_mid_block):
        torch.nn.init.normal_(convolution.weight, std=0.5)
    torch.nn.init.normal_(network.controlnet_cond_embedding.conv_out.weight, std=0.5)
    pictures = {b"white": Image.new("RGB", (64, 64), "white"), b"red": Image.new("RGB", (64, 64), "red")}
    monkeypatch.setattr(control, "load", lambda source, dtype: network)
    monkeypatch.setattr(control, "prepare", lambda wish, width, height: (pictures[wish.picture], ("resized",)))
    return backend, network


@pytest.mark.parametrize(
    "plan",
    [RESIDENT, STREAMED, replace(RESIDENT, name="int8", weights="int8")],
    ids=lambda plan: plan.name,
)
def test_a_control_picture_guides(guided: tuple[DiffusersBackend, Any], planner: Planner, plan: Plan) -> None:
    backend, network = guided
    weights = {name: value.clone() for name, value in network.named_parameters()}
    planner.first = plan
    plain = backend.generate(REQUEST).tobytes()
    assert backend.state()["notes"] == []
    drawn = [backend.generate(replace(REQUEST, control=Control("iso", name))).tobytes() for name in (b"white", b"red")]
    none = backend.generate(replace(REQUEST, control=Control("iso", b"red", 0.0))).tobytes()
    assert backend.state()["notes"] == ["resized"]
    assert len({plain, *drawn}) == 3
    assert none == plain
    assert backend.generate(REQUEST).tobytes() == plain
    # Only the UNet's are ever kept in 8 bits.
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


def test_what_streams_of_a_controlnet_is_counted(guided: tuple[DiffusersBackend, Any], planner: Planner) -> None:
    backend, network = guided
    planner.first = STREAMED
    backend.generate(REQUEST)
    plain = backend.state()["streamed_bytes"]
    backend.generate(replace(REQUEST, control=Control("iso", b"red")))
    both = backend.state()["streamed_bytes"]
    whole = sum(Layout.of(unit).size for unit in units(network).values())
    # Each step copies every unit once, and at most one more that is foreseen for a step that does not come.
    assert REQUEST.steps * whole <= both - plain - plain * 0.9
    assert both - plain <= plain + (REQUEST.steps + 1) * whole
    # Dropped with its counts kept.
    backend.generate(REQUEST)
    assert both < backend.state()["streamed_bytes"] <= both + plain


def test_a_plan_counts_the_controlnet_that_guides(guided: tuple[DiffusersBackend, Any], planner: Planner) -> None:
    backend, network = guided
    wish = replace(REQUEST, control=Control("iso", b"red"))
    for request in (REQUEST, wish, wish, REQUEST):
        backend.generate(request)
    assert [asked[0].control for asked in planner.asked] == [None, network]
    assert backend._attempts is not None
    backend._attempts.chosen.clear()
    # A plan that ran out is replaced for guided pictures of that size alone.
    undo = fail_at(backend, 1, torch.cuda.OutOfMemoryError("injected"))
    backend.generate(wish)
    undo()
    assert (backend.plan(wish).name, backend.plan(REQUEST).name) == ("streamed", "resident")
    assert planner.tightened == [replace(planner.profile, control=network)]


def test_a_controlnet_that_cannot_be_planned_is_told(
    guided: tuple[DiffusersBackend, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, network = guided
    with pytest.raises(BadInputError, match=r"--control.*'other'"):
        backend.plan(replace(REQUEST, control=Control("other", b"red")))
    wish = replace(REQUEST, control=Control("iso", b"red"))
    other = ControlNetModel.from_config(dict(network.config) | {"cross_attention_dim": 32})
    monkeypatch.setattr(control, "load", lambda source, dtype: other)
    with pytest.raises(BadInputError, match=r"cross_attention_dim 64.*found 32"):
        backend.generate(wish)

    def full(source: str, dtype: torch.dtype) -> None:
        raise MemoryError

    monkeypatch.setattr(control, "load", full)
    with pytest.raises(NoRoomError, match=r"host memory.*room for folder"):
        backend.plan(wish)


def test_threads_take_turns(backend: DiffusersBackend) -> None:
    expected = [backend.generate(replace(REQUEST, seed=seed)).tobytes() for seed in range(3)]
    found: dict[int, bytes] = {}

    def draw(seed: int) -> None:
        found[seed] = backend.generate(replace(REQUEST, seed=seed)).tobytes()

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [found[seed] for seed in range(3)] == expected
