# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands about words: presets and lint."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from nano_banana.cli import options, values
from nano_banana.cli.screen import show
from nano_banana.errors import EXIT_BAD_INPUT, EXIT_OK

presets = typer.Typer(help="Settings that are known to work: list them, show one.", rich_markup_mode="rich")


@presets.command("list", epilog=options.EXIT_CODES)
def list_presets(as_json: options.Json = False) -> int:
    """Name the presets."""
    from nano_banana.presets import PRESETS

    found = {name: _told(values.preset(name, 1024, 1024)) for name in PRESETS}
    if as_json:
        show(found)
    for name, request in {} if as_json else found.items():
        print(f"{name}: {request['prompt']}")
    return EXIT_OK


@presets.command("show", epilog=options.EXIT_CODES)
def show_preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One that `presets list` names.")],
    as_json: options.Json = False,
) -> int:
    """Show what a preset sets; `generate --preset NAME` draws it."""
    request = _told(values.preset(name, 1024, 1024))
    if as_json:
        show({"name": name, **request})
        return EXIT_OK
    for field, value in request.items():
        if field == "loras":
            value = ", ".join(f"{lora['name']} at {lora['weight']:g}" for lora in value)
        print(f"{field}: {value}")
    return EXIT_OK


def lint(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to look at.")],
    fix: Annotated[bool, typer.Option("--fix", help="Print the mended prompt.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 2 when something was found.")] = False,
    as_json: options.Json = False,
) -> int:
    """Say what a prompt could do better."""
    from nano_banana import lint as library

    findings = library.lint(prompt)
    mended = library.fix(prompt) if fix else None
    if as_json:
        show({"prompt": prompt, "findings": [dataclasses.asdict(finding) for finding in findings], "fixed": mended})
    elif fix:
        print(mended)
    else:
        for finding in findings:
            print(f"{finding.position}: {finding.rule}: {finding.found!r}: {finding.suggestion}")
    return EXIT_BAD_INPUT if strict and findings else EXIT_OK


def _told(request: Any) -> dict[str, Any]:
    """A request as plain JSON values, without what only a call has: the picture that guides it."""
    told = dataclasses.asdict(dataclasses.replace(request, control=None))
    del told["control"]
    return told
