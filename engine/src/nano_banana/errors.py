# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways a command can fail, each with its exit code."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_BAD_INPUT = 2


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
