# SPDX-License-Identifier: GPL-3.0-or-later
"""The command serve."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from nano_banana import backends, extras
from nano_banana.cli import options, values
from nano_banana.errors import EXIT_OK, BadInputError, MachineError

SERVICE = "Service"


def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.", rich_help_panel=SERVICE)
    ] = "127.0.0.1",
    port: Annotated[str, typer.Option("--port", metavar="N", help="1 to 65535.", rich_help_panel=SERVICE)] = "8000",
    queue: Annotated[
        str, typer.Option("--queue", metavar="N", help="Requests that may wait; more get 503.", rich_help_panel=SERVICE)
    ] = "16",
    batch: Annotated[
        str, typer.Option("--batch", metavar="N", help="Equal shapes drawn in one pass.", rich_help_panel=SERVICE)
    ] = "4",
    timeout: Annotated[
        options.Text,
        typer.Option("--timeout", metavar="SECONDS", help="The most a request may take.", rich_help_panel=SERVICE),
    ] = None,
    token: Annotated[
        options.Text,
        typer.Option(
            "--token",
            metavar="TEXT",
            envvar="NANO_BANANA_TOKEN",
            help="Clients must send it; others on this machine see what is typed, so set the variable.",
            rich_help_panel=SERVICE,
        ),
    ] = None,
    max_side: Annotated[
        options.Text,
        typer.Option("--max-side", metavar="PIXELS", help="Largest side of a picture.", rich_help_panel=SERVICE),
    ] = None,
    output_dir: Annotated[
        options.Text,
        typer.Option(
            "--output-dir", metavar="FOLDER", help="Keep a copy of each picture here.", rich_help_panel=SERVICE
        ),
    ] = None,
    log_format: Annotated[
        options.Text, typer.Option("--log-format", metavar="NAME", help="json or text.", rich_help_panel=SERVICE)
    ] = None,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Write prompts into the log too.", rich_help_panel=SERVICE)
    ] = False,
    grace: Annotated[
        options.Text,
        typer.Option("--grace", metavar="SECONDS", help="How long a stop may take.", rich_help_panel=SERVICE),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it could: exit code 0 or 1.", rich_help_panel=SERVICE)
    ] = False,
    lora: options.Lora = None,
    lora_blocks: options.LoraBlocks = None,
    control: options.ControlModel = None,
    upscaler: options.Upscaler = "",
    backend: options.Backend = backends.DEFAULT,
    model: options.Model = "",
    device: options.Device = "auto",
    vram_budget: options.VramBudget = None,
    plan: options.Plan = "auto",
) -> int:
    """Serve pictures over HTTP; /docs describes it. Stops after what is running when it is told to end."""
    return _serve(locals())


def _serve(given: dict[str, Any]) -> int:
    settings, wishes = values.settings_of(given), _wishes(given)
    _require_extra()
    if given["check"]:
        return EXIT_OK
    from nano_banana import serve as library

    library.run(library.ServeSettings(**wishes), backends.get(given["backend"], settings))
    return EXIT_OK


def _wishes(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of ServeSettings that were typed; their bounds are its business. Raises BadInputError."""
    wishes: dict[str, Any] = {"host": given["host"], "log_prompts": given["log_prompts"]}
    for name in ("port", "queue", "batch", "max_side"):
        if given[name] is not None:
            wishes[name] = values.whole("--" + name.replace("_", "-"), given[name])
    for name in ("timeout", "grace"):
        if given[name] is not None:
            wishes[f"{name}_s"] = values.number(f"--{name}", given[name])
    wishes |= {name: given[name] for name in ("token", "log_format") if given[name] is not None}
    return wishes | ({"output": _folder(given["output_dir"])} if given["output_dir"] is not None else {})


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise BadInputError("--output-dir", expected="an existing folder", found=text, fix=f"Type: mkdir -p '{text}'")
    return Path(text)


def _require_extra() -> None:
    """Asked by name alone: an import of fastapi takes a second. Raises MachineError."""
    absent = [name for name in extras.EXTRAS["serve"] if importlib.util.find_spec(name) is None]
    if absent:
        raise MachineError(
            "serve",
            expected=f"the libraries of the extra {extras.PACKAGE}[serve]",
            found=f"no {', '.join(absent)}",
            fix=f"{extras.how_to_install('serve')}.",
        )
