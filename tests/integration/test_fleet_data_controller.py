# SPDX-License-Identifier: GPL-3.0-or-later
"""The data disks' controller changes its type and nothing else, read back by a plain session."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from pyVmomi import vim

from tests.integration.conftest import Lab, wait_for, wish
from tests.integration.test_fleet import session, vm_names, writes

pytestmark = pytest.mark.integration
DEVICE = vim.vm.device
CYCLES = {"power_cycle": "allowed"}
OFF = {"power": "off"}
DISKS = [{"name": "data", "size_gb": 20}, {"name": "scratch", "size_gb": 5, "provisioning": "thin"}]


def having(kind: str | None, name: str = "a", **fields: Any) -> dict[str, Any]:
    tweaks = {"data_controller": kind} if kind else {}
    return wish(name, **{"disks": DISKS, "lifecycle": CYCLES, "tweaks": tweaks} | fields)


def hardware(lab: Lab, name: str = "a") -> tuple[dict[int, Any], list[tuple[Any, ...]]]:
    """The type of each SCSI bus, and where each disk is, with what must stay as it is."""
    with session(lab) as content:
        devices = lookup.find_vms(content, [name])[name].config.hardware.device
        buses = {device.key: device.busNumber for device in devices if isinstance(device, DEVICE.VirtualSCSIController)}
        types = {device.busNumber: type(device) for device in devices if device.key in buses}
        disks = [
            (
                buses[disk.controllerKey],
                disk.unitNumber,
                disk.key,
                disk.capacityInKB >> 20,
                disk.backing.uuid,
                disk.backing.fileName,
                bool(disk.backing.thinProvisioned),
            )
            for disk in devices
            if isinstance(disk, DEVICE.VirtualDisk)
        ]
    return types, disks


def reconfigure(lab: Lab, name: str, *changes: Any) -> None:
    """As somebody else, by hand."""
    with session(lab) as content:
        spec = vim.vm.ConfigSpec(deviceChange=list(changes))
        wait_for(lookup.find_vms(content, [name])[name].ReconfigVM_Task(spec))


def added(device: Any, file_operation: str | None = None) -> Any:
    return DEVICE.VirtualDeviceSpec(operation="add", device=device, fileOperation=file_operation)


def disk_of(controller: int, unit: int) -> Any:
    backing = DEVICE.VirtualDisk.FlatVer2BackingInfo(diskMode="persistent")
    disk = DEVICE.VirtualDisk(key=-9, controllerKey=controller, unitNumber=unit, capacityInKB=1 << 20, backing=backing)
    return added(disk, "create")


def test_only_the_type_changes_and_the_disks_stay(lab: Lab) -> None:
    lab.fleet(having(None))
    types, disks = hardware(lab)
    assert types == {0: DEVICE.ParaVirtualSCSIController, 1: DEVICE.ParaVirtualSCSIController}
    assert [(bus, unit, size) for bus, unit, _key, size, *_rest in disks][1:] == [(1, 0, 20), (1, 1, 5)]
    for kind, expected in (
        ("lsilogic", DEVICE.VirtualLsiLogicController),
        ("lsilogic_sas", DEVICE.VirtualLsiLogicSASController),
        (None, DEVICE.ParaVirtualSCSIController),
    ):
        done = lab.fleet(having(kind))
        assert done.error is None
        assert done.vms["a"]["operations"] == ["shut down the guest", "reconfigure data_controller", "power on"]
        assert hardware(lab) == ({0: DEVICE.ParaVirtualSCSIController, 1: expected}, disks)
        since = len(lab.calls())
        assert not lab.fleet(having(kind)).changed
        assert writes(lab, since) == []


def test_the_power_cycle_is_announced_and_has_to_be_allowed(lab: Lab) -> None:
    lab.fleet(having(None))
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(having("lsilogic", lifecycle={}))
    assert caught.value.error_code == "needs_power_off"
    assert "a: data_controller: expected lsilogic; found pvscsi on a VM that is poweredOn" in str(caught.value)
    shown = lab.fleet(having("lsilogic"), check=True)
    assert (shown.before["a"], shown.after["a"]) == (
        {"power": "on", "data_controller": "pvscsi"},
        {"power": "on again", "data_controller": "lsilogic"},
    )
    assert writes(lab, since) == []


def test_disks_grow_and_come_while_the_controller_changes(lab: Lab) -> None:
    lab.fleet(having(None))
    before = hardware(lab)[1]
    more = [DISKS[0] | {"size_gb": 30}, DISKS[1], {"name": "third", "size_gb": 2}]
    assert lab.fleet(having("lsilogic_sas", disks=more)).error is None
    types, disks = hardware(lab)
    assert types[1] is DEVICE.VirtualLsiLogicSASController
    assert [(bus, unit, size) for bus, unit, _key, size, *_rest in disks][1:] == [(1, 0, 30), (1, 1, 5), (1, 2, 2)]
    assert [disk[4] for disk in disks][:3] == [disk[4] for disk in before]


def test_a_new_vm_has_the_wished_type_at_once(lab: Lab) -> None:
    shown = lab.fleet(having("lsilogic_sas"), check=True)
    assert shown.after["a"]["data_controller"] == "lsilogic_sas"
    made = lab.fleet(having("lsilogic_sas"))
    assert made.vms["a"]["operations"] == ["clone from the template", "power on"]
    assert hardware(lab)[0][1] is DEVICE.VirtualLsiLogicSASController


def test_other_disks_on_the_bus_keep_their_controller(lab: Lab) -> None:
    lab.fleet(having(None, lifecycle=OFF))
    reconfigure(lab, "a", disk_of(1001, 20))
    since = len(lab.calls())
    with pytest.raises(TestbedError) as caught:
        lab.fleet(having("lsilogic", lifecycle=OFF), having("lsilogic", "b"))
    assert caught.value.error_code == "wrong_controller"
    assert "a: SCSI bus 1" in str(caught.value)
    assert "pvscsi with other disks (1:20)" in str(caught.value)
    assert writes(lab, since) == []


def test_a_templates_controller_goes_when_nothing_hangs_on_it(lab: Lab) -> None:
    """A VM of somebody else stands for the template: with an LSI controller on bus 1, then with a disk there too."""
    lab.fleet(wish("golden", disks=[], lifecycle=OFF), owner="somebody")
    try:
        reconfigure(lab, "golden", added(DEVICE.VirtualLsiLogicController(key=-1, busNumber=1, sharedBus="noSharing")))
        made = lab.fleet(having(None, template={"vm": "golden"}))
        assert made.error is None
        done = ["clone from the template", "reconfigure data_controller, disks.data, disks.scratch", "power on"]
        assert made.vms["a"]["operations"] == done
        types, disks = hardware(lab)
        assert types[1] is DEVICE.ParaVirtualSCSIController
        assert [disk[:2] for disk in disks] == [(0, 0), (1, 0), (1, 1)]
        assert not lab.fleet(having(None, template={"vm": "golden"})).changed
        reconfigure(lab, "golden", disk_of(1001, 0))
        since = len(lab.calls())
        with pytest.raises(TestbedError) as caught:
            lab.fleet(having(None, "b", template={"vm": "golden"}))
        assert caught.value.error_code == "wrong_controller"
        assert "found lsilogic with other disks (1:0)" in str(caught.value)
        assert "set vm_tweaks.data_controller to lsilogic" in str(caught.value)
        assert writes(lab, since) == []
        assert vm_names(lab) == ["a", "golden"]
    finally:
        assert lab.fleet(state="absent", all_owned=True, owner="somebody").error is None
