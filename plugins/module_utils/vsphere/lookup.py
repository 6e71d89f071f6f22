# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads vCenter by property collector: the names of everything in one call, details only of what is wanted."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import ownership, vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_spec import read_gpus
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware_spec import hardware_actual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import DiskActual, NicActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim, vmodl

VM_PROPERTIES = ("name", "config", "runtime.powerState", "runtime.host", "guest")
STATE_PROPERTIES = ("config.changeVersion", "runtime.powerState", "runtime.host", "guest")
KEY_PROPERTIES = (*STATE_PROPERTIES, "config.extraConfig")
PAGE = 1000


def retrieve(
    content: Any, kind: Any, references: Iterable[Any], properties: Iterable[str]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Read properties of many objects; objects that vanish meanwhile are left out."""
    collector = vmodl.query.PropertyCollector
    wanted = [collector.ObjectSpec(obj=reference) for reference in references]
    if not wanted:
        return
    spec = collector.FilterSpec(
        objectSet=wanted,
        propSet=[collector.PropertySpec(type=kind, pathSet=list(properties))],
        reportMissingObjectsInResults=True,
    )
    yield from _pages(content.propertyCollector, spec)


def members(
    content: Any, kind: Any, references: Iterable[Any], path: str, member: Any, properties: Iterable[str]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Read properties of the objects that a property of these objects names, in one call."""
    collector = vmodl.query.PropertyCollector
    traversal = collector.TraversalSpec(name=path, type=kind, path=path, skip=False)
    spec = collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=item, skip=True, selectSet=[traversal]) for item in references],
        propSet=[collector.PropertySpec(type=member, pathSet=list(properties))],
        reportMissingObjectsInResults=True,
    )
    yield from _pages(content.propertyCollector, spec)


