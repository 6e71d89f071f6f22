# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps a device that two runs have given out at once, seen from one of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import gpu_desk
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import Gpu, GpuHost, Holder, Inventory
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_desk import PATIENCE, GpuDesk
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Node, Place
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes

X = GpuActual(13000, "static", "0000:3b:00.0", vendor_id=0x10DE, device_id=0x2236)
DEVICES = tuple(Gpu("h1", f"0000:{bus}:00.0", 0x10DE, 0x2236, "NVIDIA A10", 24576) for bus in ("3b", "86"))
OURS = VmActual("vm-10", "ours", gpus=(X,), host="h1")
OLDER, YOUNGER = (Holder(moid, "theirs", "h1", False, (X,)) for moid in ("vm-9", "vm-11"))


class Tree:
    """A cluster with one host."""

    def __init__(self) -> None:
        rows = (("c1", "ClusterComputeResource", ""), ("h1", "HostSystem", "c1"), ("p1", "ResourcePool", "c1"))
        self.nodes = {moid: Node(SimpleNamespace(_moId=moid), kind, moid, parent, {}) for moid, kind, parent in rows}

    def ancestors(self, node: Node) -> list[Node]:
        return [self.nodes[node.parent]] if node.parent else []


class Room:
    """A desk, what its vCenter holds, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int = 1) -> None:
        tree: Any = Tree()
        self.desk, self.rivals, self.now, self.reads = GpuDesk(None, tree), [YOUNGER], 1000.0, 0
        self.hosts = (GpuHost("h1", "esx-01", gpus=DEVICES[: free + 1]),)
        self.place = Place(None, SimpleNamespace(_moId="p1"), None, None, {}, (), None)
        monkeypatch.setattr(gpu_desk, "members", lambda *_question: self.rivals)
        monkeypatch.setattr(gpu_desk, "_holders", self._read)
        monkeypatch.setattr(gpu_desk, "read_inventory", lambda *_question: Inventory(self.hosts, tuple(self.rivals)))
        monkeypatch.setattr(gpu_desk.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(GpuDesk, "_offer", lambda _desk, _host: {})

    def _read(self, rows: Any) -> Any:
        self.reads += 1
        return rows

    def apply(self, actual: VmActual = OURS, **wanted: str) -> VmWish:
        base = {"name": "ours", "template": {"vm": "t"}, "cpus": 1, "memory_mb": 4, "lifecycle": {"power": "off"}}
        wish = parse_wishes([base | {"gpu": [{"mode": "static"} | (wanted or {"model": "A10"})]}])[0]
        return self.desk.apply(wish, actual, self.place)


def addresses(wish: VmWish) -> list[str]:
    assert wish.gpu_choice is not None
    return [pick.gpu.address for pick in wish.gpu_choice.picks if pick.gpu]


def test_nothing_is_read_unless_a_device_was_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(monkeypatch)
    room.desk.settle([OURS])
    assert room.reads == 0
    room.rivals = []
    room.desk.claimed("ours")
    room.desk.settle([OURS, VmActual("vm-12", "another", host="h1")])
    room.desk.settle([OURS])
    assert room.reads == 1
    assert not room.desk.waits("ours")


def test_the_younger_vm_takes_another_device_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(monkeypatch)
    room.rivals = [OLDER]
    room.desk.claimed("ours")
    room.desk.settle([OURS])
    assert not room.desk.waits("ours")
    assert addresses(room.apply()) == ["0000:86:00.0"]


def test_the_older_vm_waits_and_keeps_what_the_younger_one_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(monkeypatch)
    room.desk.claimed("ours")
    room.desk.settle([OURS])
    assert room.desk.waits("ours")
    room.rivals = []
    room.desk.settle([OURS])
    assert not room.desk.waits("ours")
    assert addresses(room.apply()) == ["0000:3b:00.0"]


def test_the_older_vm_gives_way_to_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(monkeypatch)
    room.desk.claimed("ours")
    for seconds in (0.0, PATIENCE - 1):
        room.now = 1000.0 + seconds
        room.desk.settle([OURS])
        assert room.desk.waits("ours")
    room.now = 1000.0 + PATIENCE
    room.desk.settle([OURS])
    assert not room.desk.waits("ours")
    assert addresses(room.apply()) == ["0000:86:00.0"]


@pytest.mark.parametrize("wanted", [{"model": "A10"}, {"address": "0000:3b:00.0"}], ids=["model", "address"])
def test_what_cannot_be_replaced_is_given_back_before_the_error(
    monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]
) -> None:
    room = Room(monkeypatch, free=0)
    room.rivals = [OLDER]
    room.desk.claimed("ours")
    room.desk.settle([OURS])
    wish = room.apply(**wanted)
    assert wish.gpu_choice is not None
    assert wish.gpu_choice.picks == ()
    assert [str(gpu) for gpu in wish.gpu] == [str(GpuWish("static", **wanted))]
    with pytest.raises(TestbedError) as caught:
        room.apply(VmActual("vm-10", "ours", host="h1"), **wanted)
    assert caught.value.error_code == "no_gpu"
    assert "held by 'theirs'" in str(caught.value)
