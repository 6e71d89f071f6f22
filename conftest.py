# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a test session with one plain line that any CI can read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

# Where all tools keep what they remember: a folder beside galaxy.yml would be packed with the collection.
set_hypothesis_home_dir(Path(__file__).parent / ".cache/hypothesis")

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
