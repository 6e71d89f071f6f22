# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guest drivers wrote down about their guests, and the commands that lead into one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import processes, state
from lab.errors import NOT_RUNNING, LabError
from lab.guests.base import POWERED_ON
from lab.paths import Paths

LINES = "200"


def guest_records(paths: Paths) -> list[dict[str, Any]]:
    """The guest.json of each guest, sorted by name."""
    records = [state.read_json(path) for path in paths.guests.glob("*/guest.json")]
    return sorted((record for record in records if record), key=lambda record: str(record["name"]))


def find_guest(paths: Paths, name: str) -> dict[str, Any]:
    """By the VM's name or moid. Raises LabError when there is none or more than one."""
    if not processes.answers(paths):
        raise LabError("the lab does not run; run: lab/lab up", NOT_RUNNING)
    records = guest_records(paths)
    found = [record for record in records if name in (record["name"], record["moid"])]
    if not found:
        names = ", ".join(record["name"] for record in records) or "none yet"
        raise LabError(f"no guest named {name!r}; guests: {names}")
    if len(found) > 1:
        moids = ", ".join(record["moid"] for record in found)
        raise LabError(f"several VMs are named {name!r}; take the moid instead: {moids}")
    return found[0]


def ssh_command(paths: Paths, name: str, user: str | None, command: list[str]) -> list[str]:
    """Raises LabError when the guest has no address yet."""
    guest = find_guest(paths, name)
    if guest["power"] != POWERED_ON or not guest["addresses"]:
        raise LabError(f"{name} is {guest['power']} and has no address yet; see: lab/lab status")
    lab = state.read_json(paths.lab_json)
    login = user or lab["guest_user"]
    return [
        "ssh", "-i", str(paths.ssh_key), "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
        # Each clone has a new host key, and the bridge ends on this machine.
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        "-p", str(lab["ssh_port"]),
        f"{login}@{guest['addresses'][0]}", *(["--", *command] if command else []),
    ]  # fmt: skip


def log_command(paths: Paths, what: str, follow: bool) -> list[str]:
    """The command that shows a log file of the lab, a podman guest's journal or the log of a QEMU guest's console."""
    files = {"daemon": "daemon.log", "vcenter": "vcenter.log", "calls": "calls.jsonl"}
    if what in files:
        path = paths.logs / files[what]
        if not path.exists():
            raise LabError(f"{path} is not there; run: lab/lab up", NOT_RUNNING)
        return ["tail", "-n", LINES, *(["-F"] if follow else []), str(path)]
    guest = find_guest(paths, what)
    if "console_log" in guest:
        return ["tail", "-n", LINES, *(["-F"] if follow else []), str(guest["console_log"])]
    if "container" not in guest or guest["power"] != POWERED_ON:
        raise LabError(f"{what} does not run, its journal cannot be read; see: lab/lab logs daemon")
    journal = ["journalctl", "--no-pager", "-n", LINES, *(["-f"] if follow else [])]
    return ["podman", "exec", str(guest["container"]), *journal]


def console_of(paths: Paths, name: str) -> Path:
    """The socket of a guest's serial console. Raises LabError when it has none."""
    guest = find_guest(paths, name)
    if "console" not in guest:
        raise LabError(
            f"{name} has no serial console, only QEMU guests have; a shell in a podman guest: lab/lab ssh {name}"
        )
    if guest["power"] != POWERED_ON:
        raise LabError(f"{name} is {guest['power']}; what its console said: lab/lab logs {name}")
    return Path(guest["console"])
