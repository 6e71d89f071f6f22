# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends a lab verb: one message, one exit code."""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2  # argparse's own
MACHINE = 3  # the machine lacks something: the message carries the command that mends it
NOT_RUNNING = 4


class LabError(Exception):
    """Something the operator has to know; `code` becomes the exit status of the command."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
