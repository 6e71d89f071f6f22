# SPDX-License-Identifier: GPL-3.0-or-later
"""The least-privilege role: its data, the playbook that makes it, and what vCenter then holds."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.integration.conftest import ROOT, Lab
from tests.integration.test_fleet import session, writes

pytestmark = pytest.mark.integration
ROLE = yaml.safe_load((ROOT / "playbooks/files/vcenter_role.yml").read_text())
IDS = {row["id"] for row in ROLE["privileges"] if row["where"] != ["library"]}
COMMAND = ["playbooks/vcenter_role.yml", "-e", json.dumps({"vcenter_role_principal": "VSPHERE.LOCAL\\testbed"})]
ALWAYS = {"System.Anonymous", "System.Read", "System.View"}  # every role has them


def roles(lab: Lab) -> dict[str, set[str]]:
    with session(lab) as content:
        return {role.name: set(role.privilege) for role in content.authorizationManager.roleList}


def test_each_privilege_says_where_and_why() -> None:
    kinds = {"folder", "compute", "datastore", "network", "template", "root", "library"}
    for row in ROLE["privileges"]:
        assert set(row) <= {"id", "where", "why", "optional"}
        assert row["why"]
        assert row["where"]
        assert set(row["where"]) <= kinds, row
    assert len(ROLE["privileges"]) == len({row["id"] for row in ROLE["privileges"]})


def test_check_mode_shows_the_role_and_writes_nothing(lab: Lab) -> None:
    since = len(lab.calls())
    done = lab.playbook(*COMMAND, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout
    assert not [method for method in writes(lab, since) if "Role" in method or "Permission" in method]
    assert ROLE["name"] not in roles(lab)


def test_the_playbook_makes_and_grants_the_role_once(lab: Lab) -> None:
    done = lab.playbook(*COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Global Permissions" in done.stdout
    found = roles(lab)
    assert found[ROLE["name"]] == IDS | ALWAYS
    assert found[ROLE["name"] + "-library"] == {"ContentLibrary.DownloadSession"} | ALWAYS
    with session(lab) as content:
        names = {role.roleId: role.name for role in content.authorizationManager.roleList}
        permissions = content.authorizationManager.RetrieveAllPermissions()
        granted = {
            (type(item.entity).__name__, item.entity.name, names[item.roleId], item.propagate)
            for item in permissions
            if item.principal == "VSPHERE.LOCAL\\testbed"
        }
    assert granted == {
        ("vim.Folder", "Datacenters", ROLE["name"], False),
        ("vim.Datacenter", "DC0", "ReadOnly", True),
        ("vim.Folder", "nano-banana", ROLE["name"], True),
        ("vim.ClusterComputeResource", "gpu-cluster", ROLE["name"], True),
        ("vim.Datastore", "vmfs-01", ROLE["name"], True),
        ("vim.dvs.DistributedVirtualPortgroup", "testbed", ROLE["name"], True),
    }
    again = lab.playbook(*COMMAND)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "changed=0" in again.stdout


@pytest.mark.parametrize("name", ["", "testbed@vsphere.local"])
def test_a_user_in_another_form_is_refused(lab: Lab, name: str) -> None:
    done = lab.playbook("playbooks/vcenter_role.yml", "-e", json.dumps({"vcenter_role_principal": name}))
    assert done.returncode == 2
    assert "expected a user as DOMAIN" in done.stdout + done.stderr
