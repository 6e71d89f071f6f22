# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the terminal shows of the hosts at the end of a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .model import BLOCKED, FAILED, NO_RUN, Host
from .verdict import many, worst

MOST_LINES = 20
TROUBLE = (FAILED, BLOCKED, NO_RUN)


def lines(hosts: Sequence[Host]) -> list[tuple[str, str]]:
    """(status, line) for each host; of more than 20 hosts for those in trouble, and one line that counts the rest."""
    shown = [host for host in hosts if host.status in TROUBLE] if len(hosts) > MOST_LINES else hosts
    width = max((len(host.name) for host in shown), default=0)
    found = [
        (host.status, f"{host.name:<{width}}  {host.status.replace('_', ' '):<8}  {host.reason}") for host in shown
    ]
    if rest := len(hosts) - len(shown):
        counts = Counter(host.status for host in hosts if host.status not in TROUBLE)
        words = ", ".join(f"{count} {status}" for status, count in counts.items())
        found.append((worst(counts), f"{many(rest, 'other host' if shown else 'host')}: {words}"))
    return found
