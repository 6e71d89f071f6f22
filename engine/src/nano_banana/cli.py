# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `nano-banana`."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NoReturn, Optional

from nano_banana import __version__, backends
from nano_banana.errors import EXIT_OK, BadInputError, EngineError, MachineError
from nano_banana.request import MAX_SEED, MAX_SIDE, MIN_SIDE, Request, parse_seed, parse_size

PROGRAM = "nano-banana"
_EXIT_CODES = "exit codes: 0 the picture is written, 1 this machine could not do it, 2 bad input"


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are ours: one message, no usage block."""

    def error(self, message: str) -> NoReturn:
        raise BadInputError(
            "command line",
            expected=f"what `{self.prog} --help` shows",
            found=message,
            fix=f"Type: {self.prog} --help",
        )


def build_parser() -> argparse.ArgumentParser:
    """The command's options. Values stay text here, and are checked where their meaning is known."""
    parser = _Parser(
        prog=PROGRAM,
        description="Draw a product taken apart from a prompt.",
        epilog=_EXIT_CODES,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    generate = commands.add_parser("generate", help="draw one picture", epilog=_EXIT_CODES, allow_abbrev=False)
    generate.add_argument("--prompt", required=True, help="what to draw")
    generate.add_argument("--output", required=True, metavar="FILE", help=".png, .jpg, .jpeg or .webp")
    generate.add_argument(
        "--size",
        default="1024x1024",
        metavar="WxH",
        help=f"pixels, each side {MIN_SIDE} to {MAX_SIDE} (default: %(default)s)",
    )
    generate.add_argument(
        "--seed", default="0", metavar="N", help=f"0 to {MAX_SEED}; same seed, same picture (default: 0)"
    )
    generate.add_argument(
        "--backend",
        default=backends.DEFAULT,
        metavar="NAME",
        help=f"one of: {', '.join(backends.names())} (default: %(default)s)",
    )
    generate.add_argument("--quality", metavar="N", help="1 to 100, for JPEG and WebP alone")
    generate.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def generate(options: argparse.Namespace) -> Dict[str, Any]:
    """Check, draw, write; returns what --json prints. Raises EngineError."""
    started = time.monotonic()
    width, height = parse_size(options.size)
    request = Request(options.prompt, width, height, parse_seed(options.seed))
    _require_pillow()
    from nano_banana import metadata, output

    path = Path(options.output)
    image_format = output.format_of(path)
    quality = output.parse_quality(options.quality, image_format)
    output.check_place(path)
    backend = backends.get(options.backend)
    image = backend.generate(request)
    meta = metadata.Metadata(backend.name, request.seed, request.prompt, width, height, __version__)
    data = output.encode(image, image_format, meta, quality)
    output.write_atomically(path, data)
    return {
        "output": str(path),
        "backend": backend.name,
        "backend_summary": backend.summary,
        "seed": request.seed,
        "prompt": request.prompt,
        "width": width,
        "height": height,
        "format": image_format,
        "quality": quality,
        "bytes": len(data),
        "seconds": round(time.monotonic() - started, 3),
        "engine_version": __version__,
    }


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command and return its exit code; `arguments` default to the command line's."""
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        if options.command is None:
            parser.error("no command")
        result = generate(options)
    except EngineError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"wrote {result['output']}: {result['width']}x{result['height']} {result['format']}, "
            f"{result['bytes']} bytes, backend {result['backend']} ({result['backend_summary']}), "
            f"seed {result['seed']}, {result['seconds']} s"
        )
    return EXIT_OK


def run() -> NoReturn:
    """Entry point of the console script."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name that the terminal's encoding lacks must not fail a picture that is already written.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted, no file written", file=sys.stderr)
        sys.exit(130)


def _require_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401 - asked for its presence alone
    except ImportError as error:
        raise MachineError(
            "Pillow",
            expected="an importable Pillow 9.5 or later",
            found=str(error),
            fix=f"Type: {sys.executable} -m pip install 'Pillow>=9.5'",
        ) from error
