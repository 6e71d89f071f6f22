# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that draw: generate and batch."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nano_banana.cli import options, values
from nano_banana.cli.screen import Progress, opened, say, show
from nano_banana.errors import EXIT_OK, EXIT_SOME_FAILED, BadInputError


@options.takes(
    {"output": options.text("--output", "FILE", ".png, .jpg, .jpeg or .webp", options.OUTPUT_PANEL, ...)},
    options.PICTURE,
    options.CONTROL_PICTURE,
    options.SETTINGS,
    options.BACKEND,
    {"quality": options.text("--quality", "N", "1 to 100, for JPEG and WebP alone.", options.OUTPUT_PANEL)},
    options.JSON,
)
def generate(given: options.Given) -> int:
    """Draw one picture."""
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


@options.takes(
    {"source": options.argument("[FILE]", "JSON lines; - or nothing reads standard input.", None)},
    {
        "output_dir": options.text(
            "--output-dir", "FOLDER", "Pictures go here and nowhere else.", options.OUTPUT_PANEL, "."
        )
    },
    options.SETTINGS,
    options.BACKEND,
    {
        "as_json": options.switch(
            "--json", "Nothing on standard error; results are JSON lines always.", options.OUTPUT_PANEL
        )
    },
)
def batch(given: options.Given) -> int:
    """Draw many pictures with one load: JSON lines in, JSON lines out.

    A line is an object such as {"prompt": "pump: gear, 2 screws", "output": "pump.png", "seed": 5}. A bad line becomes
    a result line with its error, and the rest goes on.
    """
    settings = values.settings_of(given)
    folder = values.folder(given["output_dir"])
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
