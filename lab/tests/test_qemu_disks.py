# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of a guest that does not run. Needs qemu-img, and OVMF's files for EFI."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lab.guests.base import Disk, GuestError, Vm
from lab.guests.qemu_copies import remove_snapshot
from lab.guests.qemu_disks import Disks, backing_file, virtual_size

pytestmark = pytest.mark.machine

SYSTEM = Disk(2000, 0, "pvscsi", 1024, "6000c298-0000-0000-0000-000000000001", origin=True)
DATA = Disk(2001, 1, "pvscsi", 8192, "6000c298-0000-0000-0000-000000000002")
VM = Vm("vm-1", "nb-1", disks=(SYSTEM, DATA))


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "4M"], check=True)
    return Disks(tmp_path / "guest", image)


def write(file: Path, pattern: int) -> None:
    subprocess.run(["qemu-io", "-c", f"write -q -P {pattern} 0 64k", file], check=True)


def holds(file: Path, pattern: int) -> bool:
    out = subprocess.run(["qemu-io", "-r", "-c", f"read -q -P {pattern} 0 64k", file], capture_output=True, text=True)
    return out.returncode == 0 and "failed" not in out.stdout


def test_disks_are_made_once_and_grow(disks: Disks) -> None:
    asyncio.run(disks.ensure(VM))
    assert backing_file(disks.file(SYSTEM)) == str(disks.image) and backing_file(disks.file(DATA)) == ""
    assert virtual_size(disks.file(SYSTEM)) == 4 << 20  # not less than its image
    write(disks.file(DATA), 7)
    asyncio.run(disks.ensure(replace(VM, disks=(replace(SYSTEM, size_kb=8192), replace(DATA, size_kb=16384)))))
    assert (virtual_size(disks.file(SYSTEM)), virtual_size(disks.file(DATA))) == (8 << 20, 16 << 20)
    assert holds(disks.file(DATA), 7)


def test_a_new_disk_in_the_place_of_an_old_one_is_empty(disks: Disks) -> None:
    asyncio.run(disks.ensure(VM))
    write(disks.file(DATA), 7)
    other = replace(DATA, uuid="6000c298-0000-0000-0000-000000000003")
    asyncio.run(disks.ensure(replace(VM, disks=(SYSTEM, other))))
    assert holds(disks.file(other), 0)
    disks.remove_others([disks.file(SYSTEM).name, disks.file(other).name])
    assert not disks.file(DATA).exists()


@pytest.mark.parametrize("firmware", ["bios", "efi"])
def test_snapshots_come_back_and_go(disks: Disks, firmware: str) -> None:
    vm = replace(VM, firmware=firmware)
    asyncio.run(disks.ensure(vm))
    write(disks.file(DATA), 7)
    asyncio.run(disks.snapshot(vm, "5a4e-1"))
    write(disks.file(DATA), 8)
    asyncio.run(disks.revert(vm, "5a4e-1"))
    assert holds(disks.file(DATA), 7)
    asyncio.run(disks.ensure(replace(VM, firmware="efi")))  # variables that the snapshot may not have
    asyncio.run(remove_snapshot(None, disks, vm, "5a4e-1"))
    for file in disks.folder.glob("*.qcow2"):
        assert not subprocess.run(["qemu-img", "snapshot", "-l", file], capture_output=True, text=True).stdout
    with pytest.raises(GuestError, match=r"qemu-img snapshot ended with 1: .*5a4e-1"):
        asyncio.run(disks.revert(vm, "5a4e-1"))


def test_a_copy_has_what_the_source_has_or_had(disks: Disks, tmp_path: Path) -> None:
    asyncio.run(disks.ensure(VM))
    for file in (disks.file(SYSTEM), disks.file(DATA)):
        write(file, 7)
    asyncio.run(disks.snapshot(VM, "5a4e-1"))
    write(disks.file(DATA), 8)
    clone = replace(
        VM, disks=(replace(SYSTEM, uuid="a1"), replace(DATA, uuid="a2"), replace(DATA, key=2002, uuid="a3"))
    )
    for snapshot, pattern in (("", 8), ("5a4e-1", 7)):
        target = Disks(tmp_path / f"clone-{pattern}", disks.image)
        asyncio.run(target.copy_from(disks.files(VM), clone, snapshot))
        system, data, none = target.files(clone).values()
        assert holds(system, 7) and holds(data, pattern) and not none.exists()
        assert backing_file(system) == str(disks.image)


def test_what_is_no_disk_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("nonsense")
    with pytest.raises(GuestError, match="is no qcow2 image"):
        virtual_size(tmp_path / "disk")
