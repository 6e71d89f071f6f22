# SPDX-License-Identifier: GPL-3.0-or-later
"""fs.inotify.max_user_instances: every systemd guest takes several, and the usual 128 end at the 23rd guest.

The value belongs to the machine, not to one lab: the first lab that needs more raises it and notes what it was, the
last one that goes puts it back.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "fs.inotify.max_user_instances"
ENOUGH, RAISED = 1024, 8192
COMMAND = f"sudo sysctl -w {NAME}={RAISED}"
SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
NOTES = Path("/run/nanobanana-lab")  # gone after a reboot, as the raised value is


def current(setting: Path = SETTING) -> int:
    return int(setting.read_text())


def raise_for(lab_id: str, setting: Path = SETTING, notes: Path = NOTES) -> str | None:
    """Returns what was done, or None when nothing had to be. Needs root."""
    before = current(setting)
    if before >= ENOUGH and not (notes / "before").exists():
        return None
    with _locked(notes):
        (notes / f"lab-{lab_id}").touch()
        if before >= ENOUGH:
            return None
        (notes / "before").write_text(f"{before}\n")
        setting.write_text(f"{RAISED}\n")
    return f"{NAME} raised from {before} to {RAISED}; the last `lab down` puts it back"


def restore_for(lab_id: str, setting: Path = SETTING, notes: Path = NOTES) -> str | None:
    """Undoes `raise_for` unless another lab still counts on it or somebody else has set the value since."""
    if not notes.is_dir():
        return None
    with _locked(notes):
        (notes / f"lab-{lab_id}").unlink(missing_ok=True)
        if any(notes.glob("lab-*")):
            return None
        before = notes / "before"
        value = before.read_text().strip() if before.exists() else ""
        before.unlink(missing_ok=True)
        restored = value.isdigit() and current(setting) == RAISED
        if restored:
            setting.write_text(f"{value}\n")
        notes.rmdir()
    return f"{NAME} put back to {value}" if restored else None


@contextmanager
def _locked(notes: Path) -> Iterator[None]:
    notes.mkdir(parents=True, exist_ok=True)
    fd = os.open(notes, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
