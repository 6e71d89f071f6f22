# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver a VM's guest gets: one lab can have several."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lab.guests.base import Driver, Vm

DRIVERS = ("podman", "qemu", "fake")
log = logging.getLogger("lab.mixed")


@dataclass(frozen=True)
class Choice:
    """`default` is the driver of every VM but those that a rule names: pairs of a pattern (`nb-stress-*`, of the VM's
    name or its template's) and a driver, of which the first that matches counts."""

    default: str
    rules: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, default: str, rules: list[str]) -> Choice:
        """From `PATTERN=DRIVER` texts. Raises ValueError with the text that is no rule."""
        found = []
        for text in rules:
            pattern, sign, driver = text.rpartition("=")
            if not (pattern and sign and driver in DRIVERS):
                raise ValueError(f"{text!r} is no rule; expected PATTERN=DRIVER with a driver of {', '.join(DRIVERS)}")
            found.append((pattern, driver))
        return cls(default, tuple(found))

    @property
    def drivers(self) -> frozenset[str]:
        """All that may be needed."""
        return frozenset((self.default, *(driver for _pattern, driver in self.rules)))

    def of(self, *names: str) -> str:
        """The driver for a VM of these names."""
        for pattern, driver in self.rules:
            if any(fnmatchcase(name, pattern) for name in names if name):
                return driver
        return self.default

    def __str__(self) -> str:
        return ", ".join((self.default, *(f"{pattern}: {driver}" for pattern, driver in self.rules)))


class Router:
    """Finds the driver of each VM. A VM keeps the one that it got when it is renamed."""

    def __init__(self, choice: Choice, drivers: Mapping[str, Driver]) -> None:
        self._choice, self._drivers = choice, drivers
        self._given: dict[str, str] = {}  # by moid, which the vCenter never uses again

    def __call__(self, vm: Vm) -> Driver:
        if vm.moid not in self._given:
            self._given[vm.moid] = self._choice.of(vm.name, vm.template)
            log.info("%s (%s) has a %s guest", vm.moid, vm.name, self._given[vm.moid])
        return self._drivers[self._given[vm.moid]]

    async def close(self) -> None:
        for driver in self._drivers.values():
            await driver.close()
