# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a model's work takes, found by running its shapes: the same code on torch's `meta` device, which
computes nothing, under a tracker that adds up the storages that live at the same time."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from nano_banana.backends import NATIVE
from nano_banana.diffusion import decode, stream
from nano_banana.diffusion.buffers import Layout
from nano_banana.diffusion.plan import Network, Profile
from nano_banana.diffusion.units import units as streaming_units

# Assumption: what a process pays for CUDA before its first tensor, with lazy module loading (CUDA 11.7 and later).
# People report 300 to 700 MiB by GPU and version; `measure.context()` finds the real figure where there is a GPU.
CUDA_CONTEXT = 512 << 20
# torch's own default for cuBLAS, CUBLAS_WORKSPACE_CONFIG=:4096:2:16:8, is 8,519,680 bytes (32 MiB on Hopper), once
# for each handle and stream. What cuDNN takes for its convolutions is an assumption.
CUBLAS_WORKSPACE = 8_519_680
CUDNN_WORKSPACE = 64 << 20
# Assumption: torch's caching allocator holds an eighth more than what lives, because freed blocks do not fit the next
# use.
CUDA_SLACK = 1 / 8
_TOKENS = 77
_VAE_CHANNELS = 4


class Tracker(TorchDispatchMode):
    """Adds up the bytes of storages that operations make and that live at once; `peak` is the most.

    A storage counts from the first tensor on it to the death of the last. Storages given to `ignore` never count.
    `scratch(func, args)` are the bytes that a kernel holds beside its result while it runs.
    """

    def __init__(
        self, ignore: Iterable[torch.Tensor] = (), scratch: Callable[[Any, Any], int] = lambda _func, _args: 0
    ) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._scratch = scratch
        self._known: set[int] = set()
        self._storages: dict[int, list[int]] = {}
        self._ignored = {tensor.untyped_storage()._cdata for tensor in ignore}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor):
                self.see(tensor)
        self.peak = max(self.peak, self.now + self._scratch(func, args))
        return result

    def see(self, tensor: torch.Tensor) -> None:
        """Count the storage under a tensor while the tensor lives."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._ignored or id(tensor) in self._known:
            return
        if key not in self._storages:
            self._storages[key] = [0, storage.nbytes()]
            self.now += storage.nbytes()
        self._storages[key][0] += 1
        self._known.add(id(tensor))
        # Tensors, not storages: torch 2.1 does not tell when a storage dies.
        weakref.finalize(tensor, self._drop, key, id(tensor)).atexit = False

    def _drop(self, key: int, number: int) -> None:
        self._known.discard(number)
        entry = self._storages[key]
        entry[0] -= 1
        if not entry[0]:
            self.now -= entry[1]
            del self._storages[key]


class _Attention(TorchFunctionMode):
    """Answers scaled_dot_product_attention by a tensor of its shape.

    On meta torch would take the plain formula with its matrix of all scores, which the kernels that run on CUDA and CPU
    never hold. The result is laid out as theirs: (batch, tokens, heads, size) seen as (batch, heads, tokens, size).
    Beside it they make one fp32 number for each query, and the CPU's a buffer for each thread.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        query, value = named["query"], named["value"]
        batch, heads, tokens, size = query.shape
        beside = batch * heads * tokens
        if self._device == "cpu":
            beside += torch.get_num_threads() * cpu_attention_buffer(tokens, value.shape[-2], size)
        held = query.new_empty(beside, dtype=torch.float32)
        result = query.new_empty(batch, tokens, heads, value.shape[-1]).transpose(1, 2)
        del held
        return result


def cpu_scratch(func: Any, args: Any) -> int:
    """oneDNN's convolution keeps copies of picture and weights in its own layout; seen in the allocator's reports."""
    if func is not torch.ops.aten.convolution.default:
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in args[:2])


