# SPDX-License-Identifier: GPL-3.0-or-later
"""What vCenter says of the machine; for guests that are no containers (molecule/machine)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Machine:
    """``boot`` holds the boot id and the line of /proc/uptime of an earlier look."""

    disk_uuid: str
    disk_gb: int
    cpus: int
    memory_mb: int
    uuid: str
    isolated: str
    boot: list[str]

    @property
    def disk(self) -> str:
        """The data disk's link by the UUID that vCenter gave it."""
        return f"/dev/disk/by-id/wwn-0x{self.disk_uuid.replace('-', '').lower()}"


@pytest.fixture(scope="session")
def machine() -> Machine:
    """From TESTBED_MACHINE, a JSON object; an unknown or missing key is an error."""
    return Machine(**json.loads(os.environ["TESTBED_MACHINE"]))
