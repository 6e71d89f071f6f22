# SPDX-License-Identifier: GPL-3.0-or-later
"""What every guest driver does, and for each ability what it is with one that declares it and with one that does not.

All tests of one driver share a guest, which is started where a test needs it on: a boot without KVM takes its time.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import inotify
from lab.guests.base import POWERED_OFF, POWERED_ON, SUSPENDED, Ability, Disk, GuestError, Nic, Vm
from lab.guests.fake import FakeDriver
from lab.guests.podman import PodmanDriver
from lab.guests.podman_cli import Podman, machine_containers_conf
from lab.paths import Paths
from lab.tests.drivers import (
    DATA_DISK,
    Bench,
    RealBench,
    assert_whole,
    is_alive,
    lab_id_of,
    make_key,
    process_of,
    qemu_driver,
    until,
)

CAP_MB = 768


class Shared:
    """The bench of one driver, with the guest that its tests share."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.vm = bench.vm(1)
        self.power = POWERED_OFF

    def on(self) -> Vm:
        if self.power != POWERED_ON:
            self.bench.start(self.vm)
            self.power = POWERED_ON
        self.bench.forget_events()
        return self.vm

    def off(self) -> Vm:
        if self.power != POWERED_OFF:
            self.bench.do("power_off", self.vm)
            self.power = POWERED_OFF
        self.bench.forget_events()
        return self.vm

    @property
    def real(self) -> RealBench:
        """For what only a guest with a system of its own can show."""
        if not isinstance(self.bench, RealBench):
            pytest.skip("the fake driver has no guests")
        return self.bench


def fake(folder: Path) -> Bench:
    return Bench(FakeDriver, make_key(folder), seconds=5)


def podman(folder: Path) -> Iterator[Bench]:
    from lab import image

    cli = Podman(lab_id_of(folder), folder / "containers.conf")
    cli.conf.write_text(machine_containers_conf())
    name = image.image_name(image.os_release())
    if not cli.has_image(name):
        image.build_image(Paths(folder, Path.cwd() / ".cache" / "lab", cli.lab_id), cli, name)
    inotify.raise_for(cli.lab_id)
    subnet = cli.ensure_network()
    bench = RealBench(
        lambda emit: PodmanDriver(emit, cli, name, subnet, folder / "guests", CAP_MB, folder / "share"),
        make_key(folder),
        60,
    )
    try:
        yield bench
    finally:
        bench.close()
        cli.remove_containers()
        cli.remove_network()
        cli.release_image(image.NAME)
        inotify.restore_for(cli.lab_id)


def qemu(folder: Path) -> Iterator[Bench]:
    bench = RealBench(lambda emit: qemu_driver(emit, folder), make_key(folder))
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture(
    scope="module",
    params=["fake", pytest.param("podman", marks=pytest.mark.lab), pytest.param("qemu", marks=pytest.mark.machine)],
)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "fake":
        yield Shared(fake(folder))
    else:
        for bench in {"podman": podman, "qemu": qemu}[request.param](folder):
            yield Shared(bench)


def test_a_guest_that_is_powered_on_reports_its_identity(shared: Shared) -> None:
    shared.bench.do("power_on", shared.vm)
    facts = shared.bench.event(shared.vm, tools_running=True, hostname=shared.vm.name)
    shared.power = POWERED_ON
    assert facts.power == POWERED_ON
    assert facts.mac == shared.vm.nics[0].mac
    assert len(facts.addresses) >= 1
    shared.bench.do("power_on", shared.vm)  # changes nothing
    assert shared.real.shell(shared.vm, "hostname") == shared.vm.name


def test_requests_that_need_a_running_guest_are_refused_where_there_is_none(shared: Shared) -> None:
    real, never = shared.real, shared.bench.vm(9)
    for operation in ("shutdown", "reboot", "suspend"):
        with pytest.raises(GuestError, match="nb-test-09"):
            real.do(operation, never)
    real.do("reconfigure", never)
    real.do("destroy", never)


def test_values_of_the_guest_come_back(shared: Shared) -> None:
    real, vm = shared.real, shared.on()
    port = "/dev/virtio-ports/com.nanobanana.guestinfo"
    if not real.can(Ability.GUESTINFO):
        assert real.shell(vm, f"test -e {port} || echo none") == "none"
        return
    assert ask_guestinfo(real, vm, {"get": "guestinfo.metadata"})["value"] == vm.guestinfo["guestinfo.metadata"]
    assert ask_guestinfo(real, vm, {"get": "guestinfo.none"}) == {"ok": False}
    assert ask_guestinfo(real, vm, {"set": "guestinfo.result", "value": "42"}) == {"ok": True}
    assert real.event(vm, guestinfo={"guestinfo.result": "42"}).tools_running
    assert ask_guestinfo(real, vm, {"get": "guestinfo.result"}) == {"ok": True, "value": "42"}


