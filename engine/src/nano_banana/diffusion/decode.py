# SPDX-License-Identifier: GPL-3.0-or-later
"""Latents to pictures: the VAE in fp32, one picture at a time, in tiles where the plan says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image

from nano_banana.errors import MachineError
from nano_banana.watch import UNWATCHED, Watch

# diffusers blends a quarter of a tile: with a multiple of 4 latent pixels (32 pixels) its cuts meet exactly.
_GRAIN = 32
MIN_TILE = 64


def decode(
    vae: Any, latents: torch.Tensor, device: torch.device, tile: int = 0, watch: Watch = UNWATCHED
) -> list[Image.Image]:
    """Turn latents (n, 4, height / 8, width / 8) into n RGB pictures.

    `tile` is a tile's side in pixels, rounded down to a multiple of 32 (at least 64); 0 decodes the whole picture. Only
    the decoder goes to `device`, and leaves it afterwards. Raises MachineError where the numbers are none,
    CancelledError before the next picture when nobody wants it.
    """
    count, pictures = latents.shape[0], []
    with _on(vae, device), _tiles(vae, tile), torch.no_grad():
        for number in range(count):
            watch.check(number, count, "pictures")
            pictures.append(_picture(vae, latents[number : number + 1].to(device)))
    return pictures


def pixels(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decode latents (n, 4, h, w) to (n, 3, 8 h, 8 w) from -1 to 1, before rounding."""
    latents = latents.to(torch.float32)
    mean, deviation = vae.config.get("latents_mean"), vae.config.get("latents_std")
    scaled = latents / vae.config.scaling_factor
    if mean is not None and deviation is not None:
        shape = (1, len(mean), 1, 1)
        scaled = scaled * torch.tensor(deviation).view(shape).to(latents) + torch.tensor(mean).view(shape).to(latents)
    decoded: torch.Tensor = vae.decode(scaled, return_dict=False)[0]
    return decoded


def _picture(vae: Any, latent: torch.Tensor) -> Image.Image:
    values = pixels(vae, latent)[0]
    if not bool(torch.isfinite(values).all()):
        raise MachineError(
            "picture",
            expected="finite colours",
            found="not-a-number: the UNet or the VAE overflowed",
            fix="Type a lower --guidance, or --device cpu, which computes in fp32.",
        )
    colours = (values / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(colours.permute(1, 2, 0).cpu().numpy(), "RGB")


@contextmanager
def _on(vae: Any, device: torch.device) -> Iterator[None]:
    # The encoder is half of the VAE and is not needed: it stays where it is.
    parts = [part for part in (vae.decoder, vae.post_quant_conv) if part is not None]
    home = next(vae.decoder.parameters()).device
    try:
        for part in parts:
            part.to(device)
        yield
    finally:
        for part in parts:
            part.to(home)


@contextmanager
def _tiles(vae: Any, tile: int) -> Iterator[None]:
    before = (vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    side = max(MIN_TILE, tile - tile % _GRAIN)
    try:
        vae.use_tiling = tile > 0
        if tile > 0:
            vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // factor
        yield
    finally:
        vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size = before
