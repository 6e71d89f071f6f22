# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands about words: presets and lint."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from nano_banana.cli import options
from nano_banana.cli.screen import show
from nano_banana.errors import EXIT_BAD_INPUT, EXIT_OK

presets = typer.Typer(help="Settings that are known to work: list them, show one.", rich_markup_mode="rich")


@presets.command("list", epilog=options.EXIT_CODES)
def list_presets(as_json: options.Json = False) -> int:
    """Name the presets."""
    from nano_banana.presets import PRESETS

    if as_json:
        show({name: preset.to_json() for name, preset in PRESETS.items()})
        return EXIT_OK
    for name, preset in PRESETS.items():
        print(f"{name}: {preset.prompt}")
    return EXIT_OK


@presets.command("show", epilog=options.EXIT_CODES)
def show_preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One that `presets list` names.")],
    as_json: options.Json = False,
) -> int:
    """Show what a preset sets; `generate --preset NAME` draws it."""
    from nano_banana.presets import get

    told = get(name).to_json()
    if as_json:
        show(told)
        return EXIT_OK
    for field, value in told.items():
        print(f"{field}: {', '.join(value) if isinstance(value, list) else value}")
    return EXIT_OK


def lint(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to look at.")],
    fix: Annotated[bool, typer.Option("--fix", help="Print the mended prompt.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 2 when something was found.")] = False,
    as_json: options.Json = False,
) -> int:
    """Say what a prompt could do better, and mend what needs no decision."""
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
