# SPDX-License-Identifier: GPL-3.0-or-later
"""The data disk, the folders on it, the share for results, and the links to both."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Expected


@pytest.fixture(scope="module")
def wish(expected: Expected) -> dict[str, Any]:
    return expected.of("data_disk")


def as_root(host: Any, command: str) -> str:
    """A command's output; the test fails with the command's own words when it fails."""
    with host.sudo():
        done = host.run(command)
    words = done.stderr.strip() or done.stdout.strip()
    assert done.rc == 0, f"expected success of '{command}'; found exit status {done.rc}: {words}"
    return str(done.stdout).strip()


@pytest.mark.usefixtures("whole_machine")
def test_the_disk_with_the_uuid_is_formatted_and_mounted(host: Any, wish: dict[str, Any]) -> None:
    if not wish["uuid"]:
        pytest.skip("no data disk is wished for this host")
    digits = wish["uuid"].replace("-", "").lower()
    device = as_root(host, f"ls /dev/disk/by-id/*{digits} | head -n 1 | xargs readlink -f")
    found = as_root(host, f"findmnt --noheadings --output SOURCE,FSTYPE,LABEL {wish['path']}").split()
    expected = [device, wish["filesystem"], wish["label"]]
    assert found == expected, f"{wish['path']}: expected {' '.join(expected)}; found {' '.join(found)}"
    size, room = as_root(host, f"blockdev --getsize64 {device}; stat -f -c '%b %S' {wish['path']}").split("\n")
    blocks, block = map(int, room.split())
    assert int(size) == int(wish["size_gb"]) << 30
    assert blocks * block > int(size) * 0.9, f"{wish['path']}: expected a file system that fills the disk; found less"


@pytest.mark.usefixtures("whole_machine")
def test_every_boot_mounts_it_and_goes_on_without_it(host: Any, wish: dict[str, Any]) -> None:
    if not wish["uuid"]:
        pytest.skip("no data disk is wished for this host")
    lines = [line.split() for line in as_root(host, "cat /etc/fstab").splitlines()]
    line = next((words for words in lines if words[1:2] == [wish["path"]]), [])
    assert line[:1] == [f"LABEL={wish['label']}"], f"{wish['path']}: expected it in /etc/fstab by label; found {line}"
    assert "nofail" in line[3].split(",")


def test_the_folders_are_the_users(expected: Expected, wish: dict[str, Any], as_user: Any) -> None:
    tests = "; ".join(f"test -d {path} -a -w {path} -a -O {path} || echo {path}" for path in wish["folders"])
    wrong = as_user(tests + "; true").split()
    assert not wrong, f"expected writable folders of {expected.user}; found otherwise: {', '.join(wrong)}"


def test_the_links_lead_to_where_the_user_may_write(wish: dict[str, Any], as_user: Any) -> None:
    for path, target in wish["links"].items():
        found = as_user(f"readlink {path} || test -d {path}").strip()
        assert found == target, f"{path}: expected {target or 'a folder'}; found {found or 'a folder'}"
        as_user(f"f=$(mktemp {path}/verify-XXXXXX) && rm $f")


def test_the_share_is_mounted(host: Any, wish: dict[str, Any]) -> None:
    share = wish["share"]
    if share["type"] == "none":
        pytest.skip("no share is wished for this host")
    found = as_root(host, f"timeout 20 findmnt --noheadings --output SOURCE {share['path']}")
    if share["type"] == "nfs":
        assert found.rstrip("/") == share["source"].rstrip("/")
    else:
        same = as_root(host, f"stat -c '%d:%i' {share['path']} {share['source']}").split()
        assert same[0] == same[1], f"{share['path']}: expected the folder {share['source']}; found {found}"


def test_the_rotation_of_logs_is_valid(host: Any, wish: dict[str, Any]) -> None:
    with host.sudo():
        done = host.run("logrotate -d %s", wish["files"][0])
    words = done.stdout + done.stderr
    assert done.rc == 0, f"{wish['files'][0]}: expected a valid configuration; found {words.strip()[:300]}"
    assert "error:" not in words, words
    assert f"{wish['path']}/logs/*.log" in words
