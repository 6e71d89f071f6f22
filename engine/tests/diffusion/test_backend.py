# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend on the tiny pipeline: same seed same bytes, batches, cancellation, and memory that ends in the middle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLPipeline
from PIL import Image
from standins import RESIDENT, SMALLEST, STREAMED, Estimate, Plan, Planner

from nano_banana import backends, diffusion
from nano_banana.backends import Settings
from nano_banana.backends.diffusers import DiffusersBackend
from nano_banana.diffusion.run import out_of_memory, pick_device
from nano_banana.errors import BadInputError, CancelledError, MachineError, NoRoomError
from nano_banana.request import Control, Lora, Request
from nano_banana.watch import Watch

REQUEST = Request("hair dryer, knolling", 64, 64, seed=5, steps=2, guidance=5.0, style=False, sharpen=1.0)


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> Planner:
    return Planner(monkeypatch)


@pytest.fixture
def backend(tiny: Path, planner: Planner) -> DiffusersBackend:
    return DiffusersBackend(Settings(model=str(tiny), device="cpu"))


def unet_of(backend: DiffusersBackend) -> Any:
    backend.load()
    assert backend._session is not None
    return backend._session.model.unet


def fail_at(backend: DiffusersBackend, call: int, error: BaseException, batch: int = 0) -> Callable[[], None]:
    """Raise inside a unit's forward at its `call`-th run (with at least `batch` rows); returns the undoing."""
    module = unet_of(backend).mid_block.resnets[1].conv1
    calls: list[int] = []

    def hook(_: Any, given: tuple[torch.Tensor]) -> None:
        if given[0].shape[0] >= batch:
            calls.append(1)
            if len(calls) == call:
                raise error

    return module.register_forward_pre_hook(hook).remove  # type: ignore[no-any-return]


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
    backend._plans.clear()
    planner.first = plan
    assert backend.generate(REQUEST).tobytes() == expected
    assert backend.state()["plan"] == "streamed"
    assert backend.state()["streamed_bytes"] > 0


def test_the_smallest_plan_draws_nearly_the_same(backend: DiffusersBackend, planner: Planner) -> None:
    """Split guidance and attention slices sum in another order: at most 2 of 255 (the one tile is the picture)."""
    expected = backend.generate(REQUEST)
    backend._plans.clear()
    planner.first = SMALLEST
    assert difference(backend.generate(REQUEST), expected) <= 2
    # And back: the attention processors of before are in place again.
    backend._plans.clear()
    planner.first = RESIDENT
    assert backend.generate(REQUEST).tobytes() == expected.tobytes()


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


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


ENDS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("can't allocate memory: 5 bytes"),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
def test_memory_that_ends_at_a_step_leads_to_the_tighter_plan(backend: DiffusersBackend, end: BaseException) -> None:
    expected = backend.generate(REQUEST).tobytes()
    undo = fail_at(backend, 2, end)
    image = backend.generate(REQUEST)
    undo()
    assert image.tobytes() == expected
    state = backend.state()
    assert (state["plan"], state["out_of_memory"]) == ("streamed", 1)
    # The next picture of that size starts with the plan that held.
    backend.generate(REQUEST)
    assert backend.state()["out_of_memory"] == 1


def test_smaller_tiles_are_not_tried_where_the_unet_ran_out(backend: DiffusersBackend, planner: Planner) -> None:
    planner.ladder["resident"] = replace(RESIDENT, name="tiled", vae_tile=64)
    planner.ladder["tiled"] = STREAMED
    undo = fail_at(backend, 1, torch.cuda.OutOfMemoryError("injected"))
    backend.generate(REQUEST)
    undo()
    assert (backend.state()["plan"], backend.state()["out_of_memory"]) == ("streamed", 1)


def test_smaller_tiles_are_enough_where_decoding_ran_out(backend: DiffusersBackend, planner: Planner) -> None:
    planner.ladder["resident"] = replace(RESIDENT, name="tiled", vae_tile=64)
    backend.load()
    assert backend._session is not None
    failed: list[int] = []

    def hook(*_: Any) -> None:
        failed.append(1)
        if len(failed) == 1:
            raise torch.cuda.OutOfMemoryError("injected")

    handle = backend._session.model.vae.decoder.conv_out.register_forward_pre_hook(hook)
    backend.generate(REQUEST)
    handle.remove()
    assert (backend.state()["plan"], backend.state()["out_of_memory"]) == ("tiled", 1)


