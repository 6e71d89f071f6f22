# SPDX-License-Identifier: GPL-3.0-or-later
"""Every capability of a wish by one table: create, change and delete; checked and real; first and repeated.

Check mode is held to vCenter's own log of calls, which may show no write, and what is made is read back by an
administrator's plain pyVmomi session. A row says what a VM of the first wish and one of the second wish show there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.data_controller import TYPES
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.fleet import Outcome
from pyVmomi import vim

from tests.integration.conftest import Lab, give_role, wait_for, wish
from tests.integration.test_fleet import session

pytestmark = pytest.mark.integration

Fields = dict[str, Any]
NAME = "case"
OFF: Fields = {"power": "off", "wait_seconds": 0}
ON: Fields = {"power": "on", "wait_seconds": 0}
CYCLES: Fields = ON | {"power_cycle": "allowed"}
SUSPENDED: Fields = {"power": "suspended", "wait_seconds": 0}
MORE_CPUS: Fields = {"cpus": 4}  # the change of a VM whose capability in question cannot change
HOME = {"datacenter": "DC0", "cluster": "gpu-cluster", "folder": "nano-banana"}
STATIC = {"address": "192.0.2.11", "netmask": "255.255.255.0", "gateway": "192.0.2.1"}
LINUX = {"method": "spec", "spec": "vcsim-linux", "addresses": [STATIC]}
A10 = {"mode": "static", "model": "A10"}
T4 = {"mode": "static", "model": "T4"}
AT_3B = {"mode": "static", "address": "0000:3b:00.0"}
AT_86 = {"mode": "static", "address": "0000:86:00.0"}
AT_5E = {"mode": "static", "address": "0000:5e:00.0"}
DYNAMIC = {"mode": "dynamic", "vendor_id": "10de", "device_id": "2236"}
VGPU = {"mode": "vgpu", "profile": "nvidia_a10-4c"}


@dataclass(frozen=True)
class Case:
    """A capability: a wish, a change of it, what vCenter shows after each, and a change that is refused by design."""

    name: str
    first: Fields
    second: Fields
    probe: Callable[[Any], Any]
    shows: tuple[Any, Any]
    refused: Fields | None = None
    code: str = ""


def tweaks(**fields: Any) -> Fields:
    return {"tweaks": fields}


def lifecycle(fields: Fields) -> Fields:
    return {"lifecycle": fields}


def keys(machine: Any) -> dict[str, str]:
    return {option.key: option.value for option in machine.config.extraConfig}


def key(*names: str) -> Callable[[Any], Any]:
    return lambda machine: tuple(keys(machine).get(name) for name in names)


def of_kind(machine: Any, kind: Any) -> list[Any]:
    return [device for device in machine.config.hardware.device if isinstance(device, kind)]


def source(machine: Any) -> Any:
    parents = [disk.backing.parent is not None for disk in of_kind(machine, vim.vm.device.VirtualDisk)]
    return keys(machine)["nanobanana.template"], parents


def data_disks(machine: Any) -> list[tuple[int, bool, bool]]:
    """GB, thin, eager; the template's own disk hangs on the first controller."""
    disks = [disk for disk in of_kind(machine, vim.vm.device.VirtualDisk) if disk.controllerKey != 1000]
    return [
        (disk.capacityInKB >> 20, bool(disk.backing.thinProvisioned), bool(disk.backing.eagerlyScrub)) for disk in disks
    ]


def data_controller(machine: Any) -> tuple[Any, ...]:
    """Type of the second SCSI bus, and the units of the disks there."""
    (found,) = [item for item in of_kind(machine, vim.vm.device.VirtualSCSIController) if item.busNumber == 1]
    disks = [disk for disk in of_kind(machine, vim.vm.device.VirtualDisk) if disk.controllerKey == found.key]
    return type(found).__name__.rsplit(".", 1)[-1], [disk.unitNumber for disk in disks], power(machine)


def networks(machine: Any) -> list[str]:
    """What each card is plugged into: a port group shows a switch port, a standard network its name."""
    backings = [card.backing for card in of_kind(machine, vim.vm.device.VirtualEthernetCard)]
    return [getattr(backing, "deviceName", None) or type(backing.port).__name__ for backing in backings]


def gpus(machine: Any) -> list[tuple[str, ...]]:
    passthrough = vim.vm.device.VirtualPCIPassthrough
    found: list[tuple[str, ...]] = []
    for device in of_kind(machine, passthrough):
        backing = device.backing
        if isinstance(backing, passthrough.VmiopBackingInfo):
            found.append((backing.vgpu,))
        elif isinstance(backing, passthrough.DynamicBackingInfo):
            allowed = backing.allowedDevice[0]
            found.append((f"{allowed.vendorId:x}:{allowed.deviceId:x}", backing.customLabel or ""))
        else:
            found.append((machine.runtime.host.name, backing.id))
    return found


