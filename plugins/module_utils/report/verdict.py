# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the verdicts come about: of a host, of a stage, of the run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .events import Check, TaskFailed, Vm
from .junit import Test
from .model import BLOCKED, FAILED, NO_RUN, PASSED, SKIPPED, WARNED, Host

NOT_CREATED = "not created yet (check mode)"


@dataclass(frozen=True)
class Seen:
    """What a host's verdict is made of: ``own`` failures are the host's, ``common`` ones ended a play for all."""

    vm: Vm | None = None
    removed: bool = False
    gates: Mapping[str, Sequence[Check]] = field(default_factory=dict)
    tests: tuple[Test, ...] = ()
    suite_status: int | None = None
    stats: Mapping[str, int] = field(default_factory=dict)
    own: Sequence[TaskFailed] = ()
    common: Sequence[TaskFailed] = ()
    check_mode: bool = False
    ended: bool = True

    @property
    def checks(self) -> list[Check]:
        """Those of all gates."""
        return [check for checks in self.gates.values() for check in checks]

    @property
    def late(self) -> bool:
        """Whether a gate judged what this run made of the host, and not only what was wished."""
        return any(self.gates.get(stage) for stage in ("machine", "guest"))


def worst(statuses: Iterable[str]) -> str:
    """The status that decides: blocked means that something failed, so both come before warned."""
    found = set(statuses)
    return next((status for status in (FAILED, BLOCKED, WARNED, PASSED, SKIPPED) if status in found), NO_RUN)


def many(count: int, thing: str) -> str:
    """'1 host', '2 hosts'."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def of_host(seen: Seen) -> tuple[str, str]:
    """Status and a reason of one line."""
    bad_checks = [check for check in seen.checks if check.status == FAILED]
    bad_tests = [test for test in seen.tests if test.status == FAILED]
    if seen.vm and seen.vm.error:
        return FAILED, _first_line(seen.vm.error)
    if bad_checks:
        names = ", ".join(check.id for check in bad_checks)
        return FAILED, f"{names}: {_first_line(bad_checks[0].detail or bad_checks[0].actual)}"
    if bad_tests:
        return FAILED, f"{len(bad_tests)} of {many(len(seen.tests), 'test')} failed: {bad_tests[0].name}"
    if seen.suite_status:
        return FAILED, f"the suite ended with status {seen.suite_status}"
    if seen.own:
        first = seen.own[0]
        return FAILED, f"unreachable: {_first_line(first.message)}" if first.unreachable else f"failed at: {first.task}"
    if seen.common:
        return BLOCKED, f"stopped by: {seen.common[0].task}"
    return _good(seen)


def _good(seen: Seen) -> tuple[str, str]:
    if seen.removed:
        if seen.vm and seen.vm.operations:
            return PASSED, "would be removed (check mode)" if seen.check_mode else "removed"
        return PASSED, "nothing to remove"
    if seen.check_mode and not seen.late and seen.vm and not seen.vm.exists:
        return SKIPPED, NOT_CREATED
    if not seen.ended and not (seen.gates.get("guest") or seen.tests or seen.suite_status == 0):
        return NO_RUN, "the run ended before this host was checked"
    status = worst(check.counts_as for check in seen.checks)
    if status in (WARNED, BLOCKED):
        return status, _counts(seen)
    if seen.checks or seen.tests or seen.suite_status == 0:
        return PASSED, _counts(seen)
    if seen.vm or seen.stats.get("ok"):
        return PASSED, _vm_words(seen.vm) if seen.vm else many(seen.stats["ok"], "task")
    return NO_RUN, "nothing ran on this host"


def _counts(seen: Seen) -> str:
    words = []
    if seen.checks:
        warned = sum(check.status == WARNED for check in seen.checks)
        words.append(many(len(seen.checks), "check") + (f", {warned} warned" if warned else ""))
    if seen.tests:
        passed = sum(test.status == PASSED for test in seen.tests)
        skipped = sum(test.status == SKIPPED for test in seen.tests)
        text = f"{passed} of {many(len(seen.tests) - skipped, 'test')} passed"
        words.append(f"{text}, {skipped} skipped" if skipped else text)
    return "; ".join(words) or "verified"


def _vm_words(vm: Vm) -> str:
    if not vm.exists:
        return "no VM of that name"
    return f"{vm.power}, {vm.address}" if vm.address else vm.power


def of_checks(gates: Mapping[str, Sequence[Check]]) -> str:
    """The status of a target that is no host."""
    return worst(check.counts_as for checks in gates.values() for check in checks)


def of_run(hosts: Iterable[str], failures: Sequence[TaskFailed], *, broken: bool) -> str:
    """A failure anywhere, or an end before the end, fails the run."""
    if broken or failures:
        return FAILED
    status = worst(hosts)
    return FAILED if status == BLOCKED else status


def of_stage(
    name: str,
    *,
    started: bool,
    check_mode: bool,
    answered: bool,
    hosts: Sequence[Host],
    rows: Sequence[str],
    failures: Sequence[TaskFailed],
    broken: bool,
) -> tuple[str, str]:
    """Status and a note. ``answered``: fleet gave an answer in this stage; ``broken``: the run broke off in it.

    ``rows`` are the statuses of the stage's checks.
    """
    tests = [test.status for host in hosts for test in host.tests] if name == "verify" else []
    rows = [*rows, *tests]
    if failures or broken:
        return FAILED, _note(rows) or ("broken off" if broken else "")
    if rows:
        status = worst(rows)
        return (FAILED if status == BLOCKED else status), _note(rows)
    if answered:
        return PASSED, "plan only" if check_mode and name != "platform" else ""
    if not started:
        return NO_RUN, ""
    if name == "configure" and not (check_mode and all(host.reason == NOT_CREATED for host in hosts)):
        return PASSED, "plan only" if check_mode else ""
    return (SKIPPED, "check mode") if check_mode else (NO_RUN, "")


def _note(statuses: Sequence[str]) -> str:
    counts = Counter(statuses)
    order = (FAILED, BLOCKED, WARNED, SKIPPED, PASSED)
    return ", ".join(f"{counts[status]} {status}" for status in order if counts[status])


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
