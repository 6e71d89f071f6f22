# SPDX-License-Identifier: GPL-3.0-or-later
"""plugins/filter/disk_plan.py: what is formatted, what is refused, and what is left alone."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.filter.disk_plan import disk_plan

UUID = "6000C29B-1111-2222-3333-444455556666"
PATH, SHARE, OUTPUT = "/srv/nano-banana", "/srv/nano-banana-share", "/home/tester/nano-banana/output"
LINE = f"LABEL=nano-data {PATH} ext4 defaults,nofail"
TEXT = "weekly\n"
WISH: dict[str, Any] = {
    "host": "nb-01",
    "user": "tester",
    "name": "data",
    "disk": {"name": "data", "uuid": UUID, "size_gb": 2},
    "disk_names": "data",
    "format_over": "",
    "filesystem": "ext4",
    "label": "nano-data",
    "making": "nb-making",
    "path": PATH,
    "mount_options": "defaults,nofail",
    "folders": [f"{PATH}/logs"],
    "files": {"/etc/logrotate.d/nano-banana": TEXT},
    "share": {
        "type": "bind",
        "source": "/srv/source",
        "options": "",
        "path": SHARE,
        "fstype": "none",
        "mount_options": "bind,nofail",
    },
    "links": {OUTPUT: f"{SHARE}/nb-01"},
}
DISK: dict[str, Any] = {
    "link": "/dev/disk/by-id/wwn-0x6000c29b",
    "device": "/dev/sdb",
    "size": 2 << 30,
    "type": "ext4",
    "label": "nano-data",
    "signatures": ["0x438 ext4"],
    "partitions": [],
    "holders": [],
    "mounted": [PATH],
    "filesystem_size": 2 << 30,
}
BLANK = {"type": "", "label": "", "signatures": [], "mounted": [], "filesystem_size": 0}
FOREIGN = {"label": "theirs", "mounted": []}
FOUND: dict[str, Any] = {
    "container": "",
    "missing": [],
    "disk": DISK,
    "by_id": ["wwn-0x6000c29b"],
    "same_label": [],
    "mount": {"source": "/dev/sdb"},
    "hidden": [],
    "line": LINE,
    "folders": {f"{PATH}/logs": "tester tester 755"},
    "files": {"/etc/logrotate.d/nano-banana": hashlib.sha256(TEXT.encode()).hexdigest()},
    "links": {OUTPUT: {"kind": "link", "target": f"{SHARE}/nb-01"}},
    "share": {"right": True, "writable": True, "line": f"/srv/source {SHARE} none bind,nofail"},
}


def found(disk: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A probe's answer; a disk that is not mounted leaves its mount point empty."""
    answer = copy.deepcopy(FOUND)
    answer["disk"] |= disk or {}
    if not answer["disk"]["mounted"]:
        answer["mount"] = {}
    return answer | changes


