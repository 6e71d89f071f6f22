# SPDX-License-Identifier: GPL-3.0-or-later
"""One loaded model on one device: places its weights as a plan says, and draws batches of requests of equal shape."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionXLControlNetPipeline, StableDiffusionXLPipeline

from nano_banana.backends import NATIVE
from nano_banana.diffusion.decode import decode
from nano_banana.diffusion.stream import Streamer
from nano_banana.diffusion.text import Embeddings, PromptEncoder
from nano_banana.errors import BadInputError, CancelledError, MachineError
from nano_banana.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from PIL import Image

    from nano_banana.diffusion.load import Model
    from nano_banana.diffusion.plans import Plan
    from nano_banana.request import Request

_LOG = logging.getLogger(__name__)
# What an allocator without an exception class of its own says.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


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
        self.notes: tuple[str, ...] = ()
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
        can be used again after each of them.
        """
        assert self.plan is not None, "use(plan) comes first"
        if watch.stop and watch.stop():
            raise CancelledError(0, requests[0].steps)
        self.decoding = False
        with deterministic():
            latents = self._denoise(requests, watch, guide)
            if self.device.type == "cuda":
                # The decoder's large tensors do not fit between what the UNet's left behind.
                torch.cuda.empty_cache()
            self.decoding = True
            return decode(self.model.vae, latents, self.device, self.plan.vae_tile)

    def adapter_bytes(self) -> int:
        """What the loaded adapters take on the device."""
        named = self.model.unet.named_parameters()
        return sum(value.numel() * value.element_size() for name, value in named if "lora_" in name)

    def release(self) -> None:
        """Bring all weights back to host memory and give the device's memory back."""
        if self._control is not None:
            self._control[1].detach()
            self._control = None
        if self.streamer is not None:
            self.copied_bytes += self.streamer.copied_bytes
            self.streamer.detach()
            self.streamer = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def state(self) -> dict[str, Any]:
        """What was copied and is held; bytes as torch counts them (without the CUDA context)."""
        streamer = self.streamer
        state: dict[str, Any] = {
            "streamed_bytes": self.copied_bytes + (streamer.copied_bytes if streamer else 0),
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
        self.notes = notes(read)
        for note in self.notes:
            _LOG.warning("%s", note)

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
            self._control[1].detach()
            self._control = None
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

    def _slice_attention(self, wanted: bool) -> None:
        unet = self.model.unet
        if wanted and self._processors is None:
            self._processors = dict(unet.attn_processors)
            unet.set_attention_slice("max")
        elif not wanted and self._processors is not None:
            unet.set_attn_processor(dict(self._processors))
            self._processors = None


@dataclasses.dataclass(frozen=True)
class Guide:
    """A ControlNet with its picture, ready to use: RGB of the request's size; `strength` from 0 to 2."""

    name: str
    network: Any
    picture: Image.Image
    strength: float


def notes(read: Sequence[Embeddings]) -> tuple[str, ...]:
    """What the writers of these prompts should know, each sentence once."""
    return tuple(dict.fromkeys(note for one in read for note in one.notes))


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one. Raises BadInputError, MachineError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,2})?", name):
        raise BadInputError(
            "--device", expected="auto, cpu, cuda or cuda:N", found=repr(name), fix="Type --device auto."
        )
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(
            f"--device {name}",
            expected="a CUDA device of that number",
            found=f"{torch.cuda.device_count()} of them, torch {torch.__version__}",
            fix="Type nano-banana doctor to see why, or --device cpu.",
        )
    return device


def dtype_on(device: torch.device) -> torch.dtype:
    """fp16 on CUDA; fp32 on the CPU, which is slower and less exact in fp16."""
    return torch.float16 if device.type == "cuda" else torch.float32


def out_of_memory(error: BaseException) -> bool:
    """Whether this is the end of video or host memory, in the words of any torch from 2.1 on."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def deterministic() -> Iterator[None]:
    """Let cuDNN take only algorithms that give the same bytes each time, and not choose them by timing."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def alike_before_decoding(one: Plan, other: Plan) -> bool:
    """Whether two plans differ in nothing that denoising notices."""
    return _placement(one) == _placement(other) and one.attention_slices == other.attention_slices


def _placement(plan: Plan) -> tuple[Any, ...]:
    return (plan.resident, plan.streamed, plan.prefetch, plan.split_guidance, plan.weights)
