# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OVF items of the Content Library as plain data: what their filter tells, what does not fit, the call that deploys.

Pure. The shapes are those of the vSphere Automation API, ``/api/vcenter/ovf/library-item`` (docs/adr/0018).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, nearest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.faults import (
    DeploymentConflictError,
    DeploymentError,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import (
    BOOT_CONTROLLERS,
    LATENCY_VERSION,
    HardwareActual,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import NicActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish


@dataclass(frozen=True)
class OvfItem:
    """An OVF item as its filter shows it; ``size`` counts the bytes of its disks, ``networks`` are the OVF's own."""

    item: str
    name: str = ""
    annotation: str = ""
    licenses: int = 0
    networks: tuple[str, ...] = ()
    size: int = 0


# Errors of the Automation API after which looking again helps; the first one means that somebody was faster.
PASSING = ("already_exists", "resource_busy", "concurrent_change", "timed_out", "service_unavailable")


def read_summary(item: str, answer: Mapping[str, Any]) -> OvfItem:
    """What filter answered. Case does not count: vCenter 8 writes ``EULAs``, the documents of 9 ``eulas``."""
    values = {key.lower(): value for key, value in answer.items()}
    size = 0
    for row in values.get("additional_params") or ():
        if row.get("type") == "SizeParams":
            size = row.get("approximate_flat_deployment_size") or 0
    return OvfItem(
        item=item,
        name=values.get("name") or "",
        annotation=values.get("annotation") or "",
        licenses=len(values.get("eulas") or ()),
        networks=tuple(values.get("networks") or ()),
        size=max(0, size),
    )


def targets(wish: VmWish, item: OvfItem) -> dict[str, str]:
    """The target network of each network of the OVF, by name: in the order of the wish, or the one of the same name."""
    if wish.networks:
        return {name: network.network for name, network in zip(item.networks, wish.networks, strict=False)}
    return {name: name for name in item.networks}


def misfits(wish: VmWish, item: OvfItem, networks: Iterable[str]) -> list[Problem]:
    """Why deploying the item for this wish would fail; ``networks`` are those that vCenter has."""
    problems: list[Problem] = []
    count = len(item.networks)
    told = ", ".join(f"'{name}'" for name in item.networks)
    if wish.networks and len(wish.networks) < count:
        expected = f"a network for each of the {count} that the OVF item has ({told})"
        hint = "add the missing ones; the same network may be named twice"
        problems.append(Problem(f"{wish.name}: vm_networks", expected, str(len(wish.networks)), hint))
    if not wish.networks:
        known = list(networks)
        for name in item.networks:
            if name not in known:
                expected = f"a target for '{name}' of the OVF item (it has {told})"
                found = "no vm_networks, and vCenter has no network of that name"
                problems.append(Problem(f"{wish.name}: vm_networks", expected, found, nearest(name, known)))
    if item.licenses and not wish.template.accept_eula:
        expected = f"true, because the item '{wish.template}' has {item.licenses} license agreement(s)"
        hint = "read them in vCenter, then set it"
        problems.append(Problem(f"{wish.name}: vm_template.accept_eula", expected, "false", hint))
    return problems


def expected(wish: VmWish, item: OvfItem) -> VmActual:
    """The VM as far as it is known before it is deployed: its networks. Hardware and disks show afterwards.

    What fleet never changes is taken to be as wished; where it is not, the plan after the deployment says so.
    """
    cards = tuple(NicActual(0, "", network) for network in targets(wish, item).values())
    fixed = wish.tweaks.hardware
    hardware = HardwareActual(
        hardware_version=LATENCY_VERSION if fixed.latency_sensitivity and not fixed.hardware_version else 0,
        firmware=fixed.firmware or "",
        boot_controller=BOOT_CONTROLLERS[fixed.boot_controller] if fixed.boot_controller else "",
    )
    return VmActual(moid="", name=item.name, nics=cards, hardware=hardware)


def request(
    wish: VmWish,
    item: OvfItem,
    target: Mapping[str, str],
    networks: Mapping[str, str],
    datastore: str,
    notes: str,
) -> dict[str, Any]:
    """The body of deploy; ``target`` and ``datastore`` are ids, ``networks`` ids by name.

    Disks are as the item's package has them.
    """
    spec = {
        "name": wish.name,
        "annotation": notes,
        "accept_all_EULA": wish.template.accept_eula,
        "default_datastore_id": datastore,
        "network_mappings": {name: networks[network] for name, network in targets(wish, item).items()},
    }
    return {"target": dict(target), "deployment_spec": spec}


def made(answer: Mapping[str, Any]) -> str:
    """The id of the VM that a deployment made; raises faults.DeploymentError with vCenter's own words."""
    resource = answer.get("resource_id") or {}
    if answer.get("succeeded") and resource.get("type") == "VirtualMachine":
        return str(resource["id"])
    if answer.get("succeeded"):
        found = f"{resource.get('type')} {resource.get('id')}"
        raise DeploymentError(f"the item made no VM but {found}: remove that, and use an item of one VM")
    errors = (answer.get("error") or {}).get("errors") or ()
    passes = any(kind in _kind(error) for error in errors for kind in PASSING)
    text = "; ".join(dict.fromkeys(line for error in errors for line in _lines(error))) or "vCenter gave no reason"
    raise DeploymentConflictError(text) if passes else DeploymentError(text)


def _kind(error: Mapping[str, Any]) -> str:
    """The type of a server error: ``error_type`` under /api, a class name in other forms."""
    inner = error.get("error") or {}
    return str(inner.get("error_type") or inner.get("@class") or "").lower()


def _lines(error: Mapping[str, Any]) -> Iterable[str]:
    """One line for each thing that an error of the categories INPUT, VALIDATION and SERVER says."""
    where = f"{error['name']} ({error.get('value', '')}): " if error.get("name") else ""
    if error.get("message"):
        yield where + message(error["message"])
    for issue in error.get("issues") or ():
        line = f"{issue.get('file', 'descriptor')}:{issue.get('line_number', '?')}: "
        yield line + message(issue.get("message") or {})
    for item in (error.get("error") or {}).get("messages") or ():
        yield message(item)


def message(item: Mapping[str, Any]) -> str:
    """A localizable message of the Automation API."""
    return str(item.get("localized") or item.get("default_message") or item.get("id") or "no message")
