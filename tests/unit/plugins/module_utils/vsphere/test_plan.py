# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan is a pure function: tables of wanted and actual, and the operations between them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import extra_config, guestinfo
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import (
    PVSCSI,
    DiskActual,
    NicActual,
    VmActual,
    disk_unit,
    routable,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import (
    Marks,
    changes_anything,
    diff,
    plan,
    plan_removal,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes

MARKS = Marks(owner="lab", run="r1", expires="2030-01-01T00:00:00Z")
GB = 1024 * 1024
SOURCE = VmActual(
    moid="vm-1",
    name="template",
    is_template=True,
    cpus=2,
    memory_mb=2048,
    controllers={0: PVSCSI},
    controller_keys={0: 1000},
    nics=(NicActual(4000, "vmxnet3", "VM Network"),),
    video_key=500,
    video_3d=True,
    extra_config={"sched.mem.maxmemctl": "0"},
)


def wished(**fields: Any) -> VmWish:
    base = {
        "name": "nb-1",
        "template": {"library": "lib", "item": "base"},
        "cpus": 4,
        "memory_mb": 6144,
        "disks": [{"name": "data", "size_gb": 20}],
        "networks": [{"network": "testbed"}],
        "customization": {"userdata": "#cloud-config\npassword: s3cret"},
    }
    return parse_wishes([base | fields])[0]


def matching(wish: VmWish, **fields: Any) -> VmActual:
    """A VM that is just what the wish asks for."""
    marks = {"nanobanana.owner": "lab", "nanobanana.template": str(wish.template)}
    actual = VmActual(
        moid="vm-2",
        name=wish.name,
        power="poweredOn",
        cpus=wish.cpus,
        memory_mb=wish.memory_mb,
        memory_reservation_mb=wish.memory_mb,
        memory_locked=True,
        extra_config=extra_config(wish) | marks,
        controllers={0: PVSCSI, 1: PVSCSI},
        controller_keys={0: 1000, 1: 1001},
        disks=(DiskActual(2016, 1, 0, 20 * GB, "uuid-1"),),
        nics=(NicActual(4000, "vmxnet3", "testbed"),),
        addresses=("192.0.2.10",),
    )
    return replace(actual, **fields)


def kinds(wish: VmWish, actual: VmActual | None, source: VmActual | None = SOURCE) -> list[str]:
    return [operation.kind for operation in plan(wish, actual, source, MARKS)]


def changed(wish: VmWish, actual: VmActual) -> dict[str, Any]:
    operations = plan(wish, actual, SOURCE, MARKS)
    return {change.what: change.after for operation in operations for change in operation.changes}


def test_nothing_is_left_to_do_when_everything_matches() -> None:
    assert plan(wished(), matching(wished()), None, MARKS) == []


def test_a_missing_vm_is_cloned_powered_on_and_waited_for() -> None:
    assert kinds(wished(), None) == ["clone", "power_on", "wait_address"]
    assert kinds(wished(lifecycle={"power": "off"}), None) == ["clone"]


def test_no_seconds_to_wait_means_no_wait() -> None:
    wish = wished(lifecycle={"wait_seconds": 0})
    assert kinds(wish, None) == ["clone", "power_on"]
    assert kinds(wish, matching(wish, power="poweredOff", addresses=())) == ["power_on"]
    assert kinds(wish, matching(wish, addresses=())) == []


def test_the_clone_call_carries_marks_and_every_setting() -> None:
    clone = plan(wished(), None, SOURCE, MARKS)[0]
    after = {change.what: change.after for change in clone.changes}
    assert after["extra_config.nanobanana.owner"] == "lab"
    assert after["extra_config.nanobanana.run"] == "r1"
    assert after["extra_config.nanobanana.expires"] == "2030-01-01T00:00:00Z"
    assert after["extra_config.nanobanana.template"] == "lib/base"
    assert after["cpus"] == 4
    assert after["memory_locked"] is True
    assert after["memory_reservation_mb"] == 6144
    assert after["video_3d"] is False
    assert after["disks.data"] == {"size_gb": 20, "provisioning": "lazy_zeroed"}
    assert after["networks[0]"] == "testbed"
    # written although the template has it: not every vCenter copies a template's extraConfig
    assert after["extra_config.sched.mem.maxmemctl"] == "0"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, []),
        ({"power": "poweredOff", "addresses": ()}, ["power_on", "wait_address"]),
        ({"power": "suspended", "addresses": ()}, ["power_on", "wait_address"]),
        ({"addresses": ()}, ["wait_address"]),
        ({"addresses": ("169.254.3.4", "fe80::1")}, ["wait_address"]),
        ({"ready": False}, ["wait_settled"]),
        ({"power": "poweredOff", "cpus": 2}, ["reconfigure", "power_on", "wait_address"]),
        ({"memory_locked": False}, ["reconfigure"]),
        ({"disks": ()}, ["reconfigure"]),
    ],
)
def test_a_half_made_vm_is_finished(state: dict[str, Any], expected: list[str]) -> None:
    wish = wished()
    assert kinds(wish, matching(wish, **state), None) == expected


def test_a_vm_that_shall_be_off_is_powered_off_before_cold_changes() -> None:
    wish = wished(lifecycle={"power": "off"})
    assert kinds(wish, matching(wish, cpus=1)) == ["power_off", "reconfigure"]
    assert kinds(wish, matching(wish, power="poweredOff")) == []


def test_values_are_compared_by_meaning() -> None:
    wish = wished()
    keys = dict(extra_config(wish)) | {"nanobanana.owner": "lab"}
    keys |= {
        "mks.enable3d": "False",
        "disk.EnableUUID": "true",
        "sched.mem.maxmemctl": "00",
        "numa.autosize.cookie": "x",
    }
    assert changed(wish, matching(wish, extra_config=keys)) == {}


