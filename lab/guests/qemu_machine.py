# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual machine in QEMU's words: what its command line says, and what is plugged into it while it runs.

Everything here is a function of the VM as the vCenter describes it, of the PCI slots that its devices have had before,
and of where its files are. One dictionary per device serves both -device and device_add.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.guests.base import Disk, GuestError, Nic, Vm

Device = dict[str, Any]
PROGRAM = "qemu-system-x86_64"
OVMF_CODE, OVMF_VARS = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
AGENT_PORT, GUESTINFO_PORT = "org.qemu.guest_agent.0", "com.nanobanana.guestinfo"
# 0 and 1 are the chipset's. Network cards and disk controllers take the others as they come.
FREE_SLOTS, FIRMWARE_SLOT, CHANNELS_SLOT, SEED_SLOT = range(2, 28), 28, 29, 30
NIC_MODELS = {"vmxnet3": "vmxnet3", "e1000": "e1000", "e1000e": "e1000e", "pcnet32": "pcnet"}
# What one guest may keep of translated code; QEMU's own limit is a gigabyte. A boot fills 400 MB: with less it is
# thrown away on the way, and translated again.
TRANSLATED_MB = 512
# Without KVM. Left out is what costs emulation most: strings copied a byte at a time (erms, fsrm), a fifth level of
# page tables (la57), the end of a piece of translated code at each access to a user's memory (smap), and registers to
# be kept at each change of process (pku, mpx).
EMULATED_CPU = "max,hypervisor=off,erms=off,fsrm=off,la57=off,smap=off,pku=off,mpx=off"
VMWARE_NAA = "5000c29"  # a SAS disk without an address is none for the guest's driver; 64 bits are all it can have
MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")


@dataclass(frozen=True)
class Controller:
    """How QEMU has one of VMware's disk controllers. `units` is how many disks it takes, `hotplug` whether QEMU and the
    guest's kernel take another one while the guest runs."""

    device: str
    units: int
    hotplug: bool


CONTROLLERS = {
    "pvscsi": Controller("pvscsi", 64, True),
    "lsilogic": Controller("lsi53c895a", 16, True),
    "lsilogic-sas": Controller("mptsas1068", 8, True),
    "nvme": Controller("nvme", 15, False),
    "ahci": Controller("ich9-ahci", 6, False),
    "ide": Controller("", 2, False),  # part of the chipset
}
SCSI = frozenset({"pvscsi", "lsilogic", "lsilogic-sas"})


@dataclass(frozen=True)
class Hardware:
    """What one run of a guest has. A saved state only fits the same hardware, so this is kept beside it."""

    vm: Vm
    slots: Mapping[str, int]

    @classmethod
    def of(cls, vm: Vm, before: Mapping[str, int]) -> Hardware:
        """For a power-on: devices keep the slots that they had before, those that are gone leave theirs. Raises
        GuestError for what QEMU has no twin of."""
        wanted = _devices_of(vm)
        return cls(vm, {name: slot for name, slot in before.items() if name in wanted}).with_devices_of(vm)

    def with_devices_of(self, vm: Vm) -> Hardware:
        """What has a slot keeps it. A controller stays when its last disk goes, until the next power-on."""
        check(vm)
        slots = dict(self.slots)
        free = iter([slot for slot in FREE_SLOTS if slot not in slots.values()])
        for name in _devices_of(vm):
            if name not in slots:
                slots[name] = next(free)
        return Hardware(vm, slots)

    def controllers(self) -> dict[str, int]:
        return {name: slot for name, slot in self.slots.items() if name.rsplit("-", 1)[0] in CONTROLLERS}


@dataclass(frozen=True)
class Places:
    """Where the files of a guest are, and the file descriptors of its channels. `forwards` is what the network card's
    user network listens to: (address, port here, port of the guest)."""

    disks: Mapping[int, Path]
    variables: Path
    seed: Path | None
    console: Path
    console_log: Path
    forwards: tuple[tuple[str, int, int], ...]
    monitor_fd: int = 0
    agent_fd: int = 0
    guestinfo_fd: int = 0


