# SPDX-License-Identifier: GPL-3.0-or-later
"""fleet with the login that holds only the project's role, and what it says where the role lacks something."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.build import build_vcenter
from lab.paths import Paths
from tests.integration.conftest import Lab, wish
from tests.integration.test_fleet import vm_names

pytestmark = pytest.mark.integration


def limited(lab: Lab) -> dict[str, Any]:
    """The connection options of the second login."""
    password = Path(lab.vcenter["limited_password_file"]).read_text().strip()
    return {"vsphere_username": lab.vcenter["limited_username"], "vsphere_password": password}


MISSING = ("VirtualMachine.Interact.PowerOn", "VirtualMachine.Config.DiskExtend", "VirtualMachine.Config.AddNewDisk")


@pytest.fixture(scope="module")
def poor(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vCenter whose administrator forgot some privileges of the role."""
    program = tmp_path_factory.mktemp("poor") / "vcenter"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, sys\n"
        "file = pathlib.Path(sys.argv[sys.argv.index('-roles') + 1])\n"
        "role = json.loads(file.read_text())\n"
        f"role['privileges'] = [item for item in role['privileges'] if item not in {MISSING!r}]\n"
        "file.write_text(json.dumps(role))\n"
        f"os.execv({str(build_vcenter(Paths.of_checkout()))!r}, sys.argv)\n"
    )
    program.chmod(0o755)
    return start_lab("fake", NANOBANANA_LAB_VCENTER=str(program))


def test_the_role_is_enough_for_create_change_and_delete(lab: Lab) -> None:
    login = limited(lab)
    since = len(lab.calls())
    vms = [wish("a"), wish("b", "stress", lifecycle={"power": "off"})]
    assert lab.fleet(*vms, check=True, **login).changed
    assert lab.fleet(*vms, **login).changed
    assert not lab.fleet(*vms, **login).changed
    bigger = wish("b", "stress", cpus=4, disks=[{"name": "data", "size_gb": 30}], lifecycle={"power": "off"})
    assert lab.fleet(bigger, **login).changed
    assert not lab.fleet(bigger, **login).changed
    assert lab.fleet(state="absent", all_owned=True, **login).changed
    assert vm_names(lab) == []
    calls = lab.calls()[since:]
    assert not [call for call in calls if call["fault"]]
    writers = {call["user"] for call in calls if call["write"]}
    assert writers == {lab.vcenter["limited_username"]}


@pytest.mark.parametrize(
    ("missing", "vm"),
    [
        ("VirtualMachine.Config.AddNewDisk", wish("a", lifecycle={"power": "off"})),
        ("VirtualMachine.Interact.PowerOn", wish("a", disks=[])),
        ("VirtualMachine.Config.DiskExtend", wish("a", disks=[{"name": "data", "size_gb": 30}])),
    ],
)
def test_a_missing_privilege_is_named(poor: Lab, missing: str, vm: dict[str, Any]) -> None:
    if missing.endswith("DiskExtend"):
        poor.fleet(wish("a", lifecycle={"power": "off"}))
    began = time.monotonic()
    outcome = poor.fleet(vm, **limited(poor))
    assert outcome.error is not None
    assert outcome.error.error_code == "no_permission"
    assert f"privilege {missing} on " in str(outcome.error)
    assert "grant the privilege" in str(outcome.error)
    assert time.monotonic() - began < 30, "what nobody may do is not tried again and again"
    poor.fleet(state="absent", all_owned=True)


def test_the_gate_and_provisioning_run_with_that_login(lab: Lab, tmp_path: Path) -> None:
    login = json.dumps(limited(lab))
    (tmp_path / "login.json").write_text(login)
    for playbook in ("playbooks/preflight_platform.yml", "playbooks/janitor.yml", "playbooks/teardown.yml"):
        done = lab.playbook("-i", "inventories/lab", playbook, "-e", f"@{tmp_path / 'login.json'}")
        assert done.returncode == 0, done.stdout + done.stderr
