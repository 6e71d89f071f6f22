# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one measured command, and the lab that it is measured against."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def clean_environment() -> dict[str, str]:
    """The environment without settings of the caller's that would change what is measured."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("VMWARE_", "ANSIBLE_"))}


@dataclass(frozen=True)
class Lab:
    """A lab of the benchmark's own: the vCenter program and made-up guests."""

    state: Path
    env: dict[str, str]

    @property
    def vcenter(self) -> dict[str, Any]:
        """Where it is, as lab.json says."""
        return dict(json.loads((self.state / "lab.json").read_text())["vcenter"])

    @property
    def password(self) -> str:
        """Of the login that holds the roles of the project; it is enough for vmware_guest as well."""
        return (self.state / "password").read_text().strip()

    def methods(self, since: int) -> list[str]:
        """The methods that clients called after the first ``since`` calls."""
        lines = Path(self.state / "logs/calls.jsonl").read_text().splitlines()
        return [json.loads(line)["method"] for line in lines[since:]]

    def command(self, *arguments: str) -> None:
        """Run ``lab``; raises RuntimeError with its words when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"lab {' '.join(arguments)} failed: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def running_lab(folder: Path, guests: str = "fake", **extra: str) -> Iterator[Lab]:
    """Start a lab in ``folder`` with this kind of guests and stop it at the end; ``extra`` are variables for it."""
    state = folder / "lab"
    env = clean_environment() | {
        "NANOBANANA_LAB_STATE": str(state),
        "NANOBANANA_ARTIFACTS": str(folder / "artifacts"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "facts"),
        "ANSIBLE_NOCOLOR": "1",
    }
    lab = Lab(state, env | extra)
    lab.command("up", "--guests", guests)
    try:
        yield Lab(state, env)
    finally:
        lab.command("down")


@dataclass(frozen=True)
class Timed:
    """What one command took: wall clock in seconds, and its last output."""

    seconds: float
    output: str


def playbook(lab: Lab, inventory: Path, play: Path, *arguments: str) -> Timed:
    """A whole ``ansible-playbook`` command; raises RuntimeError with its output when it fails."""
    env = lab.env | {
        # the other module has no option for an authority of one's own: it takes the process's
        "SSL_CERT_FILE": lab.vcenter["ca_file"],
        "VMWARE_HOST": lab.vcenter["hostname"],
        "VMWARE_PORT": str(lab.vcenter["port"]),
        "VMWARE_USER": lab.vcenter["username"],
        "VMWARE_PASSWORD": lab.password,
    }
    command = [str(BIN / "ansible-playbook"), "-i", str(inventory), str(play), *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return Timed(seconds, done.stdout)
