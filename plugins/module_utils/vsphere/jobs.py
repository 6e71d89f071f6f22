# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that vCenter answers only at their end, minutes later: each has a thread, and is waited for like a task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Job:
    """One such call. The thread never keeps the module from ending: what runs inside vCenter goes on there."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self._moId = f"job:{name}"  # what a task is known by
        self._result: Any = None
        self._error: Exception | None = None
        self._work = work
        self._ended = threading.Event()
        threading.Thread(target=self._run, name=self._moId, daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:  # raised again by result()
            self._error = error
        finally:
            self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether result() has something to say."""
        return self._ended.is_set()

    def result(self) -> Any:
        """What the call gave, or the exception in which it ended."""
        if self._error is not None:
            raise self._error
        return self._result

    def wait(self, seconds: float) -> None:
        """Wait for the end, but no longer than that."""
        self._ended.wait(seconds)
