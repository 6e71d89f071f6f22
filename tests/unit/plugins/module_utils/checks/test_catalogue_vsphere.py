# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of the vSphere checks, and the list of privileges: shape, and what agrees with what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import (
    vsphere_machine,
    vsphere_privileges,
    vsphere_server,
    vsphere_wish,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue_vsphere import (
    MACHINE,
    PLATFORM,
    VCENTER,
    WISH,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import Check
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import MachineFacts, Site
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_privileges import Use

from tests.unit.plugins.module_utils.checks.test_vsphere_platform import server
from tests.unit.plugins.module_utils.checks.vsphere_examples import WISHED_STATIC, wish

ROOT = Path(__file__).parents[5]
ROWS = vsphere_privileges.read(yaml.safe_load((ROOT / "playbooks/files/vcenter_role.yml").read_text())["privileges"])


@pytest.mark.parametrize("check", [*PLATFORM, *MACHINE], ids=lambda check: str(check.id))
def test_a_row_reads_well_and_its_command_exists(check: Check) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z0-9_]+", check.id)
    assert check.stage == ("machine" if check in MACHINE else "platform")
    assert not check.title[0].islower() or check.title.startswith("vCenter")
    assert not check.title.endswith(".")
    assert check.fix.text.endswith((".", "true")) or ":" in check.fix.text
    for playbook in re.findall(r"playbooks/\w+\.yml", f"{check.fix.text} {check.fix.run}"):
        assert (ROOT / playbook).is_file(), playbook


def test_ids_are_there_once_and_each_has_a_probe() -> None:
    ids = [check.id for check in (*PLATFORM, *MACHINE)]
    assert len(ids) == len(set(ids))
    assert {check.id for check in VCENTER} == set(vsphere_server.probes(server(), None, "here"))
    assert {check.id for check in WISH} == set(vsphere_wish.probes(Site(wish())))
    assert {check.id for check in MACHINE} == set(vsphere_machine.probes(MachineFacts(wish(), "me")))


def test_every_optional_privilege_of_the_role_has_its_rule() -> None:
    assert {row.id for row in ROWS if row.optional} == set(vsphere_privileges.NEEDED)
    assert set(vsphere_privileges.BY_SOURCE) | set(vsphere_privileges.SOFT) <= {row.id for row in ROWS}


@pytest.mark.parametrize(
    ("use", "asked", "unasked"),
    [
        (Use(wish(), "template"), {"template": {"VirtualMachine.Provisioning.DeployTemplate"}}, {"Folder.Create"}),
        (
            Use(wish(), "vm"),
            {"template": {"VirtualMachine.Provisioning.Clone"}},
            {"VirtualMachine.Provisioning.DeployTemplate"},
        ),
        (
            Use(wish(), "ovf"),
            {"compute": {"Resource.AssignVMToPool", "VApp.Import"}},
            {"ContentLibrary.DownloadSession"},
        ),
        (
            Use(wish(), "", makes_folder=True),
            {"folder": {"Folder.Create"}},
            {"VirtualMachine.Provisioning.DeployTemplate"},
        ),
        (Use(wish(**WISHED_STATIC), "template"), {"folder": {"Resource.ColdMigrate"}}, {"StorageProfile.View"}),
        (Use(wish(lifecycle={"power": "suspended"})), {"folder": {"VirtualMachine.Interact.Suspend"}}, set()),
        (Use(wish(placement={"storage_policy": "gold"})), {"root": {"StorageProfile.View"}}, set()),
    ],
)
def test_a_wish_needs_its_privileges_and_no_others(use: Use, asked: dict[str, set[str]], unasked: set[str]) -> None:
    found = vsphere_privileges.by_place(ROWS, [use])
    for place, ids in asked.items():
        assert ids <= found[place]
    assert not unasked & set().union(*found.values())
    assert "library" not in found
