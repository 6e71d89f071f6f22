# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check is, what it answers, and in which order checks run. Pure; runs on guests with Python >= 3.8."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple

PASSED, WARNED, FAILED = "passed", "warned", "failed"
BLOCKED, SKIPPED, NOT_APPLICABLE = "blocked", "skipped", "not_applicable"
STATUSES = (PASSED, WARNED, FAILED, BLOCKED, SKIPPED, NOT_APPLICABLE)


@dataclass(frozen=True)
class Outcome:
    """A probe's verdict. ``detail`` is mandatory for every status but passed: it is the reason."""

    status: str
    expected: str = ""
    actual: str = ""
    detail: str = ""
    evidence: Dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}; found '{self.status}'")
        if self.status != PASSED and not self.detail:
            raise ValueError(f"an outcome that is {self.status} must say why in detail")


@dataclass(frozen=True)
class Check:
    """One row of a catalogue: what is asked, which checks must have answered first, how to mend a failure."""

    id: str
    title: str
    fix: str
    probe: Callable[[], Outcome]
    needs: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A check with its outcome, as the report reads it. ``seconds`` is the time that the probe took."""

    id: str
    title: str
    status: str
    expected: str
    actual: str
    detail: str
    fix: str
    evidence: Dict[str, Any]
    seconds: float

    def as_dict(self) -> Dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def run_checks(checks: Iterable[Check], clock: Callable[[], float] = time.monotonic) -> List[Result]:
    """Run checks in their order; what needs a check that gave no answer to build on is blocked, not run.

    Passed and warned are answers to build on; every other status blocks its dependants. Raises ValueError
    when a check needs one that does not come before it: the catalogue is wrong then.
    """
    done: Dict[str, Result] = {}
    for check in checks:
        unknown = [name for name in check.needs if name not in done]
        if unknown:
            raise ValueError(f"{check.id} needs {', '.join(unknown)}, which must come before it")
        started = clock()
        missing = [name for name in check.needs if done[name].status not in (PASSED, WARNED)]
        outcome = _blocked(done[missing[0]]) if missing else check.probe()
        done[check.id] = Result(
            id=check.id,
            title=check.title,
            status=outcome.status,
            expected=outcome.expected,
            actual=outcome.actual,
            detail=outcome.detail,
            fix=check.fix if outcome.status in (FAILED, WARNED) else "",
            evidence=outcome.evidence,
            seconds=round(clock() - started, 3),
        )
    return list(done.values())


def _blocked(cause: Result) -> Outcome:
    status = SKIPPED if cause.status in (SKIPPED, NOT_APPLICABLE) else BLOCKED
    return Outcome(status, detail=f"not run: it needs {cause.id}, which is {cause.status}")


def summarise(results: Sequence[Result]) -> Dict[str, Any]:
    """Count results by status; ``verdict`` is failed as soon as one failed or is blocked, else warned, else passed."""
    counts: Dict[str, Any] = dict.fromkeys(STATUSES, 0)
    for result in results:
        counts[result.status] += 1
    if counts[FAILED] or counts[BLOCKED]:
        verdict = FAILED
    elif counts[WARNED]:
        verdict = WARNED
    else:
        verdict = PASSED if counts[PASSED] else SKIPPED
    return {"total": len(results), "verdict": verdict, **counts}


def explain(results: Sequence[Result], where: str, next_command: str) -> str:
    """One text for the operator: each failed check with what, why, expected, found and how to mend it."""
    bad = [result for result in results if result.status == FAILED]
    blocked = [result.id for result in results if result.status == BLOCKED]
    lines = [f"{where}: {len(bad)} of {len(results)} checks failed."]
    for result in bad:
        lines.append(f"{result.id}: {result.title}")
        for label, text in (
            ("why", result.detail),
            ("expected", result.expected),
            ("found", result.actual),
            ("mend", result.fix),
        ):
            if text:
                lines.append(f"  {label + ':':<10}{text}")
    if blocked:
        lines.append(f"Not run because of that: {', '.join(blocked)}.")
    lines.append(f"Next: {next_command}")
    return "\n".join(lines)
