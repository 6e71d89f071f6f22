# SPDX-License-Identifier: GPL-3.0-or-later
"""What the driver has to know about a guest after a new start of the lab: one JSON file in the guest's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab import state
from lab.guests.base import Vm
from lab.guests.qemu_machine import Hardware

FILE = "machine.json"


@dataclass(frozen=True)
class Snapshot:
    """`memory`: the running state was kept too."""

    hardware: Hardware
    memory: bool


@dataclass
class Record:
    """`running` is left true by a lab that was killed. `suspended` is the hardware of the state file, if there is one
    that counts."""

    vm: Vm
    address: str = ""
    slots: dict[str, int] = field(default_factory=dict)
    running: bool = False
    suspended: Hardware | None = None
    snapshots: dict[str, Snapshot] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """None when there is none."""
        data = state.read_json(folder / FILE)
        if not data:
            return None
        return cls(
            Vm.from_json(data["vm"]),
            data["address"],
            data["slots"],
            data["running"],
            _hardware(data["suspended"]) if data["suspended"] else None,
            {name: Snapshot(_hardware(kept["hardware"]), kept["memory"]) for name, kept in data["snapshots"].items()},
        )

    def save(self, folder: Path) -> None:
        state.write_json(folder / FILE, asdict(self))


def _hardware(data: Mapping[str, Any]) -> Hardware:
    return Hardware(Vm.from_json(data["vm"]), data["slots"])
