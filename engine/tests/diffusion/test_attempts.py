# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that ends in the middle of a picture on the tiny pipeline: what is tried next, and what it says at the end."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import (
    REQUEST,
    RESIDENT,
    SMALLEST,
    STREAMED,
    Decoder,
    Estimate,
    Planner,
    difference,
    fail_at,
    forget,
    unet_of,
)

from nano_banana.backends import Settings
from nano_banana.backends.diffusers import DiffusersBackend
from nano_banana.diffusion.device import out_of_memory
from nano_banana.errors import CancelledError, NoRoomError
from nano_banana.request import Request
from nano_banana.watch import Watch

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


TILED = replace(RESIDENT, name="tiled", vae_tile=64)


def test_what_was_denoised_is_decoded_again_in_smaller_tiles(backend: DiffusersBackend, planner: Planner) -> None:
    wish = replace(REQUEST, width=128, height=128)
    planner.first = TILED
    expected = backend.generate(wish).tobytes()
    forget(backend)
    planner.first = RESIDENT
    assert backend.generate(wish).tobytes() != expected
    planner.ladder["resident"] = TILED
    decoder = Decoder(backend, 1)
    image = backend.generate(wish)
    assert (decoder.steps, image.tobytes()) == (wish.steps, expected)
    assert (backend.state()["plan"], backend.state()["out_of_memory"]) == ("tiled", 1)
    # Nothing is kept for later: the same wish is drawn from its noise.
    assert backend.generate(wish).tobytes() == expected
    assert decoder.steps == 2 * wish.steps
    decoder.remove()


def test_a_batch_that_ran_out_in_decoding_is_not_halved(backend: DiffusersBackend, planner: Planner) -> None:
    planner.ladder["resident"] = TILED
    wishes = [replace(REQUEST, seed=seed) for seed in range(3)]
    decoder = Decoder(backend, 2)
    images = backend.generate_many(wishes)
    decoder.remove()
    assert (decoder.steps, decoder.runs) == (REQUEST.steps, 2 + 3)
    for wish, image in zip(wishes, images, strict=True):
        assert difference(image, backend.generate(wish)) <= 2


def test_a_plan_that_cuts_the_unet_otherwise_denoises_again(backend: DiffusersBackend, planner: Planner) -> None:
    planner.ladder["resident"] = SMALLEST
    decoder = Decoder(backend, 1)
    backend.generate(REQUEST)
    decoder.remove()
    assert decoder.steps == 2 * REQUEST.steps


def test_memory_that_ends_in_placing_weights_is_not_taken_for_decoding(
    backend: DiffusersBackend, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner.ladder |= {"resident": TILED, "tiled": STREAMED}
    backend.generate(REQUEST)
    session = backend._session
    assert session is not None
    use, used = session.use, []

    def full_once(plan: Any) -> None:
        used.append(plan.name)
        if len(used) == 1:
            raise torch.cuda.OutOfMemoryError("injected")
        use(plan)

    monkeypatch.setattr(session, "use", full_once)
    backend.generate(REQUEST)
    assert used == ["resident", "streamed"]


@pytest.mark.parametrize("error", [None, ZeroDivisionError("injected")], ids=["memory", "defect"])
def test_nothing_is_kept_after_an_error(
    backend: DiffusersBackend, planner: Planner, error: BaseException | None
) -> None:
    planner.ladder.clear()
    # Halves of the UNet's work would not help: that plan is passed over, and no other is left.
    planner.ladder["resident"] = replace(RESIDENT, name="split", split_guidance=True)
    decoder = Decoder(backend, 1, error=error)
    with pytest.raises(NoRoomError if error is None else ZeroDivisionError):
        backend.generate(REQUEST)
    backend.generate(REQUEST)
    decoder.remove()
    assert (decoder.runs, decoder.steps) == (2, 2 * REQUEST.steps)


def test_a_session_decodes_again_only_the_same_requests(backend: DiffusersBackend, planner: Planner) -> None:
    decoder = Decoder(backend, 1, 3, 5)
    session = backend._session
    assert session is not None
    session.use(RESIDENT)  # type: ignore[arg-type]
    others: list[tuple[Request, Watch, int]] = [
        (REQUEST, Watch(), 0),
        (replace(REQUEST, seed=6), Watch(), REQUEST.steps),
        (REQUEST, Watch(stop=lambda: True), 0),
    ]
    for request, watch, steps in others:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            session.draw([REQUEST])
        before = decoder.steps
        with contextlib.suppress(CancelledError):
            session.draw([request], watch)
        assert decoder.steps == before + steps
    # The cancelled run dropped it.
    before = decoder.steps
    session.draw([REQUEST])
    assert decoder.steps == before + REQUEST.steps
    decoder.remove()


def test_when_no_plan_is_left_it_says_what_would_fit(backend: DiffusersBackend, planner: Planner) -> None:
    expected = backend.generate(replace(REQUEST, width=128, height=128)).tobytes()

    def hook(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    handle = unet_of(backend).mid_block.resnets[1].conv1.register_forward_pre_hook(hook)
    with pytest.raises(NoRoomError, match=r"smallest.*CUDA out of memory.*--size 64x64"):
        backend.generate(replace(REQUEST, width=128, height=128))
    handle.remove()
    assert backend.state()["out_of_memory"] == 3
    forget(backend)
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
