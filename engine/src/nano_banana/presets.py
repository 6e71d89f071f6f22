# SPDX-License-Identifier: GPL-3.0-or-later
"""Three pictures to start from: prompts and the settings that their author gives with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nano_banana.errors import BadInputError
from nano_banana.phrases import ISOMETRIC
from nano_banana.request import Control, Lora, Request

# The names under which the adapters are to be loaded: --lora disassembly=FILE, --control isometric=FOLDER.
LORA = "disassembly"
CONTROLNET = "isometric"
_DEFAULTS = Request("defaults")


@dataclass(frozen=True)
class Preset:
    """A prompt with its settings; for the fields in `defaulted` the source has no value, and Request's default stands.

    `lora` and `controlnet` are names (empty for none): whether a file was loaded under them is the caller's business.
    """

    name: str
    prompt: str
    lora: str = LORA
    lora_weight: float = 0.8
    guidance: float = _DEFAULTS.guidance
    steps: int = _DEFAULTS.steps
    seed: int = _DEFAULTS.seed
    controlnet: str = ""
    defaulted: tuple[str, ...] = ()

    def request(
        self,
        seed: int | None = None,
        width: int = 1024,
        height: int = 1024,
        *,
        adapters: bool = True,
        control: Path | bytes | None = None,
    ) -> Request:
        """The request; `seed` None takes the preset's own. Raises BadInputError.

        Without `adapters` the LoRA is left out, for a backend that has none loaded. `control` is the picture that
        guides the ControlNet: without it there is nothing to guide by, and the request has none.
        """
        if control is not None and not self.controlnet:
            raise BadInputError(
                f"preset {self.name}",
                expected="no control picture: it has no ControlNet",
                found="one",
                fix="Leave the picture away.",
            )
        return Request(
            self.prompt,
            width,
            height,
            self.seed if seed is None else seed,
            steps=self.steps,
            guidance=self.guidance,
            loras=(Lora(self.lora, self.lora_weight),) if adapters and self.lora else (),
            control=Control(self.controlnet, control) if adapters and control is not None else None,
        )

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return {**vars(self), "defaulted": list(self.defaulted)}


def isometric_first(text: str) -> str:
    """The prompt with the clause `isometric projection` moved to the front, where a model heeds it most."""
    clauses = re.split(r",\s*", text)
    if ISOMETRIC not in clauses:
        return text
    return ", ".join([ISOMETRIC, *(clause for clause in clauses if clause != ISOMETRIC)])


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "airpods",
            "AirPods Pro 2nd generation exploded view, all components laid flat on white background, matte finish, "
            "studio lighting, macro shot, ultra-detailed, labeled with part names",
            lora_weight=0.8,
            guidance=7.5,
            steps=30,
            seed=12345,
        ),
        Preset(
            "dyson",
            "Dyson V11 motor module disassembly, knolling style, brushed aluminum housing, copper windings visible, "
            "clean layout, technical diagram aesthetic",
            lora_weight=0.7,
            guidance=8.0,
            defaulted=("steps", "seed"),
        ),
        Preset(
            "lego",
            isometric_first(
                "LEGO Technic crane set exploded view, colorful bricks separated by type, top-down perspective, "
                "clean white background, isometric projection"
            ),
            lora_weight=0.8,
            controlnet=CONTROLNET,
            defaulted=("guidance", "steps", "seed"),
        ),
    )
}


def get(name: str) -> Preset:
    """The preset of that name. Raises BadInputError with the list of those that exist."""
    if name not in PRESETS:
        names = ", ".join(sorted(PRESETS))
        raise BadInputError("--preset", expected=f"one of: {names}", found=repr(name), fix="Type --preset airpods.")
    return PRESETS[name]
