# SPDX-License-Identifier: GPL-3.0-or-later
"""What only real guests can prove. Needs root and podman."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import inotify, processes, state
from lab.guests.podman import SHARE
from lab.tests.conftest import LabUnderTest
from lab.tests.helpers import Client, vm

pytestmark = pytest.mark.lab


@pytest.fixture
def client(podman_lab: LabUnderTest) -> Iterator[Client]:
    podman_lab.up()
    client = Client(control_of(podman_lab))
    yield client
    client.close()


def port_of(lab: LabUnderTest) -> int:
    return int(json.loads(lab.paths.lab_json.read_text())["vcenter"]["port"])


def control_of(lab: LabUnderTest) -> int:
    return int(json.loads(lab.paths.ready.read_text())["control"])


def key_of(lab: LabUnderTest) -> str:
    return lab.paths.ssh_key.with_suffix(".pub").read_text().strip()


def wait_for_login(lab: LabUnderTest, name: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while (done := lab("ssh", name, "--", "true")).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.1)


def start(lab: LabUnderTest, client: Client, machine: dict[str, Any]) -> dict[str, Any]:
    accept(client.do("power_on", machine))
    return client.event(machine["moid"], power="poweredOn", tools_running=True, hostname=machine["name"])


def accept(reply: dict[str, Any]) -> None:
    assert reply["ok"], reply


def podman(*arguments: str) -> str:
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_a_guest_takes_its_identity_from_guestinfo_and_lets_the_user_in(
    podman_lab: LabUnderTest, client: Client
) -> None:
    machine = vm(1, key_of(podman_lab))
    facts = start(podman_lab, client, machine)
    wait_for_login(podman_lab, machine["name"])
    inside = podman_lab(
        "ssh", machine["name"], "--",
        "hostname; ip -4 -br addr show eth0; cat /sys/class/net/eth0/address; sudo id -un; "
        "findmnt -n /etc/hosts /etc/hostname; sudo hostnamectl set-hostname renamed && cat /etc/hostname; "
        "systemctl is-system-running --wait; ls /etc/ssh/*_key",
    ).stdout  # fmt: skip
    assert machine["name"] in inside
    assert facts["addresses"][0] in inside
    assert facts["mac"] == machine["nics"][0]["mac"] and facts["mac"] in inside
    assert inside.splitlines()[-4:] == ["root", "renamed", "running", "/etc/ssh/ssh_host_ed25519_key"]
    client.event(machine["moid"], hostname="renamed", seconds=10)


def test_power_operations_act_on_the_guest_and_its_disk_survives_them(podman_lab: LabUnderTest, client: Client) -> None:
    machine = vm(2, key_of(podman_lab))
    moid, name = machine["moid"], machine["name"]
    address = start(podman_lab, client, machine)["addresses"]
    container = f"nblab-{podman_lab.paths.lab_id}-{name}"
    podman("exec", container, "sh", "-c", "echo kept > /root/mark")

    accept(client.do("power_off", machine))
    assert client.event(moid, power="poweredOff") == {"power": "poweredOff"}
    assert podman("inspect", "--format", "{{.State.Status}}", container) == "exited"
    accept(client.do("power_on", machine))
    assert client.event(moid, tools_running=True, hostname=name)["addresses"] == address
    assert podman("exec", container, "cat", "/root/mark") == "kept"

    accept(client.do("suspend", machine))
    assert podman("inspect", "--format", "{{.State.Status}}", container) == "paused"
    assert client.event(moid, power="suspended")["tools_running"] is False
    accept(client.do("resume", machine))
    client.event(moid, power="poweredOn", tools_running=True)

    accept(client.do("reset", machine))
    client.event(moid, tools_running=False)
    assert client.event(moid, tools_running=True)["addresses"] == address
    accept(client.do("suspend", machine))
    accept(client.do("destroy", machine))
    assert container not in podman("ps", "--all", "--format", "{{.Names}}").split()


@pytest.mark.parametrize("how", ["from inside", "by the vCenter"])
def test_a_reboot_keeps_the_vm_on_and_a_shutdown_turns_it_off(
    podman_lab: LabUnderTest, client: Client, how: str
) -> None:
    machine = vm(3, key_of(podman_lab))
    moid, name = machine["moid"], machine["name"]
    container = f"nblab-{podman_lab.paths.lab_id}-{name}"
    start(podman_lab, client, machine)

    def ask(operation: str, verb: str) -> None:
        if how == "by the vCenter":
            accept(client.do(operation, machine))
        else:
            wait_for_login(podman_lab, name)
            podman_lab("ssh", name, "--", f"sudo systemctl {verb}")

    before = podman("inspect", "--format", "{{.State.Pid}}", container)
    ask("reboot", "reboot")
    assert client.event(moid, tools_running=False)["power"] == "poweredOn"
    client.event(moid, tools_running=True, hostname=name)
    assert podman("inspect", "--format", "{{.State.Pid}}", container) != before
    ask("shutdown", "poweroff")
    client.event(moid, power="poweredOff")


def test_memory_follows_a_reconfiguration_up_to_the_cap(podman_lab: LabUnderTest, client: Client) -> None:
    machine = vm(4, key_of(podman_lab), memory_mb=1024)
    start(podman_lab, client, machine)
    container = f"nblab-{podman_lab.paths.lab_id}-{machine['name']}"
    pid = podman("inspect", "--format", "{{.State.Pid}}", container)
    assert memory_limit_of(pid) == 1024 << 20
    accept(client.do("reconfigure", {**machine, "memory_mb": 2048}))
    assert memory_limit_of(pid) == 2048 << 20
    accept(client.do("power_off", machine))
    accept(client.do("power_on", {**machine, "memory_mb": 1 << 30}))
    cap = json.loads(podman_lab.paths.launch.read_text())["cap_mb"]
    assert memory_limit_of(podman("inspect", "--format", "{{.State.Pid}}", container)) == cap << 20


def memory_limit_of(pid: str) -> int:
    rows = (line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    groups = {controllers: path for _, controllers, path in rows}
    if "memory" in groups:
        path = groups["memory"]
        folder = Path("/sys/fs/cgroup/memory" + path)
        while not (folder.parent / "memory.limit_in_bytes").exists() or "libpod" not in folder.name:
            folder = folder.parent
        return int((folder / "memory.limit_in_bytes").read_text())
    folder = Path("/sys/fs/cgroup" + groups[""])
    while "libpod" not in folder.name:
        folder = folder.parent
    return int((folder / "memory.max").read_text())


def test_a_guest_without_inotify_fails_its_power_on_with_the_command_that_helps(
    podman_lab: LabUnderTest, client: Client
) -> None:
    before = inotify.current()
    inotify.SETTING.write_text("0\n")  # with 1 the first guest of a quiet machine still gets its instance
    try:
        reply = client.do("power_on", vm(5))
        meanwhile = inotify.current()
    finally:
        inotify.SETTING.write_text(f"{before}\n")
    if meanwhile != 0:
        pytest.skip("another lab of this machine changed the setting meanwhile")
    assert not reply["ok"]
    assert "sudo sysctl -w fs.inotify.max_user_instances=" in reply["error"]["message"]
    accept(client.do("power_on", vm(5)))  # nothing is stuck


def test_up_repairs_after_the_daemon_was_killed_and_down_leaves_nothing(
    podman_lab: LabUnderTest, client: Client
) -> None:
    lab_id = podman_lab.paths.lab_id
    start(podman_lab, client, vm(6, key_of(podman_lab)))
    port, pid = port_of(podman_lab), state.daemon_pid(podman_lab.paths)
    assert pid
    os.kill(pid, signal.SIGKILL)
    said = podman_lab.up()
    assert f"removed 1 guest(s) whose vCenter is gone: nblab-{lab_id}-nb-test-06" in said
    assert port_of(podman_lab) == port
    again = Client(control_of(podman_lab))
    start(podman_lab, again, vm(6, key_of(podman_lab)))
    start(podman_lab, again, vm(8, key_of(podman_lab)))
    accept(again.do("suspend", vm(8)))
    again.close()
    assert podman_lab("down").returncode == 0
    assert_nothing_left_of(podman_lab)


def assert_nothing_left_of(lab: LabUnderTest) -> None:
    """Asserts that nothing of this lab is on the machine any more."""
    lab_id, folder = lab.paths.lab_id, str(lab.paths.state)
    assert not lab.paths.state.exists()
    assert lab_id not in podman("ps", "--all", "--format", "{{.Names}} {{.Labels}}")
    assert lab_id not in podman("network", "ls", "--format", "{{.Name}} {{.Labels}}")
    assert lab_id not in Path("/proc/mounts").read_text() and folder not in Path("/proc/mounts").read_text()
    for entry in Path("/proc").glob("[0-9]*"):
        words = " ".join(processes._command_line(int(entry.name)))
        assert folder not in words and f"nblab-{lab_id}" not in words, words


def test_two_labs_run_side_by_side_and_one_goes_without_the_other(tmp_path: Path) -> None:
    labs = [LabUnderTest(tmp_path / name, "podman") for name in ("one", "two")]
    try:
        clients = []
        for lab in labs:
            lab.up()
            clients.append(Client(control_of(lab)))
        pairs = zip(labs, clients, strict=True)
        addresses = [start(lab, client, vm(7, key_of(lab)))["addresses"] for lab, client in pairs]
        assert addresses[0] != addresses[1]
        assert labs[0]("down").returncode == 0
        assert_nothing_left_of(labs[0])
        wait_for_login(labs[1], "nb-test-07")
        accept(clients[1].do("power_off", vm(7)))
        start(labs[1], clients[1], vm(7, key_of(labs[1])))
        for client in clients:
            client.close()
    finally:
        assert [lab("down").returncode for lab in labs] == [0, 0]


def test_guests_write_into_one_folder_that_goes_with_the_lab(podman_lab: LabUnderTest, client: Client) -> None:
    machines = [vm(number, key_of(podman_lab)) for number in (7, 8)]
    for machine in machines:
        start(podman_lab, client, machine)
        wait_for_login(podman_lab, machine["name"])
        mark = f"touch {SHARE}/{machine['name']}"
        assert podman_lab("ssh", machine["name"], "--", mark).returncode == 0
    seen = podman_lab("ssh", machines[0]["name"], "--", f"ls {SHARE}").stdout.split()
    assert seen == [machine["name"] for machine in machines]
    assert podman_lab("down").returncode == 0
    assert not podman_lab.paths.share.exists()