def everything(content: Any, kinds: dict[Any, list[str]]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Read properties of every object of these kinds below the root folder."""
    collector = vmodl.query.PropertyCollector
    view = content.viewManager.CreateContainerView(content.rootFolder, list(kinds), True)
    try:
        traversal = collector.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
        spec = collector.FilterSpec(
            objectSet=[collector.ObjectSpec(obj=view, skip=True, selectSet=[traversal])],
            propSet=[collector.PropertySpec(type=kind, pathSet=paths) for kind, paths in kinds.items()],
        )
        yield from _pages(content.propertyCollector, spec)
    finally:
        view.Destroy()


def _pages(collector: Any, spec: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=PAGE)
    page = collector.RetrievePropertiesEx([spec], options)
    while page:
        for item in page.objects:
            yield item.obj, {prop.name: prop.val for prop in item.propSet}
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None


def unquote(name: str) -> str:
    """vCenter writes %, / and \\ in names as %25, %2f and %5c."""
    return urllib.parse.unquote(name)


def find_vms(content: Any, names: Iterable[str]) -> dict[str, Any]:
    """The VM reference of each name that exists.

    Raises TestbedError (``ambiguous_name``) when two VMs in different folders share a wanted name: which of them
    is meant must never be guessed.
    """
    wanted = set(names)
    found: dict[str, list[Any]] = {}
    for reference, values in everything(content, {vim.VirtualMachine: ["name"]}):
        name = unquote(values.get("name", ""))
        if name in wanted:
            found.setdefault(name, []).append(reference)
    problems = [
        Problem(
            f"VM name '{name}'",
            "at most one VM of that name",
            ", ".join(sorted(reference._moId for reference in references)),
            "remove or rename the ones that are not the testbed's",
        )
        for name, references in found.items()
        if len(references) > 1
    ]
    if problems:
        raise TestbedError("ambiguous_name", problems)
    return {name: references[0] for name, references in found.items()}


def owned_vms(content: Any, owner: str) -> dict[str, Any]:
    """Every VM that carries the owner's mark, by name and id, templates left out."""
    found = {}
    for reference, values in everything(
        content, {vim.VirtualMachine: ["name", "config.extraConfig", "config.template", "config.annotation"]}
    ):
        keys = {option.key: option.value for option in values.get("config.extraConfig") or ()}
        keys |= _deployed(keys, values.get("config.annotation"))[0]
        if keys.get(vmx.OWNER) == owner and not values.get("config.template"):
            found[unquote(values["name"])] = reference
    return found


def read_vms(content: Any, references: Iterable[Any], networks: dict[str, str]) -> dict[str, VmActual]:
    """The VMs as plain data by their id; ``networks`` names port groups and networks by id."""
    return {
        reference._moId: vm_actual(reference, values, networks)
        for reference, values in retrieve(content, vim.VirtualMachine, references, VM_PROPERTIES)
    }


def same_but_state(content: Any, known: Iterable[VmActual], stub: Any) -> dict[str, VmActual]:
    """Those VMs whose configuration is still the known one, with their present state, by id.

    A tenth of a whole VM to read; vCenter gives each version of a configuration a name of its own.
    """
    versions = {actual.moid: actual for actual in known}
    references = [vim.VirtualMachine(moid, stub) for moid in versions]
    same = {}
    for reference, values in retrieve(content, vim.VirtualMachine, references, STATE_PROPERTIES):
        actual = versions[reference._moId]
        if values.get("config.changeVersion") == actual.change_version:
            same[actual.moid] = replace(actual, **_state(values))
    return same


def with_new_keys(content: Any, known: Iterable[VmActual], stub: Any) -> dict[str, VmActual]:
    """VMs of which our own call has just changed VMX keys and nothing else, by id: a fifth of a whole VM to read.

    What somebody else changed since the VM was read whole is left to the next run, as what he changes after it.
    """
    before = {actual.moid: actual for actual in known}
    references = [vim.VirtualMachine(moid, stub) for moid in before]
    found = {}
    for reference, values in retrieve(content, vim.VirtualMachine, references, KEY_PROPERTIES):
        version = values.get("config.changeVersion")
        if version:
            actual, keys = before[reference._moId], _keys(values.get("config.extraConfig"))
            found[actual.moid] = replace(actual, extra_config=keys, change_version=version, **_state(values))
    return found


def _keys(options: Any) -> dict[str, str]:
    return {option.key: str(option.value) for option in options or ()}


def _state(values: dict[str, Any]) -> dict[str, Any]:
    """What changes while a configuration stays."""
    guest, host = values.get("guest"), values.get("runtime.host")
    return {
        "power": str(values.get("runtime.powerState") or "poweredOff"),
        "host": host._moId if host else "",
        "hostname": (guest.hostName or "") if guest else "",
        "addresses": _addresses(guest),
        "tools": str(guest.toolsRunningStatus or "") if guest else "",
    }


def importing(content: Any, references: Iterable[Any], actuals: dict[str, VmActual], owner: str) -> dict[str, VmActual]:
    """Of the owner's VMs that are not finished those whose disks are still copied, as VMs that are not ready.

    vCenter blocks what would change them meanwhile, power-on among it.
    """
    begun = {key for key, actual in actuals.items() if actual.deployed and actual.owner == owner}
    found = {}
    if begun:
        of_them = [reference for reference in references if reference._moId in begun]
        for reference, values in retrieve(content, vim.VirtualMachine, of_them, ["disabledMethod"]):
            actual = actuals[reference._moId]
            if actual.power == "poweredOff" and "PowerOnVM_Task" in (values.get("disabledMethod") or ()):
                found[reference._moId] = replace(actual, ready=False)
    return found


def vm_actual(reference: Any, values: dict[str, Any], networks: dict[str, str]) -> VmActual:
    """Turn the collected properties of one VM into plain data."""
    name = unquote(values.get("name", ""))
    config = values.get("config")
    if config is None or config.hardware is None:
        return VmActual(moid=reference._moId, name=name, ready=False)
    devices = list(config.hardware.device)
    scsi = {device.key: device for device in devices if isinstance(device, vim.vm.device.VirtualSCSIController)}
    video = next((device for device in devices if isinstance(device, vim.vm.device.VirtualVideoCard)), None)
    keys = _keys(config.extraConfig)
    deployed, notes = _deployed(keys, config.annotation)
    return VmActual(
        moid=reference._moId,
        name=name,
        is_template=bool(config.template),
        cpus=config.hardware.numCPU,
        memory_mb=config.hardware.memoryMB,
        memory_reservation_mb=(config.memoryAllocation.reservation or 0) if config.memoryAllocation else 0,
        memory_locked=bool(config.memoryReservationLockedToMax),
        extra_config=keys | deployed,
        deployed=deployed,
        notes=notes,
        customizing=bool(config.tools and config.tools.pendingCustomization),
        controllers={item.busNumber: type(item).__name__.rsplit(".", 1)[-1] for item in scsi.values()},
        controller_keys={item.busNumber: item.key for item in scsi.values()},
        disks=tuple(_disks(devices, scsi)),
        nics=tuple(_nics(devices, networks)),
        gpus=read_gpus(devices),
        video_key=video.key if video else 0,
        video_3d=bool(video and video.enable3DSupport),
        hardware=hardware_actual(config),
        change_version=config.changeVersion or "",
        uuid=config.uuid or "",
        instance_uuid=config.instanceUuid or "",
        guest_id=config.guestId or "",
        datastore=_datastore(config.files.vmPathName if config.files else ""),
        **_state(values),
        devices={device.key: device for device in devices},
    )


def _deployed(keys: dict[str, Any], annotation: str | None) -> tuple[dict[str, str], str]:
    """Marks that only the notes of a VM hold, with the other notes; they count until the keys have an owner."""
    return ({}, "") if keys.get(vmx.OWNER) else ownership.read_told(annotation)


def _datastore(path: str | None) -> str:
    """The name in a path such as ``[vmfs-01] nb-01/nb-01.vmx``."""
    return path[1:].split("]", 1)[0] if path and path.startswith("[") else ""


def _disks(devices: list[Any], scsi: dict[int, Any]) -> Iterator[DiskActual]:
    for device in devices:
        if isinstance(device, vim.vm.device.VirtualDisk):
            controller = scsi.get(device.controllerKey or 0)
            yield DiskActual(
                key=device.key,
                bus=controller.busNumber if controller else -1,
                unit=device.unitNumber if device.unitNumber is not None else -1,
                size_kb=device.capacityInKB,
                uuid=getattr(device.backing, "uuid", "") or "",
                has_parent=getattr(device.backing, "parent", None) is not None,
            )


def _nics(devices: list[Any], networks: dict[str, str]) -> Iterator[NicActual]:
    for device in devices:
        if isinstance(device, vim.vm.device.VirtualEthernetCard):
            adapter = type(device).__name__.rsplit(".", 1)[-1].removeprefix("Virtual").lower()
            port = getattr(device.backing, "port", None)
            network = networks.get(port.portgroupKey, "") if port else getattr(device.backing, "deviceName", "") or ""
            yield NicActual(key=device.key, adapter=adapter, network=network, mac=device.macAddress or "")


def _addresses(guest: Any) -> tuple[str, ...]:
    """Every address that VMware Tools report, the main one first."""
    if guest is None:
        return ()
    found = [guest.ipAddress] if guest.ipAddress else []
    for card in guest.net or ():
        found += list(card.ipAddress or ())
        if card.ipConfig:
            found += [entry.ipAddress for entry in card.ipConfig.ipAddress or ()]
    return tuple(dict.fromkeys(found))
