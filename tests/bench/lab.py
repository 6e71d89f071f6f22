# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench-lab``: from power-on in vCenter to the first login over SSH, with each kind of guest."""

from __future__ import annotations

import argparse
import datetime
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import fleet_call, lookup
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import DEFAULTS

from lab.errors import LabError
from lab.guests import kvm
from lab.paths import Paths
from lab.records import ssh_command
from tests.bench.run import Lab, running_lab

GOALS = {"qemu_ready_1": 20.0, "qemu_ready_3": 50.0}  # seconds on 2 cores without KVM
PATIENCE = 300.0


class Bench:
    """VMs of one lab, switched on together and waited for."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.paths = Paths(lab.state, Path.cwd() / ".cache" / "lab", "")
        self.connection = {
            "vsphere_hostname": lab.vcenter["hostname"],
            "vsphere_port": lab.vcenter["port"],
            "vsphere_username": lab.vcenter["username"],
            "vsphere_password": lab.password,
            "vsphere_validate_certs": True,
            "vsphere_ca_file": lab.vcenter["ca_file"],
        }

    def fleet(self, names: list[str], **options: Any) -> None:
        """VMs that are off, small enough for a machine without KVM."""
        key = (self.lab.state / "ssh/id_ed25519.pub").read_text().strip()
        user = {"name": "tester", "sudo": "ALL=(ALL) NOPASSWD:ALL", "ssh_authorized_keys": [key]}
        wish = {
            "template": {"library": "nano-banana", "item": "nano-banana-stress-template"},
            "cpus": 2,
            "memory_mb": 1024,
            "placement": {name: self.lab.vcenter[name] for name in ("datacenter", "folder", "cluster", "datastore")},
            "customization": {"userdata": "#cloud-config\n" + yaml.safe_dump({"users": [user]})},
            "lifecycle": {"power": "off"},
        }
        params = {name: option.get("default") for name, option in fleet_call.argument_spec().items()}
        params |= {"owner": "bench", "limits": dict(DEFAULTS), "vms": [{"name": name, **wish} for name in names]}
        outcome = fleet_call.act({**params, **self.connection, **options}, check=False)[0]
        if outcome.error:
            raise outcome.error

    def seconds(self, names: list[str]) -> float:
        """From the power-on of all of them to a login in each."""
        from pyVim.connect import Disconnect, SmartConnect

        self.fleet(names)
        instance = SmartConnect(
            host=self.connection["vsphere_hostname"],
            port=self.connection["vsphere_port"],
            user=self.connection["vsphere_username"],
            pwd=self.connection["vsphere_password"],
            sslContext=ssl.create_default_context(cafile=self.connection["vsphere_ca_file"]),
        )
        vms = lookup.find_vms(instance.content, names)
        began = time.monotonic()
        for vm in vms.values():
            vm.PowerOnVM_Task()
        waiting = set(names)
        while waiting:
            waiting -= {name for name in waiting if self.lets_in(name)}
            if time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"no login in {', '.join(sorted(waiting))} within {PATIENCE:.0f} s")
        spent = time.monotonic() - began
        Disconnect(instance)
        self.fleet([], state="absent", all_owned=True)
        return spent

    def lets_in(self, name: str) -> bool:
        """Whether one can log in now."""
        try:
            command = ssh_command(self.paths, name, None, ["true"])
        except LabError:  # no address yet
            time.sleep(0.05)
            return False
        command[1:1] = ["-o", "ConnectTimeout=10", "-o", "BatchMode=yes"]
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def measure(kind: str, counts: dict[str, int], repeat: int, note: Callable[[str, float], None]) -> dict[str, float]:
    """Median seconds by name, for each number of guests."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="nbb-") as folder, running_lab(Path(folder), kind) as lab:
        bench = Bench(lab)
        for name, count in counts.items():
            times = []
            for turn in range(repeat):
                times.append(bench.seconds([f"bench-{number}" for number in range(count)]))
                note(f"{name}, run {turn + 1}", times[-1])
            found[name] = statistics.median(times)
    return found


def main() -> None:
    """Run the parts that this machine can, and print the line that others read."""
    parser = argparse.ArgumentParser(prog="make bench-lab", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    def note(name: str, seconds: float) -> None:
        print(f"{seconds:9.2f} s  {name}", flush=True)

    found: dict[str, float] = {}
    if os.geteuid() == 0:  # podman guests need it
        found |= measure("podman", {"podman_ready": 1}, options.repeat, note)
    found |= measure("qemu", {"qemu_ready_1": 1, "qemu_ready_3": 3}, options.repeat, note)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    works = "works" if kvm.usable() else "does not work"
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"\n{today}, {cores} processors, KVM {works}, Python {sys.version.split()[0]}, load {load:.1f}")
    for name, goal in GOALS.items():
        print(f"{'met   ' if found[name] <= goal else 'MISSED'}  {name} {found[name]:.1f} s, goal {goal:.0f} s")
    names = ("podman_ready", "qemu_ready_1", "qemu_ready_3")
    line = [f"{name}={found[name]:.1f}" if name in found else f"{name}=none" for name in names]
    print(" ".join([*line, "instant_ready=none"]))  # docs/adr/0021


if __name__ == "__main__":
    main()