def ask_guestinfo(real: RealBench, vm: Vm, request: dict[str, str]) -> Any:
    line = json.dumps(request).replace('"', '\\"')
    port = "/dev/virtio-ports/com.nanobanana.guestinfo"
    return json.loads(real.shell(vm, f'exec 3<>{port}; echo "{line}" >&3; read -r answer <&3; echo "$answer"'))


def test_the_kernel_is_the_guests_own(shared: Shared) -> None:
    real, vm = shared.real, shared.on()
    boot_id = "/proc/sys/kernel/random/boot_id"
    same = real.shell(vm, f"cat {boot_id}") == Path(boot_id).read_text().strip()
    assert same is not real.can(Ability.KERNEL)
    assert "/boot" in real.shell(vm, "cat /proc/cmdline") if real.can(Ability.KERNEL) else same


def test_hardware_is_the_vms(shared: Shared) -> None:
    real, vm = shared.real, shared.on()
    cpus = int(real.shell(vm, "nproc"))
    if not real.can(Ability.HARDWARE):
        assert cpus == os.cpu_count()
        return
    assert cpus == vm.cpus
    assert real.shell(vm, "ls /sys/bus/pci/drivers/vmw_pvscsi /sys/bus/pci/drivers/vmxnet3").count("0000:") == 2
    dmi = real.shell(vm, "cd /sys/class/dmi/id; cat sys_vendor product_name product_serial product_uuid").splitlines()
    assert dmi[:2] == ["VMware, Inc.", "VMware Virtual Platform"]
    assert dmi[2].startswith("VMware-42 00 00 00") and dmi[3].lower() == vm.uuid
    assert real.shell(vm, "lscpu | grep ^Socket").split()[-1] == "1"
    assert real.shell(vm, "systemd-detect-virt") == "vmware"


def test_memory_is_the_vms(shared: Shared) -> None:
    real, vm = shared.real, shared.on()
    total_mb = int(real.shell(vm, "cat /proc/meminfo | head -1").split()[1]) // 1024
    if real.can(Ability.FULL_MEMORY):
        assert vm.memory_mb * 0.9 < total_mb <= vm.memory_mb
    else:
        assert vm.memory_mb > CAP_MB
        assert total_mb == int(Path("/proc/meminfo").read_text().split()[1]) // 1024  # this machine's
        memory = real.driver.guests[vm.moid].memory_mb  # type: ignore[attr-defined]
        assert memory == CAP_MB


def test_the_console_takes_a_login_and_keeps_a_log(shared: Shared) -> None:
    real, vm = shared.real, shared.on()
    record = json.loads((real.driver.folder / folder_name(real, vm) / "guest.json").read_text())  # type: ignore[attr-defined]
    if not real.can(Ability.CONSOLE):
        assert "console" not in record
        return
    assert "Linux" in Path(record["console_log"]).read_text(errors="replace")
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(record["console"])
        console.settimeout(20)
        console.sendall(b"\n")
        seen = b""
        while b"login:" not in seen:
            seen += console.recv(4096)


def folder_name(real: RealBench, vm: Vm) -> str:
    return vm.moid if isinstance(real.driver, PodmanDriver) else vm.instance_uuid


def test_a_running_guest_takes_disks_and_cards(shared: Shared) -> None:
    vm = shared.on()
    card = Nic(4001, "00:50:56:01:02:f1", "testbed", "vmxnet3")
    more = replace(vm, disks=(*vm.disks, DATA_DISK), nics=(*vm.nics, card))
    shared.bench.do("reconfigure", more)
    real = shared.real
    if not real.can(Ability.DISKS):
        assert real.shell(vm, "ls /sys/block | sort").split() == sorted(
            path.name for path in Path("/sys/block").iterdir()
        )
        assert card.mac not in real.shell(vm, "cat /sys/class/net/*/address")
        return
    until(lambda: int(real.shell(vm, "cat /sys/block/sdb/size || echo 0")) == DATA_DISK.size_kb * 2)
    links = real.shell(vm, "ls -l /dev/disk/by-id | grep sdb")
    assert f"wwn-0x{DATA_DISK.uuid.replace('-', '')} " in links, links
    until(lambda: card.mac in real.shell(vm, "cat /sys/class/net/*/address"))
    grown = replace(DATA_DISK, size_kb=2 << 20)
    real.do("reconfigure", replace(more, disks=(*vm.disks, grown)))
    real.shell(vm, "echo 1 > /sys/block/sdb/device/rescan")
    assert int(real.shell(vm, "cat /sys/block/sdb/size")) == grown.size_kb * 2
    real.do("reconfigure", vm)
    until(lambda: real.shell(vm, "test -e /sys/block/sdb || echo gone") == "gone")
    assert card.mac not in real.shell(vm, "cat /sys/class/net/*/address")