def check(vm: Vm) -> None:
    """Raises GuestError for hardware that has no twin in QEMU."""
    if len(vm.nics) > 10:
        raise GuestError(f"{vm.name}: {len(vm.nics)} network cards, a VM has 10 at most")
    for nic in vm.nics:
        if nic.type not in NIC_MODELS:
            raise GuestError(f"{vm.name}: QEMU has no {nic.type} network card; it has {', '.join(NIC_MODELS)}")
    for disk in vm.disks:
        known = CONTROLLERS.get(disk.controller)
        if known is None:
            raise GuestError(f"{vm.name}: QEMU has no {disk.controller} controller; it has {', '.join(CONTROLLERS)}")
        if disk.unit >= known.units:
            raise GuestError(
                f"{vm.name}: unit {disk.unit} of a {disk.controller} controller; QEMU's takes 0 to {known.units - 1}"
            )


def nic_id(nic: Nic) -> str:
    return f"nic-{nic.key}"


def disk_id(disk: Disk) -> str:
    return f"disk-{disk.key}"


def controller_id(disk: Disk) -> str:
    return f"{disk.controller}-{disk.bus}"


def _devices_of(vm: Vm) -> list[str]:
    """Ids of what takes a PCI slot. The IDE controllers are part of the chipset."""
    controllers = dict.fromkeys(controller_id(disk) for disk in vm.disks if disk.controller != "ide")
    return [*map(nic_id, vm.nics), *controllers]


# ---------------------------------------------------------------------- devices


def disk_node(name: str, file: Path) -> Device:
    """A flush of the guest ends in this machine's page cache: that outlives QEMU, though not a power cut."""
    cache = {"no-flush": True}
    return {
        "driver": "qcow2", "node-name": name, "discard": "unmap", "cache": cache,
        "file": {"driver": "file", "filename": str(file), "cache": cache},
    }  # fmt: skip


def firmware_disk(vm: Vm) -> Disk | None:
    """Debian's OVMF knows none of VMware's SCSI controllers. There the firmware and the boot loader find the boot disk
    on a second controller, which no VMware machine has and which the guest image's kernel leaves alone."""
    first = next((disk for disk in vm.disks if _boot_index(vm, disk) == 0), None)
    return first if vm.firmware == "efi" and first and first.controller in SCSI else None


def firmware_devices(disk: Disk) -> list[Device]:
    return [
        {"driver": "virtio-scsi-pci", "id": "firmware", "addr": hex(FIRMWARE_SLOT)},
        {
            "driver": "scsi-hd", "id": "dev-firmware", "bus": "firmware.0", "drive": disk_id(disk), "share-rw": True,
            "bootindex": 0,
        },
    ]  # fmt: skip


def disk_device(vm: Vm, disk: Disk) -> Device:
    name = disk_id(disk)
    twice = {"share-rw": True} if disk == firmware_disk(vm) else {"bootindex": _boot_index(vm, disk)}
    common = {"id": f"dev-{name}", "drive": name, **twice}
    digits = disk.uuid.replace("-", "").lower() if vm.enable_uuid else ""
    if disk.controller in SCSI:
        # QEMU has no name of 128 bits to show as a VMware disk does: the guest image's udev rule makes it of these.
        shown: Device = {"serial": digits, "device_id": digits} if digits else {}
        if disk.controller == "lsilogic-sas":
            shown["wwn"] = int(f"{VMWARE_NAA}{disk.uuid.replace('-', '')[-9:]:0>9}", 16)
        return {
            "driver": "scsi-hd", "bus": f"{controller_id(disk)}.0", "scsi-id": disk.unit, "lun": 0, "channel": 0,
            "vendor": "VMware", "product": "Virtual disk", "ver": "2.0", **shown, **common,
        }  # fmt: skip
    if disk.controller == "nvme":
        shown = {"uuid": str(uuid.UUID(digits))} if digits else {}
        return {"driver": "nvme-ns", "bus": controller_id(disk), "nsid": disk.unit + 1, **shown, **common}
    serial = {"serial": f"{disk.bus:02d}{disk.unit + 1:018d}"}  # the disk's UUID is not shown on these buses
    if disk.controller == "ide":
        place, kind = {"bus": f"ide.{disk.bus}", "unit": disk.unit}, "IDE"
    else:
        place, kind = {"bus": f"{controller_id(disk)}.{disk.unit}"}, "SATA"
    return {"driver": "ide-hd", **place, "model": f"VMware Virtual {kind} Hard Drive", **serial, **common}


