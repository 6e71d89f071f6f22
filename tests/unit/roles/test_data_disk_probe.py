# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/data_disk/files/probe.py: how a disk is found, what a mount would hide, how large a file system is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.programs import loaded

SCRIPT = Path(__file__).parents[3] / "roles/data_disk/files/probe.py"


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    return loaded(SCRIPT)


def test_a_disk_is_looked_for_by_its_uuid_alone(probe: ModuleType) -> None:
    assert probe.names_of("6000C29B-1111-2222-3333-444455556666") == [
        "wwn-0x6000c29b111122223333444455556666",
        "scsi-36000c29b111122223333444455556666",
    ]
    assert probe.names_of("") == []


def test_empty_folders_are_hidden_without_harm_and_files_are_not(probe: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "logs/deep").mkdir(parents=True)
    assert probe.files_below(str(tmp_path)) == []
    (tmp_path / "logs/deep/a.log").touch()
    assert probe.files_below(str(tmp_path)) == [f"{tmp_path}/logs/deep/a.log"]


@pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="no mkfs.ext4 here")
def test_the_size_of_an_ext4_is_read_from_its_superblock(probe: ModuleType, tmp_path: Path) -> None:
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", str(image), "64M"], check=True)
    assert probe.filesystem_size(str(image), "ext4", "") == 64 << 20


def test_the_size_of_an_xfs_is_read_from_xfs_info(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (
        "meta-data=/dev/sdb               isize=512    agcount=4, agsize=131072 blks\n"
        "data     =                       bsize=4096   blocks=524288, imaxpct=25\n"
        "log      =internal               bsize=4096   blocks=2560, version=2\n"
    )
    monkeypatch.setattr(probe, "output", lambda *_command: words)
    assert probe.filesystem_size("/dev/sdb", "xfs", "/srv/nano-banana") == 2 << 30
