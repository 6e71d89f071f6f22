# SPDX-License-Identifier: GPL-3.0-or-later
"""What fleet tells vCenter is what the kernel of a whole machine sees, and a killed lab loses no VM.

One QEMU guest in a lab of made-up ones, chosen by a rule; the tests build on one another, because each boot of it takes
its time without KVM.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup

from lab.paths import Paths
from lab.state import daemon_pid
from tests.integration.conftest import ROOT, Lab, lab_command, wish
from tests.integration.test_fleet import session, writes

pytestmark = [pytest.mark.integration, pytest.mark.machine]
NAME = "machine-1"
CHANGED: dict[str, Any] = {
    "cpus": 1,
    "memory_mb": 1536,
    "disks": [{"name": "data", "size_gb": 3}, {"name": "more", "size_gb": 1}],
    "tweaks": {"data_controller": "lsilogic_sas"},
}


class Machine:
    """The guest behind the VM, reached as an operator reaches it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.known = json.loads((lab.state / "lab.json").read_text())
        self.paths: dict[str, Any] = {}

    def wish(self, **fields: Any) -> dict[str, Any]:
        key = Path(self.known["ssh_public_key_file"]).read_text().strip()
        user = {"name": "tester", "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash", "ssh_authorized_keys": [key]}
        lifecycle = {"power_cycle": "allowed", "address_networks": self.known["guest_networks"], "wait_seconds": 240}
        small = {"cpus": 2, "memory_mb": 1024, "disks": [{"name": "data", "size_gb": 1}]}
        userdata = "#cloud-config\n" + yaml.safe_dump({"users": [user]})
        return wish(NAME, **(small | {"lifecycle": lifecycle, "customization": {"userdata": userdata}} | fields))

    def sh(self, command: str, seconds: float = 60) -> str:
        """What root sees in the guest; waits for its sshd."""
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                [sys.executable, "-m", "lab", "ssh", NAME, "--", "sudo", "sh", "-c", f"'{command}'"],
                cwd=ROOT, env=self.lab.env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if done.returncode == 0:
                return done.stdout.strip()
            assert time.monotonic() < deadline, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
            time.sleep(1)

    def controller_of(self, disk_uuid: str) -> str:
        """The kernel driver of what the disk hangs on."""
        link = f"/dev/disk/by-id/wwn-0x{disk_uuid.replace('-', '').lower()}"
        climb = 'while [ "$(basename $(readlink $d/subsystem))" != pci ]; do d=${d%/*}; done'
        device = f"d=$(readlink -f /sys/block/$(basename $(readlink -f {link}))/device)"
        return self.sh(f"{device}; {climb}; basename $(readlink -f $d/driver)")


@pytest.fixture(scope="module")
def machine(machine_lab: Lab) -> Iterator[Machine]:
    yield Machine(machine_lab)
    machine_lab.fleet(state="absent", all_owned=True)


def test_one_lab_has_machines_and_others(machine: Machine) -> None:
    outcome = machine.lab.fleet(machine.wish(), wish("other", lifecycle={"wait_seconds": 0}))
    assert outcome.error is None, outcome.error
    assert outcome.vms[NAME]["address"].startswith("127."), outcome.vms[NAME]
    assert outcome.vms["other"]["power"] == "poweredOn"
    assert machine.sh("nproc; cat /sys/class/dmi/id/sys_vendor").splitlines() == ["2", "VMware, Inc."]
    machine.sh("mkfs.ext4 -q /dev/disk/by-id/wwn-0x" + uuid_of(outcome) + " && sync")


def uuid_of(outcome: Any) -> str:
    return str(outcome.vms[NAME]["disks"][0]["uuid"]).replace("-", "").lower()


