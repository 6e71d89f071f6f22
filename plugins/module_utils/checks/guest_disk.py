# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.data_disk and guest.data_disk_speed: is the data disk mounted, writable, not full, and not slow?"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import List, Optional, Tuple

from .host import TIMED_OUT, Completed
from .orders import DISK
from .result import FAILED, GUEST, NOT_APPLICABLE, PASSED, SKIPPED, Fix, Outcome

SECONDS = 5.0
# Folders whose files may go: the model fetches its cache again, and the others are made anew.
SCRATCH = "tmp"
DISPENSABLE = ("cache", SCRATCH, "logs")
PROBE_MIB = 64
PROBE_SECONDS = 1


@dataclass(frozen=True)
class Usage:
    """Of ``df``: the file system's mount point and what is free on it, in MiB."""

    mount: str
    free_mb: int


def df(path: str) -> Tuple[str, ...]:
    """The command that tells where a path's file system is mounted and what is free."""
    return ("df", "-P", "-k", path)


def writable(folder: str) -> Tuple[str, ...]:
    """The command that ends with 0 where the user may write, and with 2 where there is no such folder."""
    return ("sh", "-c", 'test -d "$1" || exit 2; test -w "$1"', "sh", folder)


def read_only(mounts: str, path: str) -> bool:
    """Whether the kernel's list of mounts (mountinfo) has it mounted for reading alone."""
    rows = [line.split() for line in mounts.splitlines() if f" {path} " in line]
    found = [row[5] for row in rows if len(row) > 5 and row[4] == path]
    return bool(found) and "ro" in found[-1].split(",")


def du(path: str) -> Tuple[str, ...]:
    """The command that lists the sizes of what lies in a folder, without other file systems."""
    return ("du", "-x", "-a", "-k", "--max-depth=1", path)


def dd(path: str) -> Tuple[str, ...]:
    """The command that writes a file past the page cache for a second at most, and says how fast."""
    return (
        *("env", "LC_ALL=C", "timeout", "-s", "INT", str(PROBE_SECONDS)),
        *("dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={PROBE_MIB}", "oflag=direct"),
    )


def usage(text: str) -> Optional[Usage]:
    """Read ``df -P -k``: its last line holds device, blocks, used, available, capacity, mount point."""
    match = re.search(r"^\S.*? +\d+ +\d+ +(\d{1,15}) +\d{1,3}% +(\S.*)$", text, re.MULTILINE)
    return Usage(match.group(2), int(match.group(1)) >> 10) if match else None


def biggest(text: str, path: str) -> Tuple[str, int]:
    """The largest thing in a folder by ``du -a -k --max-depth=1``, with its MiB; the folder's own line is left out."""
    rows = re.findall(r"^(\d{1,15})\t(/.*)$", text, re.MULTILINE)
    sizes = [(int(size), name) for size, name in rows if name.rstrip("/") != path.rstrip("/")]
    size, name = max(sizes, default=(0, ""))
    return name, size >> 10


def _full(path: str, found: Usage, wanted_mb: int, sizes: Completed) -> Outcome:
    name, mb = biggest(sizes.out, path)
    why = f"the data disk is full; most of it is {name} ({mb} MB)" if name else "the data disk is full"
    fix = Fix(f"See what takes the room, and make some: du -xah {path} | sort -h | tail")
    if name and name in [f"{path}/{each}" for each in DISPENSABLE]:
        clear = f"find {shlex.quote(name)} -xdev -mindepth 1 -type f -delete"
        text = f"Clear {name}; what the model needs of it comes back with the next configure."
        fix = Fix(text, clear, GUEST)
    elif name:
        fix = Fix(f"Delete or move {name} if nobody needs it.")
    evidence = {"free_mb": found.free_mb, "biggest": name, "biggest_mb": mb}
    return Outcome(
        FAILED, f"at least {wanted_mb} MB free on {path}", f"{found.free_mb} MB free", why, evidence, fix=fix
    )