def wish(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(WISH) | changes


def test_nothing_is_done_where_everything_is_right() -> None:
    plan = disk_plan(WISH, FOUND)
    assert (plan["refusals"], plan["steps"], plan["skipped"]) == ([], [], "")


@pytest.mark.parametrize(
    ("probe", "changes", "steps"),
    [
        (found(BLANK), {}, ["format", "mount", "folders"]),
        (found({"label": "nb-making", "mounted": []}), {}, ["format", "mount", "folders"]),
        (found({"mounted": []}), {}, ["mount", "folders"]),
        (found(line=""), {}, ["mount", "folders"]),
        (found({"size": 3 << 30}), {}, ["grow"]),
        (found({"size": (2 << 30) + (100 << 20)}), {}, []),
        (found({"size": 3 << 30, "filesystem_size": 0}), {}, []),
        (found(FOREIGN), {"format_over": UUID.lower()}, ["format", "mount", "folders"]),
        (found({"partitions": ["sdb1"], "mounted": []}), {"format_over": UUID}, ["format", "mount", "folders"]),
        (found(), {"format_over": UUID}, []),
        (found(missing=["logrotate"]), {}, ["packages"]),
        (found(folders={f"{PATH}/logs": "root root 755"}), {}, ["folders"]),
        (found(files={"/etc/logrotate.d/nano-banana": ""}), {}, ["files"]),
        (found(share={"right": False, "writable": False, "line": ""}), {}, ["share"]),
        (found(share={**FOUND["share"], "writable": False}), {}, ["share"]),
        (found(share={**FOUND["share"], "line": ""}), {}, ["share"]),
        (found(links={OUTPUT: {"kind": "folder", "target": ""}}), {}, ["links"]),
        (found(links={OUTPUT: {"kind": "link", "target": "/elsewhere"}}), {"links": {OUTPUT: ""}}, ["links"]),
        (found(links={OUTPUT: {"kind": "folder", "target": ""}}), {"links": {OUTPUT: ""}}, []),
    ],
)
def test_what_differs_is_a_step(probe: dict[str, Any], changes: dict[str, Any], steps: list[str]) -> None:
    plan = disk_plan(wish(**changes), probe)
    assert (plan["refusals"], plan["steps"]) == ([], steps)


@pytest.mark.parametrize(
    ("probe", "changes", "words"),
    [
        (found(FOREIGN), {}, "expected an empty disk"),
        (found(FOREIGN), {"format_over": UUID[:-1] + "7"}, "expected an empty disk"),
        (found({"partitions": ["sdb1"], "mounted": []}), {}, "sdb1"),
        (found({**BLANK, "signatures": ["0x1fe dos"]}), {}, "dos"),
        (found({"type": "xfs", "mounted": []}), {}, "expected an empty disk"),
        (found({"label": "nb-making", "partitions": ["sdb1"], "mounted": []}), {}, "sdb1"),
        (found({"mounted": ["/srv/elsewhere"]}), {}, "in use by /srv/elsewhere"),
        (found({**FOREIGN, "mounted": [PATH]}), {"format_over": UUID}, "in use by"),
        (found({**BLANK, "holders": ["dm-0"]}), {}, "in use by dm-0"),
        (found(same_label=["/dev/sdc"]), {}, "/dev/sdc"),
        (found(BLANK, hidden=[f"{PATH}/logs/a.log"]), {}, "a.log"),
        (found({"mounted": []}, mount={"source": "/dev/sdc"}), {}, "/dev/sdc mounted there"),
        (found() | {"disk": None}, {}, "disk.EnableUUID"),
        (found(links={OUTPUT: {"kind": "file", "target": ""}}), {}, "a file"),
    ],
)
def test_what_could_lose_data_is_refused_in_full_sentences(
    probe: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    refusals = disk_plan(wish(**changes), probe)["refusals"]
    assert refusals
    assert all(part in text for text in refusals for part in ("nb-01: expected ", "; found ", "Next: "))
    assert words in "\n".join(refusals)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"disk": {}}, "data_disk_name"),
        ({"filesystem": "btrfs"}, "data_disk_filesystem"),
        ({"label": "nb-making"}, "data_disk_label"),
        ({"label": "a label"}, "data_disk_label"),
        ({"path": "/srv"}, "data_disk_path"),
        ({"path": "srv/data"}, "data_disk_path"),
        ({"share": {**WISH["share"], "type": "cifs"}}, "data_disk_share_type"),
        ({"share": {**WISH["share"], "type": "nfs"}}, "data_disk_share_source"),
        ({"share": {**WISH["share"], "source": "folder"}}, "data_disk_share_source"),
        ({"share": {**WISH["share"], "path": PATH}}, "data_disk_share_path"),
        ({"share": {**WISH["share"], "options": "a b"}}, "data_disk_share_options"),
    ],
)
def test_bad_values_are_refused_before_the_guest_is_asked(changes: dict[str, Any], words: str) -> None:
    (refusal,) = disk_plan(wish(**changes))["refusals"]
    assert refusal.startswith(f"{words} of nb-01: expected ")


def test_an_nfs_source_is_a_server_and_a_path() -> None:
    share = {**WISH["share"], "type": "nfs", "source": "nas.example.com:/export/nano-banana"}
    assert disk_plan(wish(share=share))["refusals"] == []


def test_a_container_gets_folders_and_a_reason_instead_of_a_disk() -> None:
    probe = found(container="podman", disk=None, mount={}, folders={f"{PATH}/logs": ""}) | {"disk": None}
    plan = disk_plan(WISH, probe)
    assert (plan["refusals"], plan["steps"]) == ([], ["folders"])
    assert plan["skipped"] == "a podman container has no disk of its own"


def test_a_guest_without_a_data_disk_is_no_error() -> None:
    plan = disk_plan(wish(name="", disk={}), found() | {"disk": None})
    assert (plan["refusals"], plan["steps"], plan["skipped"]) == ([], [], "")
