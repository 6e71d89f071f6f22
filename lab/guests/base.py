# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface between the protocol and a guest driver. vCenter's words in, vCenter's words out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

POWERED_ON = "poweredOn"
POWERED_OFF = "poweredOff"
SUSPENDED = "suspended"


class GuestError(Exception):
    """Why a guest could not do what was asked, as one sentence that vCenter's task fault carries."""


@dataclass(frozen=True)
class Disk:
    key: int
    unit: int
    controller: str
    size_kb: int
    uuid: str


@dataclass(frozen=True)
class Nic:
    key: int
    mac: str
    network: str
    type: str


@dataclass(frozen=True)
class Vm:
    """A virtual machine as the vCenter describes it with each request. `moid` is its identity, names may repeat."""

    moid: str
    name: str
    uuid: str = ""
    instance_uuid: str = ""
    template: str = ""
    guest_id: str = ""
    cpus: int = 1
    memory_mb: int = 1024
    firmware: str = "bios"
    guestinfo: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vm:
        """Raises KeyError without moid or name, TypeError or ValueError for a field of the wrong shape."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None}
        known["moid"], known["name"] = str(data["moid"]), str(data["name"])
        known["guestinfo"] = {str(key): str(value) for key, value in (data.get("guestinfo") or {}).items()}
        known["disks"] = tuple(
            Disk(*(disk.get(name) for name in Disk.__dataclass_fields__)) for disk in data.get("disks") or ()
        )
        known["nics"] = tuple(
            Nic(*(nic.get(name) for name in Nic.__dataclass_fields__)) for nic in data.get("nics") or ()
        )
        return cls(**known)

    @property
    def mac(self) -> str:
        return self.nics[0].mac if self.nics else ""


@dataclass(frozen=True)
class GuestState:
    """What VMware Tools would report. None and () mean unknown; `poweredOff` clears the rest at the receiver."""

    power: str
    tools_running: bool | None = None
    hostname: str | None = None
    addresses: tuple[str, ...] = ()
    mac: str | None = None

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in ("tools_running", "hostname", "mac")}
        known = {name: value for name, value in fields.items() if value is not None}
        return {"power": self.power, **known, **({"addresses": list(self.addresses)} if self.addresses else {})}


Emit = Callable[[str, GuestState], None]


class Driver(ABC):
    """One object drives all guests of a lab. The caller keeps requests for one VM in order, those for several run at
    once. Every operation is done when it returns and raises GuestError when the guest did not do it. What happens in
    the guest on its own (an address, a reboot, a poweroff) goes to `emit(moid, state)`."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit

    @abstractmethod
    async def power_on(self, vm: Vm) -> None:
        """Returns when the guest's init runs; its facts follow as an event. Resumes a suspended guest."""

    @abstractmethod
    async def power_off(self, vm: Vm) -> None:
        """Pulls the plug; the disks stay."""

    @abstractmethod
    async def shutdown(self, vm: Vm) -> None:
        """Asks the guest to shut down and returns at once; the end is an event."""

    @abstractmethod
    async def reboot(self, vm: Vm) -> None:
        """Asks the guest to reboot and returns at once."""

    @abstractmethod
    async def reset(self, vm: Vm) -> None:
        """Pulls the plug and puts it in again."""

    @abstractmethod
    async def suspend(self, vm: Vm) -> None: ...

    @abstractmethod
    async def resume(self, vm: Vm) -> None: ...

    @abstractmethod
    async def reconfigure(self, vm: Vm) -> None:
        """Takes over what a running guest can take over; the rest counts from the next power-on."""

    @abstractmethod
    async def destroy(self, vm: Vm) -> None:
        """Removes guest and disks; a VM that never ran is no error."""

    @abstractmethod
    async def close(self) -> None:
        """Stops watching. The guests stay as they are: `lab down` and `lab up` deal with them."""
