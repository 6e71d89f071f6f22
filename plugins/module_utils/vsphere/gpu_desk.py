# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the hosts' GPUs when some VM wants or has one, and keeps the choices of one call of fleet together."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import (
    Choice,
    Gpu,
    GpuHost,
    Holder,
    Inventory,
    Need,
    Pick,
    Slot,
    assign,
    contested,
    foreign,
    keep,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_plan import described
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_spec import read_gpus, unsigned
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lookup import members, retrieve, unquote
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Place, Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

HOST_PROPERTIES = (
    "name",
    "vm",
    "datastore",
    "config.product",
    "runtime.connectionState",
    "runtime.inMaintenanceMode",
    "hardware.pciDevice",
    "config.pciPassthruInfo",
    "config.graphicsInfo",
    "config.sharedPassthruGpuTypes",
)
HOLDER_PROPERTIES = ("name", "runtime.powerState", "runtime.host", "config.hardware.device")
DISPLAY = 0x03  # PCI base class of display controllers
PATIENCE = 30.0  # seconds in which the other VM of a race may give a device back


def read_inventory(content: Any, hosts: Iterable[Any], known: Iterable[VmActual] = ()) -> Inventory:
    """All hosts with their GPUs, and the VMs with GPU devices; only VMs on hosts with a GPU are looked at.

    ``known`` are VMs that were read just before: their devices, most of what there is to read, are not read again.
    """
    mine = {actual.moid: actual for actual in known if actual.ready}
    found: list[GpuHost] = []
    machines: dict[str, Any] = {}
    for reference, values in retrieve(content, vim.HostSystem, hosts, HOST_PROPERTIES):
        host = gpu_host(reference._moId, values)
        found.append(host)
        if host.gpus:
            machines |= {machine._moId: machine for machine in values.get("vm") or () if machine._moId not in mine}
    holders = list(_holders(retrieve(content, vim.VirtualMachine, machines.values(), HOLDER_PROPERTIES)))
    holders += [
        Holder(actual.moid, actual.name, actual.host, actual.power != "poweredOff", actual.gpus)
        for actual in mine.values()
        if actual.gpus
    ]
    return Inventory(tuple(found), tuple(sorted(holders, key=lambda holder: holder.name)))


def _holders(rows: Iterable[tuple[Any, dict[str, Any]]]) -> Iterator[Holder]:
    """Those of the VMs that have GPU devices."""
    for reference, values in rows:
        gpus = read_gpus(values.get("config.hardware.device") or ())
        if gpus:
            power, host_of = str(values.get("runtime.powerState")), values.get("runtime.host")
            name, moid = unquote(values.get("name", "")), host_of._moId if host_of else ""
            yield Holder(reference._moId, name, moid, power != "poweredOff", gpus)


def gpu_host(moid: str, values: dict[str, Any]) -> GpuHost:
    """A host as plain data, from its collected properties."""
    devices = values.get("hardware.pciDevice") or ()
    passthrough = {item.id.lower(): item for item in values.get("config.pciPassthruInfo") or ()}
    graphics = {item.pciId.lower(): item for item in values.get("config.graphicsInfo") or ()}
    gpus, others = [], set()
    for device in devices:
        address = device.id.lower()
        if unsigned(device.classId) >> 8 == DISPLAY and (address in graphics or _offered(passthrough.get(address))):
            gpus.append(_gpu(moid, device, passthrough.get(address), graphics.get(address)))
        elif unsigned(device.classId) >> 8 != DISPLAY:
            others.add(address)
    product = values.get("config.product")
    connection = str(values.get("runtime.connectionState") or "connected")
    unusable = "" if connection == "connected" else connection
    return GpuHost(
        moid=moid,
        name=unquote(values.get("name", moid)),
        version=product.version if product else "",
        gpus=tuple(sorted(gpus, key=lambda gpu: gpu.address)),
        profiles=tuple(values.get("config.sharedPassthruGpuTypes") or ()),
        unusable="in maintenance mode" if values.get("runtime.inMaintenanceMode") else unusable,
        datastores=frozenset(item._moId for item in values.get("datastore") or ()),
        others=frozenset(others),
    )


def _offered(passthrough: Any) -> bool:
    """The console's own display adapter is one too, and nobody can pass that through."""
    return bool(passthrough and passthrough.passthruCapable)


