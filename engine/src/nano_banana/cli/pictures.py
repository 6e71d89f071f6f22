# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that draw: generate and batch."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from nano_banana import backends
from nano_banana.cli import options, values
from nano_banana.cli.screen import Progress, opened, say, show
from nano_banana.errors import EXIT_OK, EXIT_SOME_FAILED, BadInputError


def generate(
    output: options.OutputFile,
    prompt: options.Prompt = None,
    preset: options.Preset = None,
    size: options.Size = "1024x1024",
    seed: options.Seed = None,
    negative: options.Negative = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    upscale: options.Upscale = None,
    style: options.Style = None,
    sharpen: options.Sharpen = None,
    lora: options.Lora = None,
    lora_blocks: options.LoraBlocks = None,
    control: options.ControlModel = None,
    control_picture: options.ControlPicture = None,
    control_strength: options.ControlStrength = None,
    upscaler: options.Upscaler = "",
    backend: options.Backend = backends.DEFAULT,
    model: options.Model = "",
    device: options.Device = "auto",
    vram_budget: options.VramBudget = None,
    plan: options.Plan = "auto",
    quality: options.Quality = None,
    as_json: options.Json = False,
) -> int:
    """Draw one picture."""
    return _generate(locals())


def _generate(given: values.Given) -> int:
    started = time.monotonic()
    request, settings = values.request_of(given), values.settings_of(given)
    # After the checks that need no library.
    from nano_banana import job

    place = job.target(Path(given["output"]), given["quality"])
    request, absent = job.without_absent_loras(request, settings.loras)
    notes = [*absent, *values.notes_of(given, request)]
    for note in notes:
        say(f"note: {note}")
    progress = Progress(quiet=given["as_json"])
    with opened(given["backend"], settings, request) as backend:
        try:
            result = job.draw(backend, request, place, progress.watch)
        finally:
            progress.clear()
    for note in result["notes"]:
        say(f"note: {note}")
    result["notes"] = notes + result["notes"]
    # The load counts too: it is what the person waited for.
    result["seconds"] = round(time.monotonic() - started, 3)
    if given["as_json"]:
        show(result)
    else:
        print(
            f"wrote {result['output']}: {result['width']}x{result['height']} {result['format']}, "
            f"{result['bytes']} bytes, backend {result['backend']} ({result['backend_summary']}), "
            f"seed {result['seed']}, {result['seconds']} s"
        )
    return EXIT_OK


def batch(
    source: Annotated[
        options.Text, typer.Argument(metavar="[FILE]", help="JSON lines; - or nothing reads standard input.")
    ] = None,
    output_dir: Annotated[
        str,
        typer.Option(
            "--output-dir", metavar="FOLDER", help="Pictures go here and nowhere else.", rich_help_panel=options.OUTPUT
        ),
    ] = ".",
    lora: options.Lora = None,
    lora_blocks: options.LoraBlocks = None,
    control: options.ControlModel = None,
    upscaler: options.Upscaler = "",
    backend: options.Backend = backends.DEFAULT,
    model: options.Model = "",
    device: options.Device = "auto",
    vram_budget: options.VramBudget = None,
    plan: options.Plan = "auto",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Nothing on standard error; results are JSON lines always.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
) -> int:
    """Draw many pictures with one load: JSON lines in, JSON lines out.

    A line is an object such as {"prompt": "pump: gear, 2 screws", "output": "pump.png", "seed": 5}. A bad line becomes
    a result line with its error, and the rest goes on.
    """
    return _batch(locals())


def _batch(given: values.Given) -> int:
    settings = values.settings_of(given)
    folder = _folder(given["output_dir"])
    from nano_banana import batch as library

    progress, drawn, failed = Progress(quiet=given["as_json"]), 0, 0
    with _input(given["source"]) as stream, opened(given["backend"], settings) as made:
        wanted = library.Batch(made, folder, settings.loras, progress.watch, values.preset)
        for result in library.run(stream, wanted):
            progress.clear()
            show(result)
            good = result["status"] == "ok"
            drawn, failed = drawn + good, failed + (not good)
            progress.label = f"{drawn + failed} done "
    if not drawn + failed:
        raise BadInputError(
            given["source"] or "standard input",
            expected="at least one JSON line",
            found="none",
            fix="""Type for example: echo '{"prompt": "pump: gear"}' | nano-banana batch --output-dir pictures""",
        )
    if not given["as_json"]:
        say(f"{drawn} drawn, {failed} failed")
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _folder(text: str) -> Path:
    folder = Path(text)
    if not folder.is_dir():
        raise BadInputError(
            "--output-dir", expected="an existing folder", found=f"none at {text}", fix=f"Type: mkdir -p '{text}'"
        )
    return folder


@contextlib.contextmanager
def _input(source: str | None) -> Iterator[BinaryIO]:
    if source in (None, "-"):
        yield sys.stdin.buffer
        return
    with contextlib.ExitStack() as open_files:
        try:
            stream = open_files.enter_context(Path(source or "").open("rb"))
        except OSError as error:
            found = error.strerror or str(error)
            raise BadInputError(f"{source}", expected="a readable file", found=found, fix="Type another.") from error
        yield stream
