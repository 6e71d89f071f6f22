# SPDX-License-Identifier: GPL-3.0-or-later
"""What one picture needs to know, checked before any work starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from nano_banana.errors import BadInputError

MIN_SIDE = 64
MAX_SIDE = 4096
MAX_SEED = 2**32 - 1
MAX_PROMPT = 4000
MAX_STEPS = 150
MAX_GUIDANCE = 30.0
MAX_LORA_WEIGHT = 2.0
UPSCALES = (1, 2)
_SIZE = re.compile(r"([0-9]{1,9})[xX\u00d7]([0-9]{1,9})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Lora:
    """One style adapter of this picture: the name it was loaded under, and its weight from -2 to 2."""

    name: str
    weight: float = 0.8

    def __post_init__(self) -> None:
        _check_number("--lora", f"a weight from -{MAX_LORA_WEIGHT:g} to {MAX_LORA_WEIGHT:g}", self.weight, -2.0, 2.0)


@dataclass(frozen=True)
class Control:
    """A picture that guides the layout through a ControlNet: its name, the picture, and the strength from 0 to 2."""

    name: str
    picture: Path | bytes = field(repr=False)
    strength: float = 0.8

    def __post_init__(self) -> None:
        _check_number("--control-strength", "a number from 0 to 2", self.strength, 0.0, 2.0)


@dataclass(frozen=True)
class Request:
    """One picture. Raises BadInputError.

    `width`, `height` in pixels before `upscale` (1 or 2 times); `guidance` is the CFG scale, where 1 or less means one
    pass a step; `style` cleans background, contrast and edges after generation, and `sharpen` (1 = as it is) does so to
    text.
    """

    prompt: str
    width: int = 1024
    height: int = 1024
    seed: int = 0
    negative: str = ""
    steps: int = 30
    guidance: float = 7.5
    loras: tuple[Lora, ...] = ()
    control: Control | None = None
    upscale: int = 1
    style: bool = True
    sharpen: float = 2.0

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        if self.negative:
            _check_prompt(self.negative, "--negative")
        for side in (self.width, self.height):
            if not MIN_SIDE <= side <= MAX_SIDE:
                raise BadInputError(
                    "--size",
                    expected=f"both sides between {MIN_SIDE} and {MAX_SIDE} pixels",
                    found=f"{self.width}x{self.height}",
                    fix="Type for example --size 1024x1024.",
                )
        if not 0 <= self.seed <= MAX_SEED:
            raise _bad_seed(str(self.seed))
        _check_number("--steps", f"a whole number from 1 to {MAX_STEPS}", self.steps, 1, MAX_STEPS)
        _check_number("--guidance", f"a number from 0 to {MAX_GUIDANCE:g}", self.guidance, 0.0, MAX_GUIDANCE)
        _check_number("--sharpen", "a number from 0 to 4", self.sharpen, 0.0, 4.0)
        if self.upscale not in UPSCALES:
            raise BadInputError("--upscale", expected="1 or 2", found=str(self.upscale), fix="Type --upscale 2.")


def parse_size(text: str) -> tuple[int, int]:
    """Read `WIDTHxHEIGHT` in pixels; the bounds are Request's business. Raises BadInputError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise BadInputError(
            "--size",
            expected="WIDTHxHEIGHT in pixels",
            found=repr(text),
            fix="Type for example --size 1024x1024.",
        )
    return int(match.group(1)), int(match.group(2))


def parse_seed(text: str) -> int:
    """Read a whole number from 0 to MAX_SEED. Raises BadInputError."""
    if not re.fullmatch(r"[0-9]{1,20}", text.strip()):
        raise _bad_seed(repr(text))
    return int(text)


def _bad_seed(found: str) -> BadInputError:
    return BadInputError(
        "--seed",
        expected=f"a whole number from 0 to {MAX_SEED}",
        found=found,
        fix="Type for example --seed 12345.",
    )


def _check_number(option: str, expected: str, found: float, least: float, most: float) -> None:
    # Written so that a NaN is refused too.
    if not least <= found <= most:
        raise BadInputError(option, expected=expected, found=f"{found:g}", fix=f"Type {option} within these bounds.")


def _check_prompt(prompt: str, option: str = "--prompt") -> None:
    example = "Type for example --prompt 'hair dryer, knolling: motor, housing, 4 screws, cable'."
    if not prompt.strip():
        raise BadInputError(option, expected="a description of the picture", found="nothing", fix=example)
    if len(prompt) > MAX_PROMPT:
        raise BadInputError(
            option,
            expected=f"at most {MAX_PROMPT} characters",
            found=f"{len(prompt)}",
            fix="Shorten the prompt.",
        )
    strange = _CONTROL.search(prompt)
    if strange:
        raise BadInputError(
            option,
            expected="text in UTF-8",
            found=f"the control character {strange.group()!r} at position {strange.start()}",
            fix="Remove that character.",
        )
