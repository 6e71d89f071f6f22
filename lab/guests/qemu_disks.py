# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of one guest: qcow2 files in its folder, their snapshots inside them.

A disk is known by its key and its UUID, so a new disk in an old one's place is a new file.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from lab.guests.base import Disk, GuestError, Vm
from lab.guests.qemu_machine import OVMF_VARS

SECONDS = 600.0  # a full clone of a large disk on a slow machine
VARIABLES = "variables.qcow2"
log = logging.getLogger("lab.qemu")


class Disks:
    """`image` is what a system disk begins as; it is never written to."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        self.image = image

    @property
    def variables(self) -> Path:
        """What EFI firmware remembers."""
        return self.folder / VARIABLES

    def file(self, disk: Disk) -> Path:
        return self.folder / f"disk-{disk.key}-{re.sub('[^0-9a-f]', '', disk.uuid.lower()) or 'none'}.qcow2"

    def files(self, vm: Vm) -> dict[int, Path]:
        return {disk.key: self.file(disk) for disk in vm.disks}

    async def ensure(self, vm: Vm) -> None:
        """Makes the disks that are not there yet and grows those that are too small."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for disk in vm.disks:
            await self.ensure_one(disk)
        if vm.firmware == "efi" and not self.variables.exists():
            await _qemu_img("convert", "-f", "raw", "-O", "qcow2", str(OVMF_VARS), str(self.variables))

    async def ensure_one(self, disk: Disk) -> None:
        file, size = self.file(disk), disk.size_kb * 1024
        if file.exists():
            if virtual_size(file) < size:
                await _qemu_img("resize", "-q", str(file), str(size))
        elif disk.origin:
            backing = ("-b", str(self.image), "-F", "qcow2")
            await _make(file, "create", "-q", "-f", "qcow2", *backing, end=(str(max(size, virtual_size(self.image))),))
        else:
            await _make(file, "create", "-q", "-f", "qcow2", end=(str(size),))

    async def repair(self) -> None:
        """After a QEMU that was killed: blocks that nothing uses are given back. What it wrote is there anyway."""
        for file in self.folder.glob("*.qcow2"):
            await _qemu_img("check", "-q", "-r", "leaks", str(file))

    def remove_others(self, kept: Iterable[str]) -> None:
        """Removes the disks whose file names are not given."""
        names = {*kept, VARIABLES}
        for file in self.folder.glob("disk-*.qcow2"):
            if file.name not in names:
                log.info("%s: %s goes", self.folder.name, file.name)
                file.unlink()

    async def snapshot(self, vm: Vm, name: str) -> None:
        for file in self.kept(vm):
            await _qemu_img("snapshot", "-c", name, str(file))

    async def revert(self, vm: Vm, name: str) -> None:
        """`vm` is the one that the snapshot was taken of, as in the next."""
        for file in self.kept(vm):
            await _qemu_img("snapshot", "-a", name, str(file))

    async def remove_snapshot(self, vm: Vm, name: str, in_use: Collection[Path] = ()) -> None:
        """From the files that no running QEMU has."""
        for file in self.kept(vm):
            if file not in in_use:
                await _qemu_img("snapshot", "-d", name, str(file))

    def kept(self, vm: Vm) -> list[Path]:
        """What a snapshot is of."""
        return [*self.files(vm).values(), *([self.variables] if vm.firmware == "efi" else [])]

    async def copy_from(self, sources: Mapping[int, Path], vm: Vm, snapshot: str) -> None:
        """Takes over the contents of the source's disks of the same keys, as they are or as they were at a snapshot.
        The source may run only when it is a snapshot that is copied."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = ("-U", "-l", f"snapshot.name={snapshot}") if snapshot else ()
        for disk in vm.disks:
            source = sources.get(disk.key)
            if source is not None and source.exists():
                image = backing_file(source)  # only what the source has beyond its image is copied
                backing = ("-B", image, "-F", "qcow2") if image else ()
                await _make(self.file(disk), "convert", "-O", "qcow2", *at, *backing, str(source))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def virtual_size(file: Path) -> int:
    return int.from_bytes(_header(file)[24:32], "big")


def backing_file(file: Path) -> str:
    """ "" for a disk that holds all of its content itself."""
    header = _header(file)
    begin, length = int.from_bytes(header[8:16], "big"), int.from_bytes(header[16:20], "big")
    return header[begin : begin + length].decode() if begin else ""


def _header(file: Path) -> bytes:
    """Read by ourselves, with the backing file's name: no process for that."""
    with file.open("rb") as opened:
        header = opened.read(4096)
    if header[:4] != b"QFI\xfb":
        raise GuestError(f"{file} is no qcow2 image; run: lab/lab down, then up")
    return header


async def _make(file: Path, *arguments: str, end: tuple[str, ...] = ()) -> None:
    """A file that is there is whole."""
    temporary = file.with_name(f".{file.name}.new")
    await _qemu_img(*arguments, str(temporary), *end)
    temporary.replace(file)


async def _qemu_img(*arguments: str) -> None:
    """It ends with us: a copy that nobody waits for would go on writing."""
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "qemu-img", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            _, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise GuestError(f"qemu-img {arguments[0]} ended with {process.returncode}: {lines[-1] if lines else ''}")
