# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk image of QEMU guests: where things lie on the disk, what its name follows, how a build begins and ends. What
boots of it is proven by the tests of QEMU guests."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from lab import disk_image, disk_layout, image
from lab.disk_layout import CORE_SECTORS, CORE_START, EFI_SECTORS, EFI_START, ROOT_SECTORS, ROOT_START, SECTOR
from lab.errors import LabError
from lab.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "state", tmp_path / "cache", "test0001")


@pytest.fixture
def sfdisk() -> str:
    program = disk_image.shutil.which("sfdisk", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        pytest.skip("sfdisk is not on this machine (package fdisk)")
    return program


def core_image(sectors: int, named: int | None = None) -> bytes:
    """Of the length and with the block list that grub-mkimage writes."""
    first = bytearray(b"\x11" * SECTOR)
    first[-12:] = struct.pack("<QHH", 2, sectors - 1 if named is None else named, 0x820)
    return bytes(first) + b"\x22" * (SECTOR * (sectors - 1) - 100)


def test_partitions_follow_each_other_and_leave_room_for_the_second_table() -> None:
    assert CORE_START + CORE_SECTORS <= EFI_START and EFI_START + EFI_SECTORS <= ROOT_START
    assert (ROOT_START + ROOT_SECTORS) * SECTOR <= disk_layout.SIZE - 34 * SECTOR
    assert ROOT_START % 8 == 0 and ROOT_SECTORS % 8 == 0  # whole blocks of 4 KiB


def test_sfdisk_takes_the_table_as_it_is_meant(tmp_path: Path, sfdisk: str) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(disk_layout.SIZE)
    subprocess.run([sfdisk, "--quiet", disk], input=disk_layout.partitions(), text=True, check=True)
    table = json.loads(subprocess.run([sfdisk, "--json", disk], capture_output=True, check=True).stdout)
    found = {
        row["node"].removeprefix(str(disk)): (row["start"], row["size"])
        for row in table["partitiontable"]["partitions"]
    }
    assert found == {"1": (ROOT_START, ROOT_SECTORS), "14": (CORE_START, CORE_SECTORS), "15": (EFI_START, EFI_SECTORS)}


def test_the_boot_record_loads_the_core_and_keeps_the_partition_table() -> None:
    boot, present = bytes([0xAA]) * SECTOR, bytes([0x55]) * SECTOR
    record = disk_layout.boot_record(boot, present)
    assert len(record) == SECTOR
    assert record[disk_layout.CODE_END :] == present[disk_layout.CODE_END :]
    assert record[3 : disk_layout.PARAMETERS_END] == present[3 : disk_layout.PARAMETERS_END]
    assert struct.unpack_from("<Q", record, disk_layout.BOOT_SECTOR_AT)[0] == CORE_START
    assert record[disk_layout.BOOT_JUMP_AT :][:2] == disk_layout.NO_OPERATION


def test_the_core_knows_where_its_other_sectors_lie() -> None:
    core = core_image(20)
    patched = disk_layout.with_block_list(core)
    assert struct.unpack_from("<QHH", patched, disk_layout.BLOCK_LIST_AT) == (CORE_START + 1, 19, 0x820)
    assert patched[SECTOR:] == core[SECTOR:] and len(patched) == len(core)


@pytest.mark.parametrize(("sectors", "named"), [(CORE_SECTORS + 1, None), (20, 7)])
def test_a_core_that_does_not_fit_or_is_not_one_is_refused(sectors: int, named: int | None) -> None:
    with pytest.raises(ValueError, match="core"):
        disk_layout.with_block_list(core_image(sectors, named))


def test_both_are_written_where_they_belong(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\x55" * SECTOR * EFI_START)
    disk_layout.write_boot_record(disk, b"\xaa" * SECTOR, core_image(20))
    written = disk.read_bytes()
    assert written[CORE_START * SECTOR :].startswith(b"\x11" * 100)
    assert written[SECTOR : CORE_START * SECTOR] == b"\x55" * SECTOR * (CORE_START - 1)


@pytest.fixture
def definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "images"
    for name in ("packages.txt", "rootfs/shared", "container/own", "machine/own"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("first\n")
    monkeypatch.setattr(image, "DEFINITION", folder)
    return folder


@pytest.mark.parametrize(
    ("changed", "machine", "container"),
    [
        ("rootfs/shared", True, True),
        ("packages.txt", True, True),
        ("container/own", False, True),
        ("machine/own", True, False),
    ],
)
def test_each_image_follows_its_own_files_and_those_of_all(
    paths: Paths, definition: Path, changed: str, machine: bool, container: bool
) -> None:
    host = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
    before = disk_image.path(paths), image.image_name(host)
    assert before == (disk_image.path(paths), image.image_name(host))
    (definition / changed).write_text("second\n")
    after = disk_image.path(paths), image.image_name(host)
    assert (before[0] != after[0], before[1] != after[1]) == (machine, container)


def test_a_machine_has_the_packages_of_all_guests_and_its_own() -> None:
    of_all, of_machines = image.packages().split(","), image.packages(disk_image.MACHINE / "packages.txt").split(",")
    assert of_machines[: len(of_all)] == of_all
    assert {"grub-pc-bin", "grub-efi-amd64-bin", "qemu-guest-agent"} < set(of_machines)
    assert not any(name.startswith("#") for name in of_machines)


def test_a_build_that_fails_says_why_and_leaves_only_its_log(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    left_over = paths.cache / f"machine-build-{paths.lab_id}-old"
    left_over.mkdir(parents=True)
    monkeypatch.setattr(disk_image, "root_command", lambda: ())
    monkeypatch.setattr(disk_image, "write_apt_files", lambda work, host: None)
    monkeypatch.setattr(disk_image, "COMMANDS", ("sh", "-c", "echo no such mirror >&2; exit 7"))
    with pytest.raises(LabError, match=r"sh ended with 7\nno such mirror\nwhole log: .*machine-build\.log"):
        disk_image.build(paths)
    assert [path.name for path in paths.cache.iterdir()] == ["machine-build.log"]


def test_left_overs_of_another_lab_stay(paths: Paths) -> None:
    for lab in (paths.lab_id, "another1"):
        (paths.cache / f"machine-build-{lab}-x").mkdir(parents=True)
    disk_image.remove_left_overs(paths)
    assert [path.name for path in paths.cache.iterdir()] == ["machine-build-another1-x"]


def test_what_the_image_is_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('NAME="Debian GNU/Linux"\nVERSION_ID="12"\n')
    assert disk_image.guest_os(tmp_path / "disk.qcow2") == "Debian 12"


def test_without_root_and_without_further_ids_the_command_that_helps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = subprocess.CompletedProcess([], 1, "", "unshare: no line matching user in /etc/subuid")
    monkeypatch.setattr(disk_image.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(disk_image.subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(LabError, match=r"no line matching.*usermod --add-subuids"):
        disk_image.root_command()
