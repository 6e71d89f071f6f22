# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands together, and their complaints in our one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from nano_banana import __version__
from nano_banana.cli import PROGRAM, pictures, service, tools, words
from nano_banana.cli.options import EXIT_CODES
from nano_banana.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError

# typer up to 0.2x uses click, later ones carry their own copy of it: this is the class of either.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False, epilog=EXIT_CODES)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Draw a product taken apart from a prompt."""


_COMMANDS: dict[str, Callable[..., int]] = {
    "generate": pictures.generate,
    "batch": pictures.batch,
    "lint": words.lint,
    "pack": tools.pack,
    "bench": tools.bench,
    "doctor": tools.doctor,
    "serve": service.serve,
}
for _name, _command in _COMMANDS.items():
    app.command(_name, epilog=EXIT_CODES)(_command)
app.add_typer(words.presets, name="presets")


def call(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Raises EngineError, ImportError."""
    try:
        code = app(arguments, prog_name=PROGRAM, standalone_mode=False)
    except _UsageError as error:
        raise _bad_usage(error) from None
    except typer.Abort:
        # What click makes of Ctrl-C.
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else EXIT_OK


def _bad_usage(error: Exception) -> BadInputError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else PROGRAM
    message = getattr(error, "format_message", error.__str__)()
    found = " ".join(message.split()).rstrip(".")
    return BadInputError(
        "command line", expected=f"what `{command} --help` shows", found=found, fix=f"Type: {command} --help"
    )
