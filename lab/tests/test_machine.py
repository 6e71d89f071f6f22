# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds, the facts read from /proc, the apt sources and the machine's inotify setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import image, inotify
from lab.errors import MACHINE, LabError
from lab.guests.facts import parse_fib_trie, parse_if_inet6
from lab.guests.podman_cli import containers_conf, images_without_users
from lab.machine import Machine, checks, install, look, packages, require
from lab.paths import Paths

WELL = Machine(
    is_root=True,
    has_apt=True,
    missing_packages=(),
    unified_cgroups=False,
    has_cgroups=True,
    has_overlay=True,
    inotify_instances=8192,
    free_gb=50.0,
    has_go=True,
)


def test_a_machine_with_everything_passes() -> None:
    for drivers in ({"podman"}, {"qemu"}, {"podman", "qemu"}, {"fake"}):
        require(WELL, drivers)
        assert all(check.ok for check in checks(WELL, drivers))


@pytest.mark.parametrize(
    ("lack", "name", "fix"),
    [
        ({"is_root": False}, "root", "sudo lab/lab up"),
        (
            {"missing_packages": ("podman", "runc")},
            "packages",
            "apt-get install --no-install-recommends --yes podman runc",
        ),
        ({"missing_packages": ("podman",), "has_apt": False}, "packages", "package manager: podman"),
        ({"has_go": False}, "Go toolchain", "make setup"),
        ({"has_cgroups": False}, "cgroups", "mount -t cgroup2"),
        ({"has_overlay": False}, "overlay file system", "modprobe overlay"),
        ({"free_gb": 1.2}, "disk space", "podman system prune"),
        (
            {"is_root": False, "inotify_instances": 128},
            inotify.NAME,
            "sudo sysctl -w fs.inotify.max_user_instances=8192",
        ),
    ],
)
def test_each_lack_is_named_with_the_command_that_mends_it(lack: dict[str, Any], name: str, fix: str) -> None:
    machine = replace(WELL, **lack)
    found = {check.name: check for check in checks(machine, {"podman"}) if not check.ok}
    assert fix in found[name].fix
    with pytest.raises(LabError) as caught:
        require(machine, {"podman"})
    assert f"  {name}: " in str(caught.value) and fix in str(caught.value)
    assert caught.value.code == MACHINE


def test_up_goes_on_where_it_can_mend_the_lack_itself() -> None:
    require(replace(WELL, inotify_instances=128), {"podman"})


def test_fake_guests_need_neither_root_nor_podman() -> None:
    require(replace(WELL, is_root=False, missing_packages=("podman",), has_cgroups=False), {"fake"})


def test_qemu_guests_need_neither_root_nor_what_containers_need() -> None:
    bare = replace(WELL, is_root=False, has_cgroups=False, has_overlay=False, inotify_instances=128)
    require(bare, {"qemu"})
    with pytest.raises(LabError, match="sudo lab/lab up"):
        require(bare, {"qemu", "podman"})


def test_each_driver_brings_its_packages() -> None:
    assert packages({"fake"}, unified_cgroups=True) == {}
    assert {"podman", "crun", "mmdebstrap"} <= set(packages({"podman"}, unified_cgroups=True))
    assert {"podman", "runc"} <= set(packages({"podman"}, unified_cgroups=False))
    qemu = set(packages({"qemu"}, unified_cgroups=True))
    assert {"qemu-system-x86", "ovmf", "mmdebstrap"} <= qemu and "podman" not in qemu


def test_programs_are_found_where_an_ordinary_user_does_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    # Of the base system, on every Debian, and in no folder of that path.
    monkeypatch.setattr("lab.machine.packages", lambda *_: {"util-linux": "fsck", "nothing": "no-such-program"})
    assert look(Paths(tmp_path, tmp_path, "0123abcd"), {"qemu"}).missing_packages == ("nothing",)


def test_kvm_that_does_not_work_is_told_and_no_lack() -> None:
    (slow,) = [check for check in checks(replace(WELL, has_kvm=False), {"qemu"}) if check.name == "KVM"]
    assert slow.ok and "emulated" in slow.found


def test_setup_without_root_says_the_whole_command() -> None:
    with pytest.raises(LabError, match=r"sudo apt-get update && sudo apt-get install .* podman mmdebstrap$") as caught:
        install(replace(WELL, is_root=False, missing_packages=("podman", "mmdebstrap")))
    assert caught.value.code == MACHINE