def test_a_cold_change_of_a_running_vm_is_refused() -> None:
    wish = wished()
    with pytest.raises(TestbedError) as caught:
        plan(wish, matching(wish, cpus=2, memory_mb=2048), None, MARKS)
    assert caught.value.error_code == "needs_power_off"
    assert "nb-1: cpus: expected 4; found 2 on a VM that is poweredOn" in str(caught.value)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("owner", ["", "somebody"])
def test_somebody_elses_vm_is_never_touched(owner: str) -> None:
    wish = wished()
    foreign = matching(wish, extra_config={"nanobanana.owner": owner} if owner else {})
    for planned in (lambda: plan(wish, foreign, None, MARKS), lambda: plan_removal(foreign, "lab")):
        with pytest.raises(TestbedError) as caught:
            planned()
        assert caught.value.error_code == "not_owner"
        assert "vm-2" in str(caught.value)


def test_a_template_is_never_touched_even_with_our_mark() -> None:
    wish = wished()
    with pytest.raises(TestbedError):
        plan_removal(matching(wish, is_template=True), "lab")


def test_a_vm_of_another_template_is_not_passed_off_as_the_wished_one() -> None:
    other = wished(template={"library": "lib", "item": "other"})
    with pytest.raises(TestbedError) as caught:
        plan(other, matching(wished()), None, MARKS)
    assert "lib/base, from which the VM was made; found lib/other" in str(caught.value)


@pytest.mark.parametrize(
    ("size_kb", "expected"),
    [(20 * GB, {}), (10 * GB, {"disks.data": {"size_gb": 20}})],
)
def test_a_disk_grows(size_kb: int, expected: dict[str, Any]) -> None:
    wish = wished()
    assert changed(wish, matching(wish, disks=(DiskActual(1, 1, 0, size_kb),))) == expected


def test_a_disk_never_shrinks() -> None:
    wish = wished()
    with pytest.raises(TestbedError) as caught:
        plan(wish, matching(wish, disks=(DiskActual(1, 1, 0, 40 * GB),)), None, MARKS)
    assert "at least its present 40 GB" in str(caught.value)


def test_network_cards_follow_the_order_of_the_wish() -> None:
    wish = wished(networks=[{"network": "a"}, {"network": "b"}])
    nics = (NicActual(1, "vmxnet3", "a"), NicActual(2, "vmxnet3", "x"), NicActual(3, "vmxnet3", "y"))
    assert changed(wish, matching(wish, nics=nics)) == {"networks[1]": "b", "networks[2]": None}
    assert changed(wished(networks=[]), matching(wished(networks=[]), nics=nics)) == {}


def test_removal_powers_off_first() -> None:
    wish = wished()
    assert [operation.kind for operation in plan_removal(matching(wish), "lab")] == ["power_off", "destroy"]
    assert [o.kind for o in plan_removal(matching(wish, power="poweredOff"), "lab")] == ["destroy"]


def test_guestinfo_is_stable_and_new_for_a_new_wish() -> None:
    first, again, other = guestinfo(wished()), guestinfo(wished()), guestinfo(wished(customization={"userdata": "x"}))
    assert first == again
    ids = [json.loads(base64.b64decode(keys["guestinfo.metadata"]))["instance-id"] for keys in (first, other)]
    assert ids[0] != ids[1]
    assert json.loads(base64.b64decode(first["guestinfo.metadata"]))["local-hostname"] == "nb-1"
    assert guestinfo(wished(customization={"method": "none"})) == {}


def test_diff_hides_user_data_and_shows_the_rest() -> None:
    wish = wished()
    before, after = diff("nb-1", plan(wish, None, SOURCE, MARKS))
    shown = json.dumps([before, after])
    assert base64.b64encode(b"#cloud-config\npassword: s3cret").decode() not in shown
    assert "s3cret" not in shown
    assert after["nb-1"]["extra_config.guestinfo.userdata"].startswith("(not shown, sha256 ")
    assert before["nb-1"] == {"state": "absent", "power": "off"}
    assert after["nb-1"]["cpus"] == 4


def test_waiting_is_no_change() -> None:
    wish = wished()
    assert not changes_anything(plan(wish, matching(wish, addresses=()), None, MARKS))
    assert changes_anything(plan(wish, None, SOURCE, MARKS))


def test_a_users_own_key_wins_over_the_projects() -> None:
    wish = wished(tweaks={"extra_config": {"mks.enable3d": True, "svga.present": "FALSE"}})
    assert extra_config(wish)["mks.enable3d"] == "TRUE"
    assert extra_config(wish)["svga.present"] == "FALSE"


def test_disks_leave_out_the_controllers_own_unit() -> None:
    assert [disk_unit(index) for index in range(15)] == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("addresses", "networks", "expected"),
    [
        ((), (), ""),
        (("fe80::1", "169.254.1.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "nonsense"), (), ""),
        (("2001:db8::5", "192.0.2.7"), (), "192.0.2.7"),
        (("2001:db8::5",), (), "2001:db8::5"),
        (("192.0.2.7", "198.51.100.9"), ("198.51.100.0/24",), "198.51.100.9"),
        (("127.0.10.5",), ("127.0.0.0/8",), "127.0.10.5"),
        (("192.0.2.7",), ("198.51.100.0/24",), ""),
    ],
)
def test_routable(addresses: tuple[str, ...], networks: tuple[str, ...], expected: str) -> None:
    assert routable(addresses, networks) == expected