def test_a_suspended_guest_goes_on_where_it_was(shared: Shared) -> None:
    bench, vm = shared.bench, shared.on()
    before = uptime(bench, vm)
    running = process_of(bench, vm)
    bench.do("suspend", vm)
    shared.power = SUSPENDED
    assert bench.event(vm, power=SUSPENDED).tools_running is False
    if running:
        assert is_alive(running) is not bench.can(Ability.MEMORY_STATE)
    bench.do("resume", vm)
    assert bench.event(vm, power=POWERED_ON, tools_running=True).hostname == vm.name
    shared.power = POWERED_ON
    assert before <= uptime(bench, vm) < before + 60
    bench.do("suspend", vm)
    bench.do("power_on", vm)  # resumes, too
    bench.event(vm, power=POWERED_ON, tools_running=True)


def uptime(bench: Bench, vm: Vm) -> float:
    return float(bench.shell(vm, "cat /proc/uptime").split()[0]) if isinstance(bench, RealBench) else 0


def test_a_snapshot_with_memory_brings_back_everything(shared: Shared) -> None:
    bench, vm = shared.bench, shared.on()
    write(bench, vm, "/root/before /dev/shm/before")
    bench.do("snapshot", vm, snapshot="5a4e-with-memory", memory=True)
    bench.do("snapshot", vm, snapshot="5a4f-disks", memory=False)
    write(bench, vm, "/root/after /dev/shm/after")
    bench.do("revert", vm, snapshot="5a4e-with-memory", power=POWERED_ON)
    if bench.can(Ability.MEMORY_STATE):
        bench.event(vm, power=POWERED_ON, tools_running=True)
    expected = "before before" if bench.can(Ability.DISK_STATE) else "after before after before"
    found = shared.real.shell(vm, "cd /; ls root dev/shm | grep -e before -e after | xargs")
    assert found == expected
    if bench.can(Ability.DISK_STATE):
        with pytest.raises(GuestError, match="running state"):
            bench.do("revert", vm, snapshot="5a4f-disks", power=POWERED_ON)
        with pytest.raises(GuestError, match="no snapshot"):
            bench.do("revert", vm, snapshot="ffff", power=POWERED_OFF)


def write(bench: Bench, vm: Vm, files: str) -> None:
    if isinstance(bench, RealBench):
        bench.shell(vm, f"touch {files}; sync")


def test_a_clone_has_what_its_source_has(shared: Shared) -> None:
    """Also that of a running source."""
    bench, vm = shared.bench, shared.on()
    clone = bench.vm(2)
    mark = f"mark of {vm.name} {time.time_ns()}"
    if isinstance(bench, RealBench):
        bench.shell(vm, f"echo {mark} > /root/mark; sync")
    bench.do("clone", clone, source=vm.instance_uuid, linked=False, snapshot="")
    bench.do("clone", bench.vm(3), source="5000-never-ran", linked=False, snapshot="")
    if not bench.can(Ability.DISK_STATE):
        bench.start(clone)
        if isinstance(bench, RealBench):
            assert bench.shell(clone, "test -e /root/mark || echo none") == "none"
    else:
        assert mark in raw(bench, clone)
        linked = bench.vm(4)
        bench.do("clone", linked, source=vm.instance_uuid, linked=True, snapshot="5a4e-with-memory")
        assert mark not in raw(bench, linked)
        bench.do("destroy", linked)
    bench.do("destroy", clone)
    assert not (getattr(bench.driver, "folder", Path("/none")) / clone.instance_uuid).exists()


def raw(bench: Bench, vm: Vm) -> str:
    """What a small file wrote to the system disk, found in the blocks that the disk has beyond its image."""
    disks = bench.driver._guest(vm).disks  # type: ignore[attr-defined]
    return str(subprocess.run(["strings", "-n", "8", disks.file(vm.disks[0])], capture_output=True, text=True).stdout)