def controller_device(name: str, slot: int) -> Device:
    kind, bus = name.rsplit("-", 1)
    serial = {"serial": f"VMware NVME_{bus:0>4}"} if kind == "nvme" else {}
    return {"driver": CONTROLLERS[kind].device, "id": name, "addr": hex(slot), **serial}


def nic_network(vm: Vm, nic: Nic, forwards: Iterable[tuple[str, int, int]]) -> Device:
    """The first card is the one that the machine reaches; the others have a network of their own each."""
    index = [other.key for other in vm.nics].index(nic.key)
    network: Device = {"type": "user", "id": f"net-{nic.key}", "ipv6": False}
    if index:
        return {**network, "net": f"10.0.{2 + index}.0/24"}
    ports = [{"str": f"tcp:{address}:{here}-:{there}"} for address, here, there in forwards]
    return {**network, "hostfwd": ports} if ports else network


def nic_device(nic: Nic, slot: int) -> Device:
    """Without the ROM that would boot from the network: there is nothing to boot from."""
    mac = nic.mac.lower()
    # QEMU takes no other form and no multicast address; then it chooses one itself.
    shown = {"mac": mac} if MAC.match(mac) and not int(mac[:2], 16) & 1 else {}
    return {
        "driver": NIC_MODELS[nic.type], "id": nic_id(nic), "netdev": f"net-{nic.key}", "addr": hex(slot), "romfile": "",
        **shown,
    }  # fmt: skip


def _boot_index(vm: Vm, disk: Disk) -> int:
    """Disks that the boot order leaves out come after it; those with a system first."""
    systems_first = sorted(vm.disks, key=lambda other: (not other.origin, other.key))
    names = dict.fromkeys([*vm.boot_order, *(f"disk:{other.key}" for other in systems_first)])
    return [name for name in names if name.startswith("disk:")].index(f"disk:{disk.key}")


# ---------------------------------------------------------------------- command line


def command(hardware: Hardware, places: Places, kvm: bool, label: str) -> list[str]:
    """`label` is what tells the process of one lab from another's."""
    vm = hardware.vm
    accelerator = ["kvm"] if kvm else [f"tcg,thread=multi,tb-size={TRANSLATED_MB}"]
    return [
        PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-name", f"{label},process={label}",
        "-accel", *accelerator, "-cpu", "host" if kvm else EMULATED_CPU, "-smp", topology(vm),
        "-machine", _machine(vm),
        "-m", f"{vm.memory_mb}M",
        # Memory is promised, not reserved: a guest takes what it touches.
        "-object", f"memory-backend-ram,id=ram,size={vm.memory_mb}M,reserve=off",
        # A panicked guest stays as it is, or reboots when its kernel was told to.
        "-action", "panic=none", "-device", "pvpanic",
        "-boot", "menu=off,strict=on", "-rtc", "base=utc",
        *_smbios(vm), *_firmware(vm, places), *_channels(places), *_disks(hardware, places), *_nics(hardware, places),
    ]  # fmt: skip


def topology(vm: Vm) -> str:
    cores = vm.cores_per_socket if vm.cores_per_socket > 0 and vm.cpus % vm.cores_per_socket == 0 else 1
    return f"cpus={vm.cpus},sockets={vm.cpus // cores},cores={cores},threads=1"


def _machine(vm: Vm) -> str:
    """VMware's machines have the 440BX chipset; QEMU's `pc` has its elder brother, and VMware's backdoor port."""
    flash = ",pflash0=code,pflash1=variables" if vm.firmware == "efi" else ""
    return f"pc,vmport=on,usb=off,memory-backend=ram{flash}"


