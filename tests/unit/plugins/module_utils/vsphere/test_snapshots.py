# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots by tables: what is asked, what is there, what has to be done."""

from __future__ import annotations

import datetime
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import snapshot_call
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.passthrough import SharedGpu
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation, diff
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.snapshots import (
    Ask,
    Snapshot,
    check_marks,
    complaint,
    plan_snapshots,
    read_ask,
    read_tree,
    takes_memory,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import parse_wishes

ONE = Snapshot("snapshot-1", 1, "one", created="2030-01-01T00:00:00Z")
TWO = Snapshot("snapshot-2", 2, "two", power="poweredOn", parent="one", level=2, current=True)
VGPU, STATIC = GpuActual(1, "vgpu", profile="nvidia_a10-4c"), GpuActual(2, "static", address="0000:3b:00.0")
ALL = {"nvidia_a10-4c": SharedGpu(True, True, True)}
DISKS = {"nvidia_a10-4c": SharedGpu(snapshot=True)}


def vm(power: str = "poweredOn", *devices: GpuActual, **fields: Any) -> VmActual:
    marks = {"nanobanana.owner": "lab"}
    found = VmActual("vm-1", "nb-1", power=power, extra_config=marks, gpus=devices, tools="guestToolsRunning")
    return replace(found, **fields)


def steps(ask: Ask, actual: VmActual, *known: Snapshot, **more: Any) -> list[str]:
    return [str(operation) for operation in plan_snapshots(ask, actual, known, "lab", **more)]


TAKE, BACK = "take the snapshot new", "revert to the snapshot {}"


@pytest.mark.parametrize(
    ("ask", "power", "known", "expected"),
    [
        (Ask(name="new"), "poweredOn", [], [TAKE]),
        (Ask(name="new"), "poweredOff", [ONE], [TAKE]),
        (Ask(name="one"), "poweredOn", [ONE], []),
        (Ask("absent", "one"), "poweredOn", [ONE, TWO], ["remove the snapshot one"]),
        (Ask("absent", "new"), "poweredOn", [ONE], []),
        (Ask("absent", all=True), "poweredOn", [ONE, TWO], ["remove all snapshots"]),
        (Ask("absent", all=True), "poweredOn", [], []),
        (Ask("gathered"), "poweredOn", [ONE], []),
        (Ask("reverted", "one"), "poweredOn", [ONE], [BACK.format("one")]),
        (Ask("reverted", "one", power="on"), "poweredOn", [ONE], [BACK.format("one"), "power on"]),
        (Ask("reverted", "one", power="off"), "poweredOn", [ONE], [BACK.format("one")]),
        (Ask("reverted", "two", power="on"), "poweredOff", [ONE, TWO], [BACK.format("two")]),
        (Ask("reverted", "two", power="off"), "poweredOn", [ONE, TWO], [BACK.format("two")]),
    ],
)
def test_what_is_done(ask: Ask, power: str, known: list[Snapshot], expected: list[str]) -> None:
    assert steps(ask, vm(power), *known) == expected


@pytest.mark.parametrize(
    ("power", "now", "expected"),
    [
        ("snapshot", "poweredOff", []),
        ("on", "poweredOff", ["power on"]),
        ("on", "suspended", ["power on"]),
        ("on", "poweredOn", []),
        ("off", "suspended", ["power off"]),
        ("off", "poweredOff", []),
    ],
)
def test_a_call_reverts_once(power: str, now: str, expected: list[str]) -> None:
    done = [Operation("revert", (), "one")]
    assert steps(Ask("reverted", "one", power=power), vm(now), ONE, done=done) == expected


@pytest.mark.parametrize(
    ("ask", "power", "known", "before", "after"),
    [
        (Ask(name="new", memory=True), "poweredOn", [], {}, {"snapshots.new": {"power": "on"}}),
        (Ask(name="new", memory=True), "poweredOff", [], {}, {"snapshots.new": {"power": "off"}}),
        (Ask(name="new"), "suspended", [], {}, {"snapshots.new": {"power": "suspended"}}),
        (
            Ask("reverted", "one", power="on"),
            "poweredOn",
            [ONE],
            {"state": "as it is", "power": "on"},
            {"state": "as in snapshot one of 2030-01-01T00:00:00Z", "power": "on again"},
        ),
        (
            Ask("absent", "one"),
            "poweredOn",
            [ONE],
            {"snapshots.one": {"created": "2030-01-01T00:00:00Z", "power": "off"}},
            {"snapshots.one": None},
        ),
    ],
)
def test_the_diff(ask: Ask, power: str, known: list[Snapshot], before: Any, after: Any) -> None:
    operations = plan_snapshots(ask, vm(power), tuple(known), "lab")
    assert diff("nb-1", operations) == ({"nb-1": before}, {"nb-1": after})


DEEP = tuple(
    Snapshot(f"s-{number}", number, f"s{number}", level=number, current=number == 32) for number in range(1, 33)
)
TWINS = (ONE, replace(ONE, moid="snapshot-9", id=9))


@pytest.mark.parametrize(
    ("ask", "actual", "known", "code", "part"),
    [
        (Ask(name="new"), vm(extra_config={}), (), "not_owner", "no mark of the testbed"),
        (Ask("absent", all=True), vm(is_template=True), (ONE,), "not_owner", "a template"),
        (Ask("reverted", "won"), vm(), (ONE,), "unknown_snapshot", "did you mean 'one'?"),
        (Ask("reverted", "one"), vm(), (), "unknown_snapshot", "there are none"),
        (Ask(name="one"), vm(), TWINS, "ambiguous_snapshot", "id 1 of 2030-01-01T00:00:00Z and id 9"),
        (Ask("absent", "one"), vm(), TWINS, "ambiguous_snapshot", "state absent with all"),
        (Ask(name="new"), vm("poweredOff"), DEEP, "too_many_snapshots", "at most 32 snapshots on top of each other"),
        (Ask(name="new", quiesce=True), vm(tools=""), (), "no_tools", "leave quiesce out"),
        (Ask(name="new"), vm("poweredOff", STATIC), (), "passthrough", "state absent, then present"),
        (Ask(name="new"), vm("poweredOn", VGPU), (), "passthrough", "power the VM off first"),
    ],
)
def test_what_is_refused(ask: Ask, actual: VmActual, known: tuple[Snapshot, ...], code: str, part: str) -> None:
    with pytest.raises(TestbedError) as caught:
        plan_snapshots(ask, actual, known, "lab")
    assert caught.value.error_code == code
    assert part in str(caught.value)
    assert "nb-1" in str(caught.value)


@pytest.mark.parametrize(
    ("power", "memory", "shared", "allowed"),
    [
        ("poweredOff", False, {}, True),
        ("poweredOff", True, {}, True),
        ("poweredOn", False, DISKS, True),
        ("poweredOn", True, DISKS, False),
        ("poweredOn", True, ALL, True),
        ("suspended", False, DISKS, False),
        ("suspended", False, ALL, True),
    ],
)
def test_a_vgpus_host_decides(power: str, memory: bool, shared: dict[str, SharedGpu], allowed: bool) -> None:
    ask = Ask(name="new", memory=memory)
    if allowed:
        assert steps(ask, vm(power, VGPU), shared=shared) == [TAKE]
        return
    with pytest.raises(TestbedError, match="take it without memory, or power the VM off first"):
        steps(ask, vm(power, VGPU), shared=shared)


def test_the_current_level_counts_and_not_the_number() -> None:
    shallow = (*DEEP[:31], replace(DEEP[31], current=False), replace(ONE, current=True))
    assert steps(Ask(name="new"), vm("poweredOff"), *shallow) == [TAKE]


def test_a_vm_in_the_making_is_waited_for() -> None:
    assert steps(Ask(name="new"), vm(ready=False)) == ["wait settled"]


@pytest.mark.parametrize(
    ("power", "memory", "expected"),
    [
        ("poweredOn", True, True),
        ("poweredOn", False, False),
        ("poweredOff", True, False),
        ("suspended", False, True),
    ],
)
def test_whose_memory_is_taken(power: str, memory: bool, expected: bool) -> None:
    assert takes_memory(Ask(name="new", memory=memory), vm(power)) is expected


@pytest.mark.parametrize(
    ("ask", "power", "known", "part"),
    [
        (Ask(name="new", memory=True), "poweredOff", [], "has no memory, because the VM is off"),
        (Ask(name="one", memory=True), "poweredOn", [ONE], "was taken without memory"),
        (Ask(name="two", memory=True), "poweredOn", [ONE, TWO], ""),
        (Ask(name="new", memory=True), "poweredOn", [], ""),
        (Ask(name="new"), "poweredOff", [], ""),
        (Ask("absent", "one", memory=True), "poweredOff", [ONE], ""),
    ],
)
def test_memory_that_is_not_there_is_told(ask: Ask, power: str, known: list[Snapshot], part: str) -> None:
    told = complaint(ask, vm(power), known)
    assert part in told
    assert bool(told) is bool(part)


def asked(**options: Any) -> Ask:
    params = {name: option.get("default") for name, option in snapshot_call.argument_spec().items()}
    return read_ask(params | options)


def test_what_is_asked_is_read() -> None:
    assert asked(name="clean", memory=True) == Ask(name="clean", memory=True)
    assert asked(state="gathered") == Ask("gathered")
    assert asked(state="absent", all=True) == Ask("absent", all=True)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({}, ["name: expected a name with state present; found none"]),
        ({"state": "reverted"}, ["a name with state reverted"]),
        ({"state": "absent"}, ["a name with state absent"]),
        ({"name": "a/b"}, ["without %, / and"]),
        ({"name": "a" * 81}, ["at most 80 characters"]),
        ({"name": "a", "all": True}, ["all: expected only with state absent", "state present"]),
        ({"name": "a", "state": "absent", "all": True}, ["name 'a'"]),
        ({"name": "a%", "memory": True, "quiesce": True}, ["2 problems", "either memory or quiesce"]),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        asked(**options)
    assert caught.value.error_code == "invalid_snapshot"
    for part in parts:
        assert part in str(caught.value)


def test_a_snapshot_without_our_mark_is_not_reverted_to() -> None:
    check_marks("nb-1", ONE, "lab", "lab")
    for holder, part in (("", "found none"), ("other", "found 'other'")):
        with pytest.raises(TestbedError) as caught:
            check_marks("nb-1", ONE, holder, "lab")
        assert caught.value.error_code == "not_owner"
        assert part in str(caught.value)


def node(number: int, *children: Any, **fields: Any) -> Any:
    values = {"description": None, "state": "poweredOff", "quiesced": False} | fields
    created = datetime.datetime(2030, 1, number, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    reference = SimpleNamespace(_moId=f"snapshot-{number}")
    return SimpleNamespace(
        id=number, name=f"s{number}", snapshot=reference, createTime=created, childSnapshotList=list(children), **values
    )


def test_a_tree_is_read_with_its_branches() -> None:
    roots = [node(1, node(2, node(3)), node(4, quiesced=True, description="text"))]
    info = SimpleNamespace(currentSnapshot=SimpleNamespace(_moId="snapshot-4"), rootSnapshotList=roots)
    found = read_tree(info)
    assert [(item.name, item.parent, item.level, item.current) for item in found] == [
        ("s1", "", 1, False),
        ("s2", "s1", 2, False),
        ("s3", "s2", 3, False),
        ("s4", "s1", 2, True),
    ]
    assert found[3].facts() == {
        "name": "s4",
        "id": 4,
        "description": "text",
        "created": "2030-01-04T10:00:00Z",
        "power": "poweredOff",
        "quiesced": True,
        "parent": "s1",
        "current": True,
    }
    assert read_tree(None) == ()


def wish(gpu: list[dict[str, str]] | None = None, **lifecycle: Any) -> Any:
    raw = {"name": "nb-1", "template": {"library": "lib", "item": "base"}, "cpus": 1, "memory_mb": 4}
    return parse_wishes([raw | {"gpu": gpu or [], "lifecycle": lifecycle}])[0]


A10 = {"mode": "static", "model": "A10"}
DYNAMIC = {"mode": "dynamic", "vendor_id": "10de", "device_id": "2236"}
SHARE = {"mode": "vgpu", "profile": "nvidia_a10-4c"}


@pytest.mark.parametrize(
    ("gpu", "wished", "expected"),
    [
        ([], None, "keep"),
        ([], "auto", "keep"),
        ([], "suspend", "suspend"),
        ([A10], None, "power_off"),
        ([DYNAMIC], "auto", "power_off"),
        ([SHARE], None, "power_off"),
        ([SHARE], "suspend", "suspend"),
        ([A10], "keep", "keep"),
    ],
)
def test_what_is_left_after_a_case(gpu: list[dict[str, str]], wished: str | None, expected: str) -> None:
    assert wish(gpu, **({"after_case": wished} if wished else {})).after_case == expected


@pytest.mark.parametrize(
    ("gpu", "lifecycle", "parts"),
    [
        ([A10], {"after_case": "suspend"}, ["vm_lifecycle.after_case", "keep or power_off", "model 'A10'"]),
        (
            [SHARE, DYNAMIC],
            {"after_case": "revert", "snapshot": "s"},
            ["set it to power_off", "playbooks/provision.yml"],
        ),
        ([], {"after_case": "revert"}, ["vm_lifecycle.snapshot", "fleet_snapshot takes it"]),
        ([], {"after_case": "reboot"}, ["one of auto, keep, power_off, suspend, revert"]),
    ],
)
def test_what_cannot_be_left(gpu: list[dict[str, str]], lifecycle: dict[str, str], parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        wish(gpu, **lifecycle)
    assert caught.value.error_code == "invalid_wish"
    assert len(caught.value.problems) == 1
    for part in parts:
        assert part in str(caught.value)
