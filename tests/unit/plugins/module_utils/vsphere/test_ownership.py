# SPDX-License-Identifier: GPL-3.0-or-later
"""What the marks of a VM mean: tables of VMs and what may be done to them."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.ownership import adoptable, digest, expiry
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Marks, diff, plan
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes

NOW = datetime.datetime(2030, 1, 31, 12, 0, 0, tzinfo=datetime.UTC)
ADOPT = Marks("lab", "r1", "2030-02-01T12:00:00Z", adopt=True)


def marked(**marks: str) -> VmActual:
    keys = {f"nanobanana.{name}": value for name, value in marks.items()}
    return VmActual(moid="vm-1", name="nb-1", power="poweredOff", extra_config={"svga.present": "TRUE"} | keys)


def wished(**fields: Any) -> VmWish:
    base = {"name": "nb-1", "template": {"library": "l", "item": "i"}, "cpus": 4, "memory_mb": 4096}
    return parse_wishes([base | fields])[0]


@pytest.mark.parametrize(
    ("text", "expired", "complains"),
    [
        ("2030-01-31T11:59:59Z", True, False),
        ("2030-01-31T12:00:00Z", True, False),
        ("2030-01-31T12:00:01Z", False, False),
        ("2031-01-01T00:00:00Z", False, False),
        ("", False, True),
        ("2029-13-01T00:00:00Z", False, True),
        ("2029-01-01", False, True),
        ("2029-01-01T00:00:00", False, True),
        ("2029-01-01T00:00:00+02:00", False, True),
        ("yesterday", False, True),
    ],
)
def test_only_a_time_that_can_be_read_and_is_over_expires(text: str, expired: bool, complains: bool) -> None:
    found = expiry(marked(owner="lab", expires=text), NOW)
    assert found.expired is expired
    assert bool(found.complaint) is complains
    if complains:
        assert "nb-1" in found.complaint
        assert f"'{text}'" in found.complaint or not text


@pytest.mark.parametrize(
    ("actual", "may"),
    [
        (marked(), True),
        (marked(owner=""), True),
        (marked(owner="somebody"), False),
        (marked(owner="lab"), False),
        (marked(run="r9"), False),
        (marked(expires="2030-01-01T00:00:00Z"), False),
        (replace(marked(), is_template=True), False),
    ],
)
def test_only_a_vm_without_any_mark_may_be_taken_over(actual: VmActual, may: bool) -> None:
    assert adoptable(actual) is may


def test_marks_are_written_before_anything_else_is_changed() -> None:
    operations = plan(wished(), marked(), None, ADOPT)
    assert [operation.kind for operation in operations] == ["reconfigure", "reconfigure", "power_on", "wait_address"]
    marks = {change.what: change.after for change in operations[0].changes}
    assert marks == {
        "extra_config.nanobanana.owner": "lab",
        "extra_config.nanobanana.run": "r1",
        "extra_config.nanobanana.expires": "2030-02-01T12:00:00Z",
        "extra_config.nanobanana.wish": digest(wished()),
    }
    _before, after = diff("nb-1", operations)
    assert after["nb-1"]["extra_config.nanobanana.owner"] == "lab"
    assert after["nb-1"]["cpus"] == 4


def test_a_running_vm_takes_its_marks_but_a_cold_change_is_refused_first() -> None:
    with pytest.raises(TestbedError) as caught:
        plan(wished(), replace(marked(), power="poweredOn"), None, ADOPT)
    assert caught.value.error_code == "needs_power_off"


@pytest.mark.parametrize(
    ("actual", "marks"),
    [
        (marked(), replace(ADOPT, adopt=False)),
        (marked(owner="somebody"), ADOPT),
        (marked(run="r9"), ADOPT),
        (replace(marked(), is_template=True), ADOPT),
    ],
)
def test_no_other_vm_is_taken_over(actual: VmActual, marks: Marks) -> None:
    with pytest.raises(TestbedError) as caught:
        plan(wished(), actual, None, marks)
    assert caught.value.error_code == "not_owner"
    assert ("adopt: true" in str(caught.value)) is (not marks.adopt)


def test_an_owned_vm_is_not_adopted_again() -> None:
    operations = plan(wished(), marked(owner="lab"), None, ADOPT)
    assert all("nanobanana.owner" not in change.what for item in operations for change in item.changes)


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({"name": "nb-2"}, True),
        ({"lifecycle": {"ttl_hours": 1, "power": "off"}}, True),
        ({"tweaks": {"balloon": False}}, True),
        ({"disks": []}, True),
        ({"cpus": 8}, False),
        ({"template": {"library": "l", "item": "j"}}, False),
        ({"disks": [{"name": "data", "size_gb": 20}]}, False),
        ({"tweaks": {"page_sharing": True}}, False),
        ({"customization": {"userdata": "x"}}, False),
    ],
)
def test_the_digest_follows_what_the_vm_is_to_be(fields: dict[str, Any], same: bool) -> None:
    assert (digest(wished(**fields)) == digest(wished())) is same
