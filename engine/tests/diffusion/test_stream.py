# SPDX-License-Identifier: GPL-3.0-or-later
"""Streamed weights: the same bytes as resident ones, counted copies, and a model that is whole afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from standins import RESIDENT, STREAMED, Plan

from nano_banana.diffusion.buffers import Layout
from nano_banana.diffusion.stream import Streamer, halves
from nano_banana.diffusion.units import UNIT_TYPES, units

pytestmark = pytest.mark.usefixtures("gradless")
Forward = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def unet(tiny: Path) -> Any:
    return UNet2DConditionModel.from_pretrained(tiny, subfolder="unet").eval()


def inputs(batch: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "sample": noise(batch, 4, 16, 16),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": noise(batch, 77, 64),
        "added_cond_kwargs": {"text_embeds": noise(batch, 32), "time_ids": noise(batch, 6)},
    }


def forward(unet: Any, batch: int = 2, **more: Any) -> torch.Tensor:
    return unet(**inputs(batch), **more, return_dict=False)[0]


def some(unet: Any, count: int) -> frozenset[str]:
    return frozenset(list(units(unet))[::count])


def test_units_are_named_in_the_order_in_which_they_run(unet: Any) -> None:
    ran: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name)) for name, module in units(unet).items()
    ]
    forward(unet)
    for hook in hooks:
        hook.remove()
    assert ran == list(units(unet))
    assert all(isinstance(module, UNIT_TYPES) for module in units(unet).values())
    inside = sum(parameter.numel() for module in units(unet).values() for parameter in module.parameters())
    assert inside > 0.95 * sum(parameter.numel() for parameter in unet.parameters())


PLANS = {
    "all streamed": STREAMED,
    "one slot": replace(STREAMED, prefetch=1),
    "three slots": replace(STREAMED, prefetch=3),
    "more slots than units": replace(STREAMED, prefetch=100),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("every", [0, 2, 5])
def test_streamed_equals_resident_bit_for_bit(unet: Any, plan: Plan, every: int) -> None:
    expected = forward(unet)
    plan = replace(plan, resident=some(unet, every) if every else frozenset())
    with Streamer(unet, "cpu", plan) as streamer:
        assert torch.equal(forward(unet), expected)
        assert torch.equal(forward(unet), expected)
        streamed = [name for name in units(unet) if name not in plan.resident]
        assert streamer.order == streamed
        # Only the first one of all is not foreseen; with one slot nobody looks ahead.
        assert streamer.misses == (2 * len(streamed) if plan.prefetch == 1 else 1)
    assert torch.equal(forward(unet), expected)


def test_every_pass_copies_each_streamed_unit_once(unet: Any) -> None:
    plan = replace(STREAMED, resident=some(unet, 3))
    sizes = sum(Layout.of(module).size for name, module in units(unet).items() if name not in plan.resident)
    with Streamer(unet, "cpu", plan) as streamer:
        forward(unet)
        before = streamer.copied_bytes
        forward(unet)
        assert streamer.copied_bytes - before == sizes
        assert sum(slot.buffer.numel() for slot in streamer._slots) == 2 * max(
            Layout.of(module).size for name, module in units(unet).items() if name not in plan.resident
        )


def test_weights_that_fit_into_the_slots_are_copied_once(unet: Any) -> None:
    plan = replace(STREAMED, resident=frozenset(list(units(unet))[2:]))
    with Streamer(unet, "cpu", plan) as streamer:
        for _ in range(3):
            forward(unet)
        assert streamer.loads == 2


def test_between_passes_parameters_lie_in_host_memory(unet: Any) -> None:
    state = {name: value.clone() for name, value in unet.state_dict().items()}
    with Streamer(unet, "cpu", STREAMED) as streamer:
        forward(unet)
        slots = {slot.buffer.untyped_storage().data_ptr() for slot in streamer._slots}
        assert slots.isdisjoint(parameter.untyped_storage().data_ptr() for parameter in unet.parameters())
        assert all(torch.equal(value, state[name]) for name, value in unet.state_dict().items())


def test_a_parameter_keeps_its_identity(unet: Any) -> None:
    before = [id(parameter) for parameter in unet.parameters()]
    with Streamer(unet, "cpu", STREAMED):
        forward(unet)
        assert [id(parameter) for parameter in unet.parameters()] == before
    assert [id(parameter) for parameter in unet.parameters()] == before


@pytest.mark.parametrize("plan", [replace(RESIDENT, split_guidance=True), replace(STREAMED, split_guidance=True)])
@pytest.mark.parametrize("batch", [2, 4])
def test_guidance_in_two_passes_equals_one(unet: Any, plan: Plan, batch: int) -> None:
    """Sums in another order: 1e-5 of values around 1 (measured 2e-6)."""
    expected = forward(unet, batch)
    with Streamer(unet, "cpu", plan) as streamer:
        found = forward(unet, batch)
        assert streamer.loads == (len(units(unet)) + 1 if plan.streamed else 0)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_an_odd_batch_runs_whole(unet: Any) -> None:
    expected = forward(unet, 1)
    with Streamer(unet, "cpu", replace(STREAMED, split_guidance=True)):
        assert torch.equal(forward(unet, 1), expected)


def test_halves_divides_all_that_has_the_batch_side() -> None:
    seen: list[tuple[Any, ...]] = []

    def one(x: torch.Tensor, size: Any, inner: dict[str, Any], same: torch.Tensor) -> torch.Tensor:
        seen.append((x.shape, size, inner["mask"].shape, inner["scale"], same.shape))
        return x + inner["mask"] + same

    x, mask, same = torch.arange(8.0).view(4, 2), torch.ones(4, 2), torch.ones(1)
    size = torch.Size([4, 4])
    result = halves(one, (x, size), {"inner": {"mask": mask, "scale": 3}, "same": same})
    assert torch.equal(result, x + 2)
    assert seen == [((2, 2), size, (2, 2), 3, (1,))] * 2


def test_units_run_once_for_each_guidance_pass(unet: Any) -> None:
    batches: list[int] = []
    module = unet.mid_block.resnets[0].conv1
    hook = module.register_forward_pre_hook(lambda _, given: batches.append(given[0].shape[0]))
    with Streamer(unet, "cpu", replace(STREAMED, split_guidance=True)):
        forward(unet, 2)
    hook.remove()
    assert batches == [1, 1]


def test_an_error_in_the_middle_leaves_the_model_whole(unet: Any) -> None:
    expected = forward(unet)

    def fail(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("injected")

    streamer = Streamer(unet, "cpu", STREAMED)
    streamer.attach()
    hook = unet.mid_block.resnets[1].conv1.register_forward_pre_hook(fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        forward(unet)
    hook.remove()
    assert torch.equal(forward(unet), expected)
    streamer.detach()
    streamer.detach()
    assert torch.equal(forward(unet), expected)
    assert not any("forward" in module.__dict__ for module in unet.modules())


def test_an_error_while_placing_puts_everything_back(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = forward(unet)
    fill, filled = Layout.fill, []

    def failing(self: Layout, flat: torch.Tensor, device: torch.device) -> None:
        filled.append(self)
        if len(filled) == 5:
            raise MemoryError
        fill(self, flat, device)

    monkeypatch.setattr(Layout, "fill", failing)
    with pytest.raises(MemoryError):
        Streamer(unet, "cpu", STREAMED).attach()
    assert torch.equal(forward(unet), expected)


def test_residuals_of_a_controlnet_go_through(unet: Any) -> None:
    torch.manual_seed(3)
    network = ControlNetModel.from_unet(unet).eval()
    for convolution in (*network.controlnet_down_blocks, network.controlnet_mid_block):
        torch.nn.init.normal_(convolution.weight, std=0.05)
    picture = torch.rand(2, 3, 128, 128)

    def both() -> torch.Tensor:
        down, mid = network(**inputs(), controlnet_cond=picture, return_dict=False)
        return forward(unet, down_block_additional_residuals=down, mid_block_additional_residual=mid)

    expected = both()
    assert not torch.equal(expected, forward(unet))
    with Streamer(unet, "cpu", STREAMED), Streamer(network, "cpu", STREAMED) as streamer:
        assert torch.equal(both(), expected)
        assert streamer.order == list(units(network))


def test_adapters_stay_resident(tiny: Path) -> None:
    peft = pytest.importorskip("peft")
    unet = UNet2DConditionModel.from_pretrained(tiny, subfolder="unet").eval()
    plain = forward(unet)
    torch.manual_seed(4)
    unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    expected = forward(unet)
    assert not torch.allclose(expected, plain)
    adapters = {id(value): value.data_ptr() for name, value in unet.named_parameters() if "lora_" in name}
    with Streamer(unet, "cpu", STREAMED):
        assert torch.equal(forward(unet), expected)
        assert {id(v): v.data_ptr() for n, v in unet.named_parameters() if "lora_" in n} == adapters
        unet.disable_adapters()
        assert torch.equal(forward(unet), plain)
        unet.enable_adapters()
        assert torch.equal(forward(unet), expected)


def test_smaller_unets_have_units_too() -> None:
    """The shapes of SSD-1B (mid block without attention) and Vega (no mid block), made tiny."""
    common = {"norm_num_groups": 8, "block_out_channels": (16, 32), "cross_attention_dim": 16, "layers_per_block": 1}
    blocks = {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 8}
    ups = {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "sample_size": 16}
    for middle in ("UNetMidBlock2D", None):
        torch.manual_seed(5)
        unet = UNet2DConditionModel(**common, **blocks, **ups, mid_block_type=middle).eval()
        given = (torch.randn(2, 4, 16, 16), torch.tensor(10), torch.randn(2, 7, 16))
        expected = unet(*given).sample
        with Streamer(unet, "cpu", STREAMED) as streamer:
            assert torch.equal(unet(*given).sample, expected)
            assert streamer.order == list(units(unet))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_two_streams_give_the_bytes_of_one(tiny: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny, subfolder="unet").eval()

    def there() -> torch.Tensor:
        given = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in inputs().items()}
        given["added_cond_kwargs"] = {key: value.cuda() for key, value in given["added_cond_kwargs"].items()}
        return unet(**given, return_dict=False)[0].cpu()

    with Streamer(unet, "cuda", RESIDENT):
        expected = there()
    for prefetch in (1, 2, 4):
        with Streamer(unet, "cuda", replace(STREAMED, prefetch=prefetch)) as streamer:
            assert all(torch.equal(there(), expected) for _ in range(20))
            assert streamer.pinned
