# SPDX-License-Identifier: GPL-3.0-or-later
"""All questions that the role has for a guest, in one answer. Runs as root on the guest, whose Python may be 3.8.

The argument is a JSON object: disk (uuid, size_gb, or null), label, path, user, folders, packages, package_query,
files, share and links. Nothing that could hang on a dead file server is asked without a time limit.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import struct
import subprocess
import sys
from typing import Any

BY_ID = "/dev/disk/by-id"
SHARE_SECONDS = 15
ENTRIES = 5  # of files that a mount would hide: enough to know them


def output(*command: str, seconds: float = 60, stdin: str | None = None) -> str:
    """What a command says; nothing where it fails or is not there."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds, check=False,
            text=True, input=stdin,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def names_of(uuid: str) -> list[str]:
    """The links that udev makes for a disk whose UUID vCenter shows to the guest."""
    digits = uuid.replace("-", "").lower()
    return ["wwn-0x" + digits, "scsi-3" + digits] if digits else []


def mounts() -> list[dict[str, str]]:
    """Everything mounted, from the kernel's list, which never waits for a server."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            left, _dash, right = line.rstrip("\n").partition(" - ")
            number, root, path, options = left.split()[2:6]
            kind, source = right.split()[:2]
            found.append(
                {"number": number, "root": root, "path": path, "options": options, "type": kind, "source": source}
            )
    return found


def mount_at(path: str, table: list[dict[str, str]]) -> dict[str, str]:
    """The mount that is seen at this path: the last one. Empty where nothing is mounted."""
    return next((mount for mount in reversed(table) if mount["path"] == path), {})


def filesystem_size(device: str, kind: str, mounted: str) -> int:
    """In bytes; 0 where it is not known."""
    if kind == "xfs" and mounted:
        for word in output("xfs_info", mounted).splitlines():
            if word.startswith("data"):
                numbers = dict(part.split("=") for part in word.replace(",", " ").split() if part.count("=") == 1)
                return int(numbers.get("blocks", 0)) * int(numbers.get("bsize", 0))
    if kind == "ext4":
        with open(device, "rb") as disk:
            disk.seek(1024)
            block = disk.read(1024)
        low, scale = struct.unpack_from("<I", block, 4)[0], struct.unpack_from("<I", block, 24)[0]
        high = struct.unpack_from("<I", block, 0x150)[0]
        return int((high << 32 | low) << (10 + scale))
    return 0


def look_at_disk(uuid: str, size: int, table: list[dict[str, str]]) -> dict[str, Any] | None:
    """The disk with this UUID, and what is on it."""
    link = next((path for path in (f"{BY_ID}/{name}" for name in names_of(uuid)) if os.path.exists(path)), "")
    if not link:
        return None
    device = os.path.realpath(link)
    name = os.path.basename(device)
    block = f"/sys/class/block/{name}"
    if int(output("blockdev", "--getsize64", device) or 0) < size:
        # It grew under a running kernel, which looks again only when it is told to.
        try:
            with open(f"{block}/device/rescan", "w", encoding="ascii") as rescan:
                rescan.write("1")
        except OSError:
            pass
    probed = output("blkid", "-p", "-o", "export", device).splitlines()
    tags = dict(line.split("=", 1) for line in probed if "=" in line)
    # Each line of wipefs: device, offset, type. Versions differ in their columns; the words are for a person.
    signatures = [" ".join(line.split()) for line in output("wipefs", "--no-act", "--parsable", device).splitlines()]
    kind = tags.get("TYPE", "")
    numbers = {f"{os.major(os.stat(device).st_rdev)}:{os.minor(os.stat(device).st_rdev)}"}
    partitions = [each for each in sorted(os.listdir(block)) if os.path.exists(f"{block}/{each}/partition")]
    for partition in partitions:
        with open(f"{block}/{partition}/dev", encoding="ascii") as number:
            numbers.add(number.read().strip())
    mounted = [mount["path"] for mount in table if mount["number"] in numbers]
    return {
        "link": link,
        "device": device,
        "size": int(output("blockdev", "--getsize64", device) or 0),
        "type": kind,
        "label": tags.get("LABEL", ""),
        "signatures": [line for line in signatures if not line.startswith("#")] + ([kind] if kind else []),
        "partitions": partitions,
        "holders": sorted(os.listdir(f"{block}/holders")),
        "mounted": mounted,
        "filesystem_size": filesystem_size(device, kind, mounted[0] if mounted else ""),
    }


def files_below(path: str) -> list[str]:
    """The first few of what is no folder: empty folders are hidden by a mount without harm."""
    found: list[str] = []
    for folder, _folders, files in os.walk(path):
        found += [os.path.join(folder, name) for name in files]
        if len(found) >= ENTRIES:
            break
    return found[:ENTRIES]


def fstab(path: str) -> str:
    """The line for a mount point, in single blanks."""
    with open("/etc/fstab", encoding="utf-8") as lines:
        entries = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return next((" ".join(words[:4]) for words in entries if len(words) > 3 and words[1] == path), "")


def folder(path: str) -> str:
    """Owner, group and mode; empty where it is no folder."""
    if not os.path.isdir(path):
        return ""
    seen = os.stat(path)
    try:
        names = pwd.getpwuid(seen.st_uid).pw_name, grp.getgrgid(seen.st_gid).gr_name
    except KeyError:
        names = str(seen.st_uid), str(seen.st_gid)
    return f"{names[0]} {names[1]} {seen.st_mode & 0o7777:o}"


def link(path: str) -> dict[str, str]:
    """What lies at a path, without following it."""
    if os.path.islink(path):
        return {"kind": "link", "target": os.readlink(path)}
    kind = "folder" if os.path.isdir(path) else "file" if os.path.lexists(path) else ""
    return {"kind": kind, "target": ""}


def digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


# As the user, in a process of its own that is ended when a server does not answer.
TRY_SHARE = 'mkdir -p "$1" && test -d "$1" && : > "$1/.write-test" && rm -f "$1/.write-test"'


def look_at_share(share: dict[str, Any], user: str, table: list[dict[str, str]]) -> dict[str, Any]:
    """Whether the share is mounted from its source, and whether the user may write there."""
    mount = mount_at(share["path"], table)
    found = {"mounted": mount.get("source", ""), "type": mount.get("type", ""), "right": False, "writable": False}
    found.update(source_there=True, words="", line=fstab(share["path"]))
    if share["type"] == "bind":
        found["source_there"] = os.path.isdir(share["source"])
        if mount and found["source_there"]:
            here, there = os.stat(share["path"]), os.stat(share["source"])
            found["right"] = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    elif mount:
        found["right"] = mount["source"].rstrip("/") == share["source"].rstrip("/")
    if found["right"]:
        command = ["runuser", "-u", user, "--", "sh", "-c", TRY_SHARE, "sh", share["folder"]]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SHARE_SECONDS, check=False
            )
            found["writable"], found["words"] = done.returncode == 0, done.stdout.decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            found["words"] = f"no answer within {SHARE_SECONDS} s"
    return found


def answer(wish: dict[str, Any]) -> dict[str, Any]:
    """Everything at once."""
    virtual = output("systemd-detect-virt", "--container")
    table = mounts()
    disk, container = wish["disk"], "" if virtual == "none" else virtual
    size = int(disk["size_gb"]) << 30 if disk else 0
    installed = output(*wish["package_query"], *wish["packages"]).splitlines() if wish["packages"] else []
    seen = look_at_disk(disk["uuid"], size, table) if disk and not container else None
    same_label = output("blkid", "-c", "/dev/null", "-t", "LABEL=" + wish["label"], "-o", "device").split()
    mount = mount_at(wish["path"], table)
    return {
        "container": container,
        "missing": [name for name in wish["packages"] if name + " installed" not in installed],
        "disk": seen,
        "by_id": sorted(os.listdir(BY_ID)) if os.path.isdir(BY_ID) else [],
        "same_label": [] if container else [path for path in same_label if not seen or path != seen["device"]],
        "mount": mount,
        "hidden": [] if mount else files_below(wish["path"]),
        "line": fstab(wish["path"]),
        "folders": {path: folder(path) for path in wish["folders"]},
        "files": {path: digest(path) for path in wish["files"]},
        "links": {path: link(path) for path in wish["links"]},
        "share": look_at_share(wish["share"], wish["user"], table) if wish["share"]["type"] != "none" else {},
    }


if __name__ == "__main__":
    json.dump(answer(json.loads(sys.argv[1])), sys.stdout)
