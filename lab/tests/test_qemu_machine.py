# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's command line from the VM, by tables."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab.guests.base import Disk, GuestError, Nic, Vm
from lab.guests.qemu_machine import Hardware, Places, command, disk_device, nic_device, serial_number, topology
from lab.guests.qemu_memory import check_room
from lab.guests.qemu_record import Record, Snapshot

SYSTEM = Disk(2000, 0, "pvscsi", 40 << 20, "6000C298-1a2b-3c4d-5e6f-708192a3b4c5", 1000, 0, True)
DATA = Disk(2001, 1, "pvscsi", 1 << 20, "6000c29b-0123-4567-89ab-cdef01234567", 1000, 0)
CARD = Nic(4000, "00:50:56:01:02:03", "testbed", "vmxnet3")
VM = Vm(
    "vm-61", "nb-1", "421a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8", "5000", cpus=4, cores_per_socket=2, memory_mb=2048,
    disks=(SYSTEM, DATA), nics=(CARD,),
)  # fmt: skip
PLACES = Places(
    {2000: Path("/g/a.qcow2"), 2001: Path("/g/b.qcow2")}, Path("/g/v.qcow2"), Path("/g/seed"), Path("/run/2.console"),
    Path("/g/console.log"), (("127.64.0.2", 10022, 22),), 5, 6, 7,
)  # fmt: skip


def words(vm: Vm = VM, places: Places = PLACES, kvm: bool = False, slots: dict[str, int] | None = None) -> list[str]:
    return command(Hardware.of(vm, slots or {}), places, kvm, "nblab-1")


def options(line: list[str], name: str) -> list[Any]:
    """What follows each -name, decoded where it is JSON."""
    values = [value for word, value in pairwise(line) if word == f"-{name}"]
    return [json.loads(value) if value.startswith("{") else value for value in values]


def devices(line: list[str], driver: str) -> list[dict[str, Any]]:
    return [device for device in options(line, "device") if isinstance(device, dict) and device["driver"] == driver]


def test_cpus_memory_and_accelerator() -> None:
    line = words()
    assert options(line, "smp") == ["cpus=4,sockets=2,cores=2,threads=1"]
    assert options(line, "m") == ["2048M"]
    assert options(line, "object") == ["memory-backend-ram,id=ram,size=2048M,reserve=off"]
    assert options(line, "accel") == ["tcg,thread=multi,tb-size=512"]
    assert options(line, "cpu")[0].startswith("max,hypervisor=off,")
    line = words(kvm=True)
    assert (options(line, "accel"), options(line, "cpu")) == (["kvm"], ["host"])


@pytest.mark.parametrize(
    ("cpus", "cores", "expected"),
    [
        (1, 1, "cpus=1,sockets=1,cores=1,threads=1"),
        (8, 8, "cpus=8,sockets=1,cores=8,threads=1"),
        (6, 4, "cpus=6,sockets=6,cores=1,threads=1"),  # a vCenter refuses it; QEMU would too
        (4, 0, "cpus=4,sockets=4,cores=1,threads=1"),
    ],
)
def test_topology(cpus: int, cores: int, expected: str) -> None:
    assert topology(replace(VM, cpus=cpus, cores_per_socket=cores)) == expected


def test_firmware() -> None:
    line = words()
    assert options(line, "machine") == ["pc,vmport=on,usb=off,memory-backend=ram"]
    assert not [node for node in options(line, "blockdev") if node["node-name"] in ("code", "variables")]
    assert not devices(line, "virtio-scsi-pci")
    line = words(replace(VM, firmware="efi"))
    assert options(line, "machine") == ["pc,vmport=on,usb=off,memory-backend=ram,pflash0=code,pflash1=variables"]
    code, variables = [node for node in options(line, "blockdev") if node["node-name"] in ("code", "variables")]
    assert code["read-only"] and variables["file"]["filename"] == "/g/v.qcow2"