@pytest.mark.parametrize(
    ("unified", "systemd", "runtime", "manager"),
    [(False, False, "runc", "cgroupfs"), (False, True, "runc", "cgroupfs"), (True, False, "crun", "cgroupfs"),
     (True, True, "crun", "systemd")],
)  # fmt: skip
def test_podman_gets_a_runtime_that_takes_the_machines_cgroups(
    unified: bool, systemd: bool, runtime: str, manager: str
) -> None:
    text = containers_conf(unified, systemd)
    assert f'runtime = "{runtime}"\n' in text and f'cgroup_manager = "{manager}"\n' in text


def test_a_purge_takes_only_images_that_no_lab_uses() -> None:
    tags = ["localhost/g:aa", "localhost/g:aa-01234567", "localhost/g:bb", "localhost/g:cc-89abcdef", "localhost/g:cc"]
    assert images_without_users(tags) == ["localhost/g:bb"]
    assert images_without_users(["localhost/g:aa-01234567"]) == []


FIB_TRIE = """\
Main:
  +-- 0.0.0.0/1 2 0 2
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.89.1.0/24 2 0 2
        |-- 10.89.1.0
           /24 link UNICAST
        |-- 10.89.1.3
           /32 host LOCAL
        |-- 10.89.1.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
Local:
        |-- 10.89.1.3
           /32 host LOCAL
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000025056fffe010201 02 40 20 80     eth0
fd000000000000000000000000000003 02 40 00 80     eth0
"""


def test_addresses_are_those_that_others_can_use() -> None:
    assert parse_fib_trie(FIB_TRIE) == ("10.89.1.3",)
    assert parse_if_inet6(IF_INET6) == ("fd00::3",)


TARGETS = """\
Packages|Debian|bookworm|main|http://mirror.test/debian/
Translations|Debian|bookworm|main|http://mirror.test/debian/
Packages|Debian|bookworm|contrib|http://mirror.test/debian/
Packages|Debian|bookworm-security|main|http://mirror.test/security/
Packages|Debian|trixie|main|http://mirror.test/debian/
Packages||bookworm-updates|main|http://mirror.test/debian/
Packages|Somebody|bookworm|main|http://elsewhere.test/
Packages|Somebody|nodistro|main|http://elsewhere.test/
"""


def test_guests_are_built_from_the_distributions_own_sources_alone() -> None:
    assert image.source_lines(TARGETS, "debian", "bookworm", ("main",)) == [
        "deb http://mirror.test/debian/ bookworm main",
        "deb http://mirror.test/security/ bookworm-security main",
        "deb http://mirror.test/debian/ bookworm-updates main",
    ]
    assert image.source_lines("", "debian", "bookworm", ("main",)) == []


def test_the_image_follows_its_definition_and_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    debian, ubuntu = (
        {"ID": name, "VERSION_CODENAME": suite} for name, suite in (("debian", "trixie"), ("ubuntu", "noble"))
    )
    assert image.suite_of({"ID": "fedora"}) == "bookworm"
    names = {image.image_name(debian), image.image_name(ubuntu)}
    monkeypatch.setenv(image.MIRROR_VARIABLE, "http://mirror.test/")
    names.add(image.image_name(debian))
    assert len(names) == 3
    assert image.image_name(debian) == image.image_name(dict(debian))


@pytest.fixture
def setting(tmp_path: Path) -> Path:
    file = tmp_path / "max_user_instances"
    file.write_text("128\n")
    return file


def test_the_first_lab_raises_the_machines_limit_and_the_last_one_puts_it_back(setting: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    assert "from 128 to 8192" in str(inotify.raise_for("one", setting, notes))
    assert inotify.raise_for("two", setting, notes) is None
    assert inotify.restore_for("one", setting, notes) is None
    assert inotify.current(setting) == 8192
    assert "put back to 128" in str(inotify.restore_for("two", setting, notes))
    assert inotify.current(setting) == 128 and not notes.exists()


def test_a_limit_that_is_high_enough_or_that_somebody_set_since_is_left_alone(setting: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    setting.write_text("4096\n")
    assert inotify.raise_for("one", setting, notes) is None and not notes.exists()
    setting.write_text("128\n")
    inotify.raise_for("one", setting, notes)
    setting.write_text("10000\n")
    assert inotify.restore_for("one", setting, notes) is None
    assert inotify.current(setting) == 10000 and not notes.exists()
