# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the commands, in groups that several share.

Values stay text here, and are checked where their meaning is known. A command takes one mapping, what was typed:
`takes` gives it the parameters that typer reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import typer

from nano_banana import backends
from nano_banana.request import MAX_GUIDANCE, MAX_PROMPT, MAX_SEED, MAX_SIDE, MAX_STEPS, MIN_SIDE

EXIT_CODES = (
    "Exit codes: 0 ok, 1 this machine could not do it, 2 bad input, 3 not enough memory, 4 cancelled, "
    "5 some lines of a batch failed, 130 interrupted."
)
# What a parameter of a command is called -> its value as text, None where it was not typed.
Given = Mapping[str, Any]


class Parameter(NamedTuple):
    """What typer needs to know of one parameter: its type, and an option or argument with its default."""

    kind: Any
    info: Any


Group = Mapping[str, Parameter]


def text(flag: str, metavar: str, what: str, panel: str | None = None, default: Any = None, **more: Any) -> Parameter:
    """An option with a value; `default` ... means that it has to be typed, None that it may be left away."""
    kind = str | None if default is None else str
    return Parameter(kind, typer.Option(default, flag, metavar=metavar, help=what, rich_help_panel=panel, **more))


def several(flag: str, metavar: str, what: str, panel: str) -> Parameter:
    """An option that may be typed again."""
    info = typer.Option(None, flag, metavar=metavar, help=what, rich_help_panel=panel, show_default=False)
    return Parameter(list[str] | None, info)


def switch(flag: str, what: str, panel: str | None = None) -> Parameter:
    """An option without a value, off unless it is typed."""
    return Parameter(bool, typer.Option(False, flag, help=what, rich_help_panel=panel))


def argument(metavar: str, what: str, default: Any = ...) -> Parameter:
    """A word without a flag; required unless it has a default."""
    return Parameter(str | None if default is None else str, typer.Argument(default, metavar=metavar, help=what))


PICTURE_PANEL, _MODEL, _GUIDE, OUTPUT_PANEL = "Picture", "Model and memory", "Guidance by files", "Output"
PICTURE: Group = {
    "prompt": text("--prompt", "TEXT", f"What to draw, at most {MAX_PROMPT} characters.", PICTURE_PANEL),
    "preset": text(
        "--preset", "NAME", "Start from a preset (`presets` lists them); other options change it.", PICTURE_PANEL
    ),
    "size": text("--size", "WxH", f"Pixels, each side {MIN_SIDE} to {MAX_SIDE}.", PICTURE_PANEL, "1024x1024"),
    "seed": text("--seed", "N", f"0 to {MAX_SEED}; same seed, same picture. Default: 0.", PICTURE_PANEL),
    "negative": text("--negative", "TEXT", "What not to draw.", PICTURE_PANEL),
    "steps": text("--steps", "N", f"1 to {MAX_STEPS}. Default: 30.", PICTURE_PANEL),
    "guidance": text(
        "--guidance", "CFG", f"0 to {MAX_GUIDANCE:g}; 1 or less is one pass a step. Default: 7.5.", PICTURE_PANEL
    ),
    "upscale": text("--upscale", "1|2", "Enlarge so many times afterwards. Default: 1.", PICTURE_PANEL),
    "style": Parameter(
        bool | None,
        typer.Option(
            None,
            "--style/--no-style",
            help="Clean background, contrast and edges afterwards. Default: yes.",
            rich_help_panel=PICTURE_PANEL,
            show_default=False,
        ),
    ),
    "sharpen": text("--sharpen", "FACTOR", "0 to 4, 1 leaves it as it is. Default: 2.", PICTURE_PANEL),
}
CONTROL_PICTURE: Group = {
    "control_picture": text("--control-picture", "FILE", "PNG, JPEG or WebP that guides the layout.", _GUIDE),
    "control_strength": text("--control-strength", "X", "0 to 2. Default: 0.8.", _GUIDE),
}
# What Settings is made of, but for the backend's own name.
SETTINGS: Group = {
    "lora": several(
        "--lora",
        "NAME=PATH:WEIGHT",
        "Style adapter: .safetensors file, folder or hub id. :WEIGHT, -2 to 2, may be left away. Repeatable.",
        _GUIDE,
    ),
    "lora_blocks": text("--lora-blocks", "A,B", "Blocks of the UNet that adapters may touch. Default: all.", _GUIDE),
    "control": several(
        "--control", "NAME=MODEL", "ControlNet: a folder or a hub id. Repeatable where several can be used.", _GUIDE
    ),
    "upscaler": text("--upscaler", "FILE", "Weights of an ESRGAN-class 2x model.", _GUIDE, ""),
    "model": text(
        "--model",
        "FOLDER",
        "SDXL in diffusers' folder format, or a hub id.",
        _MODEL,
        "",
        envvar="NANO_BANANA_MODEL",
    ),
    "device": text("--device", "NAME", "auto, cpu, cuda, cuda:1 ...", _MODEL, "auto"),
    "vram_budget": text("--vram-budget", "SIZE", "For example 3.78GiB. Default: all that is free.", _MODEL),
    "plan": text("--plan", "NAME", "Memory plan; auto picks the fastest that fits.", _MODEL, "auto"),
    "weights": text(
        "--weights",
        "KIND",
        "Of the UNet: native, or int8, which takes a byte for each and draws slightly otherwise.",
        _MODEL,
        backends.NATIVE,
    ),
}
BACKEND: Group = {
    "backend": text(
        "--backend",
        "NAME",
        f"One of: {', '.join(backends.names())}.",
        _MODEL,
        backends.DEFAULT,
        envvar="NANO_BANANA_BACKEND",
    ),
}
JSON: Group = {"as_json": switch("--json", "Print the result as JSON.", OUTPUT_PANEL)}


def takes(*groups: Group) -> Callable[[Callable[[Given], int]], Callable[..., int]]:
    """Make a command of a function that wants what was typed: its parameters are those of the groups, in order."""
    parameters = {name: parameter for group in groups for name, parameter in group.items()}

    def made(command: Callable[[Given], int]) -> Callable[..., int]:
        def run(**given: Any) -> int:
            return command(given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, keyword, default=parameter.info, annotation=parameter.kind)
                for name, parameter in parameters.items()
            ]
        )
        run.__annotations__ = {name: parameter.kind for name, parameter in parameters.items()}
        return run

    return made
