# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failure with the known cause of what was written, for the checks whose failures bring text along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping

from .causes import diagnose
from .result import Outcome


def explained(outcome: Outcome, text: str, facts: Mapping[str, Any]) -> Outcome:
    """The outcome with cause and fix where the text has a known cause; a fix that the check knows itself stays."""
    cause = diagnose(text, facts)
    if cause is None:
        return outcome
    return replace(
        outcome, cause=cause.id, fix=outcome.fix or cause.fix, detail=f"{outcome.detail} (known cause: {cause.title})"
    )
