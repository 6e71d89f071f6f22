# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vCenter holds, as plain data: read by lookup.py, compared by plan.py, without pyVmomi."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import HardwareActual

DATA_BUS = 1  # SCSI bus of the data disks; the template's own controller keeps bus 0
VM_HOME = 0  # stands for the VM's own files where its disks have their device keys
PVSCSI = "ParaVirtualSCSIController"


@dataclass(frozen=True)
class DiskActual:
    """A virtual disk; sizes in KB as vCenter counts them."""

    key: int
    bus: int
    unit: int
    size_kb: int
    uuid: str = ""
    has_parent: bool = False  # the disk of a linked clone holds only what differs from its parent


@dataclass(frozen=True)
class NicActual:
    """A network card and the name of what it is plugged into."""

    key: int
    adapter: str
    network: str
    mac: str = ""


@dataclass(frozen=True)
class GpuActual:
    """A passed-through device or vGPU of a VM; ids are unsigned, ``assigned`` is what a running VM's dynamic one got.

    ``mode`` is one of the wish's, or ``other`` for what no wish can name, which stays as it is.
    """

    key: int
    mode: str
    address: str = ""
    system_id: str = ""
    vendor_id: int = 0
    device_id: int = 0
    label: str = ""
    profile: str = ""
    assigned: str = ""

    def __str__(self) -> str:
        ids = f"{self.vendor_id:04x}:{self.device_id:04x}" if self.vendor_id else f"device {self.key}"
        return self.profile or self.address or self.assigned or ids


@dataclass(frozen=True)
class VmActual:
    """A VM or template as the property collector shows it.

    ``ready`` is false while vCenter still makes the VM (its config cannot be read yet).
    """

    moid: str
    name: str
    ready: bool = True
    is_template: bool = False
    power: str = "poweredOff"
    cpus: int = 0
    memory_mb: int = 0
    memory_reservation_mb: int = 0
    memory_locked: bool = False
    extra_config: Mapping[str, str] = field(default_factory=dict)
    # Of a VM whose deployment from an OVF item is not finished: marks that only its notes hold, and the other notes.
    deployed: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    customizing: bool = False  # vCenter holds a customization for the next power-on
    controllers: Mapping[int, str] = field(default_factory=dict)  # SCSI bus number -> type of the controller
    controller_keys: Mapping[int, int] = field(default_factory=dict)  # SCSI bus number -> device key
    disks: tuple[DiskActual, ...] = ()
    nics: tuple[NicActual, ...] = ()
    gpus: tuple[GpuActual, ...] = ()
    host: str = ""  # id of the host that it runs on, or would
    video_key: int = 0
    video_3d: bool = False
    hardware: HardwareActual = field(default_factory=HardwareActual)
    change_version: str = ""
    uuid: str = ""
    instance_uuid: str = ""
    guest_id: str = ""
    datastore: str = ""  # name of the one that holds the VM's files
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    tools: str = ""
    # names of the storage policies of the VM's files (VM_HOME) and disks by key, read only where a wish names a policy
    policies: Mapping[int, str] = field(default_factory=dict)
    # vCenter's own device objects by key, opaque here: an edit sends back the whole device that was read.
    devices: Mapping[int, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def owner(self) -> str:
        """The mark of ownership, empty on a VM that somebody else made."""
        return self.extra_config.get(vmx.OWNER, "")

    def data_disk(self, index: int) -> DiskActual | None:
        """The data disk at a position of the wish's list."""
        unit = disk_unit(index)
        return next((disk for disk in self.disks if (disk.bus, disk.unit) == (DATA_BUS, unit)), None)


def disk_unit(index: int) -> int:
    """SCSI unit of the data disk at this position: unit 7 is the controller itself."""
    return index if index < 7 else index + 1


def routable(addresses: Iterable[str], networks: Iterable[str] = ()) -> str:
    """The first address that a control node can use, IPv4 before IPv6; empty when there is none.

    Link-local (the APIPA address of a Windows guest without DHCP), loopback, multicast and unspecified
    addresses never count; ``networks`` restricts the choice further.
    """
    allowed = [ipaddress.ip_network(network) for network in networks]
    good: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for text in addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        unusable = address.is_link_local or address.is_multicast or address.is_unspecified
        if allowed:
            if any(address in network for network in allowed) and not unusable:
                good.append(address)
        elif not unusable and not address.is_loopback:
            good.append(address)
    return str(min(good, key=lambda item: item.version)) if good else ""
