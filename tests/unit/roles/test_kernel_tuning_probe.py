# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/kernel_tuning/files/probe.py: what is read from a guest's files and programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.programs import loaded

SCRIPT = Path(__file__).parents[3] / "roles/kernel_tuning/files/probe.py"
GRUB_CFG = """
menuentry 'Ubuntu' {
\tlinux\t/boot/vmlinuz-5.15.0-1-generic root=UUID=1 ro isolcpus=1 quiet
\tinitrd\t/boot/initrd.img
}
submenu 'Advanced' {
\tmenuentry 'old' {
\t\tlinuxefi /vmlinuz-5.4.0 root=UUID=1 ro  irqaffinity=0 isolcpus=1
\t}
}
menuentry 'Memory test' {
\tlinux16\t/boot/memtest86+.bin console=ttyS0
}
"""
GRUBBY = """index=0
kernel=/boot/vmlinuz-3.10.0-1160.el7.x86_64
args="ro crashkernel=auto rhgb quiet isolcpus=1 nohz_full=1"
root=/dev/mapper/centos-root
index=1
kernel=/boot/vmlinuz-0-rescue
args="ro quiet"
index=2
non linux entry
"""
FSTAB = """# /etc/fstab
UUID=1 / ext4 defaults 0 1
UUID=2 none swap sw 0 0
  #/swap none swap sw 0 0
/swapfile\tswap\tswap\tdefaults 0 0
tmpfs /srv/swap tmpfs defaults
"""
UNIT_FILES = """dev-zram0.swap generated -
swap2.swap enabled enabled
other.swap masked enabled
zramswap.service disabled enabled
"""
SHOWN = "Id=nano-banana.slice\nNeedDaemonReload=no\n\nId=irqbalance.service\nNeedDaemonReload=yes\nMainPID=0\n"


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    return loaded(SCRIPT)


@pytest.mark.parametrize(
    ("function", "text", "found"),
    [
        ("cpus", "1-3\n", [1, 2, 3]),
        ("cpus", "0,2-3,7", [0, 2, 3, 7]),
        ("cpus", "\n", []),
        ("cpus", "(null)\n", []),
        ("ours", "ro isolcpus=1 isolcpus_x=2 nohz=on nohz_full=1 quiet", ["isolcpus=1", "nohz_full=1"]),
        ("grub_menu", GRUB_CFG, [["isolcpus=1"], ["irqaffinity=0", "isolcpus=1"]]),
        ("grub_menu", "", []),
        ("grubby_menu", GRUBBY, [["isolcpus=1", "nohz_full=1"], []]),
        ("boot_arguments", "# by hand\n# arguments: isolcpus=1 nohz_full=1\n", "isolcpus=1 nohz_full=1"),
        ("boot_arguments", "# arguments:\n", ""),
        ("boot_arguments", "cut o", "?"),
        ("fstab_swaps", FSTAB, ["UUID=2", "/swapfile"]),
        ("swap_units", UNIT_FILES, ["dev-zram0.swap", "swap2.swap", "zramswap.service"]),
        ("swap_units", "", []),
    ],
)
def test_texts_are_read(probe: ModuleType, function: str, text: str, found: Any) -> None:
    assert getattr(probe, function)(text) == found


def test_properties_are_read_by_unit(probe: ModuleType) -> None:
    units = probe.blocks(SHOWN)
    assert units["irqbalance.service"]["NeedDaemonReload"] == "yes"
    assert units["nano-banana.slice"]["NeedDaemonReload"] == "no"


def test_a_print_tells_content_and_mode_apart(probe: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert probe.fingerprint(str(file)) == str(file)
    file.write_text("one")
    file.chmod(0o644)
    first = probe.fingerprint(str(file))
    file.chmod(0o755)
    second = probe.fingerprint(str(file))
    file.write_text("two")
    assert len({first, second, probe.fingerprint(str(file))}) == 3
    assert first.endswith(" 0644")


def test_it_answers_on_any_linux(tmp_path: Path) -> None:
    """Also where nothing of what it asks for is there."""
    question = {
        "boot_file": str(tmp_path / "no/file"),
        "boot_menu": str(tmp_path / "grub.cfg"),
        "files": [str(tmp_path / "run")],
        "swap_services": ["zramswap.service"],
    }
    done = subprocess.run(
        [sys.executable, "-", json.dumps(question)], input=SCRIPT.read_text(encoding="utf-8"),
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["cores"] >= 1 and answer["memory_mb"] > 0
    assert (answer["menu"], answer["boot_arguments"], answer["boot_folder"]) == ([], None, False)
    assert (answer["files"], answer["systemd"], answer["irqbalance"]) == (question["files"], 0, None)
