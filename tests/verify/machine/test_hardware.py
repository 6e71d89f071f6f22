# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel sees the hardware that vCenter describes, and what converge.yml made of it has outlived a reboot."""

from __future__ import annotations

from typing import Any

import pytest


def on_the_machine(host: Any, command: str) -> str:
    """A command's output; the test fails with the command's own words when it fails."""
    with host.sudo():
        done = host.run(command)
    assert done.rc == 0, f"expected success of '{command}'; found exit status {done.rc}: {done.stderr.strip()}"
    return str(done.stdout).strip()


@pytest.mark.parametrize(
    ("driver", "devices"), [("pci/drivers/vmw_pvscsi", "0000:*"), ("pci/drivers/vmxnet3", "0000:*")]
)
def test_vmwares_drivers_are_bound(host: Any, driver: str, devices: str) -> None:
    found = on_the_machine(host, f"ls -d /sys/bus/{driver}/{devices}")
    assert found, f"{driver}: expected a device that it drives; found none"


def test_the_disks_hang_on_paravirtual_controllers(host: Any, machine: Any) -> None:
    for device in (machine.disk, "$(findmnt --noheadings --output SOURCE /)"):
        name = on_the_machine(host, f"basename $(readlink -f {device}) | tr -d '0-9'")
        driver = on_the_machine(
            host,
            f"set -- /sys/block/{name}/device/../../..; while [ ! -e $1/driver ]; do set -- $1/..; done; "
            "basename $(readlink -f $1/driver)",
        )
        assert driver == "vmw_pvscsi", f"{device}: expected a disk of vmw_pvscsi; found one of {driver}"


def test_the_card_with_the_default_route_is_vmxnet3(host: Any) -> None:
    driver = on_the_machine(
        host, "basename $(readlink -f /sys/class/net/$(ip route show default | awk '{print $5}')/device/driver)"
    )
    assert driver == "vmxnet3"


def test_the_data_disk_is_found_by_its_uuid_and_mounted(host: Any, machine: Any) -> None:
    device = on_the_machine(host, f"readlink -f {machine.disk}")
    mounted = on_the_machine(host, "findmnt --noheadings --output SOURCE,FSTYPE /srv/data").split()
    assert mounted == [device, "ext4"], f"/srv/data: expected {device} with ext4; found {mounted}"
    size = int(on_the_machine(host, f"blockdev --getsize64 {machine.disk}"))
    assert size == machine.disk_gb << 30


def test_it_was_mounted_by_this_boot_and_not_by_hand(host: Any) -> None:
    units = on_the_machine(host, "systemctl show --property=ActiveState,FragmentPath srv-data.mount").splitlines()
    assert "ActiveState=active" in units
    assert "FragmentPath=/run/systemd/generator/srv-data.mount" in units


def test_the_kernel_argument_is_live(host: Any, machine: Any) -> None:
    isolated = on_the_machine(host, "cat /sys/devices/system/cpu/isolated")
    arguments = on_the_machine(host, "cat /proc/cmdline").split()
    assert f"isolcpus={machine.isolated}" in arguments
    assert isolated == machine.isolated, f"isolated: expected processor {machine.isolated}; found '{isolated}'"


def test_swap_is_off(host: Any) -> None:
    swaps = on_the_machine(host, "cat /proc/swaps").splitlines()[1:]
    assert not swaps, f"expected no swap; found {swaps}"
    assert "swap" not in on_the_machine(host, "cat /etc/fstab")


def test_processors_and_memory_are_as_wished(host: Any, machine: Any) -> None:
    assert on_the_machine(host, "nproc --all") == str(machine.cpus)
    # what the firmware says is there; the kernel keeps a part for itself
    blocks = int(on_the_machine(host, "cat /sys/devices/system/memory/block_size_bytes"), 16)
    online = int(on_the_machine(host, "ls -d /sys/devices/system/memory/memory[0-9]* | wc -l"))
    assert online * blocks >> 20 == machine.memory_mb


def test_it_says_that_vmware_made_it(host: Any, machine: Any) -> None:
    vendor, uuid = on_the_machine(host, "cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_uuid").splitlines()
    assert (vendor, uuid.lower()) == ("VMware, Inc.", machine.uuid.lower())
