# SPDX-License-Identifier: GPL-3.0-or-later
"""The data disks' controller by tables: what is read, when its type changes, what is refused, what the spec says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import extra_config
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.data_controller import TYPES, controller_change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import DiskActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Marks, Operation, diff, plan
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.spec import config_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes
from pyVmomi import vim

MARKS = Marks("lab", "r1", "2030-01-01T00:00:00Z")
GB = 1024 * 1024
BOOT, DATA, MORE = DiskActual(2000, 0, 0, 40 * GB), DiskActual(2016, 1, 0, 20 * GB), DiskActual(2019, 1, 3, 5 * GB)
FAR = DiskActual(2036, 1, 20, 5 * GB)  # where only a paravirtual controller reaches
LSI, SAS, BUSLOGIC = TYPES["lsilogic"], TYPES["lsilogic_sas"], "VirtualBusLogicController"
CYCLES = {"power_cycle": "allowed"}


def wished(kind: str | None = None, *sizes: int, **fields: Any) -> VmWish:
    """Data disks of these sizes, one of 20 GB by default."""
    disks = [{"name": f"d{index}", "size_gb": size} for index, size in enumerate(sizes or (20,))]
    base = {"name": "a", "template": {"library": "l", "item": "i"}, "cpus": 2, "memory_mb": 1024, "disks": disks}
    return parse_wishes([base | {"tweaks": {"data_controller": kind} if kind else {}} | fields])[0]


def vm(kind: str | None, *disks: DiskActual, owner: str = "lab", **fields: Any) -> VmActual:
    """A running VM of ours that is as wished, but for its data controller."""
    wish = wished()
    keys = {"nanobanana.owner": owner, "nanobanana.template": str(wish.template)} if owner else {}
    found = VmActual(
        "vm-1",
        "a",
        power="poweredOn",
        cpus=2,
        memory_mb=1024,
        memory_reservation_mb=1024,
        memory_locked=True,
        extra_config=extra_config(wish) | keys,
        controllers={0: TYPES["pvscsi"]} | ({1: kind} if kind else {}),
        controller_keys={0: 1000} | ({1: 1001} if kind else {}),
        disks=disks or (BOOT, DATA),
        addresses=("192.0.2.10",),
    )
    return replace(found, **fields)


def steps(wish: VmWish, actual: VmActual | None, source: VmActual | None = None) -> list[str]:
    return [str(operation) for operation in plan(wish, actual, source, MARKS) if operation.kind != "wait_address"]


def test_the_default_is_paravirtual() -> None:
    assert wished().tweaks.data_controller == "pvscsi"


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        (
            {"tweaks": {"data_controller": "paravirtual"}},
            ["vm_tweaks.data_controller", "one of pvscsi, lsilogic, lsilogic_sas", "'paravirtual'"],
        ),
        ({"tweaks": {"data_controler": "lsilogic"}}, ["vm_tweaks.data_controler", "did you mean 'data_controller'?"]),
        *(
            (
                {
                    "tweaks": {"data_controller": kind},
                    "disks": [{"name": str(number), "size_gb": 1} for number in range(16)],
                },
                ["vm_disks", f"at most 15 data disks, what a controller of type {kind} carries", "16"],
            )
            for kind in TYPES
        ),
    ],
)
def test_impossible_wishes_are_named(fields: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        wished(**fields)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "disks", "actual", "expected"),
    [
        ("pvscsi", 1, vm(TYPES["pvscsi"]), None),
        ("lsilogic", 1, vm(LSI), None),
        ("lsilogic", 0, vm(TYPES["pvscsi"]), None),
        ("lsilogic", 1, vm(None, BOOT), (None, "lsilogic", False)),
        ("lsilogic", 1, vm(TYPES["pvscsi"]), ("pvscsi", "lsilogic", True)),
        ("lsilogic_sas", 1, vm(LSI), ("lsilogic", "lsilogic_sas", True)),
        ("pvscsi", 1, vm(SAS), ("lsilogic_sas", "pvscsi", True)),
        ("pvscsi", 4, vm(SAS, BOOT, DATA, MORE), ("lsilogic_sas", "pvscsi", True)),
        ("pvscsi", 1, vm(BUSLOGIC), (BUSLOGIC, "pvscsi", True)),
        ("pvscsi", 1, vm(LSI, DiskActual(32000, -1, 0, GB), DATA), ("lsilogic", "pvscsi", True)),
        # not ours, but nobody's disks hang on it
        ("pvscsi", 1, vm(LSI, BOOT, owner=""), ("lsilogic", "pvscsi", True)),
        # nothing to change, whoever has disks there
        ("lsilogic", 1, vm(LSI, BOOT, MORE, owner=""), None),
    ],
)
def test_when_the_type_changes(
    wanted: str, disks: int, actual: VmActual, expected: tuple[str | None, str, bool] | None
) -> None:
    assert controller_change("a", wanted, disks, actual) == (("data_controller", *expected) if expected else None)


@pytest.mark.parametrize(
    ("wanted", "actual", "parts"),
    [
        (
            "pvscsi",
            vm(LSI, BOOT, DATA, MORE),
            ["lsilogic with other disks (1:3)", "set vm_tweaks."],
        ),
        ("lsilogic", vm(TYPES["pvscsi"], BOOT, DATA, FAR), ["pvscsi with other disks (1:20)"]),
        # of a template, or a VM that has no mark yet, no disk is ours
        ("pvscsi", vm(SAS, owner=""), ["found lsilogic_sas with other disks (1:0)", "in the template or VM"]),
        ("pvscsi", vm(BUSLOGIC, owner=""), ["VirtualBusLogicController with other disks (1:0). Next: take these"]),
        ("lsilogic", vm(TYPES["pvscsi"], DATA), ["a boot disk on another bus", "with all disks of the VM"]),
    ],
)
def test_a_controller_that_has_to_stay_is_refused(wanted: str, actual: VmActual, parts: list[str]) -> None:
    with pytest.raises(TestbedError) as caught:
        controller_change("a", wanted, 1, actual)
    assert caught.value.error_code == "wrong_controller"
    for part in ["a: SCSI bus 1", *parts]:
        assert part in str(caught.value)


def test_a_running_vm_is_power_cycled_only_when_it_may_be() -> None:
    with pytest.raises(TestbedError) as caught:
        plan(wished("lsilogic"), vm(TYPES["pvscsi"]), None, MARKS)
    assert caught.value.error_code == "needs_power_off"
    told = "a: data_controller: expected lsilogic; found pvscsi on a VM that is poweredOn"
    assert told in str(caught.value)
    allowed = wished("lsilogic", lifecycle=CYCLES)
    operations = plan(allowed, vm(TYPES["pvscsi"]), None, MARKS)
    assert [str(step) for step in operations][:3] == ["power off", "reconfigure data_controller", "power on"]
    assert diff("a", operations) == (
        {"a": {"power": "on", "data_controller": "pvscsi"}},
        {"a": {"power": "on again", "data_controller": "lsilogic"}},
    )


def test_a_first_disk_brings_its_controller_to_a_running_vm() -> None:
    assert steps(wished("lsilogic"), vm(None, BOOT)) == ["reconfigure data_controller, disks.d0"]


def test_a_clone_call_makes_a_controller_and_exchanges_none() -> None:
    wish = wished("lsilogic", lifecycle={"power": "off"})
    source = vm(None, BOOT, owner="", is_template=True)
    (clone,) = plan(wish, None, source, MARKS)
    assert {"data_controller", "disks.d0"} <= {change.what for change in clone.changes}
    clone, then = plan(wish, None, replace(source, controllers={1: SAS}, controller_keys={1: 1001}), MARKS)
    assert not any(change.what.startswith(("data_controller", "disks")) for change in clone.changes)
    assert str(then) == "reconfigure data_controller, disks.d0"


def test_a_templates_own_disks_keep_their_controller() -> None:
    with pytest.raises(TestbedError) as caught:
        plan(wished(), None, vm(LSI, is_template=True), MARKS)  # whatever the template's marks say
    assert caught.value.error_code == "wrong_controller"
    deployed = vm(LSI, power="poweredOff", deployed={"nanobanana.owner": "lab"})
    with pytest.raises(TestbedError):
        plan(wished(), deployed, None, MARKS)


DEVICE = vim.vm.device


def devices(*disks: DiskActual, sharing: str = "noSharing") -> dict[int, Any]:
    """vCenter's own objects of a VM whose controllers are paravirtual."""
    found: list[Any] = [
        DEVICE.ParaVirtualSCSIController(key=1000 + bus, busNumber=bus, sharedBus=sharing) for bus in (0, 1)
    ]
    for disk in disks:
        backing = DEVICE.VirtualDisk.FlatVer2BackingInfo(fileName=f"[s] a/{disk.key}.vmdk", uuid=f"uuid-{disk.key}")
        found.append(
            DEVICE.VirtualDisk(
                key=disk.key,
                controllerKey=1000 + disk.bus,
                unitNumber=disk.unit,
                capacityInKB=disk.size_kb,
                capacityInBytes=disk.size_kb * 1024,
                backing=backing,
            )
        )
    return {device.key: device for device in found}