def test_smbios_is_vmwares() -> None:
    assert serial_number(uuid.UUID(VM.uuid)) == "VMware-42 1a 2b 3c 4d 5e 6f 70-81 92 a3 b4 c5 d6 e7 f8"
    bios, efi = (options(words(vm), "smbios") for vm in (VM, replace(VM, firmware="efi")))
    assert bios[1] == (
        "type=1,manufacturer=VMware,, Inc.,product=VMware Virtual Platform,version=None,"
        f"serial={serial_number(uuid.UUID(VM.uuid))},uuid={VM.uuid}"
    )
    assert "product=VMware20,,1," in efi[1]
    assert "uuid=00000000-0000-0000-0000-000000000000" in options(words(replace(VM, uuid="")), "smbios")[1]


@pytest.mark.parametrize(
    ("controller", "unit", "bus", "expected"),
    [
        ("pvscsi", 63, 0, {"driver": "scsi-hd", "bus": "pvscsi-0.0", "scsi-id": 63}),
        ("lsilogic", 15, 1, {"driver": "scsi-hd", "bus": "lsilogic-1.0", "scsi-id": 15}),
        ("lsilogic-sas", 7, 3, {"bus": "lsilogic-sas-3.0", "scsi-id": 7, "wwn": 0x5000C29F01234567}),
        ("ahci", 5, 0, {"driver": "ide-hd", "bus": "ahci-0.5", "serial": "00000000000000000006"}),
        ("ide", 1, 1, {"driver": "ide-hd", "bus": "ide.1", "unit": 1, "serial": "01000000000000000002"}),
        ("nvme", 2, 0, {"driver": "nvme-ns", "bus": "nvme-0", "nsid": 3}),
    ],
)
def test_a_disk_sits_where_the_vcenter_has_it(controller: str, unit: int, bus: int, expected: dict[str, Any]) -> None:
    disk = replace(DATA, controller=controller, unit=unit, bus=bus)
    device = disk_device(replace(VM, disks=(SYSTEM, disk)), disk)
    assert {name: device[name] for name in expected} == expected
    line = words(replace(VM, disks=(SYSTEM, disk)))
    assert device in options(line, "device")
    if controller != "ide":
        names = [d["id"] for d in options(line, "device") if isinstance(d, dict) and "addr" in d and "id" in d]
        assert f"{controller}-{bus}" in names


@pytest.mark.parametrize(
    ("disk", "message"),
    [
        (replace(DATA, controller="buslogic"), "no buslogic controller"),
        (replace(DATA, controller="lsilogic-sas", unit=8), "unit 8 of a lsilogic-sas controller; QEMU's takes 0 to 7"),
        (replace(DATA, controller="ahci", unit=6), "unit 6"),
    ],
)
def test_what_qemu_has_no_twin_of_is_refused(disk: Disk, message: str) -> None:
    with pytest.raises(GuestError, match=message):
        Hardware.of(replace(VM, disks=(SYSTEM, disk)), {})


def test_cards_without_a_twin_are_refused() -> None:
    with pytest.raises(GuestError, match="no sriov network card"):
        Hardware.of(replace(VM, nics=(replace(CARD, type="sriov"),)), {})
    with pytest.raises(GuestError, match="11 network cards"):
        Hardware.of(replace(VM, nics=tuple(replace(CARD, key=4000 + n) for n in range(11))), {})


def test_the_uuid_of_a_disk_shows_only_where_the_vm_says_so() -> None:
    assert "serial" not in disk_device(VM, SYSTEM)
    digits = SYSTEM.uuid.replace("-", "").lower()
    shown = disk_device(replace(VM, enable_uuid=True), SYSTEM)
    assert (shown["serial"], shown["device_id"]) == (digits, digits)
    nvme = replace(DATA, controller="nvme", unit=0)
    assert disk_device(replace(VM, enable_uuid=True, disks=(nvme,)), nvme)["uuid"] == DATA.uuid


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((), {"dev-disk-2000": 0, "dev-disk-2001": 1}),
        (("ethernet:4000", "disk:2001"), {"dev-disk-2000": 1, "dev-disk-2001": 0}),
        (("cdrom", "disk:2000", "disk:2001"), {"dev-disk-2000": 0, "dev-disk-2001": 1}),
    ],
)
def test_boot_order(order: tuple[str, ...], expected: dict[str, int]) -> None:
    found = devices(words(replace(VM, boot_order=order)), "scsi-hd")
    assert {device["id"]: device["bootindex"] for device in found} == expected


