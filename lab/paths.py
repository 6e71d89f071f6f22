# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab of one checkout keeps everything; nothing else in the package builds a path of its own."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
STATE_VARIABLE = "NANOBANANA_LAB_STATE"


@dataclass(frozen=True)
class Paths:
    """`state` goes with `lab down`; `cache` holds what is slow to make and stays until `lab down --purge`."""

    state: Path
    cache: Path
    lab_id: str

    @classmethod
    def of_checkout(cls) -> Paths:
        """The lab of this checkout, or the one whose state folder NANOBANANA_LAB_STATE names."""
        override = os.environ.get(STATE_VARIABLE)
        state = Path(override).resolve() if override else CHECKOUT / ".lab"
        identity = str(state) if override else str(CHECKOUT)
        return cls(state, CHECKOUT / ".cache" / "lab", hashlib.sha256(identity.encode()).hexdigest()[:8])

    @property
    def ca(self) -> Path:
        return self.state / "ca.pem"

    @property
    def tls(self) -> Path:
        return self.state / "tls"

    @property
    def password(self) -> Path:
        """Of the login that holds only the project's roles."""
        return self.state / "password"

    @property
    def admin_password(self) -> Path:
        return self.state / "admin-password"

    @property
    def roles(self) -> Path:
        return self.state / "roles.json"

    @property
    def ssh_key(self) -> Path:
        return self.state / "ssh" / "id_ed25519"

    @property
    def lab_json(self) -> Path:
        return self.state / "lab.json"

    @property
    def pid(self) -> Path:
        return self.state / "pid"

    @property
    def ready(self) -> Path:
        return self.state / "ready.json"

    @property
    def inventory(self) -> Path:
        return self.state / "inventory.json"

    @property
    def launch(self) -> Path:
        return self.state / "launch.json"

    @property
    def guests(self) -> Path:
        return self.state / "guests"

    @property
    def share(self) -> Path:
        """What the containers have in common."""
        return self.state / "share"

    @property
    def kept(self) -> Path:
        """The vCenter program's: its VMs, for the case that it is killed."""
        return self.state / "vms"

    @property
    def runtime(self) -> Path:
        """Sockets of QEMU guests. Not in `state`, whose path may be too long for the name of a socket."""
        return Path(tempfile.gettempdir()) / f"nblab-{os.geteuid()}-{self.lab_id}"

    @property
    def work(self) -> Path:
        """The vCenter program's: the files of its datastore."""
        return self.state / "vcenter"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def containers_conf(self) -> Path:
        return self.state / "containers.conf"
