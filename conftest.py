# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a test session with one plain line that any CI can read."""

from __future__ import annotations

import pytest

_COUNTS: dict[str, int] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what the session's own report counts; an error in a fixture is a failure."""
    stats = terminalreporter.stats
    _COUNTS["passed"] = len(stats.get("passed", []))
    _COUNTS["failed"] = len(stats.get("failed", [])) + len(stats.get("error", []))
    _COUNTS["skipped"] = len(stats.get("skipped", []))


def pytest_unconfigure() -> None:
    """Print it after everything else."""
    if _COUNTS:
        print("{passed} passed, {failed} failed, {skipped} skipped".format(**_COUNTS))
