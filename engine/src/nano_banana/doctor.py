# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine has of what the engine can use: one row a thing, each with a way to mend it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nano_banana.backends import Settings
from nano_banana.extras import EXTRAS, how_to_install

#: `absent`: an optional thing is not there; `failed`: what all need, or what was asked for, does not work.
OK, ABSENT, FAILED = "ok", "absent", "failed"
OLDEST, NEWEST = (3, 10), (3, 12)
_QUERY = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.free", "--format=csv,noheader,nounits"]
_WEIGHTS = (".safetensors", ".bin")
_MODEL_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
_WEIGHTLESS = ("tokenizer", "tokenizer_2", "scheduler")


@dataclass(frozen=True)
class Row:
    """One finding; `fix` is empty where there is nothing to do."""

    name: str
    status: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Gpu:
    """One card as nvidia-smi shows it; memory in MiB."""

    name: str
    driver: str
    total: int
    free: int


def examine(settings: Settings) -> list[Row]:
    """Look at everything; takes as long as an import of torch where that is installed. Raises nothing."""
    cards = gpus()
    rows = [python(), pillow(), webp(), fonts()]
    rows += [extra(name) for name in EXTRAS]
    rows += [torch(settings.device, cards), driver(cards, settings.device)]
    rows += video_memory(cards, settings.vram_budget)
    rows.append(model(settings.model))
    rows += [source(f"lora {name}", where) for name, where in settings.loras.items()]
    rows += [source(f"control {name}", where) for name, where in settings.controlnets.items()]
    if settings.upscaler:
        rows.append(source("upscaler", settings.upscaler, hub=False))
    return rows


def python(version: Sequence[int] = sys.version_info[:3]) -> Row:
    """The interpreter's version against those that the engine is tested with."""
    found = f"{'.'.join(map(str, version))} at {sys.executable}"
    if tuple(version[:2]) < OLDEST:
        return Row("Python", FAILED, found, "Make an environment with Python 3.10 to 3.12")
    note = "" if tuple(version[:2]) <= NEWEST else " (newer than those that the engine is tested with, 3.10 to 3.12)"
    return Row("Python", OK, found + note)


def pillow() -> Row:
    """Pillow, which every backend needs."""
    fix = f"Type: {sys.executable} -m pip install 'Pillow>=9.5'"
    try:
        import PIL
        from PIL import Image
    except ImportError as error:
        return Row("Pillow", FAILED, str(error), fix)
    parts = [int(part) for part in PIL.__version__.split(".")[:2] if part.isdigit()]
    if parts < [9, 5]:
        return Row("Pillow", FAILED, f"{PIL.__version__}, expected 9.5 or later", fix)
    return Row("Pillow", OK, f"{PIL.__version__}, largest foreign picture {Image.MAX_IMAGE_PIXELS} pixels")


def webp() -> Row:
    """Whether Pillow can write WebP, by writing one."""
    return _pillow_can("WebP", _write_webp, "written and read back")


def fonts() -> Row:
    """Whether labels have a font that scales; a fixed bitmap font does for small pictures."""
    row = _pillow_can("fonts", _load_font, "any size")
    if row.status == OK and not _scales():
        fix = f"Type: {sys.executable} -m pip install --upgrade 'Pillow>=10.1', or install the font DejaVu Sans"
        return Row("fonts", ABSENT, "one fixed size alone: large labels are coarse", fix)
    return row


def extra(name: str) -> Row:
    """The libraries of one extra with their versions; they are looked for and not imported."""
    absent = [module for module in EXTRAS[name] if importlib.util.find_spec(module) is None]
    if absent:
        return Row(f"extra {name}", ABSENT, f"no {', '.join(absent)}", how_to_install(name))
    return Row(f"extra {name}", OK, ", ".join(f"{module} {_version(module)}" for module in EXTRAS[name]))


def torch(device: str, cards: Sequence[Gpu]) -> Row:
    """torch imported, and whether it sees the card that nvidia-smi shows."""
    if importlib.util.find_spec("torch") is None:
        return Row("torch", ABSENT, "not installed", how_to_install("diffusion"))
    try:
        import torch as library

        version, built = library.__version__, library.version.cuda
        sees = library.cuda.is_available()
        count = library.cuda.device_count() if sees else 0
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Row("torch", FAILED, str(error).splitlines()[0], how_to_install("diffusion"))
    found = f"{version}, built for {f'CUDA {built}' if built else 'the CPU'}, sees {count} CUDA devices"
    if sees or not (cards or device.startswith("cuda")):
        return Row("torch", OK, found)
    fix = (
        "Update the driver to one for that CUDA or later: nvidia-smi shows what it supports"
        if built
        else "Install a torch that is built for CUDA: pytorch.org tells the command"
    )
    return Row("torch", FAILED, found, fix)


