# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the terminal shows of the hosts at the end of a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from .model import BLOCKED, FAILED, NO_RUN, PASSED, SKIPPED, WARNED, Host
from .verdict import many

MOST_LINES = 20
TROUBLE = (FAILED, BLOCKED, NO_RUN)


def lines(hosts: Sequence[Host]) -> Iterator[tuple[str, str]]:
    """(status, line) for each host; of more than 20 hosts for those in trouble, and one line that counts the rest."""
    shown = [host for host in hosts if host.status in TROUBLE] if len(hosts) > MOST_LINES else hosts
    width = max((len(host.name) for host in shown), default=0)
    for host in shown:
        yield host.status, f"{host.name:<{width}}  {host.status.replace('_', ' '):<8}  {host.reason}"
    counts = Counter(host.status for host in hosts if host.status not in TROUBLE)
    if rest := len(hosts) - len(shown):
        words = ", ".join(f"{counts[status]} {status}" for status in counts)
        status = next(status for status in (WARNED, PASSED, SKIPPED, *counts) if counts[status])
        yield status, f"{many(rest, 'other host' if shown else 'host')}: {words}"
