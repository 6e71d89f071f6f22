# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk image of QEMU guests: a small Debian or Ubuntu with kernel and boot loader, from this machine's own apt
sources and made without root, kept by the hash of its definition."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab import disk_layout
from lab.errors import LabError
from lab.image import (
    DEFINITION,
    MMDEBSTRAP,
    definition_hash,
    log_tail,
    os_name,
    os_release,
    packages,
    suite_of,
    write_apt_files,
)
from lab.paths import Paths

# Debian packages of the machine that builds and runs guests, and a file or program by which one knows each.
PACKAGES = {
    "qemu-system-x86": "qemu-system-x86_64",
    "qemu-utils": "qemu-img",
    "ovmf": "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "e2fsprogs": "mke2fs",
    "fdisk": "sfdisk",
    "mtools": "mcopy",
    "uidmap": "newuidmap",
}
MACHINE = DEFINITION / "machine"
# The second kernel is the quicker one; images/machine/rootfs/etc/grub.d/09_nanobanana-lab chooses.
KERNELS = {"debian": "linux-image-amd64,linux-image-cloud-amd64", "ubuntu": "linux-image-generic"}
# Modules of hardware that no guest has. They are half of the image, and udev looks through all of them.
LEFT_OUT = (
    "sound", "drivers/accessibility", "drivers/bluetooth", "drivers/comedi", "drivers/firewire", "drivers/gpu",
    "drivers/iio", "drivers/infiniband", "drivers/isdn", "drivers/leds", "drivers/media", "drivers/mtd",
    "drivers/net/can", "drivers/net/ethernet", "drivers/net/wireless", "drivers/net/wwan", "drivers/nfc",
    "drivers/pcmcia", "drivers/power", "drivers/staging", "drivers/thunderbolt", "drivers/usb",
    "net/bluetooth", "net/mac80211", "net/nfc", "net/wireless",
)  # fmt: skip
KEPT = ("drivers/net/ethernet/amd/pcnet32", "drivers/net/ethernet/intel/e1000")
COMMANDS = (
    *MMDEBSTRAP,
    "--dpkgopt=path-exclude=/usr/lib/grub/*/monolithic/*",
    *(f"--dpkgopt=path-exclude=/lib/modules/*/kernel/{folder}/*" for folder in LEFT_OUT),
    *(f"--dpkgopt=path-include=/lib/modules/*/kernel/{folder}*" for folder in KEPT),
)
IMAGE = "disk.qcow2"
OS_FILE = "os-release"
PROCESSES = ("--pid", "--fork", "--kill-child", "--mount-proc")
SECONDS = 1500
# The kernel fills /dev by itself; nobody but the real root may make device files.
UNPACK_AND = "mkdir root && tar -C root --numeric-owner --exclude './dev/*' -xf root.tar && rm root.tar && exec \"$@\""


@dataclass(frozen=True)
class Build:
    """One build: its folder, where its programs write, and how they get to be root."""

    work: Path
    log: IO[bytes]
    root: tuple[str, ...]

    @property
    def disk(self) -> Path:
        return self.work / "disk.raw"

    def run(self, *command: str, text: str = "", **more: str) -> None:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", *command],
            cwd=self.work,
            env={**os.environ, **environment(self.work), **more},
            input=text.encode(),
            stdout=self.log,
            stderr=self.log,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise subprocess.SubprocessError(f"{Path(command[0]).name} ended with {done.returncode}")

    def run_as_root(self, *command: str, **more: str) -> None:
        self.run(*self.root, *command, **more)


def path(paths: Paths) -> Path:
    """Where the image of the present definition is, or will be."""
    layout = (disk_layout.partitions(), *disk_layout.make_root("", ""))
    tag = definition_hash("machine", os_release(), *COMMANDS, *layout)
    return paths.cache / f"machine-{tag}" / IMAGE


def guest_os(image: Path) -> str:
    """What the image really is, as its own os-release said when it was built: `Debian 12`."""
    return os_name(image.with_name(OS_FILE).read_text())


