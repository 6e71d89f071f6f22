# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Windows says in another form than Linux: brought into the form of the other judges, or judged here. Pure."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, Mapping, Optional

from .host import NOT_FOUND, TIMED_OUT, Completed
from .result import FAILED, NOT_APPLICABLE, PASSED, SKIPPED, Outcome

# Manufacturers as Win32_ComputerSystem has them, and the words of systemd-detect-virt for them.
_MACHINES = (("vmware", "vmware"), ("qemu", "qemu"), ("microsoft", "microsoft"), ("xen", "xen"), ("innotek", "oracle"))


def _data(answer: Completed) -> Any:
    """The JSON of an answer, None where it is none."""
    try:
        return json.loads(answer.out) if answer.rc == 0 else None
    except (ValueError, RecursionError):
        return None


def os_release(system: Completed) -> Optional[str]:
    """The system in the form of os-release(5), None where Windows did not tell it.

    'Microsoft Windows Server 2019 Standard' is the system Windows Server in version 2019; edition and build are left
    to PRETTY_NAME.
    """
    found = _data(system)
    caption = str(found.get("caption", "")).strip() if isinstance(found, Mapping) else ""
    match = re.search(r"(Windows(?: Server)?)\s+(\d{1,4})", caption)
    if not match:
        return None
    pretty = f"{caption} ({found.get('version', '')})"
    return f"NAME={shlex.quote(match.group(1))}\nVERSION_ID={match.group(2)}\nPRETTY_NAME={shlex.quote(pretty)}\n"


def detected_virt(system: Completed) -> Completed:
    """The machine in the words of systemd-detect-virt."""
    found = _data(system)
    if not isinstance(found, Mapping):
        return Completed(NOT_FOUND, err=f"Win32_ComputerSystem: {system.last_line()}")
    maker = f"{found.get('manufacturer', '')} {found.get('model', '')}".lower()
    word = next((word for name, word in _MACHINES if name in maker), "none")
    return Completed(1 if word == "none" else 0, f"{word}\n")


def judge_volume(path: str, free_mb: int, volumes: Completed) -> Outcome:
    """The data disk: a fixed volume such as N:, and at least ``free_mb`` MB free on it."""
    if not path:
        return Outcome(NOT_APPLICABLE, detail="no data disk is wished for this host")
    drive = f"{path[:1].upper()}:"
    expected = f"a volume {drive} with {free_mb} MB free"
    rows = _data(volumes)
    if not isinstance(rows, list):
        return Outcome(SKIPPED, expected, detail=f"Windows does not tell its volumes: {volumes.last_line()}")
    found = {str(row["drive"]).upper(): row for row in rows if isinstance(row, Mapping) and "drive" in row}
    row = found.get(drive)
    if row is None:
        return Outcome(FAILED, expected, f"volumes {', '.join(sorted(found)) or 'none'}", "the data disk has no volume")
    free = int(row.get("free") or 0) >> 20
    evidence = {"free_mb": free, "size_mb": int(row.get("size") or 0) >> 20}
    if free < free_mb:
        return Outcome(FAILED, expected, f"{free} MB free", f"the volume {drive} is full", evidence)
    return Outcome(PASSED, expected, f"{free} MB free", evidence=evidence)


def judge_share(path: str, seconds: float, answer: Completed) -> Outcome:
    """The share for results, which must be there for the connection's user and answer in time."""
    if not path:
        return Outcome(NOT_APPLICABLE, detail="no share is wished for this host")
    expected = f"{path} within {seconds:g} s"
    if answer.rc == 0:
        return Outcome(PASSED, expected, path)
    if answer.rc == TIMED_OUT:
        return Outcome(FAILED, expected, f"no answer within {seconds:g} s", "the share's server does not answer")
    return Outcome(FAILED, expected, answer.last_line(), "the share cannot be reached as the connection's user")
