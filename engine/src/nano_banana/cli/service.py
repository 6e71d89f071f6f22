# SPDX-License-Identifier: GPL-3.0-or-later
"""The command serve."""

from __future__ import annotations

import importlib.util
from typing import Any

from nano_banana import backends, extras
from nano_banana.cli import options, values
from nano_banana.errors import EXIT_OK, MachineError

_PANEL = "Service"
_SERVICE: options.Group = {
    "host": options.text("--host", "ADDRESS", "Where to listen.", _PANEL, "127.0.0.1"),
    "port": options.text("--port", "N", "1 to 65535.", _PANEL, "8000"),
    "queue": options.text("--queue", "N", "Requests that may wait; more get 503.", _PANEL, "16"),
    "batch": options.text("--batch", "N", "Equal shapes drawn in one pass.", _PANEL, "4"),
    "timeout": options.text("--timeout", "SECONDS", "The most a request may take.", _PANEL),
    "token": options.text(
        "--token",
        "TEXT",
        "Clients must send it; others on this machine see what is typed, so set the variable.",
        _PANEL,
        envvar="NANO_BANANA_TOKEN",
    ),
    "max_side": options.text("--max-side", "PIXELS", "Largest side of a picture.", _PANEL),
    "output_dir": options.text("--output-dir", "FOLDER", "Keep a copy of each picture here.", _PANEL),
    "log_format": options.text("--log-format", "NAME", "json or text.", _PANEL),
    "log_prompts": options.switch("--log-prompts", "Write prompts into the log too.", _PANEL),
    "grace": options.text("--grace", "SECONDS", "How long a stop may take.", _PANEL),
    "check": options.switch("--check", "Only say whether it could: exit code 0 or 1.", _PANEL),
}


@options.takes(_SERVICE, options.SETTINGS, options.BACKEND)
def serve(given: options.Given) -> int:
    """Serve pictures over HTTP; /docs describes it. Stops after what is running when it is told to end."""
    settings, wishes = values.settings_of(given), _wishes(given)
    _require_extra()
    if given["check"]:
        return EXIT_OK
    from nano_banana import serve as library

    library.run(library.ServeSettings(**wishes), backends.get(given["backend"], settings))
    return EXIT_OK


def _wishes(given: options.Given) -> dict[str, Any]:
    """The fields of ServeSettings that were typed; their bounds are its business. Raises BadInputError."""
    wishes: dict[str, Any] = {"host": given["host"], "log_prompts": given["log_prompts"]}
    for name in ("port", "queue", "batch", "max_side"):
        if given[name] is not None:
            wishes[name] = values.whole("--" + name.replace("_", "-"), given[name])
    for name in ("timeout", "grace"):
        if given[name] is not None:
            wishes[f"{name}_s"] = values.number(f"--{name}", given[name])
    wishes |= {name: given[name] for name in ("token", "log_format") if given[name] is not None}
    return wishes | ({"output": values.folder(given["output_dir"])} if given["output_dir"] is not None else {})


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