def test_efi_firmware_gets_a_boot_disk_that_it_can_read() -> None:
    line = words(replace(VM, firmware="efi"))
    system, data, twin = devices(line, "scsi-hd")
    assert system["share-rw"] and "bootindex" not in system and "share-rw" not in data
    assert (twin["drive"], twin["bus"], twin["bootindex"]) == ("disk-2000", "firmware.0", 0)
    nvme = replace(SYSTEM, controller="nvme")
    assert not devices(words(replace(VM, firmware="efi", disks=(nvme, DATA))), "virtio-scsi-pci")


def test_networks() -> None:
    second = Nic(4001, "00:50:56:01:02:04", "storage", "e1000e")
    line = words(replace(VM, nics=(CARD, second)))
    first, other = options(line, "netdev")
    assert first["hostfwd"] == [{"str": "tcp:127.64.0.2:10022-:22"}]
    assert "hostfwd" not in other and other["net"] == "10.0.3.0/24"
    assert devices(line, "vmxnet3")[0]["mac"] == CARD.mac
    assert devices(line, "e1000e")[0]["netdev"] == "net-4001"


@pytest.mark.parametrize("mac", ["", "01:50:56:01:02:03", "no mac"])
def test_a_mac_that_a_card_cannot_have_is_left_to_qemu(mac: str) -> None:
    assert "mac" not in nic_device(replace(CARD, mac=mac), 2)


def test_devices_keep_their_slots_and_new_ones_take_what_is_free() -> None:
    lsi = replace(DATA, controller="lsilogic", bus=1)
    both = Hardware.of(replace(VM, disks=(SYSTEM, lsi)), {})
    assert both.slots == {"nic-4000": 2, "pvscsi-0": 3, "lsilogic-1": 4}
    second = Nic(4001, "", "storage", "e1000")
    after = Hardware.of(replace(VM, disks=(lsi,), nics=(CARD, second)), both.slots)
    assert after.slots == {"nic-4000": 2, "lsilogic-1": 4, "nic-4001": 3}


def test_a_controller_stays_while_the_guest_runs() -> None:
    lsi = replace(DATA, controller="lsilogic", bus=1)
    running = Hardware.of(replace(VM, disks=(SYSTEM, lsi)), {}).with_devices_of(replace(VM, disks=(SYSTEM,)))
    line = command(running, PLACES, False, "nblab-1")
    assert [device["addr"] for device in devices(line, "lsi53c895a")] == ["0x4"]


def test_a_guest_without_cloud_init_data_has_no_volume_for_it() -> None:
    assert [node["label"] for node in options(words(), "blockdev") if node["driver"] == "vvfat"] == ["cidata"]
    line = words(places=replace(PLACES, seed=None))
    assert not [node for node in options(line, "blockdev") if node["driver"] == "vvfat"]


@pytest.mark.parametrize(
    ("memory_mb", "left_mb", "fits"), [(2048, 900, True), (2048, 800, False), (65536, 4000, False)]
)
def test_a_power_on_asks_for_the_memory_with_which_a_guest_begins(
    tmp_path: Path, memory_mb: int, left_mb: int, fits: bool
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 9999999 kB\nMemAvailable: {left_mb * 1024} kB\n")
    vm = replace(VM, memory_mb=memory_mb)
    if fits:
        check_room(vm, meminfo)
    else:
        with pytest.raises(GuestError, match=f"nb-1: this machine has {left_mb} MB of memory left"):
            check_room(vm, meminfo)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    assert Record.load(tmp_path) is None
    hardware = Hardware.of(VM, {})
    record = Record(VM, "127.64.0.2", dict(hardware.slots), True, hardware, {"a": Snapshot(hardware, True)})
    record.save(tmp_path)
    assert Record.load(tmp_path) == record
