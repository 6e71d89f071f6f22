# SPDX-License-Identifier: GPL-3.0-or-later
"""From the words of the command line to requests and settings. Everything here raises BadInputError."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nano_banana.backends import Settings
from nano_banana.cli.options import Given
from nano_banana.errors import BadInputError
from nano_banana.request import Control, Lora, Request, parse_seed, parse_size

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([KMGT]i?)?B?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def parse_bytes(option: str, text: str) -> int:
    """Read a memory size such as 3.78GiB, 4GB or 4000000000; returns whole bytes above 0."""
    match = _SIZE.fullmatch(text.strip())
    found = int(float(match.group(1)) * _UNITS[(match.group(2) or "").lower()]) if match else 0
    if found <= 0:
        raise BadInputError(
            option, expected="a size such as 3.78GiB", found=repr(text), fix=f"Type for example {option} 3.78GiB."
        )
    return found


def whole(option: str, text: str) -> int:
    """Read a whole number; its bounds are the request's business."""
    if not re.fullmatch(r"-?[0-9]{1,15}", text.strip()):
        raise BadInputError(option, expected="a whole number", found=repr(text), fix=f"Type for example {option} 2.")
    return int(text)


def number(option: str, text: str) -> float:
    """Read a number; its bounds are the request's business."""
    if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,12})?", text.strip()):
        raise BadInputError(option, expected="a number", found=repr(text), fix=f"Type for example {option} 1.5.")
    return float(text)


def folder(text: str) -> Path:
    """The folder that --output-dir names; it has to exist."""
    path = Path(text)
    if not path.is_dir():
        raise BadInputError(
            "--output-dir", expected="an existing folder", found=f"none at {text}", fix=f"Type: mkdir -p '{text}'"
        )
    return path


def named(option: str, text: str) -> tuple[str, str]:
    """Read NAME=VALUE; a name is letters, digits, '.', '-' and '_'."""
    name, equals, value = text.partition("=")
    if not equals or not value.strip() or not _NAME.fullmatch(name):
        raise BadInputError(
            option,
            expected="NAME=PATH",
            found=repr(text),
            fix=f"Type for example {option} knolling=knolling.safetensors.",
        )
    return name, value


def parse_lora(text: str) -> tuple[str, str, float | None]:
    """Read NAME=PATH[:WEIGHT]; the weight is None where the text has none.

    Only a number after the last colon is a weight: drive letters and odd file names keep theirs.
    """
    name, source = named("--lora", text)
    path, colon, tail = source.rpartition(":")
    if colon and path and re.fullmatch(r"-?[0-9]*\.?[0-9]+", tail):
        return name, path, float(tail)
    return name, source, None


def settings_of(given: Given) -> Settings:
    """What the backend is made with."""
    loras: dict[str, str] = {}
    for text in given["lora"] or ():
        name, source, _weight = parse_lora(text)
        _put("--lora", loras, name, source)
    controlnets: dict[str, str] = {}
    for text in given["control"] or ():
        _put("--control", controlnets, *named("--control", text))
    budget = given["vram_budget"]
    return Settings(
        model=given["model"],
        device=given["device"],
        vram_budget=None if budget is None else parse_bytes("--vram-budget", budget),
        plan=given["plan"],
        weights=given["weights"],
        loras=loras,
        lora_blocks=tuple(block.strip() for block in (given["lora_blocks"] or "").split(",") if block.strip()),
        controlnets=controlnets,
        upscaler=given["upscaler"],
    )


def request_of(given: Given) -> Request:
    """The picture that the options ask for: those of a preset where one is named, each changed by what was typed."""
    width, height = parse_size(given["size"])
    changes = _changes(given)
    if given["preset"] is not None:
        base = preset(given["preset"], width, height)
        weights = {lora.name: lora.weight for lora in base.loras}
        loras = _loras(given["lora"] or (), weights)
        # An adapter that was not loaded stays in the list: the command says that it goes without.
        kept = tuple(lora for lora in base.loras if lora.name not in {other.name for other in loras})
        return dataclasses.replace(base, **changes, loras=loras + kept)
    prompt = changes.pop("prompt", None)
    if prompt is None:
        raise BadInputError(
            "--prompt",
            expected="a description of the picture",
            found="neither --prompt nor --preset",
            fix="Type for example --prompt 'pump, knolling: gear, 4 screws', or: nano-banana generate --help",
        )
    return Request(prompt, width, height, **changes, loras=_loras(given["lora"] or (), {}))


def preset(name: str, width: int, height: int) -> Request:
    """A preset's request in pixels of that size."""
    from nano_banana import presets

    return presets.get(name).request(width=width, height=height)


def notes_of(given: Given, request: Request) -> tuple[str, ...]:
    """What the named preset was made with and this picture goes without, beside its LoRA."""
    if given["preset"] is None or request.control is not None:
        return ()
    from nano_banana import presets

    name = presets.get(given["preset"]).controlnet
    return (f"without the ControlNet {name}: add --control {name}=MODEL --control-picture FILE",) if name else ()


def _changes(given: Given) -> dict[str, Any]:
    """The request's fields that were typed, but for size and adapters."""
    readers: dict[str, Any] = {
        **dict.fromkeys(("prompt", "negative", "style"), lambda value: value),
        "seed": parse_seed,
        "steps": lambda text: whole("--steps", text),
        "upscale": lambda text: whole("--upscale", text),
        "guidance": lambda text: number("--guidance", text),
        "sharpen": lambda text: number("--sharpen", text),
    }
    changes = {name: reader(given[name]) for name, reader in readers.items() if given[name] is not None}
    control = _control(given)
    return changes | ({"control": control} if control else {})


def _loras(texts: Sequence[str], weights: Mapping[str, float]) -> tuple[Lora, ...]:
    found = []
    for text in texts:
        name, _source, weight = parse_lora(text)
        found.append(Lora(name, weights.get(name, 0.8) if weight is None else weight))
    return tuple(found)


def _control(given: Given) -> Control | None:
    models, picture, strength = given["control"] or [], given["control_picture"], given["control_strength"]
    if picture is None and not models and strength is None:
        return None
    if picture is None or len(models) != 1:
        raise BadInputError(
            "--control",
            expected="one --control NAME=MODEL and one --control-picture FILE together",
            found=f"{len(models)} --control and {'no' if picture is None else 'one'} --control-picture",
            fix="Type for example --control isometric=FOLDER --control-picture view.png.",
        )
    if not Path(picture).is_file():
        raise BadInputError(
            "--control-picture", expected="a picture file", found=f"none at {picture}", fix="Type another file name."
        )
    name, _model = named("--control", models[0])
    return Control(name, Path(picture), 0.8 if strength is None else number("--control-strength", strength))


def _put(option: str, known: dict[str, str], name: str, value: str) -> None:
    if name in known:
        raise BadInputError(
            option, expected="each name once", found=f"{name} twice", fix="Give each a name of its own."
        )
    known[name] = value
