# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `nano-banana`. What is imported here is what `--version` waits for: nearly nothing."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from nano_banana import __version__
from nano_banana.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EngineError

PROGRAM = "nano-banana"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; `arguments` default to the command line's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"{PROGRAM} {__version__}")
        return EXIT_OK
    try:
        from nano_banana.cli.app import call

        code = call(words)
    except EngineError as error:
        return complain(error)
    except ImportError as error:
        from nano_banana.extras import missing

        return complain(missing(error))
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        print(f"{PROGRAM}: interrupted, no unfinished file is left", file=sys.stderr)
    return code


def complain(error: EngineError) -> int:
    """Say what went wrong in one line; returns the exit code."""
    print(f"{PROGRAM}: {' '.join(str(error).splitlines())}", file=sys.stderr)
    return error.exit_code


def run() -> NoReturn:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name that the terminal's encoding lacks must not fail a picture that is already written.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILURE
    except Exception as error:  # The last line of defence: nobody at a keyboard shall read a traceback.
        if os.environ.get("NANO_BANANA_TRACEBACK"):
            raise
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        fix = "Type the same with NANO_BANANA_TRACEBACK=1 in front, and report what it prints"
        print(f"{PROGRAM}: this should not happen: {told}. {fix}", file=sys.stderr)
        code = EXIT_FAILURE
    sys.exit(code)
