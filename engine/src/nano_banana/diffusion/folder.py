# SPDX-License-Identifier: GPL-3.0-or-later
"""An SDXL-class model as a folder in diffusers' format: where it is, and what has to be in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nano_banana.diffusion.sources import first_line, is_local, no_answer, read_json, reading
from nano_banana.errors import BadInputError

INDEX = "model_index.json"
# What a trimmed folder says about itself (written by `nano-banana pack`).
NOTE = "nano_banana.json"
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")
OTHERS = ("tokenizer", "tokenizer_2", "scheduler")
_LIBRARIES = ("diffusers", "transformers")
_SAVED = "a pipeline that save_pretrained of diffusers wrote"


@dataclass(frozen=True)
class Folder:
    """A model's folder, and how to speak of it: the option or argument that named it, and what to type instead."""

    path: Path
    option: str
    hint: str

    def unfit(self, expected: str, found: str, inside: str = "") -> BadInputError:
        """The error for something in the folder that is not as it should be."""
        where = self.path / inside if inside else self.path
        return BadInputError(f"{self.option} {where}", expected=expected, found=found, fix=self.hint)

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object in a file of the folder. Raises BadInputError."""
        try:
            return read_json(self.path / name)
        except (OSError, ValueError) as error:
            raise self.unfit("a readable JSON object", first_line(error), name) from error

    def index(self) -> dict[str, Any]:
        """What the folder says that it holds: SDXL, complete, and no code of its own. Raises BadInputError."""
        index = self.json(INDEX)
        kind = index.get("_class_name")
        if not isinstance(kind, str) or not kind.startswith("StableDiffusionXL"):
            raise self.unfit("a StableDiffusionXL pipeline", f"_class_name {kind!r} in {INDEX}")
        for name in (*NETWORKS, *OTHERS):
            entry = index.get(name)
            if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in _LIBRARIES:
                raise self.unfit(f"{name} of diffusers or transformers", f"{entry!r} in {INDEX}")
            if not (self.path / name).is_dir():
                raise self.unfit(f"the folder {name}", "no such folder")
        return index

    def layers_from_end(self) -> int:
        """Which hidden state of text encoder 1 is read: 2 in whole folders, 1 in trimmed ones. Raises BadInputError."""
        if not (self.path / NOTE).exists():
            return 2
        note = self.json(NOTE)
        value = note.get("text_encoder_layers_from_end")
        if note.get("format") != 1 or value not in (1, 2):
            expected = "format 1 with text_encoder_layers_from_end 1 or 2"
            raise self.unfit(expected, json.dumps(note)[:120], NOTE)
        return int(value)


def opened(source: str, option: str, hint: str, fetch: Callable[[str], Path]) -> Folder:
    """The folder `source`, or what `fetch` brings of that hub id. Raises BadInputError, MachineError."""
    if not source:
        raise BadInputError(option, expected="a folder or hub id", found="nothing", fix=hint)
    if not is_local(source):
        with reading(no_answer(option, source, hint)):
            return Folder(fetch(source), option, hint)
    folder = Folder(Path(source).expanduser().absolute(), option, hint)
    if not folder.path.is_dir():
        raise folder.unfit("a folder", "a file" if folder.path.exists() else "no such folder")
    return folder


def hint(words: str) -> str:
    """What to type, `words` naming the folder in the command: '--model FOLDER'."""
    return f"Type {words} with {_SAVED}."
