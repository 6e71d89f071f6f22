# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs of the tests' own, beside any that the checkout runs: with made-up guests (fast), or with real ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import fleet_call
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.limits import DEFAULTS
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.outcome import Outcome
from pyVmomi import vim

from lab.build import build_vcenter
from lab.paths import Paths

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass
class Lab:
    """A running lab and how to talk to it."""

    state: Path
    env: dict[str, str]

    @property
    def vcenter(self) -> dict[str, Any]:
        loaded = json.loads((self.state / "lab.json").read_text())["vcenter"]
        return dict(loaded)

    @property
    def password(self) -> str:
        return Path(self.vcenter["password_file"]).read_text().strip()

    def administrator(self) -> dict[str, str]:
        """The login of whoever is not the testbed: a colleague, an accident, the one who grants roles."""
        password = Path(self.vcenter["admin_password_file"]).read_text().strip()
        return {"vsphere_username": self.vcenter["admin_username"], "vsphere_password": password}

    def calls(self) -> list[dict[str, Any]]:
        """The vCenter's own log of calls, without a last line that it is still writing."""
        lines = (self.state / "logs/calls.jsonl").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def connection(self) -> dict[str, Any]:
        """The connection options of a module, with the login that holds the project's roles and nothing else."""
        return {
            "vsphere_hostname": self.vcenter["hostname"],
            "vsphere_port": self.vcenter["port"],
            "vsphere_username": self.vcenter["username"],
            "vsphere_password": self.password,
            "vsphere_validate_certs": True,
            "vsphere_ca_file": self.vcenter["ca_file"],
        }

    def peer(self) -> dict[str, str]:
        """The environment of somebody else's modules of community.vmware."""
        login = self.administrator()
        return {
            "VMWARE_HOST": self.vcenter["hostname"],
            "VMWARE_PORT": str(self.vcenter["port"]),
            "VMWARE_USER": login["vsphere_username"],
            "VMWARE_PASSWORD": login["vsphere_password"],
            # they have no option for an authority of one's own: they take the process's
            "SSL_CERT_FILE": self.vcenter["ca_file"],
            "REQUESTS_CA_BUNDLE": self.vcenter["ca_file"],
        }

    def fleet(self, *vms: dict[str, Any], check: bool = False, **options: Any) -> Outcome:
        """Call the module's logic as main() does, without a process of its own."""
        params = {name: option.get("default") for name, option in fleet_call.argument_spec().items()}
        params |= {"owner": "tests", "run": "r1", "limits": dict(DEFAULTS)}
        return fleet_call.act({**params, **self.connection(), **options, "vms": list(vms)}, check=check)[0]

    def playbook(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ansible-playbook from the checkout."""
        command = [str(BIN / "ansible-playbook"), *arguments]
        env = {**self.env, **options.pop("env", {})}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, **options)


def lab_command(env: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def start_lab() -> Iterator[Callable[..., Lab]]:
    """Starts labs; each is stopped at the end of the session."""
    started: list[Lab] = []

    def start(guests: str, **extra: str) -> Lab:
        # a short path outside the checkout: nothing of a test's lab can be mistaken for the user's own
        state = Path(tempfile.mkdtemp(prefix="nbl-"))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("VMWARE_", "ANSIBLE_"))}
        env = kept | {
            "NANOBANANA_LAB_STATE": str(state / "lab"),
            "NANOBANANA_ARTIFACTS": str(state / "artifacts"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(state / "facts"),
            "ANSIBLE_NOCOLOR": "1",
            **extra,
        }
        lab = Lab(state / "lab", env)
        started.append(lab)
        lab_command(env, "up", "--guests", guests)
        return lab

    yield start
    for lab in started:
        lab_command(lab.env, "down")
        assert not lab.state.exists(), "lab down left its state folder behind"
        shutil.rmtree(lab.state.parent)


@pytest.fixture(scope="session")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """The vCenter with made-up guests."""
    return start_lab("fake")


@pytest.fixture(scope="session")
def machine_lab(start_lab: Callable[..., Lab]) -> Lab:
    """The vCenter with made-up guests, but for VMs of these names, which are QEMU machines."""
    return start_lab("fake", NANOBANANA_LAB_GUEST_RULES="machine-*=qemu nb-machine-*=qemu")


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test of the made-up lab starts and ends without VMs."""
    yield
    if "lab" in request.fixturenames:
        found: Lab = request.getfixturevalue("lab")
        found.fleet(state="absent", all_owned=True)


def wish(name: str, environment: str = "baseline", **fields: Any) -> dict[str, Any]:
    """A wish that the lab can meet."""
    return {
        "name": name,
        "template": {"library": "nano-banana", "item": f"nano-banana-{environment}-template"},
        "cpus": 2,
        "memory_mb": 2048,
        "disks": [{"name": "data", "size_gb": 20}],
        "networks": [{"network": "testbed"}],
        "placement": {
            "datacenter": "DC0",
            "folder": "nano-banana",
            "cluster": "gpu-cluster",
            "datastore": "vmfs-01",
        },
        "customization": {"userdata": "#cloud-config\npassword: s3cret-userdata"},
    } | fields


def wait_for(task: Any) -> None:
    """Wait for a task that a test started itself; pyVim's own wait fails on names of tasks that it does not know."""
    while task.info.state in ("queued", "running"):
        time.sleep(0.05)
    assert task.info.state == "success", task.info.error


def lab_whose_role_lacks(start_lab: Callable[..., Lab], folder: Path, missing: Iterable[str]) -> Lab:
    """A vCenter whose administrator forgot some privileges of the role, everywhere."""
    program = folder / "vcenter"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, sys\n"
        "file = pathlib.Path(sys.argv[sys.argv.index('-roles') + 1])\n"
        "role = json.loads(file.read_text())\n"
        f"for held in role['roles'].values(): held[:] = [item for item in held if item not in {tuple(missing)!r}]\n"
        "file.write_text(json.dumps(role))\n"
        f"os.execv({str(build_vcenter(Paths.of_checkout()))!r}, sys.argv)\n"
    )
    program.chmod(0o755)
    return start_lab("fake", NANOBANANA_LAB_VCENTER=str(program))


def give_role(content: Any, entity: Any, place: str) -> None:
    """As the administrator: the lab's login holds the role for this kind of place on one more object."""
    manager = content.authorizationManager
    (role,) = [item.roleId for item in manager.roleList if item.name == f"nanobanana-testbed-{place}"]
    permission = vim.AuthorizationManager.Permission(
        principal="VSPHERE.LOCAL\\testbed", group=False, roleId=role, propagate=True
    )
    manager.SetEntityPermissions(entity, [permission])