def _gpu(host: str, device: Any, passthrough: Any, graphics: Any) -> Gpu:
    pci_name = device.deviceName or ""
    told = re.search(r"(\d+) ?GB", pci_name)  # A100 PCIe 40GB: what is left where graphicsInfo has no such device
    return Gpu(
        host=host,
        address=device.id.lower(),
        vendor_id=unsigned(device.vendorId),
        device_id=unsigned(device.deviceId),
        name=(graphics.deviceName if graphics else "") or pci_name,
        pci_name=pci_name,
        memory_mb=(graphics.memorySizeInKB or 0) // 1024 if graphics else int(told[1]) * 1024 if told else 0,
        capable=bool(passthrough and passthrough.passthruCapable),
        enabled=bool(passthrough and passthrough.passthruEnabled),
        active=bool(passthrough and passthrough.passthruActive),
        graphics=(graphics.graphicsType or "") if graphics else "",
        label=(getattr(passthrough, "hardwareLabel", "") or "") if passthrough else "",
    )


class GpuDesk:
    """Gives out the GPUs in one call of fleet: a choice once made is kept for that VM until another run wins it."""

    def __init__(self, content: Any, tree: Tree) -> None:
        self._content, self._tree = content, tree
        self._inventory: Inventory | None = None
        self._choices: dict[str, Choice] = {}
        self._lost: dict[str, frozenset[Slot]] = {}
        self._claims: dict[str, float] = {}  # VMs just given a static device -> until when another may give it back
        self._systems: dict[str, dict[str, str]] = {}  # by id of the host: address -> system id

    def choose(self, wanted: Iterable[tuple[VmWish, VmActual | None, Place]]) -> list[Problem]:
        """Choose for many VMs at once, which is fairer than one after the other; what cannot be is returned."""
        needs = [self._need(*item) for item in wanted if concerned(item[0], item[1])]
        if not needs:
            return []
        chosen, problems = assign(needs, self._read())
        self._choices |= chosen
        return problems

    def apply(self, wish: VmWish, actual: VmActual | None, place: Place, source: VmActual | None = None) -> VmWish:
        """The wish with its choice, anew for the VM as it is now; a new VM's source may bring GPUs of its own.

        Raises TestbedError (``no_gpu``) when it cannot be met any more.
        """
        brought = source.gpus if source and actual is None else ()
        if not concerned(wish, actual):
            self._choices.pop(wish.name, None)
            return replace(wish, gpu_choice=self._none_of(source)) if source and brought else wish
        known = self._choices.get(wish.name)
        if actual is not None or known is None:
            known = self._choices[wish.name] = self._choose_again(wish, actual, place)
        if source and brought:
            known = replace(known, foreign=self._none_of(source).foreign)
        return replace(wish, gpu_choice=replace(known, picks=tuple(self._located(pick) for pick in known.picks)))

    def _choose_again(self, wish: VmWish, actual: VmActual | None, place: Place) -> Choice:
        reserved = {name: choice for name, choice in self._choices.items() if name != wish.name}
        need, lost = self._need(wish, actual, place), self._lost.get(wish.name, frozenset())
        inventory = self._read()
        chosen, problems = assign([need], inventory, reserved, {wish.name: lost})
        if not problems:
            return chosen[wish.name]
        if actual is None or actual.power != "poweredOff" or lost.isdisjoint(_slots(actual)):
            raise TestbedError("no_gpu", problems)
        # There is none to take instead: what another VM won is given back first, and the next plan fails.
        kept, host = keep(need, inventory, lost), inventory.host(actual.host)
        return Choice(actual.host, host.name if host else "", tuple(kept.values()), foreign(actual.gpus, host))

    def _none_of(self, source: VmActual) -> Choice:
        """No GPU for the clone of this source; what the source passes through besides stays."""
        return Choice("", "", (), foreign(source.gpus, self._read().host(source.host)))

    def claimed(self, name: str) -> None:
        """A static device is being written into the VM's settings, which vCenter allows to two runs at once."""
        self._claims[name] = 0.0

    def settle(self, actuals: Iterable[VmActual]) -> None:
        """Look which of these VMs' new devices another VM was given too, and which of them gives way."""
        mine = [actual for actual in actuals if actual.name in self._claims and actual.host]
        if not mine:
            return
        hosts = [self._tree.nodes[moid].reference for moid in sorted({actual.host for actual in mine})]
        rows = members(self._content, vim.HostSystem, hosts, "vm", vim.VirtualMachine, HOLDER_PROPERTIES)
        holders = list(_holders(rows))
        for actual in mine:
            on = actual.power != "poweredOff"
            found = contested(Holder(actual.moid, actual.name, actual.host, on, actual.gpus), holders)
            if found and not any(found.values()):
                now = time.monotonic()
                self._claims[actual.name] = until = self._claims[actual.name] or now + PATIENCE
                if now < until:
                    continue
                found = dict.fromkeys(found, True)
            del self._claims[actual.name]
            if found:
                gone = frozenset(slot for slot, gives_way in found.items() if gives_way)
                self._lost[actual.name] = self._lost.get(actual.name, frozenset()) | gone
                self._inventory = None

    def waits(self, name: str) -> bool:
        """Whether the VM that was given the same device has still time to give it back."""
        return self._claims.get(name, 0.0) > 0.0

    def place(self, wish: VmWish, place: Place) -> Place:
        """Where to clone to: the host of the choice."""
        choice = self._choices.get(wish.name)
        if not wish.gpu or choice is None or choice.host not in self._tree.nodes:
            return place
        return replace(place, host=self._tree.nodes[choice.host].reference)

    def lost(self, wish: VmWish, actual: VmActual, place: Place) -> bool:
        """Look again after a fault: whether another VM holds a device of this one, which then takes another.

        Raises TestbedError (``no_gpu``) when no host has what it wants any more. apply() does so for a device that
        the wish names by its address, because there is no other.
        """
        if not wish.gpu or actual.power == "poweredOn":
            return False
        self._inventory = None
        inventory = self._read()
        mine = _slots(actual)
        mine |= {pick.gpu.slot for pick in getattr(self._choices.get(wish.name), "picks", ()) if pick.gpu}
        theirs = {
            (holder.host, gpu.address or gpu.assigned)
            for holder in inventory.holders
            if holder.moid != actual.moid
            for gpu in holder.gpus
            if gpu.address or gpu.assigned
        }
        before = self._lost.get(wish.name, frozenset())
        self._lost[wish.name] = before | (mine & theirs)
        if self._lost[wish.name] != before:
            return True
        reserved = {name: choice for name, choice in self._choices.items() if name != wish.name}
        _chosen, problems = assign([replace(self._need(wish, actual, place), has=())], inventory, reserved)
        if problems:
            raise TestbedError("no_gpu", problems)
        return False

    def facts(self, actual: VmActual | None) -> list[dict[str, Any]]:
        """The GPU devices of a VM as results show them."""
        if actual is None or not actual.gpus:
            return []
        node = self._tree.nodes.get(actual.host)
        return [described(gpu, node.name if node else "") for gpu in actual.gpus if gpu.mode != "other"]

    def _read(self) -> Inventory:
        if self._inventory is None:
            self._inventory = read_inventory(self._content, [node.reference for node in self._hosts()])
        return self._inventory

    def _hosts(self) -> Iterator[Any]:
        return (node for node in self._tree.nodes.values() if node.kind == "HostSystem")

    def _need(self, wish: VmWish, actual: VmActual | None, place: Place) -> Need:
        return need_of(self._tree, self._read, wish, actual, place)

    def _located(self, pick: Pick) -> Pick:
        """The static backing needs the id of the host's system, which only the host's own offer tells."""
        if pick.gpu is None or pick.key or pick.wish.mode != "static":
            return pick
        host = pick.gpu.host
        if host not in self._systems:
            self._systems[host] = self._offer(host)
        return replace(pick, system_id=self._systems[host].get(pick.gpu.address, ""))

    def _offer(self, host: str) -> dict[str, str]:
        reference = self._tree.nodes[host].reference
        parent = self._tree.nodes[self._tree.nodes[host].parent].reference
        target = parent.environmentBrowser.QueryConfigTarget(reference)
        offered = (target.pciPassthrough or ()) if target else ()
        return {item.pciDevice.id.lower(): item.systemId for item in offered}


