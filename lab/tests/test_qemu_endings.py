# SPDX-License-Identifier: GPL-3.0-or-later
"""What is the QEMU driver's own: a start that fails, what EFI firmware remembers, and a lab that is killed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lab.guests.base import POWERED_ON, Disk, GuestError
from lab.guests.qemu import QemuDriver
from lab.tests.drivers import (
    DATA_DISK,
    Bench,
    assert_whole,
    is_alive,
    machine_image,
    make_key,
    process_of,
    qemu_driver,
    until,
)

pytestmark = pytest.mark.machine

KILLED = """
import asyncio, sys
from pathlib import Path
from lab.paths import Paths
from lab.tests.drivers import Bench, qemu_driver
folder = Path(sys.argv[1])
bench = Bench(lambda emit: qemu_driver(emit, folder), folder / "key")
vm = bench.vm(1)
bench.do("power_on", vm)
print(bench.driver.guests[vm.moid].machine.pid, flush=True)
bench.run(asyncio.sleep(60))
"""


def test_a_qemu_that_ends_at_once_says_why(tmp_path: Path) -> None:
    make_key(tmp_path)
    bench = Bench(lambda emit: qemu_driver(emit, tmp_path), tmp_path / "key")
    vm, driver = bench.vm(1), bench.driver
    assert isinstance(driver, QemuDriver)
    address = driver._guest(vm).record.address
    with (
        socket.create_server((address, driver.ports[22])),
        pytest.raises(GuestError, match=r"nb-test-01: QEMU ended at once with 1: .*forwarding rule"),
    ):
        bench.do("power_on", vm)
    with pytest.raises(GuestError, match="QEMU has no buslogic controller"):
        bench.do("power_on", replace(vm, disks=(replace(vm.disks[0], controller="buslogic"),)))
    bench.do("power_on", vm)
    with pytest.raises(GuestError, match=r"non-migratable device .*nvme"):
        nvme = Disk(2001, 0, "nvme", 1 << 20, DATA_DISK.uuid)
        bench.do("power_off", vm)
        bench.do("power_on", replace(vm, disks=(*vm.disks, nvme)))
        bench.do("suspend", vm)
    assert is_alive(process_of(bench, vm))  # it goes on
    assert not list((tmp_path / "guests" / vm.instance_uuid).glob("state*"))
    bench.do("destroy", vm)
    bench.close()


def test_what_efi_firmware_remembers_is_part_of_a_snapshot(tmp_path: Path) -> None:
    make_key(tmp_path)
    bench = Bench(lambda emit: qemu_driver(emit, tmp_path), tmp_path / "key")
    vm = bench.vm(1, firmware="efi")
    variables = tmp_path / "guests" / vm.instance_uuid / "variables.qcow2"
    bench.do("power_on", vm)
    for number in (1, 2):
        bench.do("snapshot", vm, snapshot=f"5a4e-{number}", memory=number == 1)
    bench.do("remove_snapshot", vm, snapshot="5a4e-2")
    bench.do("revert", vm, snapshot="5a4e-1", power=POWERED_ON)
    bench.do("power_off", vm)
    listed = subprocess.run(["qemu-img", "snapshot", "-l", variables], capture_output=True, text=True).stdout
    assert "5a4e-1" in listed and "5a4e-2" not in listed
    bench.do("remove_snapshot", vm, snapshot="5a4e-1")
    assert_whole(variables.parent)
    bench.do("destroy", vm)
    bench.close()


def test_qemu_guests_end_with_a_killed_lab_and_their_disks_are_whole(tmp_path: Path) -> None:
    machine_image()
    make_key(tmp_path)
    lab = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=Path.cwd(),
    )  # fmt: skip
    assert lab.stdout is not None
    pid = int(lab.stdout.readline())
    time.sleep(3)  # it boots and writes
    assert is_alive(pid)
    lab.kill()
    lab.wait()
    until(lambda: not is_alive(pid), seconds=3)
    bench = Bench(lambda emit: qemu_driver(emit, tmp_path), tmp_path / "key")
    vm = replace(bench.vm(1), moid="vm-1061")  # a new vCenter counts anew
    (disk,) = (tmp_path / "guests" / vm.instance_uuid).glob("disk-*.qcow2")
    check = ["qemu-img", "check", "-q", str(disk)]
    # The kernel closes the file last. At worst, space is lost: then it is 3.
    until(lambda: subprocess.run(check, capture_output=True).returncode in (0, 3), seconds=10)
    inode = disk.stat().st_ino
    bench.do("power_on", vm)
    bench.do("power_off", vm)
    assert disk.stat().st_ino == inode
    assert_whole(disk.parent)
    bench.do("destroy", vm)
    bench.close()
    shutil.rmtree(tmp_path / "run")
