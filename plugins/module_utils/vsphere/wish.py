# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wish: what an inventory wants of one VM, read strictly. Pure; shared by the action plugins and the module."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError, nearest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import after_case
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.customization import (
    Customization,
    read_customization,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.data_controller import MAX_DISKS, TYPES
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import Choice
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish, read_gpus
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import (
    FIELDS as HARDWARE_FIELDS,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import (
    Hardware,
    check_wish,
    read_hardware,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reader import Reader
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.template import Template, read_template

DRS = ("inherit", "disabled", "manual", "partially_automated", "fully_automated")
HA = ("inherit", "disabled", "lowest", "low", "medium", "high", "highest")
SHUTDOWN_SECONDS = 60  # for a guest to power itself off before it is switched off
MAX_NAME = 80  # vCenter's limit for the name of a VM


@dataclass(frozen=True)
class Disk:
    """One data disk besides the template's own; it sits on the SCSI controller of bus 1."""

    name: str
    size_gb: int
    provisioning: str = "lazy_zeroed"


@dataclass(frozen=True)
class Network:
    """One network card: the port group or network it is plugged into, by name."""

    network: str
    adapter: str = "vmxnet3"


@dataclass(frozen=True)
class Placement:
    """Where the VM lives, by name; an empty name means the only one there is, or vCenter's default.

    ``drs`` and ``ha`` are overrides of what its cluster does with it; empty means what passthrough needs.
    """

    datacenter: str = ""
    folder: str = ""
    cluster: str = ""
    host: str = ""
    resource_pool: str = ""
    datastore: str = ""
    datastore_cluster: str = ""
    storage_policy: str = ""
    drs: str = ""
    ha: str = ""
    create_folder: bool = False


@dataclass(frozen=True)
class Tweaks:
    """Settings that GPU inference needs; the defaults are those of requirements A."""

    balloon: bool = False
    page_sharing: bool = False
    accel_3d: bool = False
    reserve_memory: bool = True
    data_controller: str = "pvscsi"
    extra_config: Mapping[str, str] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=Hardware)


@dataclass(frozen=True)
class Lifecycle:
    """How long the VM is kept, in which power state, and how long its address is waited for (0: not)."""

    ttl_hours: int = 24
    power: str = "on"
    power_cycle: str = "never"
    shutdown_seconds: int = SHUTDOWN_SECONDS
    wait_seconds: int = 300
    address_networks: tuple[str, ...] = ()
    after_case: str = "auto"
    snapshot: str = ""


@dataclass(frozen=True)
class VmWish:
    """Everything that is wanted of one VM."""

    name: str
    template: Template
    cpus: int
    memory_mb: int
    disks: tuple[Disk, ...] = ()
    networks: tuple[Network, ...] = ()
    gpu: tuple[GpuWish, ...] = ()
    placement: Placement = Placement()
    customization: Customization = field(default_factory=Customization)
    tweaks: Tweaks = Tweaks()
    lifecycle: Lifecycle = Lifecycle()
    gpu_choice: Choice | None = None  # not wished: which devices fleet has chosen for ``gpu``

    @property
    def hostname(self) -> str:
        """The guest's host name: its own, else the VM's name."""
        return self.customization.hostname or self.name

    @property
    def after_case(self) -> str:
        """In which state the VM is left after a test case."""
        return after_case.policy(self.lifecycle.after_case, self.gpu)


def _disk(reader: Reader, path: str, value: Any) -> Disk:
    values = reader.mapping(path, value, ("name", "size_gb", "provisioning"))
    return Disk(
        reader.text(f"{path}.name", values.get("name"), empty=False),
        reader.integer(f"{path}.size_gb", values.get("size_gb"), 1, 63488, "GB", 1),
        reader.choice(
            f"{path}.provisioning", values.get("provisioning", "lazy_zeroed"), ("lazy_zeroed", "eager_zeroed", "thin")
        ),
    )


def _network(reader: Reader, path: str, value: Any) -> Network:
    values = reader.mapping(path, value, ("network", "adapter"))
    return Network(
        reader.text(f"{path}.network", values.get("network"), empty=False),
        reader.choice(f"{path}.adapter", values.get("adapter", "vmxnet3"), ("vmxnet3",)),
    )


def _placement(reader: Reader, value: Any) -> Placement:
    names = (
        "datacenter",
        "folder",
        "cluster",
        "host",
        "resource_pool",
        "datastore",
        "datastore_cluster",
        "storage_policy",
    )
    values = reader.mapping("placement", value, (*names, "create_folder", "drs", "ha"))
    known = {"drs": DRS, "ha": HA}
    overrides = {
        name: reader.choice(f"placement.{name}", values[name], choices)
        for name, choices in known.items()
        if values.get(name) is not None
    }
    wish = Placement(
        **{name: reader.text(f"placement.{name}", values.get(name)) for name in names},
        create_folder=reader.boolean("placement.create_folder", values.get("create_folder") or False),
        **overrides,
    )
    if wish.create_folder and not wish.folder.strip("/"):
        reader.bad("placement.create_folder", "true only with a folder to create", True, "set vm_placement.folder")
    if wish.datastore and wish.datastore_cluster:
        found = f"{wish.datastore} and {wish.datastore_cluster}"
        reader.bad("placement.datastore", "either a datastore or a datastore_cluster", found, "leave one out")
    return wish


def _tweaks(reader: Reader, value: Any) -> Tweaks:
    switches = ("balloon", "page_sharing", "accel_3d", "reserve_memory")
    values = reader.mapping("tweaks", value, (*switches, "data_controller", "extra_config", *HARDWARE_FIELDS))
    flags = {name: reader.boolean(f"tweaks.{name}", values[name]) for name in switches if name in values}
    extra: dict[str, str] = {}
    for key, item in reader.mapping("tweaks.extra_config", values.get("extra_config"), None).items():
        if key.startswith(("nanobanana.", "guestinfo.")):
            reader.bad(f"tweaks.extra_config.{key}", "a key that the project does not write itself", item)
        extra[key] = ("TRUE" if item else "FALSE") if isinstance(item, bool) else "" if item is None else str(item)
        if not key or re.search(r"\s", key):
            reader.bad(f"tweaks.extra_config.{key}", "a key without blanks", key)
    wish = Tweaks(
        **flags,
        data_controller=reader.choice("tweaks.data_controller", values.get("data_controller", "pvscsi"), tuple(TYPES)),
        extra_config=extra,
        hardware=read_hardware(reader, values),
    )
    if not wish.balloon and not wish.reserve_memory:
        reader.bad(
            "tweaks.balloon",
            "true when reserve_memory is false, because ESXi swaps the VM out where it may not balloon",
            False,
            "set vm_tweaks.reserve_memory to true",
        )
    return wish


def _shutdown_seconds(reader: Reader, values: Mapping[str, Any]) -> int:
    value = values.get("shutdown_seconds", SHUTDOWN_SECONDS)
    return reader.integer("lifecycle.shutdown_seconds", value, 0, 3600, "seconds", SHUTDOWN_SECONDS)


def _lifecycle(reader: Reader, value: Any) -> Lifecycle:
    times = ("ttl_hours", "shutdown_seconds", "wait_seconds")
    names = (*times, "power", "power_cycle", "address_networks", "after_case", "snapshot")
    values = reader.mapping("lifecycle", value, names)

    def network(path: str, item: Any) -> str:
        try:
            return str(ipaddress.ip_network(str(item)))
        except ValueError:
            reader.bad(path, "a network such as 10.20.0.0/16", item)
            return "0.0.0.0/0"

    power = values.get("power", "on")
    if isinstance(power, bool):  # YAML 1.1 reads a bare on / off as a boolean
        power = "on" if power else "off"
    return Lifecycle(
        reader.integer("lifecycle.ttl_hours", values.get("ttl_hours", 24), 1, 8760, "hours", 24),
        reader.choice("lifecycle.power", power, ("on", "off", "suspended")),
        reader.choice("lifecycle.power_cycle", values.get("power_cycle", "never"), ("never", "allowed")),
        _shutdown_seconds(reader, values),
        reader.integer("lifecycle.wait_seconds", values.get("wait_seconds", 300), 0, 7200, "seconds", 300),
        reader.listing("lifecycle.address_networks", values.get("address_networks"), network),
        reader.choice("lifecycle.after_case", values.get("after_case", "auto"), after_case.POLICIES),
        reader.text("lifecycle.snapshot", values.get("snapshot")),
    )


FIELDS = (
    "template",
    "cpus",
    "memory_mb",
    "disks",
    "networks",
    "gpu",
    "placement",
    "customization",
    "tweaks",
    "lifecycle",
)


def _check_name(reader: Reader, name: Any) -> str:
    if not isinstance(name, str) or not name or len(name) > MAX_NAME or re.search(r"[%/\\]", name):
        reader.problems.append(
            Problem(f"VM name {name!r}", rf"1 to {MAX_NAME} characters without %, / and \ ", repr(name))
        )
        return ""
    return str(name)


def _one(raw: Mapping[str, Any]) -> tuple[VmWish, list[Problem]]:
    reader = Reader(str(raw.get("name", "?")))
    name = _check_name(reader, raw.get("name"))
    for key in raw:
        if key != "name" and key not in FIELDS:
            reader.bad(str(key), "a variable of the wish", key, nearest(f"vm_{key}", [f"vm_{f}" for f in FIELDS]))
    memory_mb = reader.integer("memory_mb", raw.get("memory_mb"), 4, 25_165_824, "MB", 4)
    if memory_mb % 4:
        reader.bad("memory_mb", "a multiple of 4 MB, as ESXi demands", memory_mb)
    disks = reader.listing("disks", raw.get("disks"), lambda path, item: _disk(reader, path, item))
    repeated = {disk.name for disk in disks if sum(other.name == disk.name for other in disks) > 1}
    if repeated:
        reader.bad("disks", "a name of its own for each disk", ", ".join(sorted(repeated)))
    tweaks = _tweaks(reader, raw.get("tweaks"))
    if len(disks) > MAX_DISKS:
        carrier = f"a controller of type {tweaks.data_controller}"
        reader.bad("disks", f"at most {MAX_DISKS} data disks, what {carrier} carries", len(disks))
    wish = VmWish(
        name=name,
        template=read_template(reader, raw.get("template")),
        cpus=reader.integer("cpus", raw.get("cpus"), 1, 768, "CPUs", 1),
        memory_mb=memory_mb,
        disks=disks,
        networks=reader.listing("networks", raw.get("networks"), lambda path, item: _network(reader, path, item)),
        gpu=read_gpus(
            reader,
            raw.get("gpu"),
            reserve_memory=tweaks.reserve_memory,
            hardware_version=tweaks.hardware.hardware_version,
        ),
        placement=_placement(reader, raw.get("placement")),
        customization=read_customization(reader, raw.get("customization")),
        tweaks=tweaks,
        lifecycle=_lifecycle(reader, raw.get("lifecycle")),
    )
    after_case.check_policy(reader, wish.lifecycle.after_case, wish.lifecycle.snapshot, wish.gpu)
    check_wish(reader, wish.tweaks.hardware, wish.cpus, reserve_memory=wish.tweaks.reserve_memory)
    return wish, reader.problems


def _duplicates(names: list[str]) -> list[Problem]:
    """VM names that differ in case only count as one: guests' host names are compared that way."""
    seen: dict[str, list[str]] = {}
    for name in names:
        seen.setdefault(name.lower(), []).append(name)
    return [
        Problem(f"VM name '{group[0]}'", "each name once in the list", " and ".join(group), "rename one of them")
        for group in seen.values()
        if len(group) > 1
    ]


def parse_names(raw: Iterable[Mapping[str, Any]]) -> list[str]:
    """The VM names alone, checked, for removing and reading VMs.

    Raises TestbedError (``invalid_wish``) for an impossible or a repeated name.
    """
    problems: list[Problem] = []
    names: list[str] = []
    for item in raw:
        reader = Reader(str(item.get("name", "?")))
        names.append(_check_name(reader, item.get("name")))
        problems += reader.problems
    problems += _duplicates(names)
    if problems:
        raise TestbedError("invalid_wish", problems)
    return names


def parse_patience(raw: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How long each named VM may take to shut down, in seconds, for removing and restarting VMs without a wish.

    Raises TestbedError (``invalid_wish``).
    """
    found: dict[str, int] = {}
    problems: list[Problem] = []
    for item in raw:
        reader = Reader(str(item.get("name", "?")))
        lifecycle = item.get("lifecycle")
        found[reader.name] = _shutdown_seconds(reader, lifecycle if isinstance(lifecycle, Mapping) else {})
        problems += reader.problems
    if problems:
        raise TestbedError("invalid_wish", problems)
    return found


def with_wish(raw: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those items that say more than a name."""
    return [item for item in raw if item.get("template")]


def parse_wishes(raw: Iterable[Mapping[str, Any]]) -> list[VmWish]:
    """Read the list of wishes.

    Each item has ``name`` and the fields of FIELDS (an inventory's ``vm_*`` variables without their prefix).
    Raises TestbedError (``invalid_wish``) that lists every problem of every VM.
    """
    wishes: list[VmWish] = []
    problems: list[Problem] = []
    for item in raw:
        wish, found = _one(item)
        wishes.append(wish)
        problems += found
    problems += _duplicates([wish.name for wish in wishes])
    if problems:
        raise TestbedError("invalid_wish", problems)
    return wishes