def driver(cards: Sequence[Gpu], device: str) -> Row:
    """The driver and the cards."""
    if cards:
        return Row(
            "CUDA driver", OK, "; ".join(f"{card.name}, driver {card.driver}, {card.total} MiB" for card in cards)
        )
    status = FAILED if device.startswith("cuda") else ABSENT
    fix = "Install NVIDIA's driver; nvidia-smi must show the card. Without one, --device cpu works, slowly"
    return Row("CUDA driver", status, "nvidia-smi shows no card", fix)


def video_memory(cards: Sequence[Gpu], budget: int | None) -> list[Row]:
    """What is free on each card, against the budget in bytes where there is one."""
    rows = []
    for place, card in enumerate(cards):
        found = f"{card.free} of {card.total} MiB free"
        short = budget is not None and card.free * 2**20 < budget
        fix = "End what holds it (nvidia-smi lists it), or type a smaller --vram-budget" if short else ""
        rows.append(Row(f"memory GPU {place}", FAILED if short else OK, found, fix))
    return rows


def model(where: str) -> Row:
    """The model's folder: every part that its index names is there and can be read."""
    if not where:
        return Row("model", ABSENT, "none named", "Type --model FOLDER; the preview backend needs none")
    folder = Path(where)
    if not folder.is_dir():
        return source("model", where)
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        wanted = [part for part in _MODEL_PARTS if isinstance(index.get(part), list) and index[part][0]]
        size = sum(_read_part(folder / part) for part in wanted)
    except (OSError, ValueError, AttributeError, LookupError) as error:
        fix = "Name a folder in diffusers' format (model_index.json, unet, vae, ...), or copy the model anew"
        return Row("model", FAILED, f"{where}: {error}", fix)
    return Row("model", OK, f"{where}: {', '.join(wanted)}; {size / 2**30:.2f} GiB of weights")


def source(name: str, where: str, *, hub: bool = True) -> Row:
    """A file or folder that can be read, or a name that the hub may know."""
    path = Path(where)
    if path.exists():
        if os.access(path, os.R_OK):
            return Row(name, OK, where)
        return Row(name, FAILED, f"{where}: no permission to read", f"Type: ls -ld '{where}'")
    if hub and where.count("/") == 1 and not where.startswith((".", "/", "~")):
        return Row(name, ABSENT, f"{where}: no folder here, taken for a hub id", "It is fetched on first use")
    return Row(name, FAILED, f"{where}: not there", "Type another path")


def gpus(ask: Callable[[], str] | None = None) -> list[Gpu]:
    """The cards that nvidia-smi shows, empty where it is not there or fails."""
    try:
        text = (ask or _ask)()
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        # MIG parts and some virtual cards show [N/A] for memory.
        if len(fields) == 4 and fields[2].isdigit() and fields[3].isdigit():
            found.append(Gpu(fields[0], fields[1], int(fields[2]), int(fields[3])))
    return found


def _ask() -> str:
    return subprocess.run(_QUERY, capture_output=True, text=True, check=True, timeout=30).stdout


def _read_part(folder: Path) -> int:
    """Bytes of weights in a part's folder, each file opened once. Raises OSError, LookupError when there are none."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        with path.open("rb") as stream:
            stream.read(1)
    weights = [path for path in files if path.suffix in _WEIGHTS]
    if not weights and folder.name not in _WEIGHTLESS:
        raise LookupError(f"no weights in {folder.name}")
    return sum(path.stat().st_size for path in weights)


def _pillow_can(name: str, action: Callable[[], None], found: str) -> Row:
    try:
        action()
    except (ImportError, OSError, KeyError, TypeError) as error:
        fix = (
            f"Install Pillow's own wheel: {sys.executable} -m pip install --force-reinstall --only-binary :all: Pillow"
        )
        return Row(name, FAILED, f"{type(error).__name__}: {error}", fix)
    return Row(name, OK, found)


def _write_webp() -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(buffer, format="WEBP")
    Image.open(buffer).load()


def _load_font() -> None:
    from nano_banana import text

    text.font(14)


def _scales() -> bool:
    from PIL import ImageFont

    from nano_banana import text

    return isinstance(text.font(14), ImageFont.FreeTypeFont)


def _version(module: str) -> str:
    names: dict[str, Any] = {"prometheus_client": "prometheus-client", "pynvml": "nvidia-ml-py"}
    try:
        return importlib.metadata.version(names.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return f"without a version on {platform.system()}"
