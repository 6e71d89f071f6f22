# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything lies on the disk of a QEMU guest: partition table, boot record, GRUB for BIOS and for EFI, root.

All of it is written to a sparse file by programs that need neither root nor a loop device.
"""

from __future__ import annotations

import struct
from pathlib import Path

SECTOR = 512
SIZE = 40 << 30  # as the templates of lab/inventory.yml say; a VM's larger disk is taken up when it boots
ROOT_UUID = "6e616e6f-6261-6e61-6e61-6c6162000001"  # in fstab, and in GRUB's first lines
# First sector and number of sectors. The first holds GRUB's core for BIOS machines, the second what EFI reads.
CORE_START, CORE_SECTORS = 64, 1984
EFI_START, EFI_SECTORS = 2048, 16384
ROOT_START = EFI_START + EFI_SECTORS
ROOT_SECTORS = SIZE // SECTOR - ROOT_START - 2048  # the second partition table needs 33 at the end
PARTITION_TYPES = {
    "core": "21686148-6449-6E6F-744E-656564454649",
    "efi": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "root": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
}
# Explicit, for GRUB 2.06 cannot read what newer programs would choose by themselves.
EXT4_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"
    "huge_file,dir_nlink,extra_isize,metadata_csum"
)
# In boot.img: the sector it loads, and the place of a jump that GRUB's installer takes out, because some old machines
# name the wrong drive. In core.img's first sector: the list of the sectors that follow it.
BOOT_SECTOR_AT, BOOT_JUMP_AT = 0x5C, 0x66
PARAMETERS_END, CODE_END = 0x5A, 0x1B8  # of a boot record: what comes before is code again, what follows is the disk's
BLOCK_LIST_AT = SECTOR - 12
NO_OPERATION = b"\x90\x90"


def partitions() -> str:
    """For sfdisk. Root is the last, so that it can grow, and the first by number, as on Debian's own cloud images."""
    rows = (
        (14, CORE_START, CORE_SECTORS, "core"),
        (15, EFI_START, EFI_SECTORS, "efi"),
        (1, ROOT_START, ROOT_SECTORS, "root"),
    )
    lines = [f"p{n}: start={start}, size={size}, type={PARTITION_TYPES[kind]}" for n, start, size, kind in rows]
    return "label: gpt\nfirst-lba: 34\n" + "".join(f"{line}\n" for line in lines)


def make_root(folder: str, disk: str) -> list[str]:
    """The command that makes the root file system of a folder. It must see the files' owners as the guest shall.

    noinit_itable in fstab goes with lazy_itable_init: nobody writes 160 MB of zeros at the first boot."""
    return [
        "mke2fs", "-q", "-t", "ext4", "-O", EXT4_FEATURES, "-J", "size=32", "-i", "65536", "-I", "256", "-m", "1",
        "-L", "root", "-U", ROOT_UUID, "-E", f"offset={ROOT_START * SECTOR},lazy_itable_init=1",
        "-d", folder, disk, f"{ROOT_SECTORS * SECTOR // 1024}k",
    ]  # fmt: skip


def make_efi(program: str, disk: str) -> list[list[str]]:
    """The commands that make the EFI partition; mtools work on the file where it lies."""
    image = f"{disk}@@{EFI_START * SECTOR}"
    return [
        ["mformat", "-i", image, "-v", "EFI", "-T", str(EFI_SECTORS), "-h", "2", "-s", "32", "::"],
        ["mmd", "-i", image, "::EFI", "::EFI/BOOT"],
        ["mcopy", "-i", image, program, "::EFI/BOOT/BOOTX64.EFI"],
    ]


def write_boot_record(disk: Path, boot: bytes, core: bytes) -> None:
    """What grub-install does for a BIOS machine, without looking at the machine it runs on."""
    core = with_block_list(core)
    with disk.open("r+b") as file:
        record = boot_record(boot, file.read(SECTOR))
        file.seek(0)
        file.write(record)
        file.seek(CORE_START * SECTOR)
        file.write(core)


def boot_record(boot: bytes, present: bytes) -> bytes:
    """GRUB's boot.img with the place of the core, around the partition table that is there."""
    code = bytearray(boot)
    code[BOOT_SECTOR_AT : BOOT_SECTOR_AT + 8] = struct.pack("<Q", CORE_START)
    code[BOOT_JUMP_AT : BOOT_JUMP_AT + 2] = NO_OPERATION
    return bytes(code[:3] + present[3:PARAMETERS_END] + code[PARAMETERS_END:CODE_END] + present[CODE_END:SECTOR])


def with_block_list(core: bytes) -> bytes:
    """GRUB's core whose first sector knows where on the disk the others are."""
    sectors = -(-len(core) // SECTOR)
    if sectors > CORE_SECTORS:
        raise ValueError(f"GRUB's core has {sectors} sectors, room is for {CORE_SECTORS}")
    _, length, segment = struct.unpack_from("<QHH", core, BLOCK_LIST_AT)
    if length != sectors - 1:
        raise ValueError(f"GRUB's core names {length} sectors of its {sectors - 1}: no core.img as known")
    head = core[:BLOCK_LIST_AT] + struct.pack("<QHH", CORE_START + 1, length, segment)
    return head + core[SECTOR:]
