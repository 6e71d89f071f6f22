# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface between the protocol and a guest driver. vCenter's words in, vCenter's words out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

POWERED_ON = "poweredOn"
POWERED_OFF = "poweredOff"
SUSPENDED = "suspended"


class GuestError(Exception):
    """Why a guest could not do what was asked, as one sentence that vCenter's task fault carries."""


class Ability(StrEnum):
    """What a driver does as a hypervisor does it. The conformance suite proves each one that a driver declares, and
    what happens in its place where it does not."""

    KERNEL = "kernel"  # the guest has its own: kernel arguments, modules, swap, a real reboot
    HARDWARE = "hardware"  # the guest sees the VM's CPUs, controllers, network cards and firmware
    DISKS = "disks"  # the VM's disks are block devices of the guest
    DISK_STATE = "disk state"  # clone, snapshot and revert carry what the disks hold
    MEMORY_STATE = "memory state"  # suspended to a file; snapshots with memory
    FULL_MEMORY = "full memory"  # the guest has the VM's memory, and no more than that
    SURVIVES = "survives"  # disks outlive a killed lab
    GUESTINFO = "guestinfo"  # values that the guest writes come back
    CONSOLE = "console"  # a serial console to log in at, and its log


@dataclass(frozen=True)
class Disk:
    """`controller` is the type that vCenter's clients know (pvscsi, lsilogic, lsilogic-sas, buslogic, ide, ahci, nvme),
    `bus` its number. `origin`: it came with the VM's template, so it holds the guest's system when it is new."""

    key: int
    unit: int
    controller: str
    size_kb: int
    uuid: str
    controller_key: int = 0
    bus: int = 0
    origin: bool = False


@dataclass(frozen=True)
class Nic:
    key: int
    mac: str
    network: str
    type: str


@dataclass(frozen=True)
class Vm:
    """A virtual machine as the vCenter describes it with each request. `moid` is its identity while the vCenter runs,
    `instance_uuid` also after another start of it; names may repeat. `boot_order` holds disk:KEY, ethernet:KEY, cdrom;
    () is the default order. Only with `enable_uuid` the guest sees the UUIDs of its disks."""

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
    cores_per_socket: int = 1
    boot_order: tuple[str, ...] = ()
    enable_uuid: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vm:
        """Raises KeyError without moid or name, TypeError or ValueError for a field of the wrong shape."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None}
        known["moid"], known["name"] = str(data["moid"]), str(data["name"])
        known["guestinfo"] = {str(key): str(value) for key, value in (data.get("guestinfo") or {}).items()}
        known["disks"] = tuple(Disk(**_fields_of(Disk, disk)) for disk in data.get("disks") or ())
        known["nics"] = tuple(Nic(**_fields_of(Nic, nic)) for nic in data.get("nics") or ())
        known["boot_order"] = tuple(str(device) for device in data.get("boot_order") or ())
        return cls(**known)

    @property
    def mac(self) -> str:
        return self.nics[0].mac if self.nics else ""


def _fields_of(kind: type[Disk | Nic], data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this side knows; a newer vCenter may say more."""
    return {name: data[name] for name in kind.__dataclass_fields__ if data.get(name) is not None}


@dataclass(frozen=True)
class GuestState:
    """What VMware Tools would report. None and () mean unknown; `poweredOff` clears the rest at the receiver.
    `guestinfo` holds what the guest wrote since it was powered on. `crashed`: its kernel panicked and runs no more."""

    power: str
    tools_running: bool | None = None
    hostname: str | None = None
    addresses: tuple[str, ...] = ()
    mac: str | None = None
    guestinfo: Mapping[str, str] = field(default_factory=dict)
    crashed: bool = False

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in ("tools_running", "hostname", "mac")}
        known = {name: value for name, value in fields.items() if value is not None}
        more = {"addresses": list(self.addresses), "guestinfo": dict(self.guestinfo), "crashed": self.crashed}
        return {"power": self.power, **known, **{name: value for name, value in more.items() if value}}


Emit = Callable[[str, GuestState], None]


class Driver(ABC):
    """One object drives all guests of a lab. The caller keeps requests for one VM in order, those for several run at
    once. Every operation is done when it returns and raises GuestError when the guest did not do it. What happens in
    the guest on its own (an address, a reboot, a poweroff) goes to `emit(moid, state)`."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()

    def __init__(self, emit: Emit) -> None:
        self.emit = emit

    @abstractmethod
    async def power_on(self, vm: Vm) -> None:
        """Returns when the guest runs; its facts follow as an event. Resumes a suspended guest."""

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

    # What follows is for a driver without DISK_STATE: the vCenter keeps the books, and the guest's disk stays as it is.
    # So three of them are empty on purpose (noqa: B027).

    async def clone(self, vm: Vm, source: str, linked: bool, snapshot: str) -> None:  # noqa: B027
        """Gives the new VM the disk contents that the VM with the instance UUID `source` has here, or has had when
        `snapshot` was taken (linked clones). A source that never ran has none: the first power-on makes new disks."""

    async def snapshot(self, vm: Vm, snapshot: str, memory: bool) -> None:  # noqa: B027
        """Keeps the state of the disks under the id `snapshot`, and with `memory` that of a running guest too. The
        state of a suspended guest always goes in."""

    async def revert(self, vm: Vm, snapshot: str, power: str) -> None:
        """Ends the present run and brings back what `snapshot` kept. `vm` has the hardware of then, `power` is the
        state in which it ends; other than off only where the running state was kept."""
        del snapshot  # nothing was kept under it
        if power == POWERED_OFF:
            await self.power_off(vm)
            return
        await self.power_on(vm)
        if power == SUSPENDED:
            await self.suspend(vm)

    async def remove_snapshot(self, vm: Vm, snapshot: str) -> None:  # noqa: B027
        """Forgets one snapshot; those below it stay."""

    @abstractmethod
    async def close(self) -> None:
        """Stops watching. The guests stay as they are: `lab down` and `lab up` deal with them."""
