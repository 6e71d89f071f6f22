# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine has to offer before a lab can run, and the command that mends what it lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lab import disk_image, inotify
from lab.build import go_program
from lab.errors import MACHINE, LabError
from lab.guests import kvm
from lab.paths import Paths

# Package, and a file or program by which one knows that it is there however it was installed.
COMMON = {"openssh-client": "ssh", "ca-certificates": "/etc/ssl/certs/ca-certificates.crt", "mmdebstrap": "mmdebstrap"}
PODMAN = {
    "podman": "podman",
    "conmon": "conmon",
    "netavark": "/usr/lib/podman/netavark",
    "aardvark-dns": "/usr/lib/podman/aardvark-dns",
    "iptables": "iptables",
}
FREE_GB = 3.0  # guest image 0.4, build of image and Go program 1.5, three guests 0.5


@dataclass(frozen=True)
class Machine:
    """Everything that the checks look at, so that they can be tested without the machine."""

    is_root: bool
    has_apt: bool
    missing_packages: tuple[str, ...]
    unified_cgroups: bool
    has_cgroups: bool
    has_overlay: bool
    inotify_instances: int
    free_gb: float
    has_go: bool
    has_kvm: bool = False


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    found: str
    fix: str = ""
    mended_by_up: bool = False  # `lab up` does it itself


def look(paths: Paths, drivers: Collection[str]) -> Machine:
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    unified = controllers.exists()
    return Machine(
        is_root=os.geteuid() == 0,
        has_apt=shutil.which("apt-get") is not None,
        missing_packages=tuple(name for name, proof in packages(drivers, unified).items() if not _there(proof)),
        unified_cgroups=unified,
        has_cgroups=unified or Path("/sys/fs/cgroup/memory").is_dir(),
        has_overlay="\toverlay" in Path("/proc/filesystems").read_text() or _loadable("overlay"),
        inotify_instances=inotify.current(),
        free_gb=_free_gb(paths.cache),
        has_go=go_program().exists(),
        has_kvm="qemu" in drivers and kvm.usable(),
    )


def packages(drivers: Collection[str], unified_cgroups: bool) -> dict[str, str]:
    """What these drivers need of Debian."""
    podman = {**PODMAN, **({"crun": "crun"} if unified_cgroups else {"runc": "runc"})}
    wanted = {"podman": podman, "qemu": disk_image.PACKAGES}
    found = {name: proof for driver, rows in wanted.items() if driver in drivers for name, proof in rows.items()}
    return {**found, **COMMON} if found else {}


def checks(machine: Machine, drivers: Collection[str]) -> list[Check]:
    """All checks that a lab with these kinds of guests needs, in the order in which one mends them."""
    missing = ", ".join(machine.missing_packages)
    found = [
        *([_root(machine)] if "podman" in drivers else []),
        Check("packages", not missing, f"missing: {missing}" if missing else "all there", install_command(machine)),
        Check("Go toolchain", machine.has_go, "there" if machine.has_go else "missing", "make setup"),
        *(_container_checks(machine) if "podman" in drivers else []),
        *([_kvm(machine)] if "qemu" in drivers else []),
        Check(
            "disk space",
            machine.free_gb >= FREE_GB,
            f"{machine.free_gb:.1f} GB free, {FREE_GB:.0f} GB needed",
            "make room, for example: podman system prune",
        ),
    ]
    return found if set(drivers) - {"fake"} else [check for check in found if check.name != "packages"]


def _root(machine: Machine) -> Check:
    return Check("root", machine.is_root, "yes" if machine.is_root else "no: podman guests need it", "sudo lab/lab up")


def _kvm(machine: Machine) -> Check:
    slow = "does not work here: guests are emulated, some 20 s from power-on to a login"
    return Check("KVM", True, "works" if machine.has_kvm else slow)


def _container_checks(machine: Machine) -> list[Check]:
    return [
        Check(
            "cgroups",
            machine.has_cgroups,
            _cgroups(machine),
            "mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
        Check(
            "overlay file system",
            machine.has_overlay,
            "there" if machine.has_overlay else "not in this kernel",
            "modprobe overlay",
        ),
        Check(
            inotify.NAME,
            machine.inotify_instances >= inotify.ENOUGH,
            f"{machine.inotify_instances}, {inotify.ENOUGH} needed",
            inotify.COMMAND,
            mended_by_up=machine.is_root,
        ),
    ]


def require(machine: Machine, drivers: Collection[str]) -> None:
    """Raises LabError that names every lack which `lab up` cannot mend itself."""
    lacks = [check for check in checks(machine, drivers) if not check.ok and not check.mended_by_up]
    if lacks:
        lines = [f"  {check.name}: {check.found}; run: {check.fix}" for check in lacks]
        raise LabError("this machine is not ready for a lab:\n" + "\n".join(lines), MACHINE)


def install_command(machine: Machine) -> str:
    names = " ".join(machine.missing_packages)
    if not machine.has_apt:
        return f"install with this machine's package manager: {names}"
    return f"sudo apt-get update && sudo apt-get install --no-install-recommends --yes {names}"


def install(machine: Machine) -> None:
    """Installs the missing Debian packages. Raises LabError where that takes somebody else."""
    if not machine.missing_packages:
        return
    if not (machine.is_root and machine.has_apt):
        raise LabError(f"packages are missing; run:\n  {install_command(machine)}", MACHINE)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (
        ["update", "--quiet=2"],
        ["install", "--quiet=2", "--no-install-recommends", "--yes", *machine.missing_packages],
    ):
        done = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            last = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
            raise LabError(f"apt-get {arguments[0]} ended with {done.returncode}:\n{last}", MACHINE)


def _cgroups(machine: Machine) -> str:
    if not machine.has_cgroups:
        return "no memory controller below /sys/fs/cgroup"
    return "version 2 (runtime crun)" if machine.unified_cgroups else "version 1 or hybrid (runtime runc)"


def _there(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else _program(proof) is not None


def _program(name: str) -> str | None:
    # The path of an ordinary user of Debian is without /usr/sbin, where mke2fs, sfdisk and modprobe are.
    return shutil.which(name, path=disk_image.search_path())


def _loadable(module: str) -> bool:
    modprobe = _program("modprobe")
    if modprobe is None:
        return False
    return subprocess.run([modprobe, "--dry-run", "--quiet", module], check=False).returncode == 0


def _free_gb(folder: Path) -> float:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9
