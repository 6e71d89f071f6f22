# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of podman guests: a small Debian or Ubuntu from this machine's own apt sources, kept by the hash of its
definition. What the disk image of QEMU guests (lab/disk_image.py) shares is here as well: packages and sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from lab.build import content_hash
from lab.errors import LabError
from lab.guests.podman_cli import Podman, PodmanError
from lab.paths import CHECKOUT, Paths

DEFINITION = CHECKOUT / "lab" / "images"
KINDS = ("container", "machine")  # folders of DEFINITION
NAME = "localhost/nanobanana-lab-guest"
OS_LABEL = "nanobanana.os"
MIRROR_VARIABLE = "NANOBANANA_LAB_MIRROR"
DEFAULT_SUITE = "bookworm"  # on a machine that is neither Debian nor Ubuntu
COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
MMDEBSTRAP = (
    "mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar",
    "--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)  # fmt: skip
# Of this machine's apt settings, those that decide whether its mirror can be reached and believed.
APT_SETTINGS = re.compile(r"^Acquire::(\w+::)?(Proxy|Check-Valid-Until|Check-Date|ForceIPv4|Retries|CaInfo|Verify)\b")


def image_name(host: dict[str, str]) -> str:
    """Name and tag of the image that the present definition gives on this machine."""
    return f"{NAME}:{definition_hash('container', host, *MMDEBSTRAP)}"


def definition_hash(kind: str, host: dict[str, str], *more: str) -> str:
    """Over the files of this kind of guests, those that all kinds share, and what else decides how it turns out."""
    others = [folder for folder in KINDS if folder != kind]
    files = [path for path in DEFINITION.rglob("*") if path.is_file()]
    files = [path for path in files if path.relative_to(DEFINITION).parts[0] not in others]
    return content_hash(files, DEFINITION, suite_of(host), os.environ.get(MIRROR_VARIABLE, ""), *more)


def packages(*lists: Path) -> str:
    """Of all guests and of the given lists, as mmdebstrap takes them."""
    lines = [line for file in (DEFINITION / "packages.txt", *lists) for line in file.read_text().splitlines()]
    return ",".join(line for line in lines if line and not line.startswith("#"))


def suite_of(host: dict[str, str]) -> str:
    return host.get("VERSION_CODENAME", "") if host.get("ID") in COMPONENTS else DEFAULT_SUITE


def os_release(text: str | None = None) -> dict[str, str]:
    """The machine's /etc/os-release, or the given one, as a mapping."""
    lines = (Path("/etc/os-release").read_text() if text is None else text).splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip().strip('"') for key, value in pairs}


def build_image(paths: Paths, podman: Podman, name: str) -> None:
    """Half a minute. Raises LabError with the last lines of the build's log. A left-over of an interrupted build is
    removed first; nothing but the image and the log stays."""
    host = os_release()
    remove_left_overs(paths)
    paths.cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"image-build-{paths.lab_id}-", dir=paths.cache))
    log = paths.cache / "image-build.log"
    try:
        write_apt_files(work, host)
        with log.open("wb") as log_file:
            _debootstrap_into_podman(work, podman, suite_of(host), name, log_file)
    except (PodmanError, subprocess.SubprocessError) as error:
        raise LabError(f"building the guest image failed: {error}\n{log_tail(log)}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_left_overs(paths: Paths) -> None:
    """What an interrupted build of this lab left in the cache folder; its processes are gone already."""
    for folder in paths.cache.glob(f"image-build-{paths.lab_id}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _debootstrap_into_podman(work: Path, podman: Podman, suite: str, name: str, log: IO[bytes]) -> None:
    tarball = work / "root.tar"
    command = [
        # mmdebstrap does not heed signals while it works, and starts many processes. In a process namespace of its own
        # all of it ends at once with an interrupted `lab up`, mounts included.
        "setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
        *MMDEBSTRAP,
        f"--include={packages()}",
        f"--aptopt={work / 'apt.conf'}",
        f"--customize-hook=sync-in {DEFINITION / 'rootfs'} /",
        f"--customize-hook=sync-in {DEFINITION / 'container' / 'rootfs'} /",
        f"--customize-hook={DEFINITION / 'container' / 'customize.sh'}",
        f"--customize-hook=copy-out /usr/lib/os-release {work}",
        suite,
        str(tarball),
        str(work / "sources.list"),
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(work)}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=900, check=False
    )
    if done.returncode:
        raise subprocess.SubprocessError(f"mmdebstrap ended with {done.returncode}")
    podman.run(
        "import", "--quiet", "--change", f'LABEL {OS_LABEL}="{os_name((work / "os-release").read_text())}"',
        "--change", 'CMD ["/sbin/init"]', "--change", "STOPSIGNAL SIGRTMIN+3",
        str(tarball), name, seconds=300,
    )  # fmt: skip
    podman.use_image(name)


def os_name(release: str) -> str:
    """`Debian 12`, from the text of a guest's os-release."""
    found = os_release(release)
    return f"{found.get('NAME', '?').split()[0]} {found.get('VERSION_ID', '?')}"


def log_tail(log: Path) -> str:
    """The last words of a build that failed."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([*lines[-12:], f"whole log: {log}"])


def write_apt_files(work: Path, host: dict[str, str]) -> None:
    """sources.list and apt.conf: whence the guest's packages come."""
    (work / "sources.list").write_text("\n".join(_sources(host)) + "\n")
    (work / "apt.conf").write_text(_apt_settings())


def _sources(host: dict[str, str]) -> list[str]:
    """apt source lines: the mirror of NANOBANANA_LAB_MIRROR, or what this machine has of its own distribution."""
    distribution, suite = host.get("ID", ""), suite_of(host)
    components = COMPONENTS.get(distribution, ("main",))
    if mirror := os.environ.get(MIRROR_VARIABLE):
        return [f"deb {mirror} {suite} {' '.join(components)}"]
    if distribution not in COMPONENTS:
        raise LabError(f"this machine has no Debian mirror to build guests from; set {MIRROR_VARIABLE}=URL")
    out = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CREATED_BY)|$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = source_lines(out, distribution, suite, components)
    if not lines:
        raise LabError(f"no apt source here offers {suite}; run: sudo apt-get update, or set {MIRROR_VARIABLE}=URL")
    return lines


def source_lines(targets: str, distribution: str, suite: str, components: tuple[str, ...]) -> list[str]:
    """From `apt-get indextargets` (fields as in _sources) to source lines, without third parties' repositories. An
    empty origin means that apt has not fetched the index yet."""
    releases = (suite, f"{suite}-updates", f"{suite}-security")
    found: dict[str, None] = {}
    for row in targets.splitlines():
        kind, origin, release, component, uri = row.split("|")
        own = kind == "Packages" and origin.lower() in ("", distribution)
        if own and release in releases and component in components:
            found[f"deb {uri} {release} {component}"] = None
    return list(found)


def _apt_settings() -> str:
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    return "\n".join(line for line in dump.splitlines() if APT_SETTINGS.match(line)) + "\n"


def guest_os(podman: Podman, image: str) -> str:
    """What the image really is, as its own os-release said when it was built: `Debian 12`."""
    return podman.run("image", "inspect", "--format", f'{{{{index .Labels "{OS_LABEL}"}}}}', image)