def test_a_disk_that_grows_or_comes_is_seen_by_the_running_kernel(machine: Machine) -> None:
    before = machine.sh("cat /proc/sys/kernel/random/boot_id")
    disks = [{"name": "data", "size_gb": 2}, {"name": "more", "size_gb": 1}]
    outcome = machine.lab.fleet(machine.wish(disks=disks))
    assert outcome.error is None, outcome.error
    sizes = "for d in " + " ".join(
        f"/dev/disk/by-id/wwn-0x{disk['uuid'].replace('-', '').lower()}" for disk in outcome.vms[NAME]["disks"]
    )
    rescan = "for f in /sys/class/block/sd*/device/rescan; do echo 1 > $f; done; udevadm settle"
    assert machine.sh(f"{rescan}; {sizes}; do blockdev --getsize64 $d; done").split() == [str(2 << 30), str(1 << 30)]
    assert machine.sh("cat /proc/sys/kernel/random/boot_id") == before


def test_the_kernel_sees_what_fleet_changed_after_the_power_cycle_that_it_announced(machine: Machine) -> None:
    before = machine.sh("cat /proc/sys/kernel/random/boot_id")
    since = len(machine.lab.calls())
    plan = machine.lab.fleet(machine.wish(**CHANGED), check=True)
    assert writes(machine.lab, since) == []
    announced = [str(step) for step in plan.vms[NAME]["operations"]]
    assert (announced[0], announced[-1]) == ("shut down the guest", "power on"), announced
    outcome = machine.lab.fleet(machine.wish(**CHANGED))
    assert outcome.error is None, outcome.error
    memory = "/sys/devices/system/memory"
    blocks = f"echo $(( 0x$(cat {memory}/block_size_bytes) * $(ls -d {memory}/memory[0-9]* | wc -l) >> 20 ))"
    found = machine.sh(f"cat /proc/sys/kernel/random/boot_id; nproc; {blocks}").splitlines()
    assert found[0] != before
    assert found[1:] == ["1", "1536"]
    assert machine.controller_of(outcome.vms[NAME]["disks"][0]["uuid"]) == "mptsas"
    link = f"/dev/disk/by-id/wwn-0x{uuid_of(outcome)}"
    assert machine.sh(f"blockdev --getsize64 {link}; blkid -o value -s TYPE {link}").split() == [str(3 << 30), "ext4"]
    assert machine.lab.fleet(machine.wish(**CHANGED)).changed is False


def test_what_the_guest_writes_as_guestinfo_reads_back_from_vcenter(machine: Machine) -> None:
    machine.sh('vmware-rpctool "info-set guestinfo.proof from-the-guest"')
    with session(machine.lab) as content:
        vm = lookup.find_vms(content, [NAME])[NAME]
        deadline = time.monotonic() + 10
        while "from-the-guest" not in [option.value for option in vm.config.extraConfig]:
            assert time.monotonic() < deadline, "guestinfo.proof is not in config.extraConfig"
            time.sleep(0.2)


def test_a_killed_lab_leaves_no_machine_running_and_loses_no_vm(machine: Machine) -> None:
    machine.sh("echo whole > /root/mark && sync")
    state = machine.lab.state
    record = json.loads(next((state / "guests").glob("*/guest.json")).read_text())
    pid = daemon_pid(Paths(state, ROOT, ""))
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{record['pid']}/cmdline").exists() and Path(f"/proc/{record['pid']}/cmdline").read_bytes():
        assert time.monotonic() < deadline, f"QEMU {record['pid']} outlives its lab"
        time.sleep(0.05)
    lab_command(machine.lab.env, "up", "--guests", "fake")
    found = machine.lab.fleet(machine.wish(), state="gathered").vms[NAME]
    assert (found["exists"], found["power"]) == (True, "poweredOff")
    for disk in (state / "guests" / found["instance_uuid"]).glob("disk-*.qcow2"):
        done = subprocess.run(["qemu-img", "check", "-q", str(disk)], check=False)
        assert done.returncode in (0, 3), f"{disk.name} is damaged"  # 3: space is lost, nothing else
    outcome = machine.lab.fleet(machine.wish(**CHANGED))
    assert outcome.error is None, outcome.error
    assert machine.sh("cat /root/mark") == "whole"
