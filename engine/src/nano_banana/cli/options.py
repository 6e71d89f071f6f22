# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that commands share. Values stay text here, and are checked where their meaning is known."""

from __future__ import annotations

from typing import Annotated

import typer

from nano_banana import backends
from nano_banana.request import MAX_GUIDANCE, MAX_PROMPT, MAX_SEED, MAX_SIDE, MAX_STEPS, MIN_SIDE

EXIT_CODES = (
    "Exit codes: 0 ok, 1 this machine could not do it, 2 bad input, 3 not enough memory, 4 cancelled, "
    "5 some lines of a batch failed, 130 interrupted."
)
PICTURE, MODEL, GUIDE, OUTPUT = "Picture", "Model and memory", "Guidance by files", "Output"

Text = str | None
Prompt = Annotated[
    Text,
    typer.Option(
        "--prompt", metavar="TEXT", help=f"What to draw, at most {MAX_PROMPT} characters.", rich_help_panel=PICTURE
    ),
]
Preset = Annotated[
    Text,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Start from a preset (`presets` lists them); other options change it.",
        rich_help_panel=PICTURE,
    ),
]
Size = Annotated[
    str,
    typer.Option("--size", metavar="WxH", help=f"Pixels, each side {MIN_SIDE} to {MAX_SIDE}.", rich_help_panel=PICTURE),
]
Seed = Annotated[
    Text,
    typer.Option(
        "--seed", metavar="N", help=f"0 to {MAX_SEED}; same seed, same picture. Default: 0.", rich_help_panel=PICTURE
    ),
]
Negative = Annotated[
    Text, typer.Option("--negative", metavar="TEXT", help="What not to draw.", rich_help_panel=PICTURE)
]
Steps = Annotated[
    Text, typer.Option("--steps", metavar="N", help=f"1 to {MAX_STEPS}. Default: 30.", rich_help_panel=PICTURE)
]
Guidance = Annotated[
    Text,
    typer.Option(
        "--guidance",
        metavar="CFG",
        help=f"0 to {MAX_GUIDANCE:g}; 1 or less is one pass a step. Default: 7.5.",
        rich_help_panel=PICTURE,
    ),
]
Upscale = Annotated[
    Text,
    typer.Option(
        "--upscale", metavar="1|2", help="Enlarge so many times afterwards. Default: 1.", rich_help_panel=PICTURE
    ),
]
Style = Annotated[
    bool | None,
    typer.Option(
        "--style/--no-style",
        help="Clean background, contrast and edges afterwards. Default: yes.",
        rich_help_panel=PICTURE,
        show_default=False,
    ),
]
Sharpen = Annotated[
    Text,
    typer.Option(
        "--sharpen", metavar="FACTOR", help="0 to 4, 1 leaves it as it is. Default: 2.", rich_help_panel=PICTURE
    ),
]

Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="NAME=PATH:WEIGHT",
        help="Style adapter: .safetensors file, folder or hub id. :WEIGHT, -2 to 2, may be left away. Repeatable.",
        rich_help_panel=GUIDE,
        show_default=False,
    ),
]
LoraBlocks = Annotated[
    Text,
    typer.Option(
        "--lora-blocks",
        metavar="A,B",
        help="Blocks of the UNet that adapters may touch. Default: all.",
        rich_help_panel=GUIDE,
    ),
]
ControlModel = Annotated[
    list[str] | None,
    typer.Option(
        "--control",
        metavar="NAME=MODEL",
        help="ControlNet: a folder or a hub id. Repeatable where several can be used.",
        rich_help_panel=GUIDE,
        show_default=False,
    ),
]
ControlPicture = Annotated[
    Text,
    typer.Option(
        "--control-picture", metavar="FILE", help="PNG, JPEG or WebP that guides the layout.", rich_help_panel=GUIDE
    ),
]
ControlStrength = Annotated[
    Text, typer.Option("--control-strength", metavar="X", help="0 to 2. Default: 0.8.", rich_help_panel=GUIDE)
]
Upscaler = Annotated[
    str, typer.Option("--upscaler", metavar="FILE", help="Weights of an ESRGAN-class 2x model.", rich_help_panel=GUIDE)
]

Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="NAME",
        envvar="NANO_BANANA_BACKEND",
        help=f"One of: {', '.join(backends.names())}.",
        rich_help_panel=MODEL,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="FOLDER",
        envvar="NANO_BANANA_MODEL",
        help="SDXL in diffusers' folder format, or a hub id.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 ...", rich_help_panel=MODEL)
]
VramBudget = Annotated[
    Text,
    typer.Option(
        "--vram-budget", metavar="SIZE", help="For example 3.78GiB. Default: all that is free.", rich_help_panel=MODEL
    ),
]
Plan = Annotated[
    str,
    typer.Option(
        "--plan", metavar="NAME", help="Memory plan; auto picks the fastest that fits.", rich_help_panel=MODEL
    ),
]

OutputFile = Annotated[
    str, typer.Option("--output", metavar="FILE", help=".png, .jpg, .jpeg or .webp", rich_help_panel=OUTPUT)
]
Quality = Annotated[
    Text, typer.Option("--quality", metavar="N", help="1 to 100, for JPEG and WebP alone.", rich_help_panel=OUTPUT)
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT)]
