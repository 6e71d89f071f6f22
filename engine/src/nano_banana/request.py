# SPDX-License-Identifier: GPL-3.0-or-later
"""What one picture needs to know, checked before any work starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple

from nano_banana.errors import BadInputError

MIN_SIDE = 64
MAX_SIDE = 4096
MAX_SEED = 2**32 - 1
MAX_PROMPT = 4000
_SIZE = re.compile(r"([0-9]{1,9})[xX\u00d7]([0-9]{1,9})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Request:
    """One picture: the prompt as typed, width and height in pixels, and the seed. Raises BadInputError."""

    prompt: str
    width: int = 1024
    height: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
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


def parse_size(text: str) -> Tuple[int, int]:
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


def _check_prompt(prompt: str) -> None:
    example = "Type for example --prompt 'hair dryer, knolling: motor, housing, 4 screws, cable'."
    if not prompt.strip():
        raise BadInputError("--prompt", expected="a description of the picture", found="nothing", fix=example)
    if len(prompt) > MAX_PROMPT:
        raise BadInputError(
            "--prompt",
            expected=f"at most {MAX_PROMPT} characters",
            found=f"{len(prompt)}",
            fix="Shorten the prompt.",
        )
    strange = _CONTROL.search(prompt)
    if strange:
        raise BadInputError(
            "--prompt",
            expected="text in UTF-8",
            found=f"the control character {strange.group()!r} at position {strange.start()}",
            fix="Remove that character.",
        )
