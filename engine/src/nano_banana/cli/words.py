# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands about words: presets and lint."""

from __future__ import annotations

import dataclasses

import typer

from nano_banana.cli import options
from nano_banana.cli.screen import show
from nano_banana.errors import EXIT_BAD_INPUT, EXIT_OK

presets = typer.Typer(help="Settings that are known to work: list them, show one.", rich_markup_mode="rich")


@presets.command("list", epilog=options.EXIT_CODES)
@options.takes(options.JSON)
def list_presets(given: options.Given) -> int:
    """Name the presets."""
    from nano_banana.presets import PRESETS

    if given["as_json"]:
        show({name: preset.to_json() for name, preset in PRESETS.items()})
        return EXIT_OK
    for name, preset in PRESETS.items():
        print(f"{name}: {preset.prompt}")
    return EXIT_OK


@presets.command("show", epilog=options.EXIT_CODES)
@options.takes({"name": options.argument("NAME", "One that `presets list` names.")}, options.JSON)
def show_preset(given: options.Given) -> int:
    """Show what a preset sets; `generate --preset NAME` draws it."""
    from nano_banana.presets import get

    told = get(given["name"]).to_json()
    if given["as_json"]:
        show(told)
        return EXIT_OK
    for field, value in told.items():
        print(f"{field}: {', '.join(value) if isinstance(value, list) else value}")
    return EXIT_OK


@options.takes(
    {
        "prompt": options.argument("PROMPT", "The text to look at."),
        "fix": options.switch("--fix", "Print the mended prompt."),
        "strict": options.switch("--strict", "Exit code 2 when something was found."),
    },
    options.JSON,
)
def lint(given: options.Given) -> int:
    """Say what a prompt could do better, and mend what needs no decision."""
    from nano_banana import lint as library

    prompt = given["prompt"]
    findings = library.lint(prompt)
    mended = library.fix(prompt) if given["fix"] else None
    if given["as_json"]:
        show({"prompt": prompt, "findings": [dataclasses.asdict(finding) for finding in findings], "fixed": mended})
    elif given["fix"]:
        print(mended)
    else:
        for finding in findings:
            print(f"{finding.position}: {finding.rule}: {finding.found!r}: {finding.suggestion}")
    return EXIT_BAD_INPUT if given["strict"] and findings else EXIT_OK