def build(paths: Paths) -> None:
    """A minute or two. Raises LabError with the last lines of the build's log. A left-over of an interrupted build is
    removed first; nothing but the image and the log stays."""
    final = path(paths).parent
    remove_left_overs(paths)
    paths.cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"machine-build-{paths.lab_id}-", dir=paths.cache))
    log = paths.cache / "machine-build.log"
    try:
        with log.open("wb") as log_file:
            _make(Build(work, log_file, root_command()))
        _put_in_place(work, final)
    except (subprocess.SubprocessError, ValueError) as error:
        raise LabError(f"building the machine image failed: {error}\n{log_tail(log)}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_left_overs(paths: Paths) -> None:
    """What an interrupted build of this lab left in the cache folder; its processes are gone already."""
    for folder in paths.cache.glob(f"machine-build-{paths.lab_id}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def root_command() -> tuple[str, ...]:
    """What to put before a command that must be root over the files it makes. mmdebstrap does not heed signals while it
    works: in a process namespace of its own all of it ends at once with an interrupted `lab up`."""
    if os.geteuid() == 0:
        return ("unshare", *PROCESSES)
    command = ("unshare", "--user", "--map-root-user", "--map-auto", *PROCESSES)
    done = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise LabError(
            f"this user cannot be root over files of its own ({done.stderr.strip()}); as root, give it further ids: "
            "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
        )
    return command


def environment(work: Path) -> dict[str, str]:
    return {"TMPDIR": str(work), "PATH": search_path(), "LC_ALL": "C"}


def search_path() -> str:
    """Debian's own programs come first: mke2fs lies where an ordinary user does not look, and mmdebstrap starts python3
    for each package, which somebody's pyenv makes slow."""
    return f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ.get('PATH', '')}"


def _make(build: Build) -> None:
    host = os_release()
    write_apt_files(build.work, host)
    _root_file_system(build, host)
    disk = str(build.disk)
    with build.disk.open("wb") as file:
        file.truncate(disk_layout.SIZE)
    build.run("sfdisk", "--quiet", disk, text=disk_layout.partitions())
    build.run_as_root("sh", "-c", UNPACK_AND, "sh", *disk_layout.make_root("root", disk))
    build.run_as_root("rm", "-rf", "root")
    for command in disk_layout.make_efi("bootx64.efi", disk):
        build.run(*command)
    boot, core = ((build.work / name).read_bytes() for name in ("boot.img", "core.img"))
    disk_layout.write_boot_record(build.disk, boot, core)
    build.run("qemu-img", "convert", "-O", "qcow2", disk, IMAGE)


def _root_file_system(build: Build, host: dict[str, str]) -> None:
    kernel = KERNELS.get(host.get("ID", ""), KERNELS["debian"])
    build.run_as_root(
        *COMMANDS,
        f"--include={packages(MACHINE / 'packages.txt')},{kernel}",
        f"--aptopt={build.work / 'apt.conf'}",
        f"--essential-hook=sync-in {MACHINE / 'initramfs'} /",  # before the kernel's package makes its initramfs
        f"--customize-hook=sync-in {DEFINITION / 'rootfs'} /",
        f"--customize-hook=sync-in {MACHINE / 'rootfs'} /",
        f"--customize-hook={MACHINE / 'customize.sh'}",
        f"--customize-hook=copy-out /usr/lib/os-release {build.work}",
        suite_of(host),
        "root.tar",
        str(build.work / "sources.list"),
        OUT=str(build.work),
        ROOT_UUID=disk_layout.ROOT_UUID,
    )


def _put_in_place(work: Path, final: Path) -> None:
    """The folder appears with all that is in it."""
    whole = work / "whole"
    whole.mkdir()
    for name in (IMAGE, OS_FILE):
        (work / name).rename(whole / name)
    if final.exists():
        shutil.rmtree(final)
    whole.rename(final)