def models(machine: Any) -> list[str]:
    return [device.backing.deviceName for device in of_kind(machine, vim.vm.device.VirtualPCIPassthrough)]


def gpus_and_mmio(machine: Any) -> tuple[Any, ...]:
    return models(machine), keys(machine).get("pciPassthru.use64bitMMIO")


def told(machine: Any) -> tuple[str, Any]:
    found = keys(machine)
    metadata = json.loads(base64.b64decode(found["guestinfo.metadata"]))
    return base64.b64decode(found["guestinfo.userdata"]).decode(), metadata.get("network")


def customized(machine: Any) -> tuple[Any, ...]:
    return keys(machine).get("nanobanana.customization"), machine.guest.ipAddress, "guestinfo.metadata" in keys(machine)


def cpu_shares(machine: Any) -> Any:
    shares = machine.config.cpuAllocation.shares
    return shares.shares if shares.level == "custom" else shares.level


def memory(machine: Any) -> tuple[Any, ...]:
    config = machine.config
    return config.hardware.memoryMB, config.memoryAllocation.reservation, bool(config.memoryReservationLockedToMax)


def power(machine: Any) -> str:
    return str(machine.runtime.powerState)


def disk(size_gb: int, provisioning: str = "lazy_zeroed", name: str = "data") -> Fields:
    return {"name": name, "size_gb": size_gb, "provisioning": provisioning}


def lock_free(**more: Any) -> Fields:
    return tweaks(reserve_memory=False, balloon=True, **more)


def user_keys(machine: Any) -> dict[str, str]:
    return {name: value for name, value in keys(machine).items() if name.startswith("user.")}


