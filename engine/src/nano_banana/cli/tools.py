# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands about the machine and the model: doctor, pack and bench."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nano_banana.cli import options, values
from nano_banana.cli.screen import say, show
from nano_banana.errors import EXIT_FAILURE, EXIT_OK

if TYPE_CHECKING:
    from nano_banana.diffusion.pack import Report

_BENCH_PROMPT = "hair dryer, knolling, labeled with part names: motor, housing, 4 screws, cable"


@options.takes(options.SETTINGS, options.JSON)
def doctor(given: options.Given) -> int:
    """Look at this machine: what is there, what is not, and how to mend it."""
    settings = values.settings_of(given)
    from nano_banana.doctor import FAILED, examine

    rows = examine(settings)
    if given["as_json"]:
        show([dataclasses.asdict(row) for row in rows])
    for row in [] if given["as_json"] else rows:
        fix = f" -> {row.fix}" if row.fix else ""
        print(f"{row.status:<8} {row.name:<14} {row.found}{fix}")
    return EXIT_FAILURE if any(row.status == FAILED for row in rows) else EXIT_OK


@options.takes(
    {
        "source": options.argument("SOURCE", "A model in diffusers' folder format, or a hub id."),
        "target": options.argument("TARGET", "The folder to write: new, or an earlier pack."),
        "dtype": options.text("--dtype", "NAME", "float16, bfloat16 or float32.", default="float16"),
        "vae_dtype": options.text(
            "--vae-dtype", "NAME", "The same for the VAE, which overflows in float16.", default="float32"
        ),
    },
    options.JSON,
)
def pack(given: options.Given) -> int:
    """Write a trimmed copy of a model, and prove that it draws the same."""
    from nano_banana.diffusion.pack import pack as library

    report = library(given["source"], Path(given["target"]), dtype=given["dtype"], vae_dtype=given["vae_dtype"])
    if given["as_json"]:
        show(_plain(dataclasses.asdict(report) | {"saved": report.saved}))
    else:
        print("\n".join(_packed(report)))
    return EXIT_OK


def _packed(report: Report) -> Iterator[str]:
    """What pack made, for people; sizes in MB."""
    for part, size in report.before.items():
        yield f"{part:<16}{size / 1e6:10.1f} -> {report.after.get(part, 0) / 1e6:.1f} MB"
    yield from (f"left out        {name}" for name in report.dropped)
    if report.proof:
        picture = f"{report.proof.psnr:.1f} dB" if report.proof.psnr is not None else "equal in every pixel"
        yield f"proof           embeddings differ by {report.proof.embedding_difference:.2g}, the picture: {picture}"
    yield from (f"note            {note}" for note in report.notes)
    yield f"wrote {report.target}: {report.saved:.1%} smaller"


@options.takes(
    options.PICTURE,
    {"prompt": options.text("--prompt", "TEXT", "What to draw.", options.PICTURE_PANEL, _BENCH_PROMPT)},
    options.CONTROL_PICTURE,
    options.SETTINGS,
    options.BACKEND,
    {
        "pictures": options.text("--pictures", "N", "How many to draw, 1 to 1000.", default="3"),
        "memory_model": options.switch("--memory-model", "Predict each plan's memory peak instead; draws nothing."),
    },
    options.JSON,
)
def bench(given: options.Given) -> int:
    """Measure: steps per second, peak of video and host memory, the first and the later pictures."""
    settings = values.settings_of(given)
    # A prediction needs the ControlNet alone, not the picture that guides.
    unguided = dict.fromkeys(options.CONTROL_PICTURE) | {"control": None} if given["memory_model"] else {}
    request = values.request_of({**given, **unguided})
    count = values.whole("--pictures", given["pictures"])
    from nano_banana import bench as library

    if given["memory_model"]:
        guidance = request.guidance > 1
        rows = library.memory_model(settings, width=request.width, height=request.height, guidance=guidance)
        if given["as_json"]:
            show(rows)
        for row in [] if given["as_json"] else rows:
            print(row["text"] if row["fits"] else f"plan {row['plan']}: does not fit: {row['refused']}")
        return EXIT_OK
    if not given["as_json"]:
        say(f"drawing {count} pictures ...")
    found = library.run(given["backend"], settings, request, count)
    if given["as_json"]:
        show(found)
    else:
        print(_lines(found))
    return EXIT_OK


def _lines(found: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {_short(value)}" for name, value in found.items())


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """The value as JSON can say it: paths as text, tuples and sets as lists."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