def cpu_attention_buffer(queries: int, keys: int, size: int) -> int:
    """Numbers that torch's CPU kernel keeps for one thread: scores of a block of queries by a block of keys, two sums
    and the output of each query. The blocks' sides are those of aten/src/ATen/native/cpu/FlashAttentionKernel.cpp."""
    rows = 256 if queries >= 768 else 64 if queries >= 192 else 32
    rows, columns = min(rows, queries), min(512, keys)
    return rows * (columns + 2 + size)


def profile(
    unet: Any,
    vae: Any,
    dtype: torch.dtype,
    *,
    device: str = "auto",
    addons: int = 0,
    context: int | None = None,
    weights: str = NATIVE,
) -> Profile:
    """Sizes of a UNet in `dtype` and a VAE in fp32 for `device` ("cuda" or "cpu"; "auto" is CUDA where there is one).

    The models may be on meta. `addons` are the bytes of adapters, which stay on the device; `context` replaces the
    assumed size of the CUDA context by a measured one; `weights` is how the units' are kept, native or int8. Nothing is
    computed before the functions of the profile are called.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.device(device).type
    units = streaming_units(unet)
    layouts = {name: Layout.of(module, weights, dtype) for name, module in units.items()}
    work = max((layout.work for layout in layouts.values()), default=0)
    rest = _bytes(unet.named_parameters(), dtype) - sum(_bytes(m.named_parameters(), dtype) for m in units.values())
    configs = (json.dumps(dict(unet.config), sort_keys=True, default=str), json.dumps(dict(vae.config), default=str))
    _CONFIGS.update({configs[0]: (type(unet), unet.config), configs[1]: (type(vae), vae.config)})
    decoder = [part for part in (vae.decoder, vae.post_quant_conv) if part is not None]
    return Profile(
        units={name: layout.size for name, layout in layouts.items()},
        rest=rest + work,
        vae=_bytes(vae.named_parameters(), torch.float32),
        decoder=sum(_bytes(part.named_parameters(), torch.float32) for part in decoder),
        activations=functools.partial(activations, configs[0], dtype, kind),
        decoding=functools.partial(decoding, configs[1], kind),
        context=0 if kind == "cpu" else _context(context),
        addons=addons,
        config=dict(unet.config),
        weights=weights,
    )


def profile_of(
    unet_config: dict[str, Any],
    vae_config: dict[str, Any],
    dtype: torch.dtype,
    *,
    device: str = "cuda",
    weights: str = NATIVE,
) -> Profile:
    """The same from configurations alone (unet/config.json and vae/config.json): no weights are read."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config)
        vae = AutoencoderKL.from_config(vae_config)
    return profile(_cast(unet, dtype), vae, dtype, device=device, weights=weights)


def controlnet_of(config: dict[str, Any], dtype: torch.dtype) -> Any:
    """A ControlNet of that configuration on meta, for `guided`."""
    with torch.device("meta"):
        return _cast(ControlNetModel.from_config(config), dtype)


def guided(found: Profile, network: Any) -> Profile:
    """The profile of pictures that a ControlNet guides beside the UNet of `found`; both have one dtype."""
    units = streaming_units(network)
    sizes = {name: Layout.of(module).size for name, module in units.items()}
    inside = {id(parameter) for module in units.values() for parameter in module.parameters()}
    rest = sum(_size(parameter) for parameter in network.parameters() if id(parameter) not in inside)
    config = json.dumps(dict(network.config), sort_keys=True, default=str)
    _CONFIGS[config] = (type(network), network.config)
    work: Any = functools.partial(found.activations, control=config)  # type: ignore[call-arg]
    return dataclasses.replace(found, control=Network(sizes, rest), activations=work)


_CONFIGS: dict[str, tuple[Any, Any]] = {}


