# SPDX-License-Identifier: GPL-3.0-or-later
"""What breaks in the middle of configuring a host is mended by the next run: a lost connection, a lost VM, a full disk.

Each test breaks the same real guest in its own way, and ends with a run that passes and a host that its tests accept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyVmomi import vim

from tests.integration.conftest import BIN, ROOT, Lab
from tests.integration.test_fleet import session

pytestmark = pytest.mark.lab

NAME = "nb-baseline-01"
VENV = "/home/tester/nano-env"
PATIENCE = 90.0
# A dead peer is noticed within four seconds, where the inventory waits two minutes.
IMPATIENT = "-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=2 -o ServerAliveCountMax=2"


@dataclass
class Host:
    """A guest that one can look into beside Ansible's connection."""

    lab: Lab
    container: str
    play: Path

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the guest as root."""
        done = subprocess.run(["podman", "exec", self.container, *command], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def configure(self) -> subprocess.CompletedProcess[str]:
        return self.lab.playbook(str(self.play), "--limit", NAME, timeout=300)

    def begin(self) -> subprocess.Popen[str]:
        command = [str(BIN / "ansible-playbook"), str(self.play), "--limit", NAME]
        # a connection of its own: one that an earlier play left open has that play's patience
        env = self.lab.env | {"ANSIBLE_SSH_ARGS": IMPATIENT, "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{self.lab.state}/cp"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=pipe, stderr=subprocess.STDOUT)

    def wait_for_program(self, pattern: str) -> None:
        """Wait until a program whose command line matches runs in the guest."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.run("pgrep", "--full", pattern, check=False):
                return
            time.sleep(0.05)
        raise AssertionError(f"no program '{pattern}' in the guest within {PATIENCE:.0f} s")

    def forget(self) -> None:
        """The environment and all marks of it are gone, as on a bare clone."""
        self.run("rm", "-rf", VENV)

    def is_mended(self) -> None:
        """The next run passes, and the host's own tests accept what it made."""
        suites = ["-e", json.dumps({"verify_suites": ["pyenv", "model"]})]
        for arguments in (["playbooks/provision.yml"], [str(self.play)], ["playbooks/verify.yml", *suites]):
            done = self.lab.playbook(*arguments, "--limit", NAME, timeout=300)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def host(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A configured host, and a play of the two roles that download, build and fill its disk."""
    lab = start_lab("podman")
    for playbook in ("provision", "configure"):
        made = lab.playbook(f"playbooks/{playbook}.yml", "--limit", NAME)
        assert made.returncode == 0, made.stdout + made.stderr
    command = [sys.executable, "-m", "lab", "status", "--json"]
    told = subprocess.run(command, cwd=ROOT, env=lab.env, capture_output=True, text=True, check=True).stdout
    (guest,) = json.loads(told)["guests"]
    ready = {"name": "Get ready", "ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/ready.yml")}
    roles = ["nanobanana.testbed.pyenv", "nanobanana.testbed.model"]
    play = tmp_path_factory.mktemp("play") / "play.yml"
    play.write_text(json.dumps([{"hosts": NAME, "gather_facts": False, "pre_tasks": [ready], "roles": roles}]))
    yield Host(lab, guest["container"], play)


def test_a_connection_that_is_cut_in_the_middle(host: Host) -> None:
    host.forget()
    play = host.begin()
    host.wait_for_program("pip.*--require-hashes")
    control_node = host.run("ip", "route", "show", "default").split()[2]
    host.run("ip", "route", "add", "blackhole", control_node)
    told, _nothing = play.communicate(timeout=PATIENCE)
    assert play.returncode == 4, told
    assert "unreachable=1" in told
    host.run("ip", "route", "delete", "blackhole", control_node)
    host.is_mended()


def test_a_vm_that_is_reset_in_the_middle(host: Host) -> None:
    host.forget()
    play = host.begin()
    host.wait_for_program(f"venv --clear {VENV}")
    with session(host.lab) as content:
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        next(vm for vm in view.view if vm.name == NAME).ResetVM_Task()
    told, _nothing = play.communicate(timeout=PATIENCE)
    assert play.returncode == 4, told
    host.is_mended()


def test_a_disk_that_is_full(host: Host) -> None:
    host.forget()
    host.run("install", "-d", "-o", "tester", VENV)
    host.run("mount", "-t", "tmpfs", "-o", "size=6m,uid=1000,mode=755", "tmpfs", VENV)
    try:
        done = host.configure()
        assert done.returncode == 2, done.stdout
        assert f"{VENV} was not made. Look at the space that is left:" in done.stdout + done.stderr
        assert "100%" in done.stdout + done.stderr
    finally:
        host.run("umount", VENV)
    host.is_mended()
