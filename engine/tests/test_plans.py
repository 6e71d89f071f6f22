# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for made profiles: which one is chosen, what it is said to need, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from nano_banana.diffusion import plans
from nano_banana.diffusion.plan import Network, Plan, Profile
from nano_banana.errors import BadInputError, NoRoomError

MIB = 1 << 20
# Ten units of 100 and one of 300 MiB; split guidance halves 200 MiB of work; a tile's decode grows with its pixels.
UNITS = {f"block.{number}": 100 * MIB for number in range(10)} | {"block.big": 300 * MIB}


def activations(width: int, height: int, passes: int, split: bool, slices: bool) -> int:
    size = 100 * MIB * passes * width * height // 1024**2
    return size // (2 if split else 1) // (2 if slices else 1)


def decoding(width: int, height: int, tile: int) -> int:
    pixels = min(tile, width) * min(tile, height) if tile else width * height
    return 1000 * MIB * pixels // 1024**2


PROFILE = Profile(
    units=UNITS,
    rest=50 * MIB,
    vae=40 * MIB,
    decoder=20 * MIB,
    activations=activations,
    decoding=decoding,
    context=100 * MIB,
)
WHOLE = 1300 + 50 + 100  # units, rest, context


def choose(budget: int | None, name: str = "auto", guidance: bool = True, side: int = 1024) -> Plan:
    size = None if budget is None else budget * MIB
    return plans.choose(PROFILE, size, side, side, guidance=guidance, name=name)


@pytest.mark.parametrize(
    ("budget", "name", "tile", "split", "slices"),
    [
        (None, "resident", 0, False, False),
        (WHOLE + 1020, "resident", 0, False, False),
        (WHOLE + 1019, "resident", 768, False, False),  # a smaller tile costs less than streaming
        (WHOLE + 270, "resident", 512, False, False),
        (WHOLE + 200, "resident", 384, False, False),  # 256 would overlap more and save nothing: activations decide
        (WHOLE + 199, "resident", 384, True, False),
        (WHOLE + 99, "balanced", 512, False, False),  # 384 would leave 400 MiB to stream too
        (450, "streamed", 256, True, False),
        (449, "streamed", 256, True, True),
    ],
)
def test_the_least_slow_plan_that_fits(budget: int | None, name: str, tile: int, split: bool, slices: bool) -> None:
    # The two smallest need 100 + 50 + 2 slots of 300 MiB unless the big unit is kept: 300 + 2 slots of 100.
    extra = 300 if budget in (450, 449) else 0
    plan = choose(None if budget is None else budget + extra)
    found = (plan.name, plan.vae_tile, plan.split_guidance, plan.attention_slices)
    if extra:
        assert found[1:] == (tile, split, slices)
        assert plan.resident <= {"block.big"}
    else:
        assert found == (name, tile, split, slices)
    assert budget is None or plan.estimate.peak <= (budget + extra) * MIB


def test_an_estimate_is_the_sum_of_its_parts() -> None:
    plan = choose(None, "streamed")
    need = plan.estimate
    assert need.weights == (50 + 2 * 300) * MIB
    assert need.bytes_per_step == 1300 * MIB
    assert need.activations == 200 * MIB
    assert need.decode == 1020 * MIB
    assert need.host == 1340 * MIB
    assert need.peak == (100 + 650 + 1020) * MIB


def test_the_largest_unit_stays_because_it_sets_the_slots() -> None:
    # 700 MiB for units: the big one, two slots of 100 and two small ones.
    resident = plans._fill(UNITS, 700 * MIB)
    assert "block.big" in resident
    assert len(resident) == 3


def test_kept_units_lie_apart() -> None:
    units = {str(number): 1 for number in range(16)}
    kept = sorted(int(unit) for unit in plans._fill(units, 2 + 4))
    assert kept == [0, 4, 8, 12]


def test_no_room_for_slots_keeps_nothing() -> None:
    assert plans._fill(UNITS, 99 * MIB) == frozenset()


def test_every_byte_of_a_larger_budget_is_used_or_harmless() -> None:
    streamed = [choose(budget, "balanced").estimate.bytes_per_step for budget in range(900, 2500, 100)]
    assert streamed == sorted(streamed, reverse=True)
    assert streamed[0] > streamed[-1] == 0


def test_a_refusal_tells_the_numbers_and_what_works() -> None:
    with pytest.raises(NoRoomError) as caught:
        choose(400)
    text = str(caught.value)
    assert "0.39 GiB" in text or "400.0 MiB" in text
    assert "weights" in text and "context 100.0 MiB" in text
    budget = text.split("--vram-budget ")[1].split("GiB")[0]
    assert choose(int(float(budget) * 1024), "smallest").name == "smallest"


def test_a_refusal_offers_a_smaller_size_that_fits() -> None:
    smallest = choose(None, "smallest").estimate.peak
    big = plans.choose(PROFILE, None, 2048, 2048, guidance=True, name="smallest").estimate.peak
    with pytest.raises(NoRoomError, match="--size 1024x1024") as caught:
        plans.choose(PROFILE, smallest, 2048, 2048, guidance=True)
    assert big > smallest
    assert caught.value.exit_code == 3


