# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways a command can fail, each with its exit code."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_BAD_INPUT = 2
EXIT_NO_ROOM = 3
EXIT_CANCELLED = 4
EXIT_SOME_FAILED = 5
EXIT_INTERRUPTED = 130


class EngineError(Exception):
    """A failure told to the person at the keyboard: the thing, what was expected and found, what to type."""

    exit_code = EXIT_FAILURE

    def __init__(self, what: str, *, expected: str, found: str, fix: str) -> None:
        super().__init__(f"{what}: expected {expected}; found {found}. {fix}")
        self.what = what
        self.expected = expected
        self.found = found
        self.fix = fix


class BadInputError(EngineError):
    """The request cannot be carried out as it was typed: nothing was drawn or written."""

    exit_code = EXIT_BAD_INPUT


class MachineError(EngineError):
    """The request was fine, and this machine could not carry it out."""


class NoRoomError(MachineError):
    """Video or host memory does not suffice, and no plan with less of it is left; the text has the numbers."""

    exit_code = EXIT_NO_ROOM


class CancelledError(EngineError):
    """Whoever asked for the picture does not want it any more."""

    exit_code = EXIT_CANCELLED

    def __init__(self, done: int, total: int, unit: str = "steps") -> None:
        super().__init__(
            "picture",
            expected=f"{total} {unit}",
            found=f"a wish to stop after {done}",
            fix="Ask again when it is wanted.",
        )
