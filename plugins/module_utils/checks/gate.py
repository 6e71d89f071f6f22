# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: what the checks of one stage found on all targets, waivers applied, becomes one verdict. Pure."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Collection, Dict, Iterable, List, Mapping, Sequence, Tuple

from .result import BLOCKED, CONTROL, ERROR, FAILED, PASSED, SKIPPED, STATUSES, WARNED
from .waivers import VARIABLE, Waiver

ANSWER, WAIVER = "gate.answer", "gate.waiver"
OPEN, SHUT = "open", "shut"
USED, EXPIRED, UNUSED, IDLE = "used", "expired", "unused", "idle"
MESSAGE_LIMIT = 600


@dataclass(frozen=True)
class Row:
    """A check of a target after the waivers. ``excused``: blocked only because of a failure that is waived."""

    target: str
    id: str
    title: str = ""
    status: str = PASSED
    severity: str = ERROR
    expected: str = ""
    actual: str = ""
    detail: str = ""
    fix: str = ""
    mend: Mapping[str, Any] = field(default_factory=dict)
    cause: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    waived: str = ""
    excused: bool = False

    @property
    def shuts(self) -> bool:
        """Whether this row keeps the gate shut."""
        return self.status == FAILED or (self.status == BLOCKED and not self.excused)


@dataclass(frozen=True)
class Use:
    """What became of a waiver: used, expired (it would have covered something), unused (to delete), or idle."""

    waiver: Waiver
    state: str
    covers: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What the gate says. ``facts`` are those of the targets that told any."""

    stage: str
    rows: Tuple[Row, ...]
    uses: Tuple[Use, ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """open or shut."""
        return SHUT if any(row.shuts for row in self.rows) else OPEN

    @property
    def targets(self) -> Dict[str, List[Row]]:
        """The rows by target, in the order in which they came."""
        found: Dict[str, List[Row]] = {}
        for row in self.rows:
            found.setdefault(row.target, []).append(row)
        return found

    @property
    def only_expired(self) -> bool:
        """Whether nothing but waivers that ran out keeps the gate shut."""
        expired = [use.waiver for use in self.uses if use.state == EXPIRED]
        failed = [row for row in self.rows if row.status == FAILED and row.id != WAIVER]
        return bool(expired) and all(any(each.names(row.id, row.target) for each in expired) for row in failed)


def judge(
    stage: str,
    hosts: Mapping[str, Mapping[str, Any]],
    expected: Sequence[str],
    waivers: Sequence[Waiver],
    today: datetime.date,
    known: Mapping[str, str],
    inventory: Collection[str] = (),
) -> Verdict:
    """``hosts`` maps each target to what it answered (``checks``, ``facts``, or ``msg`` where it did not get to them).

    ``expected`` must have answered. ``known`` maps each check's id to its stage. ``inventory`` names all hosts there
    are, so that a run on a few of them does not call a waiver for another one useless.
    """
    rows = [row for target, answer in hosts.items() for row in _rows(stage, target, answer)]
    rows += [_no_answer(stage, target, {}) for target in expected if target not in hosts]
    asked = [waiver for waiver in waivers if known.get(waiver.check) == stage]
    uses = tuple(_use(waiver, rows, today, inventory) for waiver in _without_renewed(asked, today))
    rows = _excused([_waived(row, uses) for row in rows])
    rows += [_about(use) for use in uses if use.state in (EXPIRED, UNUSED)]
    facts = {target: answer["facts"] for target, answer in hosts.items() if isinstance(answer.get("facts"), Mapping)}
    return Verdict(stage, tuple(rows), uses, facts)


def mends(verdict: Verdict) -> Dict[str, List[Dict[str, str]]]:
    """By target, the commands that may be run unasked because of a failure that nobody waived."""
    found: Dict[str, List[Dict[str, str]]] = {}
    for row in verdict.rows:
        if row.status == FAILED and row.mend.get("automatic") and row.mend.get("run"):
            where = str(row.mend.get("where", CONTROL))
            found.setdefault(row.target, []).append({"id": row.id, "run": str(row.mend["run"]), "where": where})
    return found


def counts(rows: Iterable[Row]) -> Dict[str, int]:
    """Number of rows by status, every status named."""
    counter = Counter(row.status for row in rows)
    return {status: counter[status] for status in STATUSES}


def worst(rows: Iterable[Row]) -> str:
    """The status of a target or of a stage: failed, warned, passed or skipped."""
    found = list(rows)
    if any(row.shuts for row in found):
        return FAILED
    present = {row.status for row in found}
    if present & {WARNED, BLOCKED}:
        return WARNED
    return PASSED if PASSED in present else SKIPPED


def _rows(stage: str, target: str, answer: Mapping[str, Any]) -> List[Row]:
    checks = answer.get("checks")
    rows = [_row(target, check) for check in checks if isinstance(check, Mapping)] if isinstance(checks, list) else []
    return rows or [_no_answer(stage, target, answer)]


def _row(target: str, check: Mapping[str, Any]) -> Row:
    texts = ("title", "severity", "expected", "actual", "detail", "fix", "cause")
    status, detail = str(check.get("status", "")), ""
    if status not in STATUSES:
        status, detail = FAILED, f"the check answered with the unknown status '{status}'; report this"
    words: Dict[str, Any] = {name: str(check.get(name, "")) for name in texts}
    row = Row(target, id=str(check.get("id", "")), status=status, **words)
    mend, evidence, seconds = check.get("mend"), check.get("evidence"), check.get("seconds")
    return replace(
        row,
        detail=detail or row.detail,
        mend=mend if isinstance(mend, Mapping) else {},
        evidence=evidence if isinstance(evidence, Mapping) else {},
        seconds=float(seconds) if isinstance(seconds, (int, float)) else 0.0,
    )


def _no_answer(stage: str, target: str, answer: Mapping[str, Any]) -> Row:
    command = f"ansible-playbook playbooks/preflight_{stage}.yml --limit {target} -vvv"
    return Row(
        target,
        ANSWER,
        title="Every target answers the checks",
        status=FAILED,
        expected=f"an answer to the checks of the {stage} stage",
        actual="unreachable" if answer.get("unreachable") else "no answer",
        detail=_said(answer) or "it failed or became unreachable before it was asked: the run's output says why",
        fix=f"Mend that, or look at it more closely. Type: {command}",
        mend={"run": command, "where": CONTROL, "automatic": False},
    )


def _said(answer: Mapping[str, Any]) -> str:
    """Ansible's message, and of a module that broke the last thing that it wrote."""
    wrote = [str(answer.get(name) or "").strip() for name in ("module_stderr", "module_stdout")]
    last = next((text.splitlines()[-1] for text in wrote if text), "")
    parts = [part for part in (str(answer.get("msg") or "").strip(), last) if part]
    return ": ".join(dict.fromkeys(parts))[:MESSAGE_LIMIT]


