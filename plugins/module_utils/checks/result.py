# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check is, what it answers, and in which order checks run. Pure; runs on guests with Python >= 3.8."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

PASSED, WARNED, FAILED = "passed", "warned", "failed"
BLOCKED, SKIPPED, NOT_APPLICABLE = "blocked", "skipped", "not_applicable"
STATUSES = (PASSED, WARNED, FAILED, BLOCKED, SKIPPED, NOT_APPLICABLE)
STAGES = ("platform", "machine", "guest")
ERROR, WARNING = "error", "warning"
CONTROL, GUEST = "control", "guest"


@dataclass(frozen=True)
class Fix:
    """How a failure is mended: a sentence, and the command that does it where there is one.

    ``where`` says who types ``run``: ``control`` in the checkout on the control node, ``guest`` as root on the guest.
    ``automatic``: safe to run unasked (preflight_only_fix). Words in braces ({name}) are filled in by filled().
    """

    text: str
    run: str = ""
    where: str = CONTROL
    automatic: bool = False

    def filled(self, values: Mapping[str, str]) -> Fix:
        """With the host's own names; a word that ``values`` does not know stays, so that shell braces may be used."""

        def fill(text: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda match: values.get(match.group(1), match.group(0)), text)

        return replace(self, text=fill(self.text), run=fill(self.run))

    def shown(self) -> str:
        """One line for the operator."""
        if not self.run:
            return self.text
        place = "On the guest" if self.where == GUEST else "Type"
        return f"{self.text} {place}: {self.run}"


@dataclass(frozen=True)
class Outcome:
    """A probe's verdict. ``detail`` is mandatory for every status but passed: it is the reason.

    ``cause`` is a known cause's id (causes.py), ``fix`` a better one than the catalogue's where the probe knows one.
    """

    status: str
    expected: str = ""
    actual: str = ""
    detail: str = ""
    evidence: Dict[str, Any] = field(default_factory=dict)
    cause: str = ""
    fix: Optional[Fix] = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}; found '{self.status}'")
        if self.status != PASSED and not self.detail:
            raise ValueError(f"an outcome that is {self.status} must say why in detail")


Probe = Callable[[], Outcome]


@dataclass(frozen=True)
class Check:
    """A row of the catalogue: what is asked, at which gate, where, after which checks, and how a failure is mended.

    ``severity``: a failed check of severity warning only warns. ``environments``: where it applies, empty = everywhere.
    ``needs``: checks whose answer it builds on; ``after``: checks whose failure blocks it, and whose silence does not.
    ``alone``: it measures time or takes the GPU, so it waits for all before it and nothing runs beside it.
    """

    id: str
    stage: str
    title: str
    fix: Fix
    severity: str = ERROR
    environments: Tuple[str, ...] = ()
    needs: Tuple[str, ...] = ()
    after: Tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class Result:
    """A check with its outcome, as the gate reads it. ``seconds`` is the time that the probe took.

    ``fix`` is the line for people; ``mend`` has its parts (run, where, automatic) for programs, empty where nothing is
    to mend.
    """

    id: str
    title: str
    status: str
    severity: str
    expected: str
    actual: str
    detail: str
    fix: str
    mend: Dict[str, Any]
    cause: str
    evidence: Dict[str, Any]
    seconds: float

    def as_dict(self) -> Dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def run_checks(
    checks: Iterable[Check],
    probes: Mapping[str, Probe],
    values: Mapping[str, str],
    environment: str = "",
    clock: Callable[[], float] = time.monotonic,
    workers: int = 1,
) -> List[Result]:
    """Run checks in their order; what needs a check that gave no answer to build on is blocked, not run.

    Passed and warned are answers to build on; every other status blocks its dependants. ``values`` fill in the fixes.
    With ``workers`` above 1, checks that wait for nobody run at the same time, then those that waited for them, and so
    on; the order of the results stays that of the catalogue.
    Raises ValueError when a check needs one that does not come before it, and KeyError when one has no probe: the
    catalogue is wrong then.
    """
    rows = list(checks)
    _refuse_wrong_order(rows)
    done: Dict[str, Result] = {}

    def run(check: Check) -> Result:
        started = clock()
        outcome = _outcome(check, probes, done, environment)
        return _result(check, outcome, values, round(clock() - started, 3))

    if workers == 1:
        for row in rows:
            done[row.id] = run(row)
    else:
        with ThreadPoolExecutor(workers) as pool:
            for batch in _batches(rows):
                done.update({result.id: result for result in pool.map(run, batch)})
    return [done[row.id] for row in rows]


def _refuse_wrong_order(rows: Sequence[Check]) -> None:
    seen: List[str] = []
    for row in rows:
        unknown = [name for name in row.needs if name not in seen]
        if unknown:
            raise ValueError(f"{row.id} needs {', '.join(unknown)}, which must come before it")
        seen.append(row.id)


def _batches(rows: Sequence[Check]) -> Iterator[List[Check]]:
    """Rows that wait for nobody, then those that waited for them; a row is named before it is waited for."""
    level: Dict[str, int] = {}
    first = 0
    for row in rows:
        waits = [level[name] + 1 for name in (*row.needs, *row.after) if name in level]
        level[row.id] = max([first, *waits, *([each + 1 for each in level.values()] if row.alone else [])])
        first = level[row.id] + 1 if row.alone else first
    for number in range(max(level.values(), default=-1) + 1):
        yield [row for row in rows if level[row.id] == number]


def _outcome(check: Check, probes: Mapping[str, Probe], done: Mapping[str, Result], environment: str) -> Outcome:
    missing = [name for name in check.needs if done[name].status not in (PASSED, WARNED)]
    missing += [name for name in check.after if name in done and done[name].status in (FAILED, BLOCKED)]
    if check.environments and environment and environment not in check.environments:
        return Outcome(NOT_APPLICABLE, detail=f"asked in {', '.join(check.environments)}, not in {environment}")
    return _blocked(done[missing[0]]) if missing else _asked(probes[check.id])


def _asked(probe: Probe) -> Outcome:
    try:
        return probe()
    except Exception as error:  # whatever a driver prints, the operator gets a row with a reason, not a traceback
        why = f"the check itself broke on what it was given ({type(error).__name__}: {str(error)[:200]}); report this"
        return Outcome(FAILED, actual="an answer that cannot be read", detail=why)


def _result(check: Check, outcome: Outcome, values: Mapping[str, str], seconds: float) -> Result:
    status = WARNED if outcome.status == FAILED and check.severity == WARNING else outcome.status
    fix = (outcome.fix or check.fix).filled(values) if status in (FAILED, WARNED) else None
    return Result(
        id=check.id,
        title=check.title,
        status=status,
        severity=check.severity,
        expected=outcome.expected,
        actual=outcome.actual,
        detail=outcome.detail,
        fix=fix.shown() if fix else "",
        mend={"run": fix.run, "where": fix.where, "automatic": fix.automatic} if fix and fix.run else {},
        cause=outcome.cause,
        evidence=outcome.evidence,
        seconds=seconds,
    )


def _blocked(cause: Result) -> Outcome:
    status = SKIPPED if cause.status in (SKIPPED, NOT_APPLICABLE) else BLOCKED
    # The gate follows ``needs`` to what really failed: a waiver of that one excuses what it blocks.
    why = f"not run: it needs {cause.id}, which is {cause.status}"
    return Outcome(status, detail=why, evidence={"needs": cause.id})


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