def _smbios(vm: Vm) -> list[str]:
    """As VMware fills the tables: tools and Ansible's facts tell the hypervisor by them."""
    identity = _uuid(vm)
    efi = vm.firmware == "efi"
    tables: list[Device] = [
        {"type": 0, "vendor": "VMware, Inc." if efi else "Phoenix Technologies LTD", "version": "6.00"},
        {
            "type": 1, "manufacturer": "VMware, Inc.",
            "product": "VMware20,1" if efi else "VMware Virtual Platform", "version": "None",
            "serial": serial_number(identity), "uuid": str(identity),
        },
        {"type": 2, "manufacturer": "Intel Corporation", "product": "440BX Desktop Reference Platform"},
        {"type": 3, "manufacturer": "No Enclosure"},
    ]  # fmt: skip
    arguments: list[str] = []
    for table in tables:
        fields = ",".join(f"{name}={str(value).replace(',', ',,')}" for name, value in table.items())
        arguments += ["-smbios", fields]
    return arguments


def serial_number(identity: uuid.UUID) -> str:
    """VMware-42 1a 2b 3c 4d 5e 6f 70-81 92 a3 b4 c5 d6 e7 f8"""
    octets = [f"{octet:02x}" for octet in identity.bytes]
    return f"VMware-{' '.join(octets[:8])}-{' '.join(octets[8:])}"


def _uuid(vm: Vm) -> uuid.UUID:
    try:
        return uuid.UUID(vm.uuid)
    except ValueError:
        return uuid.UUID(int=0)


def _firmware(vm: Vm, places: Places) -> list[str]:
    if vm.firmware != "efi":
        return []
    code = {
        "driver": "raw", "node-name": "code", "read-only": True,
        "file": {"driver": "file", "filename": str(OVMF_CODE), "read-only": True},
    }  # fmt: skip
    return ["-blockdev", _json(code), "-blockdev", _json(disk_node("variables", places.variables))]


def _channels(places: Places) -> list[str]:
    """Monitor, console, and the two ports by which the guest talks to its hypervisor."""
    arguments = [
        "-chardev", f"socket,id=monitor,fd={places.monitor_fd}", "-mon", "chardev=monitor,mode=control",
        "-chardev", f"socket,id=console,path={_escaped(places.console)},server=on,wait=off,"
        f"logfile={_escaped(places.console_log)},logappend=on",
        "-serial", "chardev:console",
        "-device", _json({"driver": "virtio-serial-pci", "id": "channels", "addr": hex(CHANNELS_SLOT)}),
    ]  # fmt: skip
    for number, (name, port, fd) in enumerate(
        (("agent", AGENT_PORT, places.agent_fd), ("guestinfo", GUESTINFO_PORT, places.guestinfo_fd)), start=1
    ):
        device = {
            "driver": "virtserialport", "bus": "channels.0", "nr": number, "id": f"port-{name}", "chardev": name,
            "name": port,
        }  # fmt: skip
        arguments += ["-chardev", f"socket,id={name},fd={fd}", "-device", _json(device)]
    return arguments


def _disks(hardware: Hardware, places: Places) -> list[str]:
    vm = hardware.vm
    arguments: list[str] = []
    for name, slot in hardware.controllers().items():
        arguments += ["-device", _json(controller_device(name, slot))]
    for disk in vm.disks:
        arguments += ["-blockdev", _json(disk_node(disk_id(disk), places.disks[disk.key]))]
        arguments += ["-device", _json(disk_device(vm, disk))]
    if twice := firmware_disk(vm):
        arguments += [word for device in firmware_devices(twice) for word in ("-device", _json(device))]
    if places.seed:
        seed = {"driver": "vvfat", "node-name": "seed", "dir": str(places.seed), "label": "cidata", "read-only": True}
        device = {"driver": "virtio-blk-pci", "drive": "seed", "addr": hex(SEED_SLOT)}
        arguments += ["-blockdev", _json(seed), "-device", _json(device)]
    return arguments


def _nics(hardware: Hardware, places: Places) -> list[str]:
    arguments: list[str] = []
    for nic in hardware.vm.nics:
        arguments += ["-netdev", _json(nic_network(hardware.vm, nic, places.forwards))]
        arguments += ["-device", _json(nic_device(nic, hardware.slots[nic_id(nic)]))]
    return arguments


def _json(device: Device) -> str:
    return json.dumps(device)


def _escaped(path: Path) -> str:
    """In an option that is not JSON, where a comma ends a value."""
    return str(path).replace(",", ",,")
