# SPDX-License-Identifier: GPL-3.0-or-later
"""Expiry, janitor and adoption against the lab's vCenter: who may remove or take over which VM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.integration.conftest import ROOT, Lab, wish
from tests.integration.test_fleet import session, vm_names, writes

pytestmark = pytest.mark.integration
OFF = {"lifecycle": {"power": "off"}}
OVER = "2020-01-01T00:00:00Z"


def write_keys(lab: Lab, name: str, **marks: str) -> None:
    """Somebody edits a VM's marks by hand; an empty value removes one."""
    keys = [vim.option.OptionValue(key=f"nanobanana.{key}", value=value) for key, value in marks.items()]
    with session(lab) as content:
        machine = lookup.find_vms(content, [name])[name]
        WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=keys)))


def keys_of(lab: Lab, name: str) -> dict[str, str]:
    with session(lab) as content:
        machine = lookup.find_vms(content, [name])[name]
        return {option.key: option.value for option in machine.config.extraConfig}


def reap(lab: Lab, *names: str, check: bool = False) -> Any:
    options = {"state": "absent", "all_owned": not names, "expired_only": True}
    return lab.fleet(*({"name": name} for name in names), check=check, **options)


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_only_expired_vms_of_this_owner_go(lab: Lab, check: bool) -> None:
    lab.fleet(wish("old"), wish("young"), wish("odd"))
    lab.fleet(wish("theirs", **OFF), owner="somebody")
    try:
        for name, expires in {"old": OVER, "odd": "soon", "theirs": OVER}.items():
            write_keys(lab, name, expires=expires)
        since = len(lab.calls())
        first = reap(lab, check=check)
        assert first.changed
        assert first.after == {"old": {"power": "off", "state": "absent"}}
        assert len(first.warnings) == 1
        assert "VM 'odd'" in first.warnings[0]
        assert "found 'soon'" in first.warnings[0]
        if check:
            assert writes(lab, since) == []
        assert vm_names(lab) == (["odd", "old", "theirs", "young"] if check else ["odd", "theirs", "young"])
        assert reap(lab).changed is check
        since = len(lab.calls())
        assert not reap(lab).changed
        assert writes(lab, since) == []
        assert vm_names(lab) == ["odd", "theirs", "young"]
    finally:
        lab.fleet(state="absent", all_owned=True, owner="somebody")


def test_a_named_vm_stays_until_its_time_is_over(lab: Lab) -> None:
    lab.fleet(wish("a", **OFF), wish("b", **OFF))
    write_keys(lab, "a", expires=OVER)
    assert reap(lab, "b").vms["b"]["exists"]
    assert not reap(lab, "a").vms["a"]["exists"]
    assert vm_names(lab) == ["b"]


def test_somebody_elses_expired_vm_is_refused_by_name(lab: Lab) -> None:
    lab.fleet(wish("theirs", **OFF), owner="somebody")
    try:
        write_keys(lab, "theirs", expires=OVER)
        with pytest.raises(TestbedError) as caught:
            reap(lab, "theirs")
        assert caught.value.error_code == "not_owner"
    finally:
        lab.fleet(state="absent", all_owned=True, owner="somebody")


def test_the_janitor_shows_and_removes_what_has_expired(lab: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text("baseline: {hosts: {nb-baseline-01: }}\n")
    (inventory / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    lab.fleet(wish("nb-baseline-01", **OFF), wish("forgotten", **OFF), owner="lab")
    try:
        write_keys(lab, "forgotten", expires=OVER)
        command = ["-i", str(inventory), "playbooks/janitor.yml"]
        since = len(lab.calls())
        shown = lab.playbook(*command, "--check", "--diff")
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert "forgotten" in shown.stdout
        assert writes(lab, since) == []
        done = lab.playbook(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "changed=1" in done.stdout
        assert vm_names(lab) == ["nb-baseline-01"]
        again = lab.playbook(*command)
        assert "changed=0" in again.stdout, again.stdout
    finally:
        lab.fleet(state="absent", all_owned=True, owner="lab")


def by_hand(lab: Lab, name: str) -> None:
    """A VM that fleet knows nothing of: no mark is left on it."""
    lab.fleet(wish(name, **OFF))
    write_keys(lab, name, owner="", run="", expires="", template="", wish="", keys="")
    assert not [key for key, value in keys_of(lab, name).items() if key.startswith("nanobanana.") and value]


@pytest.fixture
def hand_made(lab: Lab) -> Callable[[str], None]:
    return lambda name: by_hand(lab, name)


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_adopt(lab: Lab, hand_made: Callable[[str], None], check: bool) -> None:
    hand_made("a")
    wanted = wish("a", cpus=4, **OFF)
    try:
        since = len(lab.calls())
        with pytest.raises(TestbedError) as caught:
            lab.fleet(wanted)
        assert "adopt: true" in str(caught.value)
        first = lab.fleet(wanted, adopt=True, check=check)
        assert first.changed
        assert first.after["a"]["extra_config.nanobanana.owner"] == "tests"
        assert first.after["a"]["cpus"] == 4
        assert first.before["a"] == {"cpus": 2}
        if check:
            assert writes(lab, since) == []
            assert not keys_of(lab, "a").get("nanobanana.owner")
        second = lab.fleet(wanted, adopt=True)
        assert second.changed is check
        assert second.vms["a"]["owner"] == "tests"
        assert len(second.vms["a"]["wish"]) == 12
        since = len(lab.calls())
        assert not lab.fleet(wanted, adopt=True).changed
        assert not lab.fleet(wanted).changed
        assert writes(lab, since) == []
    finally:
        lab.fleet(wish("a", **OFF) | {"cpus": 4}, adopt=True)


@pytest.mark.parametrize("mark", ["owner", "run"])
def test_a_vm_with_any_mark_is_not_adopted(lab: Lab, hand_made: Callable[[str], None], mark: str) -> None:
    hand_made("a")
    write_keys(lab, "a", **{mark: "somebody"})
    try:
        since = len(lab.calls())
        with pytest.raises(TestbedError) as caught:
            lab.fleet(wish("a", **OFF), adopt=True)
        assert caught.value.error_code == "not_owner"
        assert writes(lab, since) == []
    finally:
        write_keys(lab, "a", owner="tests")


def test_adopt_creates_what_does_not_exist(lab: Lab) -> None:
    assert lab.fleet(wish("new", **OFF), adopt=True).vms["new"]["operations"] == ["clone from the template"]
    keys = keys_of(lab, "new")
    assert keys["nanobanana.owner"] == "tests"
    assert len(keys["nanobanana.wish"]) == 12
    assert lab.fleet(wish("new", **OFF)).vms["new"]["wish"] == keys["nanobanana.wish"]