@functools.lru_cache(maxsize=64)
def activations(
    config: str,
    dtype: torch.dtype,
    device: str,
    width: int,
    height: int,
    passes: int,
    split: bool,
    slices: bool,
    control: str = "",
) -> int:
    """Bytes that one step holds at its peak beside weights: the UNet's pass, and before it that of a ControlNet.

    Runs shapes: seconds for SDXL, then cached.
    """
    unet = _meta(config, dtype)
    networks = [unet, _meta(control, dtype)] if control else [unet]
    if slices:
        unet.set_attention_slice("max")
    if split:
        for network in networks:
            _split(network)
    work = functools.partial(_step, networks, dtype, width, height, passes)
    return _slack(_peak(torch.nn.ModuleList(networks), work, device), device)


@functools.lru_cache(maxsize=64)
def decoding(config: str, device: str, width: int, height: int, tile: int) -> int:
    """Bytes that decoding one picture holds at its peak beside the decoder's weights; `tile` in pixels, 0 = whole."""
    vae = _meta(config, torch.float32)
    # Blending writes into the tile row by row: no memory, and minutes of calls for many tiles.
    vae.blend_v = vae.blend_h = lambda _before, tile, _extent: tile
    return _slack(_peak(vae, functools.partial(_decode, vae, width, height, tile), device), device)


def _meta(config: str, dtype: torch.dtype) -> Any:
    kind, words = _CONFIGS[config]
    with torch.device("meta"):
        return _cast(kind.from_config(words), dtype)


def _cast(module: Any, dtype: torch.dtype) -> Any:
    # Not module.to(): diffusers warns there about modules that loading would keep in fp32, of which SDXL has none.
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)
    return module.eval().requires_grad_(False)


def _peak(module: Any, work: Callable[[], Any], device: str) -> int:
    weights = [*module.parameters(), *module.buffers()]
    tracker = Tracker(weights, cpu_scratch) if device == "cpu" else Tracker(weights)
    with torch.no_grad(), torch.device("meta"), _Attention(device), tracker:
        work()
    return tracker.peak


def _step(networks: list[Any], dtype: torch.dtype, width: int, height: int, passes: int) -> None:
    unet, *control = networks
    config = unet.config
    text = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    latents = torch.empty(passes, config.in_channels, height // 8, width // 8, dtype=dtype)
    words = torch.empty(passes, _TOKENS, config.cross_attention_dim, dtype=dtype)
    added = {"text_embeds": torch.empty(passes, text, dtype=dtype), "time_ids": torch.empty(passes, 6, dtype=dtype)}
    time = torch.empty((), dtype=torch.float32)
    given = {"encoder_hidden_states": words, "added_cond_kwargs": added, "return_dict": False}
    more = {}
    for network in control:
        picture = torch.empty(passes, 3, height, width, dtype=dtype)
        # Twice: in the pipeline a step's residuals live until the next step's are there.
        for _ in range(2):
            down, middle = network(latents, time, controlnet_cond=picture, conditioning_scale=1.0, **given)
        more = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    unet(latents, time, **given, **more)


def _decode(vae: Any, width: int, height: int, tile: int) -> None:
    latents = torch.empty(1, _VAE_CHANNELS, height // 8, width // 8)
    with decode._tiles(vae, tile):
        decode.pixels(vae, latents)


def _split(network: Any) -> None:
    # What a streamer does with split guidance; the copy on meta is thrown away, so nothing is put back.
    for module in streaming_units(network).values():
        module.forward = functools.partial(_halved, module.forward)


def _halved(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return stream.halves(forward, args, kwargs)


def _bytes(named: Iterable[tuple[str, torch.nn.Parameter]], dtype: torch.dtype) -> int:
    size = torch.empty(0, dtype=dtype).element_size()
    return size * sum(math.prod(parameter.shape) for name, parameter in named if "lora_" not in name)


def _size(parameter: torch.nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()


def _context(measured: int | None) -> int:
    return (CUDA_CONTEXT if measured is None else measured) + CUBLAS_WORKSPACE + CUDNN_WORKSPACE


def _slack(size: int, device: str) -> int:
    return size if device == "cpu" else int(size * (1 + CUDA_SLACK))