SOURCES = [
    Case(
        f"source: {name}",
        {"template": template},
        {"disks": [*known, disk(5, name="more")]},
        source,
        ((text, parents), (text, [*parents, False])),
        {"template": other},
        "other_template",
    )
    for name, template, known, text, parents, other in (
        (
            "library item",
            {"library": "nano-banana", "item": "nano-banana-stress-template"},
            [],
            "nano-banana/nano-banana-stress-template",
            [False],
            {"inventory": "nano-banana-baseline-template"},
        ),
        (
            "OVF item",
            {"library": "nano-banana", "item": "nano-banana-baseline-ovf"},
            [],
            "nano-banana/nano-banana-baseline-ovf",
            [False],
            {"inventory": "nano-banana-baseline-template"},
        ),
        (
            "template by its path",
            {"inventory": "nano-banana/nano-banana-baseline-template"},
            [],
            "inventory:nano-banana/nano-banana-baseline-template",
            [False],
            {"vm": "golden"},
        ),
        (
            "full clone of a VM",
            {"vm": "golden"},
            [disk(20)],
            "vm:golden",
            [False, False],
            {"vm": "golden", "snapshot": "clean", "linked": True},
        ),
        (
            "linked clone",
            {"vm": "golden", "snapshot": "clean", "linked": True},
            [disk(20)],
            "linked:golden@clean",
            [True, True],
            {"vm": "golden"},
        ),
    )
]
PLACES = [
    Case(f"placement: {name}", {"placement": HOME | place}, MORE_CPUS, probe, (shows, shows))
    for name, place, probe, shows in (
        ("cluster", {}, lambda vm: vm.resourcePool.owner.name, "gpu-cluster"),
        ("host", {"host": "esx-02.lab"}, lambda vm: vm.runtime.host.name, "esx-02.lab"),
        ("resource pool", {"resource_pool": "small"}, lambda vm: vm.resourcePool.name, "small"),
        ("datastore", {"datastore": "vmfs-01"}, lambda vm: [store.name for store in vm.datastore], ["vmfs-01"]),
        (
            "datastore cluster",
            {"datastore_cluster": "pod-01"},
            lambda vm: [s.parent.name for s in vm.datastore],
            ["pod-01"],
        ),
        (
            "folder that is made",
            {"folder": "nano-banana/made/deeper", "create_folder": True},
            lambda vm: [vm.parent.name, vm.parent.parent.name],
            ["deeper", "made"],
        ),
    )
]
NETWORK = {"version": 2, "ethernets": {"ens192": {"addresses": ["192.0.2.10/24"]}}}
CUSTOMIZATIONS = [
    Case(
        "customization: cloud-init",
        {"customization": {"userdata": "#cloud-config\n"}},
        {"customization": {"userdata": "#cloud-config\nhostname: x\n", "metadata": {"network": NETWORK}}},
        told,
        (("#cloud-config\n", None), ("#cloud-config\nhostname: x\n", NETWORK)),
    ),
    Case(
        "customization: specification",
        {"customization": LINUX} | lifecycle(CYCLES),
        MORE_CPUS,
        customized,
        (("done vcsim-linux", "192.0.2.11", False),) * 2,
        {"customization": {"method": "spec", "spec": "vcsim-linux-static"}},
        "other_customization",
    ),
    Case(
        "customization: specification for Windows",
        {"customization": LINUX | {"spec": "vcsim-windows-static"}} | lifecycle(CYCLES),
        MORE_CPUS,
        customized,
        (("done vcsim-windows-static", "192.0.2.11", False),) * 2,
    ),
    Case(
        "customization: none",
        {"customization": {"method": "none"}},
        {"customization": {"method": "cloud_init"}},
        key("guestinfo.metadata.encoding", "guestinfo.userdata"),
        ((None, None), ("base64", None)),
    ),
]
HARDWARE = [
    Case("cpus", {"cpus": 1}, {"cpus": 3}, lambda vm: vm.config.hardware.numCPU, (1, 3)),
    Case(
        "cores per socket",
        {"cpus": 4} | tweaks(cores_per_socket=2),
        tweaks(cores_per_socket=4),
        lambda vm: vm.config.hardware.numCoresPerSocket,
        (2, 4),
    ),
    Case(
        "cpu shares",
        tweaks(cpu_shares="high"),
        tweaks(cpu_shares=1234),
        cpu_shares,
        ("high", 1234),
    ),
    Case(
        "cpu limit",
        tweaks(cpu_limit_mhz=5000),
        tweaks(cpu_limit_mhz="unlimited"),
        lambda vm: vm.config.cpuAllocation.limit,
        (5000, -1),
    ),
    Case(
        "cpu reservation",
        tweaks(cpu_reservation_mhz=300),
        tweaks(cpu_reservation_mhz=0),
        lambda vm: vm.config.cpuAllocation.reservation,
        (300, 0),
    ),
    Case(
        "latency sensitivity",
        tweaks(latency_sensitivity="high", cpu_reservation_mhz=100_000),
        tweaks(latency_sensitivity="normal", cpu_reservation_mhz=100_000),
        lambda vm: vm.config.latencySensitivity.level,
        ("high", "normal"),
        tweaks(latency_sensitivity="high", cpu_reservation_mhz=10),
        "unsupported_hardware",
    ),
    Case("memory", {"memory_mb": 1024}, {"memory_mb": 4096}, memory, ((1024, 1024, True), (4096, 4096, True))),
    Case("memory reservation off", {}, lock_free(), memory, ((2048, 2048, True), (2048, 0, False))),
    Case("memory reservation on", lock_free(), tweaks(), memory, ((2048, 0, False), (2048, 2048, True))),
    Case(
        "hardware version",
        {},
        tweaks(hardware_version=21),
        lambda vm: vm.config.version,
        ("vmx-20", "vmx-21"),
        tweaks(hardware_version=20),
        "hardware_downgrade",
    ),
    Case(
        "hardware version of a new VM",
        tweaks(hardware_version=21),
        MORE_CPUS,
        lambda vm: vm.config.version,
        ("vmx-21", "vmx-21"),
        tweaks(hardware_version=22),
        "unsupported_hardware",
    ),
    Case(
        "firmware and boot controller",
        tweaks(firmware="efi", boot_controller="pvscsi"),
        MORE_CPUS,
        lambda vm: vm.config.firmware,
        ("efi", "efi"),
        tweaks(firmware="bios"),
        "wrong_firmware",
    ),
    Case(
        "balloon and page sharing",
        {},
        tweaks(balloon=True, page_sharing=True),
        key("sched.mem.maxmemctl", "sched.mem.pshare.enable"),
        (("0", "FALSE"), (None, None)),
    ),
    Case("3D", tweaks(accel_3d=True), tweaks(accel_3d=False), key("mks.enable3d"), ((None,), ("FALSE",))),
    Case(
        "VMX keys",
        tweaks(extra_config={"user.one": "1", "user.two": "2"}),
        tweaks(extra_config={"user.two": "3", "user.new": "x"}),
        user_keys,
        ({"user.one": "1", "user.two": "2"}, {"user.two": "3", "user.new": "x"}),
    ),
]
DISKS = [
    Case(
        f"disk: {name}",
        {"disks": first},
        {"disks": second},
        data_disks,
        shows,
        {"disks": [disk(1)]},
        "disk_shrinks",
    )
    for name, first, second, shows in (
        ("thin, grows", [disk(5, "thin")], [disk(8, "thin")], ([(5, True, False)], [(8, True, False)])),
        (
            "eager, grows",
            [disk(5, "eager_zeroed")],
            [disk(8, "eager_zeroed")],
            ([(5, False, True)], [(8, False, True)]),
        ),
        (
            "a second one",
            [disk(5)],
            [disk(5), disk(6, "thin", "more")],
            ([(5, False, False)], [(5, False, False), (6, True, False)]),
        ),
    )
]
DISKS += [
    Case(
        f"data controller: {first} to {second}",
        {"disks": [disk(5), disk(6, name="more")]} | tweaks(data_controller=first) | lifecycle(ON),
        tweaks(data_controller=second) | lifecycle(CYCLES),
        data_controller,
        tuple((TYPES[kind], [0, 1], "poweredOn") for kind in (first, second)),  # type: ignore[arg-type]
        tweaks(data_controller=first) | lifecycle(ON),
        "needs_power_off",
    )
    for first, second in (
        ("pvscsi", "lsilogic"),
        ("lsilogic", "lsilogic_sas"),
        ("lsilogic_sas", "pvscsi"),
    )
]
TESTBED, STANDARD, PORT = {"network": "testbed"}, {"network": "VM Network"}, vim.dvs.PortConnection.__name__
NETWORKS = [
    Case(f"networks: {name}", {"networks": first}, {"networks": second}, networks, shows)
    for name, first, second, shows in (
        ("from distributed to standard", [TESTBED], [STANDARD], ([PORT], ["VM Network"])),
        ("from standard to distributed", [STANDARD], [TESTBED], (["VM Network"], [PORT])),
        ("one more card", [TESTBED], [TESTBED, STANDARD], ([PORT], [PORT, "VM Network"])),
        ("one card less", [STANDARD, TESTBED], [STANDARD], (["VM Network", PORT], ["VM Network"])),
    )
]
GPUS = [
    Case(f"GPU: {name}", {"gpu": first}, {"gpu": second} | lifecycle(ON), probe, shows)
    for name, first, second, probe, shows in (
        (
            "static by address",
            [AT_86],
            [AT_5E],
            gpus,
            ([("esx-01.lab", "0000:86:00.0")], [("esx-02.lab", "0000:5e:00.0")]),
        ),
        ("static by model", [A10], [T4], models, (["NVIDIA A10"], ["NVIDIA T4"])),
        ("dynamic", [DYNAMIC], [DYNAMIC | {"label": "render"}], gpus, ([("10de:2236", "")], [("10de:2236", "render")])),
        ("vGPU", [VGPU], [VGPU | {"profile": "nvidia_a10-8c"}], gpus, ([("nvidia_a10-4c",)], [("nvidia_a10-8c",)])),
        ("from static to dynamic", [AT_86], [DYNAMIC], gpus, ([("esx-01.lab", "0000:86:00.0")], [("10de:2236", "")])),
        ("from dynamic to vGPU", [DYNAMIC], [VGPU], gpus, ([("10de:2236", "")], [("nvidia_a10-4c",)])),
        ("from vGPU to static", [VGPU], [AT_86], gpus, ([("nvidia_a10-4c",)], [("esx-01.lab", "0000:86:00.0")])),
        ("one of two removed", [AT_3B, AT_86], [AT_86], models, (["NVIDIA A10"] * 2, ["NVIDIA A10"])),
        ("removed by an empty list", [A10], [], gpus_and_mmio, ((["NVIDIA A10"], "TRUE"), ([], None))),
    )
]
GPUS.append(
    Case("GPU: the template's own, not wished", {"template": {"inventory": "with-vgpu"}}, MORE_CPUS, gpus, ([], []))
)
POWER = [
    Case(f"power: {name}", lifecycle(first), lifecycle(second), power, shows)
    for name, first, second, shows in (
        ("off to on", OFF, ON, ("poweredOff", "poweredOn")),
        ("on to off", ON, OFF, ("poweredOn", "poweredOff")),
        ("on to suspended", ON, SUSPENDED, ("poweredOn", "suspended")),
        ("suspended to on", SUSPENDED, ON, ("suspended", "poweredOn")),
        ("suspended to off", SUSPENDED, OFF, ("suspended", "poweredOff")),
    )
]
POWER.append(
    Case(
        "power cycle",
        lifecycle(ON),
        MORE_CPUS | lifecycle(CYCLES),
        lambda vm: (vm.config.hardware.numCPU, power(vm)),
        ((2, "poweredOn"), (4, "poweredOn")),
        {"cpus": 8} | lifecycle(ON),
        "needs_power_off",
    )
)
CASES = SOURCES + PLACES + CUSTOMIZATIONS + HARDWARE + DISKS + NETWORKS + GPUS + POWER


