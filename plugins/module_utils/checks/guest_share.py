# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.share: does the share for results answer, and may the user write his results there?"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from .diagnosis import explained
from .host import TIMED_OUT, Completed
from .orders import DISK
from .result import FAILED, GUEST, NOT_APPLICABLE, PASSED, Fix, Outcome

MOUNTS = "/proc/self/mountinfo"
# Leaves nothing behind; in a process of its own, because a dead file server holds whoever asks it.
TRY = 'test -d "$1" && : > "$1/.preflight" && rm -f "$1/.preflight"'
LOOK = 'test -d "$1" && test -w "$1"'


@dataclass(frozen=True)
class Share:
    """The share: ``kind`` none, nfs or bind; ``folder`` is this host's own below ``path``; ``seconds`` to answer."""

    kind: str = "none"
    source: str = ""
    path: str = ""
    folder: str = ""
    seconds: float = 2.0


def command(share: Share, check_mode: bool) -> Tuple[str, ...]:
    """What tries the share as the user."""
    return ("sh", "-c", LOOK if check_mode else TRY, "sh", share.folder)


def mounted(text: str, path: str) -> Optional[Tuple[str, str]]:
    """Type and source of what is mounted at a path, the last one there; the kernel's list never waits for a server."""
    found = None
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        if separator and len(left.split()) > 4 and len(right.split()) > 1 and _plain(left.split()[4]) == path:
            found = (right.split()[0], _plain(right.split()[1]))
    return found


def _plain(word: str) -> str:
    """Blanks and the like stand as \\040 in the kernel's list."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match.group(1), 8)), word)


def judge(share: Share, mounts: str, answer: Completed, facts: Dict[str, Any]) -> Outcome:
    """``mounts`` is the kernel's list, ``answer`` what trying the folder did."""
    if share.kind == "none":
        return Outcome(NOT_APPLICABLE, detail="no share is wished for this host (data_disk_share_type is none)")
    expected = f"{share.folder} on {share.source}, writable within {share.seconds:g} s"
    path = shlex.quote(share.path)
    mount = mounted(mounts, share.path)
    if mount is None:
        fix = Fix("Mount it; /etc/fstab has its line.", f"mount {path}", GUEST)
        return Outcome(
            FAILED, expected, f"nothing is mounted at {share.path}", "results would stay on the guest", fix=fix
        )
    evidence = {"type": mount[0], "source": mount[1]}
    if share.kind == "nfs" and mount[1].rstrip("/") != share.source.rstrip("/"):
        why = "another share is mounted there"
        again = Fix("Take it off and mount the wished one.", f"umount {path}", GUEST)
        return Outcome(FAILED, expected, f"{mount[1]} at {share.path}", why, evidence, "", again)
    if answer.rc == TIMED_OUT or "tale file handle" in answer.err:
        why = (
            f"no answer within {share.seconds:g} s" if answer.rc == TIMED_OUT else "the server has forgotten the share"
        )
        again = Fix("See that the file server is up, then mount it anew.", f"umount -l {path} && mount {path}", GUEST)
        outcome = Outcome(FAILED, expected, answer.last_line(), f"{share.source}: {why}", evidence, fix=again)
        return explained(outcome, answer.err, facts)
    if answer.rc:
        why = f"the user cannot write to {share.folder}"
        fix = Fix("Make the folder and its owner right.", DISK)
        return explained(Outcome(FAILED, expected, answer.last_line(), why, evidence, fix=fix), answer.err, facts)
    return Outcome(PASSED, expected, f"{mount[0]} from {mount[1]}, writable", evidence=evidence)
