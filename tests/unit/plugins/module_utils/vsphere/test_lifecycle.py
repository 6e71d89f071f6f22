# SPDX-License-Identifier: GPL-3.0-or-later
"""Power states, power cycles and what passthrough devices forbid, by tables."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import extra_config
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lifecycle import gently
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.passthrough import (
    Action,
    SharedGpu,
    capabilities,
    check,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import (
    Marks,
    Operation,
    diff,
    plan,
    plan_reboot,
    plan_removal,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import (
    VmWish,
    parse_patience,
    parse_wishes,
)

MARKS = Marks("lab", "r1", "2030-01-01T00:00:00Z")


def wished(**lifecycle: Any) -> VmWish:
    raw = {"name": "nb-1", "template": {"library": "lib", "item": "base"}, "cpus": 1, "memory_mb": 4}
    return parse_wishes([raw | {"lifecycle": lifecycle}])[0]


def actual(power: str = "poweredOn", **fields: Any) -> VmActual:
    """A VM that matches the wish."""
    wish = wished()
    marks = {"nanobanana.owner": "lab", "nanobanana.template": "lib/base"}
    found = VmActual(
        moid="vm-2",
        name="nb-1",
        power=power,
        cpus=1,
        memory_mb=4,
        memory_reservation_mb=4,
        memory_locked=True,
        extra_config=extra_config(wish) | marks,
        addresses=("192.0.2.1",) if power == "poweredOn" else (),
        tools="guestToolsRunning" if power == "poweredOn" else "guestToolsNotRunning",
    )
    return replace(found, **fields)


LIVE = {"memory_locked": False}
COLD = {"cpus": 2}
ON = ["power_on", "wait_address"]


@pytest.mark.parametrize(
    ("wish", "found", "expected"),
    [
        ("suspended", None, ["clone", *ON, "suspend"]),
        ("suspended", ("suspended", {}), []),
        ("suspended", ("poweredOn", {}), ["suspend"]),
        ("suspended", ("poweredOn", {"addresses": ()}), ["wait_address", "suspend"]),
        ("suspended", ("poweredOff", {}), [*ON, "suspend"]),
        ("suspended", ("poweredOn", LIVE), ["reconfigure", "suspend"]),
        ("suspended", ("suspended", LIVE), ["power_on", "reconfigure", "wait_address", "suspend"]),
        ("on", ("suspended", {}), ON),
        ("on", ("suspended", LIVE), ["power_on", "reconfigure", "wait_address"]),
        ("off", ("suspended", COLD), ["power_off", "reconfigure"]),
        ("off", ("poweredOff", COLD), ["reconfigure"]),
    ],
)
def test_power_states(wish: str, found: tuple[str, dict[str, Any]] | None, expected: list[str]) -> None:
    vm = actual(found[0], **found[1]) if found else None
    assert [step.kind for step in plan(wished(power=wish), vm, actual("poweredOff"), MARKS)] == expected


@pytest.mark.parametrize(
    ("wish", "found", "expected"),
    [
        ("on", ("poweredOn", COLD), ["power_off", "reconfigure", *ON]),
        ("on", ("suspended", COLD), ["power_on", "power_off", "reconfigure", *ON]),
        ("suspended", ("poweredOn", COLD), ["power_off", "reconfigure", *ON, "suspend"]),
        ("on", ("poweredOn", LIVE), ["reconfigure"]),
        ("on", ("poweredOff", COLD), ["reconfigure", *ON]),
    ],
)
def test_an_allowed_power_cycle_surrounds_cold_changes_only(
    wish: str, found: tuple[str, dict[str, Any]], expected: list[str]
) -> None:
    steps = plan(wished(power=wish, power_cycle="allowed"), actual(found[0], **found[1]), None, MARKS)
    assert [step.kind for step in steps] == expected


@pytest.mark.parametrize("power", ["poweredOn", "suspended"])
def test_without_permission_a_cold_change_is_refused_with_the_option_that_gives_it(power: str) -> None:
    with pytest.raises(TestbedError) as caught:
        plan(wished(), actual(power, **COLD), None, MARKS)
    assert caught.value.error_code == "needs_power_off"
    assert "vm_lifecycle.power_cycle to allowed" in str(caught.value)


def test_the_diff_of_a_power_cycle_says_that_there_is_one() -> None:
    steps = plan(wished(power_cycle="allowed"), actual(**COLD), None, MARKS)
    before, after = diff("nb-1", steps)
    assert (before["nb-1"]["power"], after["nb-1"]["power"]) == ("on", "on again")


@pytest.mark.parametrize(
    ("power", "done", "expected"),
    [
        ("poweredOn", [], ["power_off", *ON]),
        ("suspended", [], ["power_off", *ON]),
        ("poweredOff", [], ON),
        ("poweredOff", ["shutdown"], ON),
        ("poweredOn", ["shutdown", "power_on"], []),
        ("booting", ["power_off", "power_on"], ["wait_address"]),
    ],
)
def test_a_reboot_happens_once(power: str, done: list[Any], expected: list[str]) -> None:
    vm = actual("poweredOn", addresses=()) if power == "booting" else actual(power)
    steps = plan_reboot(vm, "lab", [Operation(kind) for kind in done])
    assert [step.kind for step in steps] == expected


def test_somebody_elses_vm_is_not_rebooted() -> None:
    with pytest.raises(TestbedError) as caught:
        plan_reboot(actual(), "somebody", [])
    assert caught.value.error_code == "not_owner"


@pytest.mark.parametrize(
    ("fields", "seconds", "asked", "expected"),
    [
        ({}, 60, False, ["shutdown", "destroy"]),
        ({}, 60, True, ["power_off", "destroy"]),
        ({}, 0, False, ["power_off", "destroy"]),
        ({"tools": "guestToolsNotRunning"}, 60, False, ["power_off", "destroy"]),
        ({"tools": ""}, 60, False, ["power_off", "destroy"]),
        ({"power": "suspended"}, 60, False, ["power_off", "destroy"]),
        ({"power": "poweredOff"}, 60, False, ["destroy"]),
    ],
)
def test_a_guest_is_asked_once_before_it_is_switched_off(
    fields: dict[str, Any], seconds: int, asked: bool, expected: list[str]
) -> None:
    vm = actual(**fields)
    steps = gently(plan_removal(vm, "lab"), vm, seconds, asked=asked)
    assert [step.kind for step in steps] == expected
    before, after = diff("nb-1", steps)
    assert after["nb-1"]["state"] == "absent"
    assert before["nb-1"].get("power") == ("on" if expected != ["destroy"] else None)


@pytest.mark.parametrize(
    ("lifecycle", "part"),
    [
        ({"power": "standby"}, "on, off, suspended"),
        ({"power_cycle": True}, "never, allowed"),
        ({"shutdown_seconds": -1}, "from 0 to 3600"),
    ],
)
def test_wrong_lifecycles_are_named(lifecycle: dict[str, Any], part: str) -> None:
    with pytest.raises(TestbedError) as caught:
        wished(**lifecycle)
    assert part in str(caught.value)


def test_patience_is_read_without_a_wish() -> None:
    raw: list[dict[str, Any]] = [{"name": "a"}, {"name": "b", "lifecycle": {"shutdown_seconds": "5", "power": "off"}}]
    assert parse_patience(raw) == {"a": 60, "b": 5}
    with pytest.raises(TestbedError):
        parse_patience([{"name": "a", "lifecycle": {"shutdown_seconds": "soon"}}])


STATIC = GpuActual(13000, "static", "0000:3b:00.0", vendor_id=0x10DE, device_id=0x2236)
VGPU = GpuActual(13001, "vgpu", profile="nvidia_a10-8c")
DYNAMIC = GpuActual(13002, "dynamic", vendor_id=0x10DE, device_id=0x2236)
ALL = {"nvidia_a10-8c": SharedGpu(suspend=True, snapshot=True, memory_snapshot=True)}
NONE = {"nvidia_a10-8c": SharedGpu()}


@pytest.mark.parametrize(
    ("action", "found", "host", "running", "part"),
    [
        ("suspend", [], {}, True, ""),
        ("snapshot", [], {}, True, ""),
        ("suspend", [STATIC], ALL, True, "(0000:3b:00.0)"),
        ("suspend", [DYNAMIC], ALL, True, "(10de:2236)"),
        ("suspend", [GpuActual(13003, "other")], ALL, True, "(device 13003)"),
        ("snapshot", [STATIC], ALL, False, "state absent, then present"),
        ("memory snapshot", [STATIC], ALL, True, "make the VM anew"),
        ("suspend", [VGPU], ALL, True, ""),
        ("snapshot", [VGPU], ALL, True, ""),
        ("memory snapshot", [VGPU], ALL, True, ""),
        ("suspend", [VGPU], NONE, True, "vm_lifecycle.power to off"),
        ("suspend", [VGPU], {}, True, "its host does not support"),
        ("snapshot", [VGPU], NONE, True, "power the VM off first"),
        ("snapshot", [VGPU], NONE, False, ""),
        ("memory snapshot", [VGPU], NONE, True, "whose memory snapshot its host does not support"),
        ("suspend", [VGPU, STATIC], ALL, True, "0000:3b:00.0"),
    ],
)
def test_what_passthrough_devices_forbid(
    action: Action, found: list[GpuActual], host: dict[str, SharedGpu], running: bool, part: str
) -> None:
    if not part:
        check("nb-1", action, found, host, running=running)
        return
    with pytest.raises(TestbedError) as caught:
        check("nb-1", action, found, host, running=running)
    assert caught.value.error_code == "passthrough"
    assert part in str(caught.value)
    assert f"nb-1: {action}" in str(caught.value)


def test_a_hosts_word_on_its_profiles_is_read() -> None:
    row = SimpleNamespace(vgpu="p", suspendSupported=True, diskSnapshotSupported=False, memorySnapshotSupported=None)
    assert capabilities([row]) == {"p": SharedGpu(suspend=True)}
    assert capabilities(None) == {}