def _not_writable(path: str, expected: str, write: Completed, found: Usage, locked: bool) -> Outcome:
    evidence = {"free_mb": found.free_mb, "mount": found.mount}
    if locked:
        fix = Fix("Mount it for writing; dmesg says why the kernel took it away.", f"mount -o remount,rw {path}", GUEST)
        return Outcome(FAILED, expected, "mounted for reading alone", "nothing can be written", evidence, fix=fix)
    what = "the folder tmp is missing on it" if write.rc == 2 else "the model's user may not write there"
    fix = Fix("Make the folders and their owner right.", DISK)
    return Outcome(FAILED, expected, what, f"{what} ({write.last_line()})", evidence, fix=fix)


def judge(
    path: str, wanted_mb: int, space: Completed, write: Completed, sizes: Completed, locked: bool, container: str
) -> Outcome:
    """``space`` is df's answer, ``write`` that of trying the folder, ``sizes`` du's, ``locked`` read_only's."""
    if not path:
        return Outcome(NOT_APPLICABLE, detail="no data disk is wished for this host (data_disk_name is empty)")
    expected = f"{path} mounted, writable, at least {wanted_mb} MB free"
    mount = Fix(f"Mount it; /etc/fstab has its line once the role data_disk ran: {DISK}", f"mount {path}", GUEST)
    found = usage(space.out)
    if space.rc == TIMED_OUT:
        return Outcome(FAILED, expected, "no answer", f"{path} did not answer within {SECONDS:.0f} s", fix=mount)
    if found is None:
        fix = Fix("Make it.", DISK)
        return Outcome(FAILED, expected, space.last_line(), f"{path} is not there", fix=fix)
    evidence = {"free_mb": found.free_mb, "mount": found.mount}
    if found.mount != path and not container:
        why = f"nothing is mounted there: the model would fill the file system of {found.mount}"
        return Outcome(FAILED, expected, f"a folder on {found.mount}", why, evidence, fix=mount)
    if write.rc:
        return _not_writable(path, expected, write, found, locked)
    if found.free_mb < wanted_mb:
        return _full(path, found, wanted_mb, sizes)
    if found.mount != path:
        why = f"a container ({container}) has no disk of its own; {path} is writable with {found.free_mb} MB free"
        return Outcome(SKIPPED, expected, detail=why, evidence=evidence)
    return Outcome(PASSED, expected, f"mounted, writable, {found.free_mb} MB free", evidence=evidence)


def mb_per_second(text: str) -> Optional[float]:
    """Of dd's last words: bytes and seconds."""
    found: List[Tuple[str, str]] = re.findall(
        r"^(\d{1,15}) bytes\b.{0,60}? copied, (\d[\d.e+-]{0,15}) s", text, re.MULTILINE
    )
    if not found:
        return None
    try:
        return int(found[-1][0]) / 1e6 / max(float(found[-1][1]), 1e-6)
    except ValueError:
        return None


def judge_speed(answer: Completed, lowest: float) -> Outcome:
    """Writing past the page cache; ``lowest`` in MB/s."""
    expected = f"at least {lowest:g} MB/s written past the page cache"
    speed = mb_per_second(answer.err)
    if answer.rc not in (0, TIMED_OUT) and "Invalid argument" in answer.err:
        return Outcome(SKIPPED, expected, detail="this file system does not write past the page cache (no O_DIRECT)")
    if speed is None or answer.rc not in (0, TIMED_OUT):
        return Outcome(FAILED, expected, answer.last_line(), f"the probe gave no figure (status {answer.rc})")
    evidence = {"mb_per_second": round(speed, 1)}
    if speed < lowest:
        return Outcome(FAILED, expected, f"{speed:.1f} MB/s", "the data disk is slow: the model loads slowly", evidence)
    return Outcome(PASSED, expected, f"{speed:.1f} MB/s", evidence=evidence)