def _without_renewed(waivers: Sequence[Waiver], today: datetime.date) -> List[Waiver]:
    """Without expired entries that stand beside a valid one for the same: they harm nobody."""
    valid = {(waiver.check, waiver.hosts) for waiver in waivers if not waiver.expired(today)}
    return [waiver for waiver in waivers if not waiver.expired(today) or (waiver.check, waiver.hosts) not in valid]


def _use(waiver: Waiver, rows: Sequence[Row], today: datetime.date, inventory: Collection[str]) -> Use:
    named = [row for row in rows if waiver.names(row.id, row.target)]
    covers = tuple(row.target for row in named if row.status == FAILED)
    if covers:
        return Use(waiver, EXPIRED if waiver.expired(today) else USED, covers)
    if any(row.status in (BLOCKED, SKIPPED) for row in named):
        return Use(waiver, IDLE)  # nobody knows today whether it is still needed
    elsewhere = any(waiver.matches(name) for name in inventory)
    return Use(waiver, UNUSED if named or not elsewhere else IDLE)


def _waived(row: Row, uses: Sequence[Use]) -> Row:
    if row.status != FAILED:
        return row
    covering = [use.waiver for use in uses if use.state == USED and use.waiver.names(row.id, row.target)]
    if not covering:
        return row
    words = max(covering, key=lambda waiver: waiver.until).words()
    return replace(row, status=WARNED, waived=words, detail=f"{words}. {row.detail}".strip())


def _excused(rows: Sequence[Row]) -> List[Row]:
    """What a waived failure blocks does not shut the gate, however long the chain between them is."""
    by_key = {(row.target, row.id): row for row in rows}
    anywhere = {row.id: row for row in rows}
    found = []
    for row in rows:
        root, seen = row, {row.id}
        while root.status == BLOCKED:
            needs = str(root.evidence.get("needs", ""))
            # A login that failed stands at vCenter's own rows and blocks those of its VMs.
            above = by_key.get((row.target, needs)) or anywhere.get(needs)
            if above is None or above.id in seen:
                break
            root = above
            seen.add(root.id)
        if row.status == BLOCKED and root.waived:
            row = replace(row, excused=True, detail=f"{row.detail}; {root.id} is {root.waived}")
        found.append(row)
    return found


def _about(use: Use) -> Row:
    waiver = use.waiver
    entry = f"the entry of {VARIABLE} with check: {waiver.check}, hosts: {waiver.hosts}"
    row = Row(VARIABLE, WAIVER, title="Every waiver is needed and valid", actual=f"{waiver.check} on {waiver.hosts}")
    if use.state == UNUSED:
        why = "it covers nothing, for the check did not fail or no host has such a name; it can be deleted"
        return replace(row, status=WARNED, expected="a failure to cover", detail=why, fix=f"Delete {entry}.")
    return replace(
        row,
        status=FAILED,
        expected="a day that is not over",
        actual=f"{row.actual}, until {waiver.until.isoformat()}",
        detail=f"it ran out and covers nothing any more; its reason was: {waiver.reason}",
        fix=f"Mend the failure and delete {entry}; or set its until: to a later day.",
    )
