# SPDX-License-Identifier: GPL-3.0-or-later
"""The least-privilege role: its data, the playbook that makes it, and what vCenter then holds."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVim.task import WaitForTask

from tests.integration.conftest import ROOT, Lab, wait_for, wish
from tests.integration.test_fleet import session, writes

pytestmark = pytest.mark.integration
ROLE = yaml.safe_load((ROOT / "playbooks/files/vcenter_role.yml").read_text())
PLACES = set(ROLE["places"])
OWN, OTHER = "VSPHERE.LOCAL\\testbed", "VSPHERE.LOCAL\\another"
ALWAYS = {"System.Anonymous", "System.Read", "System.View"}  # every role has them


def grant(lab: Lab, principal: str, *arguments: str) -> tuple[int, str]:
    """The playbook, run by an administrator."""
    options = lab.administrator() | {"vcenter_role_principal": principal}
    done = lab.playbook("playbooks/vcenter_role.yml", "-e", json.dumps(options), *arguments)
    return done.returncode, done.stdout + done.stderr


def roles(lab: Lab) -> dict[str, set[str]]:
    with session(lab) as content:
        return {role.name: set(role.privilege) for role in content.authorizationManager.roleList}


def granted(lab: Lab, principal: str) -> set[tuple[str, str, str, bool]]:
    with session(lab) as content:
        names = {role.roleId: role.name for role in content.authorizationManager.roleList}
        return {
            (type(item.entity).__name__, item.entity.name, names[item.roleId], item.propagate)
            for item in content.authorizationManager.RetrieveAllPermissions()
            if item.principal == principal
        }


def take_away(lab: Lab, principal: str) -> None:
    with session(lab) as content:
        manager = content.authorizationManager
        for item in manager.RetrieveAllPermissions():
            if item.principal == principal:
                manager.RemoveEntityPermission(item.entity, principal, False)
        for role in manager.roleList:
            if role.name.startswith(ROLE["name"]):
                manager.RemoveAuthorizationRole(role.roleId, False)


def test_each_privilege_says_where_and_why() -> None:
    for row in ROLE["privileges"]:
        assert set(row) <= {"id", "where", "why", "optional"}
        assert row["why"]
        assert row["where"]
        assert set(row["where"]) <= PLACES, row
    assert len(ROLE["privileges"]) == len({row["id"] for row in ROLE["privileges"]})


def test_the_lab_s_login_holds_what_the_playbook_grants(lab: Lab) -> None:
    code, output = grant(lab, OWN)
    assert code == 0, output
    assert "changed=0" in output


def test_other_ways_to_wish_for_the_same_places_need_no_more(lab: Lab) -> None:
    wishes = {
        "vm_template": {"inventory": "nano-banana/nano-banana-baseline-template"},
        "vm_placement": wish("a")["placement"] | {"folder": "nano-banana/deep", "create_folder": True},
        "vcenter_role_more": [["network", "testbed", "DistributedVirtualPortgroup"]],
    }
    code, output = grant(lab, OWN, "-e", json.dumps(wishes))
    assert code == 0, output
    assert "changed=0" in output


def test_check_mode_shows_the_grants_and_writes_nothing(lab: Lab) -> None:
    since = len(lab.calls())
    code, output = grant(lab, OTHER, "--check")
    assert code == 0, output
    assert not [method for method in writes(lab, since) if "Role" in method or "Permission" in method]
    assert granted(lab, OTHER) == set()


def test_another_user_gets_the_same(lab: Lab) -> None:
    code, output = grant(lab, OTHER)
    assert code == 0, output
    assert "Global Permissions" in output
    for name, privileges in roles(lab).items():
        if name.startswith(ROLE["name"]):
            place = name.removeprefix(ROLE["name"] + "-")
            assert privileges == ALWAYS | {row["id"] for row in ROLE["privileges"] if place in row["where"]}
    found = granted(lab, OTHER)
    templates = {
        ("vim.VirtualMachine", f"nano-banana-{name}-template") for name in ("baseline", "compatibility", "stress")
    }
    assert found == granted(lab, OWN)
    assert {row[:2] for row in found} == templates | {
        ("vim.Folder", "Datacenters"),
        ("vim.Datacenter", "DC0"),
        ("vim.Folder", "nano-banana"),
        ("vim.ClusterComputeResource", "gpu-cluster"),
        ("vim.Datastore", "vmfs-01"),
        ("vim.dvs.DistributedVirtualPortgroup", "testbed"),
    }
    code, output = grant(lab, OTHER)
    assert code == 0, output
    assert "changed=0" in output


def test_nothing_works_before_the_playbook_ran_and_everything_after(start_lab: Callable[..., Lab]) -> None:
    lab = start_lab("fake")
    take_away(lab, OWN)
    with pytest.raises(TestbedError, match="without one a login sees no library"):
        lab.fleet(wish("a"))
    outcome = lab.fleet(wish("a", template={"inventory": "nano-banana-baseline-template"}))
    assert outcome.error is not None
    assert outcome.error.error_code == "no_permission"
    code, output = grant(lab, OWN)
    assert code == 0, output
    made = lab.fleet(wish("a"))
    assert made.error is None
    assert lab.fleet({"name": "a"}, state="absent").changed


def test_the_login_has_no_power_over_what_is_not_its_own(lab: Lab) -> None:
    """Neither over the templates, nor over VMs of its cluster that lie in another folder."""
    lab.fleet(wish("theirs", lifecycle={"power": "off"}))
    with session(lab) as content:
        center = next(item for item in content.rootFolder.childEntity if item.name == "DC0")
        machine = next(iter(lookup.find_vms(content, ["theirs"]).values()))
        wait_for(center.vmFolder.MoveIntoFolder_Task([machine]))
    outcome = lab.fleet({"name": "theirs"}, state="absent")
    assert outcome.error is not None
    assert f"privilege VirtualMachine.Inventory.Delete on {machine._moId}" in str(outcome.error)
    with session(lab) as content:
        manager = content.authorizationManager
        found = lookup.find_vms(content, ["nano-banana-baseline-template", "theirs"])
        template = found["nano-banana-baseline-template"]
        (held,) = manager.FetchUserPrivilegeOnEntities([template], lab.vcenter["username"])
        assert set(held.privileges) == ALWAYS | {row["id"] for row in ROLE["privileges"] if "template" in row["where"]}
        WaitForTask(found["theirs"].Destroy_Task())


@pytest.mark.parametrize("name", ["", "testbed@vsphere.local"])
def test_a_user_in_another_form_is_refused(lab: Lab, name: str) -> None:
    code, output = grant(lab, name)
    assert code == 2
    assert "expected a user as DOMAIN" in output
