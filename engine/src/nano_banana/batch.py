# SPDX-License-Identifier: GPL-3.0-or-later
"""Many pictures from JSON lines with one backend: each line has a result line, and a bad one does not stop the rest."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nano_banana import job
from nano_banana.errors import BadInputError, CancelledError, EngineError
from nano_banana.request import Control, Lora, Request, parse_size
from nano_banana.watch import UNWATCHED, Watch

if TYPE_CHECKING:
    from nano_banana.backends import Backend

MAX_LINE = 65536
FIELDS = (
    *("id", "prompt", "preset", "output", "size", "seed", "negative", "steps", "guidance", "loras", "control"),
    *("upscale", "style", "sharpen", "quality"),
)
# Colons, leading dots and spaces mean something to some file system; these characters mean nothing to any.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.ASCII | re.IGNORECASE)
_FIX = "Correct this line; README.md lists the fields."


@dataclass
class Batch:
    """What all lines share: the backend, the folder that pictures go to, and who looks on."""

    backend: Backend
    folder: Path
    loras: Collection[str] = ()
    watch: Watch = UNWATCHED
    #: Makes a preset's request from its name, width and height in pixels.
    preset: Callable[[str, int, int], Request] | None = None
    taken: set[str] = field(default_factory=set)


def run(stream: BinaryIO, batch: Batch) -> Iterator[dict[str, Any]]:
    """Draw line after line; yields for each `line`, `id`, `status` (ok or failed), then the picture or the `error`.

    Raises CancelledError when nobody wants the rest.
    """
    for number, line in _lines(stream):
        result: dict[str, Any] = {"line": number, "id": None, "status": "ok"}
        try:
            fields = read(line)
            result["id"] = fields.get("id")
            result.update(_draw(fields, number, batch))
        except CancelledError:
            raise
        except EngineError as error:
            result["status"] = "failed"
            result["error"] = told(error)
        yield result


def told(error: EngineError) -> dict[str, Any]:
    """An error as plain JSON values; `exit_code` is the one that `generate` would end with."""
    return {
        "message": str(error),
        "what": error.what,
        "expected": error.expected,
        "found": error.found,
        "fix": error.fix,
        "exit_code": error.exit_code,
    }


def read(line: bytes) -> dict[str, Any]:
    """The fields of one line. Raises BadInputError for what is no JSON object of known fields."""
    if len(line) > MAX_LINE:
        raise _bad("line", f"at most {MAX_LINE} bytes", "a longer one")
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _bad("line", "a JSON object in UTF-8", str(error) or "too many brackets") from error
    if not isinstance(fields, dict):
        raise _bad("line", "a JSON object", type(fields).__name__)
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise _bad("line", "the fields " + ", ".join(FIELDS), ", ".join(map(repr, unknown[:5])))
    if not isinstance(fields.get("id"), (str, int, type(None))) or len(str(fields.get("id"))) > 200:
        raise _bad("id", "at most 200 characters or a number", repr(fields["id"])[:80])
    return fields


def request_of(fields: dict[str, Any], preset: Callable[[str, int, int], Request] | None = None) -> Request:
    """The request that a line's fields ask for. Raises BadInputError."""
    width, height = parse_size(_typed(fields, "size", str, "1024x1024"))
    wanted = {
        name: _typed(fields, name, kind)
        for name, kind in _KINDS.items()
        if fields.get(name) is not None and name not in ("size", "preset", "output")
    }
    if "loras" in wanted:
        wanted["loras"] = tuple(
            Lora(name, _number(f"loras.{name}", weight)) for name, weight in wanted["loras"].items()
        )
    if "control" in wanted:
        wanted["control"] = _control(wanted["control"])
    name = _typed(fields, "preset", str, "")
    if name and preset:
        return dataclasses.replace(preset(name, width, height), **wanted)
    return Request(**{"prompt": "", **wanted, "width": width, "height": height})


def safe_path(folder: Path, name: str) -> Path:
    """The file of that name in the folder. Raises BadInputError for a name that could lead out of it."""
    if not _SAFE_NAME.fullmatch(name) or _DEVICES.fullmatch(name) or name.endswith("."):
        raise _bad("output", "a file name of letters, digits, '.', '-' and '_', without a folder", repr(name[:80]))
    path = folder / name
    # A link of that name would be followed when the file is written.
    if path.is_symlink():
        raise _bad("output", "a file of its own in the output folder", f"a symbolic link {name}")
    return path


def _draw(fields: dict[str, Any], number: int, batch: Batch) -> dict[str, Any]:
    request = request_of(fields, batch.preset)
    notes: tuple[str, ...] = ()
    if fields.get("loras"):
        _check_loaded(request, batch.loras)
    else:
        request, notes = job.without_absent_loras(request, batch.loras)
    name = _typed(fields, "output", str, f"{number:06d}.png")
    path = safe_path(batch.folder, name)
    # Compared as a file system that folds case would.
    if name.lower() in batch.taken:
        raise _bad("output", "a name of its own for each line", f"{name} a second time")
    quality = fields.get("quality")
    place = job.target(path, None if quality is None else str(quality))
    result = job.draw(batch.backend, request, place, batch.watch)
    batch.taken.add(name.lower())
    return {**result, "notes": [*notes, *result["notes"]]}


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers from 1; empty ones are passed over, of one that is too long the start is kept."""
    number = 0
    while line := stream.readline(MAX_LINE + 2):
        number += 1
        rest = line
        while len(rest) == MAX_LINE + 2 and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE + 2)
        if line.strip():
            yield number, line if len(line) == MAX_LINE + 2 else line.strip()


_KINDS: dict[str, type] = {
    **dict.fromkeys(("prompt", "negative", "size", "preset", "output"), str),
    **dict.fromkeys(("seed", "steps", "upscale"), int),
    **dict.fromkeys(("guidance", "sharpen"), float),
    **dict.fromkeys(("loras", "control"), dict),
    "style": bool,
}
_SAID = {str: "text", int: "a whole number", float: "a number", dict: "an object", bool: "true or false"}


def _typed(fields: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    value = fields.get(name)
    if value is None:
        return default
    if kind is float:
        return _number(name, value)
    # bool is an int in Python, and nobody who writes `true` for the seed means 1.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _bad(name, _SAID[kind], repr(value)[:80])
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e9:
        raise _bad(name, "a number", repr(value)[:80])
    return float(value)


def _control(fields: dict[str, Any]) -> Control:
    unknown = sorted(set(fields) - {"name", "picture", "strength"})
    if unknown or not all(isinstance(fields.get(key), str) and fields[key] for key in ("name", "picture")):
        raise _bad("control", "an object with name, picture and strength", repr(fields)[:80])
    strength = _number("control.strength", fields.get("strength", 0.8))
    return Control(fields["name"], Path(fields["picture"]), strength)


def _check_loaded(request: Request, loaded: Collection[str]) -> None:
    for lora in request.loras:
        if lora.name not in loaded:
            raise _bad("loras", "one of those loaded: " + (", ".join(sorted(loaded)) or "none"), repr(lora.name[:80]))


def _bad(what: str, expected: str, found: str) -> BadInputError:
    return BadInputError(what, expected=expected, found=found, fix=_FIX)