def changed(wish: VmWish, actual: VmActual) -> list[Any]:
    operations = plan(wish, replace(actual, power="poweredOff"), None, MARKS)
    (change,) = [step for step in operations if isinstance(step, Operation) and step.kind == "reconfigure"]
    return list(config_spec(wish, change.changes, actual, None).deviceChange)


def test_one_spec_takes_the_controller_and_moves_its_disks() -> None:
    actual = vm(TYPES["pvscsi"], BOOT, DATA, MORE, devices=devices(BOOT, DATA, MORE, sharing="virtualSharing"))
    wish = wished("lsilogic_sas", 20, 1, 1, 8)  # d1 and d2 are new, d3 at unit 3 grows from 5 GB
    for _turn in range(2):  # made again from what was read once, as after a failure, it is the same
        old, new, first, second, *added = changed(wish, actual)
        assert (old.operation, old.device.key, old.fileOperation) == ("remove", 1001, None)
        assert (new.operation, type(new.device)) == ("add", DEVICE.VirtualLsiLogicSASController)
        assert (new.device.busNumber, new.device.sharedBus) == (1, "virtualSharing")
        for moved, disk, size in ((first, DATA, 20), (second, MORE, 8)):
            assert (moved.operation, moved.fileOperation) == ("edit", None)
            device = moved.device
            assert (device.key, device.controllerKey, device.unitNumber) == (disk.key, new.device.key, disk.unit)
            assert (device.capacityInKB, device.backing.uuid) == (size * GB, f"uuid-{disk.key}")
        assert [(item.operation, item.device.controllerKey, item.device.unitNumber) for item in added] == [
            ("add", new.device.key, 1),
            ("add", new.device.key, 2),
        ]
    assert actual.devices[2000].controllerKey == 1000


@pytest.mark.parametrize("kind", TYPES)
def test_a_new_controller_has_the_wished_type(kind: str) -> None:
    controller, disk = changed(wished(kind), vm(None, BOOT, devices={}))
    assert type(controller.device).__name__.rsplit(".", 1)[-1] == TYPES[kind]
    assert (controller.device.busNumber, controller.device.sharedBus) == (1, "noSharing")
    assert disk.device.controllerKey == controller.device.key