def test_a_panic_shows_until_a_reset(shared: Shared) -> None:
    if not shared.bench.can(Ability.KERNEL):
        pytest.skip("a guest without a kernel of its own does not panic")
    vm, real = shared.on(), shared.real
    real.do("snapshot", vm, snapshot="5a51-before-the-panic", memory=True)
    real.shell(vm, "(sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &")
    state = real.event(vm, crashed=True, seconds=60)
    assert (state.power, state.tools_running) == (POWERED_ON, False)
    real.do("reset", vm)
    assert real.event(vm, crashed=False).power == POWERED_ON
    real.do("revert", vm, snapshot="5a51-before-the-panic", power=POWERED_ON)
    assert real.event(vm, tools_running=True).hostname == vm.name
    real.do("remove_snapshot", vm, snapshot="5a51-before-the-panic")


def test_a_reboot_and_a_reset_keep_the_vm_on(shared: Shared) -> None:
    bench, vm = shared.bench, shared.on()
    bench.do("reboot", vm)
    if isinstance(bench, RealBench):
        assert bench.event(vm, tools_running=False).power == POWERED_ON
    bench.do("reset", vm)
    bench.event(vm, power=POWERED_ON)
    shared.power = "booting"


def test_changed_hardware_counts_from_the_next_power_on(shared: Shared) -> None:
    """And so do disks on buses that take none while the guest runs."""
    vm = shared.off()
    kinds = ("lsilogic", "lsilogic-sas", "ahci", "nvme")
    disks = [
        Disk(2002 + n, 0, kind, 65536 << n, f"{DATA_DISK.uuid[:-1]}{n}", 1001 + n, 0) for n, kind in enumerate(kinds)
    ]
    card = Nic(4001, "00:50:56:01:02:f2", "testbed", "e1000e")
    shared.vm = replace(
        vm, cpus=3, cores_per_socket=1, memory_mb=1280, disks=(*vm.disks, *disks), nics=(*vm.nics, card)
    )
    shared.bench.do("reconfigure", shared.vm)
    vm, real = shared.on(), shared.real
    if not real.can(Ability.HARDWARE):
        return
    assert real.shell(vm, "nproc") == "3"
    assert 1280 * 0.9 < int(real.shell(vm, "cat /proc/meminfo | head -1").split()[1]) // 1024 <= 1280
    sizes = real.shell(vm, "cat /sys/block/*/size").split()
    assert [str(disk.size_kb * 2) in sizes for disk in disks] == [True] * 4, sizes
    drivers = real.shell(vm, "ls -d /sys/bus/pci/drivers/*/0000:* | cut -d/ -f6").split()
    assert {"vmw_pvscsi", "sym53c8xx", "mptsas", "ahci", "nvme", "vmxnet3", "e1000e"} <= set(drivers)


def test_a_shutdown_ends_in_power_off(shared: Shared) -> None:
    bench, vm = shared.bench, shared.on()
    if isinstance(bench, RealBench) and bench.can(Ability.KERNEL):
        # A reboot is asked of the agent; here it is the power button. The VM's tools are gone with the agent.
        bench.shell(vm, "systemctl stop qemu-guest-agent")
        assert bench.event(vm, tools_running=False).power == POWERED_ON
    bench.do("shutdown", vm)
    state = bench.event(vm, power=POWERED_OFF)
    shared.power = POWERED_OFF
    assert state.to_json() in ({"power": POWERED_OFF}, {"power": POWERED_OFF, "tools_running": False, "mac": vm.mac})


def test_a_revert_of_the_disks_ends_in_power_off(shared: Shared) -> None:
    bench, vm = shared.bench, shared.off()
    bench.do("snapshot", vm, snapshot="5a50-off", memory=True)  # there is no memory to keep
    bench.do("revert", vm, snapshot="5a50-off", power=POWERED_OFF)
    for snapshot in ("5a50-off", "5a4e-with-memory", "5a4f-disks"):
        bench.do("remove_snapshot", vm, snapshot=snapshot)
    if bench.can(Ability.DISK_STATE):
        folder = bench.driver.folder / vm.instance_uuid  # type: ignore[attr-defined]
        assert not list(folder.glob("snapshots/*"))
        assert_whole(folder)


def test_a_guest_that_is_destroyed_leaves_nothing(shared: Shared) -> None:
    bench, vm = shared.bench, shared.vm
    bench.do("power_on", vm)
    running = process_of(bench, vm)
    bench.do("destroy", vm)
    shared.power = POWERED_OFF
    assert not running or not is_alive(running)
    folder = getattr(bench.driver, "folder", None)
    assert folder is None or list(folder.iterdir()) == []