def test_when_no_plan_is_left_it_says_what_would_fit(backend: DiffusersBackend, planner: Planner) -> None:
    expected = backend.generate(replace(REQUEST, width=128, height=128)).tobytes()

    def hook(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    handle = unet_of(backend).mid_block.resnets[1].conv1.register_forward_pre_hook(hook)
    with pytest.raises(NoRoomError, match=r"smallest.*CUDA out of memory.*--size 64x64"):
        backend.generate(replace(REQUEST, width=128, height=128))
    handle.remove()
    assert backend.state()["out_of_memory"] == 3
    backend._plans.clear()
    assert backend.generate(replace(REQUEST, width=128, height=128)).tobytes() == expected


def test_a_batch_that_does_not_fit_is_halved_before_the_plan_is_tightened(backend: DiffusersBackend) -> None:
    undo = fail_at(backend, 1, torch.cuda.OutOfMemoryError("injected"), batch=8)
    images = backend.generate_many([replace(REQUEST, seed=seed) for seed in range(4)])
    undo()
    assert len({image.tobytes() for image in images}) == 4
    assert (backend.state()["plan"], backend.state()["out_of_memory"]) == ("resident", 1)


def test_the_budget_bounds_a_batch(tiny: Path, planner: Planner) -> None:
    planner.first = replace(RESIDENT, estimate=Estimate(weights=100, activations=10, peak=110))
    budget = 125
    backend = DiffusersBackend(Settings(model=str(tiny), device="cpu", vram_budget=budget, plan="resident"))
    sizes: list[int] = []
    hook = unet_of(backend).conv_in.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[0]))
    backend.generate_many([replace(REQUEST, seed=seed, steps=1) for seed in range(3)])
    hook.remove()
    assert sizes == [4, 2]
    assert planner.asked == [(planner.profile, budget, 64, 64, {"guidance": True, "name": "resident"})]


def test_what_the_model_did_not_read_is_in_its_state(backend: DiffusersBackend) -> None:
    backend.generate(replace(REQUEST, prompt="x" * 100))
    assert any("100 tokens" in note for note in backend.state()["notes"])
    backend.generate(REQUEST)
    assert backend.state()["notes"] == []


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
    lora = ModuleType("nano_banana.diffusion.lora")
    lora.load = lambda pipeline, name, source, blocks: told.append((name, source, blocks))  # type: ignore[attr-defined]
    lora.use = lambda pipeline, loras: told.append(loras)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, lora.__name__, lora)
    monkeypatch.setattr(diffusion, "lora", lora, raising=False)
    settings = Settings(model=str(tiny), device="cpu", loras={"flat": "flat.safetensors"}, lora_blocks=("mid_block",))
    backend = DiffusersBackend(settings)
    wanted = (Lora("flat", 0.7),)
    backend.generate(replace(REQUEST, loras=wanted))
    backend.generate(REQUEST)
    assert told == [("flat", "flat.safetensors", ("mid_block",)), wanted, ()]
    # This stand-in brings no weights.
    assert planner.asked[0][0].addons == 0


@pytest.mark.parametrize(
    "plan",
    [RESIDENT, STREAMED, replace(RESIDENT, name="int8", weights="int8")],
    ids=lambda plan: plan.name,
)
def test_a_control_picture_guides(tiny: Path, planner: Planner, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    planner.first = plan
    control = ModuleType("nano_banana.diffusion.control")
    backend = DiffusersBackend(Settings(model=str(tiny), device="cpu", controlnets={"iso": "folder"}))
    torch.manual_seed(3)
    network = ControlNetModel.from_unet(unet_of(backend)).eval()
    for convolution in (*network.controlnet_down_blocks, network.controlnet_mid_block):
        torch.nn.init.normal_(convolution.weight, std=0.5)
    torch.nn.init.normal_(network.controlnet_cond_embedding.conv_out.weight, std=0.5)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    pictures = {b"white": Image.new("RGB", (64, 64), "white"), b"red": Image.new("RGB", (64, 64), "red")}
    control.load = lambda source, dtype: network  # type: ignore[attr-defined]
    control.prepare = lambda wish, width, height: pictures[wish.picture]  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, control.__name__, control)
    monkeypatch.setattr(diffusion, "control", control, raising=False)
    plain = backend.generate(REQUEST).tobytes()
    drawn = [backend.generate(replace(REQUEST, control=Control("iso", name))).tobytes() for name in pictures]
    none = backend.generate(replace(REQUEST, control=Control("iso", b"red", 0.0))).tobytes()
    assert len({plain, *drawn}) == 3
    assert none == plain
    assert backend.generate(REQUEST).tobytes() == plain
    # Only the UNet's are ever kept in 8 bits.
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


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


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("shape"), False),
        (OSError(), False),
    ],
)
def test_the_end_of_memory_is_told_from_other_errors(error: BaseException, ended: bool) -> None:
    assert out_of_memory(error) is ended