def need_of(
    tree: Tree, inventory: Callable[[], Inventory], wish: VmWish, actual: VmActual | None, place: Place
) -> Need:
    """What one VM wants and where it may live; hosts that do not see its datastore are none for it."""
    pool = tree.nodes[place.pool._moId]
    cluster = next((node for node in tree.ancestors(pool) if "ComputeResource" in node.kind), None)
    nodes = [node for node in tree.nodes.values() if node.kind == "HostSystem"]
    hosts = {node.reference._moId for node in nodes if cluster and node.parent == cluster.reference._moId}
    where = f"a host of cluster '{cluster.name}'" if cluster else "a host"
    if place.host is not None:
        hosts, where = {place.host._moId}, f"host '{tree.nodes[place.host._moId].name}'"
    if place.datastore is not None:
        store = place.datastore._moId
        hosts = {host.moid for host in inventory().hosts if host.moid in hosts and store in host.datastores}
    if actual is None:
        return Need(wish.name, wish.gpu, frozenset(hosts), where)
    on = actual.power != "poweredOff" and wish.lifecycle.power != "off"
    return Need(wish.name, wish.gpu, frozenset(hosts), where, actual.moid, actual.host, actual.gpus, on)


def _slots(actual: VmActual) -> set[Slot]:
    return {(actual.host, gpu.address) for gpu in actual.gpus if gpu.mode == "static"}


def concerned(wish: VmWish, actual: VmActual | None) -> bool:
    """Whether the VM has to do with GPUs at all: only then are the hosts asked."""
    return bool(wish.gpu or (actual is not None and actual.gpus))