@dataclass
class Stage:
    """A lab with everything that the table names, and an administrator's session beside fleet's."""

    lab: Lab
    content: Any

    def machine(self) -> Any:
        return lookup.find_vms(self.content, [NAME]).get(NAME)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing within may write to vCenter, by its own log."""
        log = self.lab.state / "logs/calls.jsonl"
        before = log.stat().st_size
        yield
        lines = log.read_bytes()[before:].splitlines()
        assert [call["method"] for call in map(json.loads, lines) if call["write"]] == []

    def checked(self, *vms: Fields, **options: Any) -> None:
        """First and repeated in check mode: both see the same change, and make none."""
        with self.read_only():
            first, again = (self.lab.fleet(*vms, check=True, **options) for _turn in range(2))
        assert first.changed
        assert again.changed
        assert shown(first)
        assert shown(first) == shown(again)

    def done(self, *vms: Fields, **options: Any) -> None:
        """For real, and again, which changes nothing."""
        first = self.lab.fleet(*vms, **options)
        assert first.error is None
        assert first.changed
        with self.read_only():
            again = self.lab.fleet(*vms, **options)
        assert not again.changed
        assert not shown(again)


def shown(outcome: Outcome) -> Fields:
    """The diff of the VM, without the time at which its expiry was reckoned."""
    after = {name: value for name, value in outcome.after.get(NAME, {}).items() if not name.endswith(".expires")}
    return {"before": outcome.before[NAME], "after": after} if after else {}


def named(content: Any, kind: Any, name: str) -> Any:
    return next(found for found, values in lookup.everything(content, {kind: ["name"]}) if values["name"] == name)


@pytest.fixture(scope="module")
def stage(start_lab: Callable[..., Lab]) -> Iterator[Stage]:
    """A lab of its own, because the simulator cannot take back all of what is prepared here."""
    lab = start_lab("fake")
    vgpu = [VGPU | {"profile": "nvidia_a10-2c"}]
    made = lab.fleet(
        wish("golden", lifecycle=OFF), wish("with-vgpu", lifecycle=OFF, disks=[], gpu=vgpu), owner="somebody"
    )
    assert made.error is None
    with session(lab) as content:
        golden, template = lookup.find_vms(content, ["golden"])["golden"], lookup.find_vms(content, ["with-vgpu"])
        for name in ("first", "clean"):
            wait_for(golden.CreateSnapshot_Task(name=name, description="", memory=False, quiesce=False))
        template["with-vgpu"].MarkAsTemplate()
        give_role(content, template["with-vgpu"], "template")
        give_role(content, named(content, vim.Network, "VM Network"), "network")
        home, store = named(content, vim.Folder, "datastore"), named(content, vim.Datastore, "vmfs-01")
        wait_for(home.CreateStoragePod("pod-01").MoveIntoFolder_Task([store]))
        pool = named(content, vim.ClusterComputeResource, "gpu-cluster").resourcePool
        allocation = vim.ResourceAllocationInfo(
            reservation=0, expandableReservation=True, limit=-1, shares=vim.SharesInfo(level="normal", shares=0)
        )
        pool.CreateResourcePool("small", vim.ResourceConfigSpec(cpuAllocation=allocation, memoryAllocation=allocation))
        yield Stage(lab, content)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_twelve_cases(stage: Stage, case: Case) -> None:
    base: Fields = {"disks": [], "customization": {}, "lifecycle": OFF}
    first = wish(NAME, **base | case.first)
    second = first | case.second
    try:
        stage.checked(first)
        assert stage.machine() is None
        stage.done(first)
        assert case.probe(stage.machine()) == case.shows[0]
        stage.checked(second)
        assert case.probe(stage.machine()) == case.shows[0]
        stage.done(second)
        assert case.probe(stage.machine()) == case.shows[1]
        if case.refused is not None:
            with stage.read_only(), pytest.raises(TestbedError) as caught:
                stage.lab.fleet(second | case.refused)
            assert caught.value.error_code == case.code
        stage.checked({"name": NAME}, state="absent")
        stage.done({"name": NAME}, state="absent")
        assert stage.machine() is None
    finally:
        stage.lab.fleet(state="absent", all_owned=True)
