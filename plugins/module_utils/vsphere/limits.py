# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many operations may be under way at once, of which kind and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# vCenter runs 8 clones of one source at a time and queues the ninth, so more than 8 only fill its queue. The others
# are short; the numbers keep a vCenter of a few hosts busy without a queue that other users would feel.
DEFAULTS: Mapping[str, int] = {"clone": 8, "reconfigure": 16, "power": 16, "destroy": 16, "host": 0, "datastore": 0}
# A memory snapshot writes as much as the VM has, and removing one copies what was written since.
SNAPSHOT_DEFAULTS: Mapping[str, int] = {"snapshot": 4, "power": 16}
KINDS = {
    "deploy": "clone",
    "power_on": "power",
    "power_off": "power",
    "suspend": "power",
    "upgrade": "reconfigure",
    "customize": "reconfigure",
    "relocate": "reconfigure",
    "revert": "snapshot",
    "remove_snapshot": "snapshot",
    "remove_snapshots": "snapshot",
}


@dataclass
class Slots:
    """Counts what is under way. A limit of 0 means that there is none."""

    limits: Mapping[str, int]
    taken: Counter[str] = field(default_factory=Counter)

    def keys(self, kind: str, source: str = "", host: str = "", datastore: str = "") -> dict[str, int]:
        """The slots that an operation takes, with their limits: clones count by their source."""
        group = KINDS.get(kind, kind)
        name = f"clone of {source}" if group == "clone" else group
        found = {name: self.limits.get(group, 0)}
        if host:
            found[f"host {host}"] = self.limits.get("host", 0)
        if datastore and group == "clone":
            found[f"datastore {datastore}"] = self.limits.get("datastore", 0)
        return {key: limit for key, limit in found.items() if limit}

    def take(self, keys: Mapping[str, int]) -> bool:
        """Take all of them, or none and say so."""
        if any(self.taken[key] >= limit for key, limit in keys.items()):
            return False
        self.taken.update(keys.keys())
        return True

    def give_back(self, keys: Mapping[str, int]) -> None:
        """The operation has ended."""
        self.taken.subtract(keys.keys())