def test_a_named_plan_that_does_not_fit_points_to_auto() -> None:
    with pytest.raises(NoRoomError, match="Type --plan auto or"):
        choose(1200, "resident")


@pytest.mark.parametrize("name", ["fast", "", "resident+int4"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(BadInputError, match="--plan"):
        choose(None, name)


def test_tighter_goes_down_step_by_step_to_the_end() -> None:
    plan: Plan | None = choose(None)
    seen = []
    while plan is not None:
        seen.append(plan)
        plan = plans.tighter(plan, PROFILE, 1024, 1024, True)
    assert [one.vae_tile for one in seen[:5]] == [0, 768, 512, 384, 256]
    streams = [one.estimate.bytes_per_step for one in seen]
    assert streams == sorted(streams) and streams[-1] == 1300 * MIB
    assert (seen[-2].split_guidance, seen[-1].split_guidance, seen[-1].attention_slices) == (True, True, True)
    assert len(seen) < 15
    needs = [one.estimate.peak for one in seen]
    assert needs[-1] < needs[-2] < needs[0]


def test_a_description_has_the_numbers() -> None:
    text = choose(None, "smallest").describe()
    numbers = (
        "1 units stay",
        "2 slots (0.98 GiB a step)",
        "256 pixels",
        "one after the other",
        "predicted peak 0.73 GiB",
    )
    for words in ("plan smallest", *numbers):
        assert words in text


def test_weights_of_8_bits_are_said() -> None:
    packed = dataclasses.replace(PROFILE, weights="int8")
    plan = plans.choose(packed, None, 1024, 1024, guidance=True)
    assert (plan.weights, "resident: weights of 8 bits, all" in plan.describe()) == ("int8", True)
    smaller = plans.tighter(plan, packed, 1024, 1024, True)
    assert smaller is not None and smaller.weights == "int8"
    assert choose(None).weights == "native" and "8 bits" not in choose(None).describe()


def test_one_pass_is_never_split() -> None:
    assert not choose(None, "smallest", guidance=False).split_guidance
    assert choose(None, "smallest", guidance=True).split_guidance


# Four units and a rest: 230 MiB as a whole, 150 MiB with two slots.
NETWORK = Network({f"down.{number}": 70 * MIB for number in range(3)} | {"small": 10 * MIB}, 10 * MIB)
GUIDED = dataclasses.replace(PROFILE, control=NETWORK)


def test_a_controlnet_streams_with_slots_of_its_own_or_stays_as_a_whole() -> None:
    assert (NETWORK.held(False), NETWORK.held(True), NETWORK.streaming) == (230 * MIB, 150 * MIB, 220 * MIB)
    for name, held, streaming in (("resident", 230, 0), ("streamed", 150, 220)):
        plain, guided = (
            plans.choose(profile, None, 512, 512, guidance=True, name=name) for profile in (PROFILE, GUIDED)
        )
        need = guided.estimate
        assert (need.control, plain.estimate.control) == (held * MIB, 0)
        assert need.weights == plain.estimate.weights + held * MIB
        assert need.peak == plain.estimate.peak + held * MIB
        assert need.bytes_per_step == plain.estimate.bytes_per_step + streaming * MIB
        assert need.host == plain.estimate.host + streaming * MIB
        assert "ControlNet" in guided.describe()
        assert "ControlNet" not in plain.describe()


def test_no_plan_with_a_controlnet_is_beyond_its_budget() -> None:
    """From the floor to where all is resident, over the point where the UNet stays and the ControlNet streams."""
    seen = []
    for budget in range(890, 2100, 10):
        plan = plans.choose(GUIDED, budget * MIB, 512, 512, guidance=True)
        assert plan.estimate.peak <= budget * MIB
        assert plan.estimate.control == NETWORK.held(plan.streamed)
        seen.append((plan.name, plan.estimate.bytes_per_step))
    # All of the UNet stays, and what passes through the bus is the ControlNet alone.
    assert ("balanced", NETWORK.streaming) in seen
    assert seen[-1] == ("resident", 0)
    with pytest.raises(NoRoomError, match=r"ControlNet 0\.15 GiB"):
        plans.choose(GUIDED, 400 * MIB, 512, 512, guidance=True)


def test_a_guided_plan_that_ran_out_becomes_one_that_streams_the_controlnet_too() -> None:
    plan: Plan | None = plans.choose(GUIDED, None, 512, 512, guidance=True)
    seen = []
    while plan is not None:
        seen.append((plan.streamed, plan.estimate.control))
        plan = plans.tighter(plan, GUIDED, 512, 512, True)
    assert seen[0] == (False, NETWORK.held(False))
    assert set(seen) == {seen[0], (True, NETWORK.held(True))}
    assert seen == sorted(seen)
