# SPDX-License-Identifier: GPL-3.0-or-later
"""One loaded model on one device: places its weights as a plan says, and draws batches of requests of equal shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionXLControlNetPipeline, StableDiffusionXLPipeline

from nano_banana.backends import NATIVE
from nano_banana.diffusion.decode import decode
from nano_banana.diffusion.device import deterministic, out_of_memory
from nano_banana.diffusion.stream import Streamer
from nano_banana.diffusion.text import PromptEncoder
from nano_banana.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.diffusion.load import Model
    from nano_banana.diffusion.plan import Plan
    from nano_banana.request import Request


class Session:
    """A model with its prompt cache, its pipeline without encoders and VAE, and the plan in force.

    Not safe for two threads at once: its owner takes turns.
    """

    def __init__(self, model: Model, device: torch.device | str) -> None:
        self.model = model
        self.device = torch.device(device)
        self.text = PromptEncoder(
            model.tokenizers,
            model.text_encoders,
            layers_from_end=model.text_layers_from_end,
            zeros_for_empty=model.zeros_for_empty,
        )
        self.pipeline = self._pipeline(StableDiffusionXLPipeline)
        self.plan: Plan | None = None
        self.streamer: Streamer | None = None
        self.copied_bytes = 0
        # Where the last run was: what to make smaller when memory ended depends on it.
        self.decoding = False
        # What the writers of the last run's prompts should know, for each request; said by whoever answers them.
        self.notes: tuple[tuple[str, ...], ...] = ()
        self._undecoded: _Undecoded | None = None
        self._control: tuple[str, Streamer, Any] | None = None
        self._processors: dict[str, Any] | None = None

    def use(self, plan: Plan) -> None:
        """Place the weights as the plan says; a plan that differs in tiles alone moves nothing."""
        if self.streamer is None or self.plan is None or _placement(plan) != _placement(self.plan):
            self.release()
            streamer = Streamer(self.model.unet, self.device, plan)
            streamer.attach()
            self.streamer = streamer
        self._slice_attention(plan.attention_slices)
        self.plan = plan

    def draw(
        self, requests: Sequence[Request], watch: Watch = UNWATCHED, guide: Guide | None = None
    ) -> list[Image.Image]:
        """Pictures of requests that share size, steps, guidance, adapters and control picture, in one batch.

        Needs `use` before. Raises CancelledError, MachineError, and what torch raises where memory ends; the session
        can be used again after each of them. Where memory ended in decoding, the next call with the same requests and
        a plan that denoises to the same bytes only decodes.
        """
        assert self.plan is not None, "use(plan) comes first"
        kept = self.forget()
        watch.check(0, requests[0].steps)
        job = (tuple(requests), self.plan.split_guidance, self.plan.attention_slices)
        self.decoding = False
        with deterministic():
            # Few bytes, in host memory: they outlive a run that fails, and nothing of the UNet's is left on the device.
            latents = kept.latents if kept and kept.job == job else self._denoise(requests, watch, guide).cpu()
            if self.device.type == "cuda":
                # The decoder's large tensors do not fit between what the UNet's left behind.
                torch.cuda.empty_cache()
            self.decoding = True
            try:
                return decode(self.model.vae, latents, self.device, self.plan.vae_tile, watch)
            except (MemoryError, RuntimeError) as error:
                if out_of_memory(error):
                    self._undecoded = _Undecoded(job, latents)
                raise

    def forget(self) -> _Undecoded | None:
        """Drop what a run left that ended in decoding; returns it."""
        kept, self._undecoded = self._undecoded, None
        return kept

    def adapter_bytes(self) -> int:
        """What the loaded adapters take on the device."""
        named = self.model.unet.named_parameters()
        return sum(value.numel() * value.element_size() for name, value in named if "lora_" in name)

    def release(self) -> None:
        """Bring all weights back to host memory and give the device's memory back."""
        self._drop_control()
        if self.streamer is not None:
            self.copied_bytes += self.streamer.copied_bytes
            self.streamer.detach()
            self.streamer = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def state(self) -> dict[str, Any]:
        """What was copied and is held; bytes as torch counts them (without the CUDA context)."""
        streamer = self.streamer
        streamers = [one for one in (streamer, self._control and self._control[1]) if one]
        state: dict[str, Any] = {
            "streamed_bytes": self.copied_bytes + sum(one.copied_bytes for one in streamers),
            "unforeseen_loads": streamer.misses if streamer else 0,
            "pinned": bool(streamer and streamer.pinned),
            "prompts_computed": self.text.computed,
        }
        if self.device.type == "cuda":
            state["video_memory_bytes"] = torch.cuda.memory_reserved(self.device)
            state["peak_video_memory_bytes"] = torch.cuda.max_memory_reserved(self.device)
        return state

    def free_bytes(self) -> int | None:
        """Free video memory now; None on the CPU, where nothing is counted."""
        return int(torch.cuda.mem_get_info(self.device)[0]) if self.device.type == "cuda" else None

    def cap(self, size: int) -> None:
        """Let torch hold at most `size` bytes of this device: more is an out-of-memory error. No-op on the CPU."""
        if self.device.type == "cuda":
            total = torch.cuda.mem_get_info(self.device)[1]
            torch.cuda.set_per_process_memory_fraction(min(1.0, max(size, 1) / total), self.device)

    def _pipeline(self, kind: Any, **more: Any) -> Any:
        # Without VAE and encoders the pipeline's device is the UNet's, and nothing of it is moved or run unasked.
        names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
        absent: dict[str, Any] = dict.fromkeys(names)
        pipeline = kind(**absent, unet=self.model.unet, scheduler=self.model.scheduler, add_watermarker=False, **more)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _denoise(self, requests: Sequence[Request], watch: Watch, guide: Guide | None) -> torch.Tensor:
        first = requests[0]
        dtype = self.model.dtype
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        # Drawn in fp32 on the CPU: the same seed starts from the same noise whatever the device and its precision.
        sides = (self.model.unet.config.in_channels, first.height // 8, first.width // 8)
        noise = torch.stack([torch.randn(sides, generator=generator) for generator in generators])
        pipeline, more = self._guided(guide)

        def after_step(pipe: Any, step: int, _time: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
            watch.step(step + 1, pipe.num_timesteps)
            return {}

        denoised: torch.Tensor = pipeline(
            width=first.width,
            height=first.height,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance,
            latents=noise.to(self.device, dtype),
            generator=generators,
            output_type="latent",
            callback_on_step_end=after_step,
            callback_on_step_end_tensor_inputs=[],
            **self._prompts(requests),
            **more,
        ).images
        return denoised

    def _prompts(self, requests: Sequence[Request]) -> dict[str, torch.Tensor | None]:
        read = [self.text.encode(request.prompt, request.negative) for request in requests]
        self.notes = tuple(one.notes for one in read)

        def batch(tensors: list[torch.Tensor]) -> torch.Tensor:
            return torch.cat(tensors).to(self.device, self.model.dtype)

        wanted = {
            "prompt_embeds": batch([one.prompt.states for one in read]),
            "pooled_prompt_embeds": batch([one.prompt.pooled for one in read]),
        }
        if requests[0].guidance <= 1:
            return wanted | {"negative_prompt_embeds": None, "negative_pooled_prompt_embeds": None}
        return wanted | {
            "negative_prompt_embeds": batch([one.negative.states for one in read]),
            "negative_pooled_prompt_embeds": batch([one.negative.pooled for one in read]),
        }

    def _guided(self, guide: Guide | None) -> tuple[Any, dict[str, Any]]:
        """The pipeline to call and what it needs beyond the others; places a ControlNet's weights as the UNet's are."""
        assert self.plan is not None
        if self._control is not None and (guide is None or guide.name != self._control[0]):
            self._drop_control()
        if guide is None:
            return self.pipeline, {}
        if self._control is None:
            plan = dataclasses.replace(self.plan, weights=NATIVE)
            plan = dataclasses.replace(plan, resident=frozenset()) if plan.streamed else plan
            streamer = Streamer(guide.network, self.device, plan)
            streamer.attach()
            pipeline = self._pipeline(StableDiffusionXLControlNetPipeline, controlnet=guide.network)
            self._control = (guide.name, streamer, pipeline)
        return self._control[2], {"image": guide.picture, "controlnet_conditioning_scale": float(guide.strength)}

    def _drop_control(self) -> None:
        if self._control is not None:
            self.copied_bytes += self._control[1].copied_bytes
            self._control[1].detach()
            self._control = None

    def _slice_attention(self, wanted: bool) -> None:
        unet = self.model.unet
        if wanted and self._processors is None:
            self._processors = dict(unet.attn_processors)
            unet.set_attention_slice("max")
        elif not wanted and self._processors is not None:
            unet.set_attn_processor(dict(self._processors))
            self._processors = None


@dataclasses.dataclass(frozen=True)
class _Undecoded:
    """Latents in host memory, and what they were made of: the requests, and how the plan cut the UNet's work."""

    job: tuple[tuple[Request, ...], bool, bool]
    latents: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Guide:
    """A ControlNet with its picture, ready to use: RGB of the request's size; `strength` from 0 to 2."""

    name: str
    network: Any
    picture: Image.Image
    strength: float


def alike_before_decoding(one: Plan, other: Plan) -> bool:
    """Whether two plans differ in nothing that denoising notices."""
    return _placement(one) == _placement(other) and one.attention_slices == other.attention_slices


def alike_in_decoding(one: Plan, other: Plan) -> bool:
    """Whether two plans differ in nothing that decoding notices: tiles, and the weights beside which it runs."""
    return (one.vae_tile, one.resident, one.streamed) == (other.vae_tile, other.resident, other.streamed)


def _placement(plan: Plan) -> tuple[Any, ...]:
    return (plan.resident, plan.streamed, plan.prefetch, plan.split_guidance, plan.weights)
