# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of the machine gate: one VM beside its wish. What the wish leaves alone is not applicable."""

from __future__ import annotations

from functools import partial
from typing import Dict, List, Mapping

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import KB_PER_GB
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.data_controller import TYPES, word
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import DYNAMIC_HARDWARE
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import UNLIMITED
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import DATA_BUS

from . import vsphere_gpu
from .orders import VM_ANEW
from .result import FAILED, NOT_APPLICABLE, PASSED, WARNED, Fix, Outcome, Probe
from .vsphere_facts import MachineFacts
from .vsphere_wish import recommended

POWERS = {"on": "poweredOn", "off": "poweredOff", "suspended": "suspended"}
WORDS = {found: wished for wished, found in POWERS.items()}


def _differs(expected: str, found: str, why: str) -> Outcome:
    return Outcome(FAILED, expected, found, why)


def exists(facts: MachineFacts) -> Outcome:
    """A VM of that name whose settings can be read."""
    expected = f"a VM named '{facts.wish.name}'"
    if facts.actual is None:
        return _differs(expected, "none", "it was not made yet, or somebody removed it")
    if not facts.actual.ready:
        fix = Fix("Wait until vCenter has made it, then ask again.")
        return Outcome(FAILED, expected, "one that is still being made", "its settings cannot be read yet", fix=fix)
    return Outcome(PASSED, expected, facts.actual.moid)


def owner(facts: MachineFacts) -> Outcome:
    """The mark without which fleet touches no VM."""
    actual, expected = facts.vm, f"'{facts.owner}' in {vmx.OWNER}"
    if actual.is_template:
        return _differs(expected, "a template", "fleet never changes a template")
    if actual.owner == facts.owner:
        return Outcome(PASSED, expected, f"'{actual.owner}'")
    found = f"'{actual.owner}'" if actual.owner else "no mark of the testbed"
    return _differs(expected, found, "somebody else's VM has this name, and fleet leaves it alone")


def power(facts: MachineFacts) -> Outcome:
    """On, off or suspended, as vm_lifecycle.power says."""
    wished, found = facts.wish.lifecycle.power, WORDS.get(facts.vm.power, facts.vm.power)
    if wished == found:
        return Outcome(PASSED, wished, found)
    return _differs(wished, found, "the guest cannot be reached as it is" if wished == "on" else "it should not run")


def size(facts: MachineFacts) -> Outcome:
    """CPUs and memory."""
    expected = f"{facts.wish.cpus} CPUs, {facts.wish.memory_mb} MB"
    found = f"{facts.vm.cpus} CPUs, {facts.vm.memory_mb} MB"
    if expected == found:
        return Outcome(PASSED, expected, found)
    return _differs(expected, found, "figures of another size cannot be compared")


def hardware_version(facts: MachineFacts) -> Outcome:
    """The wished one and what the GPU mode needs; the recommended one only where missing it costs something."""
    found, wished = facts.vm.hardware.hardware_version, facts.wish.tweaks.hardware.hardware_version or 0
    modes = DYNAMIC_HARDWARE if any(gpu.mode == "dynamic" for gpu in facts.wish.gpu) else 0
    least, default = max(wished, modes), recommended(facts.hosts)
    if found < least:
        why = "vm_tweaks.hardware_version wishes for it" if wished >= modes else "vm_gpu mode dynamic needs it"
        return _differs(f"at least {least}", str(found), why)
    latency = facts.wish.tweaks.hardware.latency_sensitivity == "high"
    if wished or found >= default:
        return Outcome(PASSED, f"at least {least or default}" if least or default else "any", str(found))
    if not facts.wish.gpu and not latency:
        return Outcome(PASSED, f"{default} is recommended", str(found), "an older one costs this VM nothing")
    why = "a GPU" if facts.wish.gpu else "high latency sensitivity"
    fix = Fix(
        f"Set vm_tweaks.hardware_version to {default} in the inventory and provision again, or renew the template."
    )
    return Outcome(WARNED, f"at least {default}", str(found), f"a VM with {why} gains by what newer ones can", fix=fix)


def firmware(facts: MachineFacts) -> Outcome:
    """The wished one; EFI where a GPU's memory is mapped above 4 GB."""
    found, wished = facts.vm.hardware.firmware, facts.wish.tweaks.hardware.firmware
    mapped = vsphere_gpu.mapped(facts.wish)
    if not wished and not mapped:
        return Outcome(NOT_APPLICABLE, detail="no firmware is wished, and no GPU needs one")
    if mapped and found != "efi":
        return _differs("efi", found or "unknown", "a guest with BIOS cannot map the memory of its GPUs")
    if wished and wished != found:
        return _differs(wished, found or "unknown", "vm_tweaks.firmware wishes for another one")
    return Outcome(PASSED, wished or "efi", found)


def accel_3d(facts: MachineFacts) -> Outcome:
    """The video card carries the setting; the key is what compliance checks read."""
    if facts.wish.tweaks.accel_3d:
        return Outcome(NOT_APPLICABLE, detail="vm_tweaks.accel_3d leaves it as it is")
    if facts.vm.video_3d:
        return _differs("3D off", "on (video card)", "3D acceleration takes time and memory that CUDA needs")
    return _key(facts, "mks.enable3d", "compliance checks read this key")


def balloon(facts: MachineFacts) -> Outcome:
    """sched.mem.maxmemctl decides; mem.memballoon of the field report stands beside it and does nothing by itself."""
    if facts.wish.tweaks.balloon:
        return Outcome(NOT_APPLICABLE, detail="vm_tweaks.balloon leaves it as it is")
    outcome = _key(
        facts, "sched.mem.maxmemctl", "the host may take memory away from the guest, which answers slowly then"
    )
    if outcome.status == FAILED:
        return outcome
    beside = _key(facts, "mem.memballoon", "the balloon is off; this key beside it is for other tools")
    expected, actual = f"{outcome.expected}, {beside.expected}", f"{outcome.actual}, {beside.actual}"
    status = PASSED if beside.status == PASSED else WARNED
    return Outcome(status, expected, actual, beside.detail)


def page_sharing(facts: MachineFacts) -> Outcome:
    """Sharing within the VM; between VMs it is off by ESXi's default."""
    if facts.wish.tweaks.page_sharing:
        return Outcome(NOT_APPLICABLE, detail="vm_tweaks.page_sharing leaves it as it is")
    return _key(facts, "sched.mem.pshare.enable", "shared pages make the first load of a model slow")


def _key(facts: MachineFacts, key: str, why: str) -> Outcome:
    """A VMX key as fleet would write it; what vm_tweaks.extra_config says of it wins there, so here too."""
    wanted, found = facts.keys.get(key, ""), facts.vm.extra_config.get(key)
    expected, actual = f"{key} = {wanted}", f"{key} = {found}" if found else f"no {key}"
    return Outcome(PASSED, expected, actual) if vmx.same(key, wanted, found) else _differs(expected, actual, why)


def memory_reserved(facts: MachineFacts) -> Outcome:
    """All of it, as passthrough demands."""
    if not facts.wish.tweaks.reserve_memory:
        return Outcome(NOT_APPLICABLE, detail="vm_tweaks.reserve_memory is false")
    expected, found = f"{facts.vm.memory_mb} MB", f"{facts.vm.memory_reservation_mb} MB"
    if facts.vm.memory_reservation_mb >= facts.vm.memory_mb:
        return Outcome(PASSED, expected, found)
    return _differs(expected, found, "the host may swap out what is not reserved, and passthrough needs all of it")


def memory_limit(facts: MachineFacts) -> Outcome:
    """A limit below the size makes the host swap, whatever is reserved."""
    if not facts.wish.tweaks.reserve_memory:
        return Outcome(NOT_APPLICABLE, detail="vm_tweaks.reserve_memory is false")
    if facts.limit_mb is None or facts.limit_mb == UNLIMITED:
        return Outcome(PASSED, "unlimited", "unlimited")
    return _differs("unlimited", f"{facts.limit_mb} MB", "a passed-through device needs unlimited memory")


def memory_locked(facts: MachineFacts) -> Outcome:
    """Reservation and size then change together."""
    if not facts.wish.tweaks.reserve_memory:
        return Outcome(NOT_APPLICABLE, detail="vm_tweaks.reserve_memory is false")
    if facts.vm.memory_locked:
        return Outcome(PASSED, "locked", "locked")
    return _differs("locked", "not locked", "the reservation does not follow the memory's size")


def memory_reclaimed(facts: MachineFacts) -> Outcome:
    """What the host took by balloon or swapping, as it says itself."""
    if facts.vm.power != "poweredOn":
        return Outcome(NOT_APPLICABLE, detail="the VM does not run")
    expected = "0 MB ballooned, 0 MB swapped"
    found = f"{facts.balloon_mb} MB ballooned, {facts.swapped_mb} MB swapped"
    evidence = {"balloon_mb": facts.balloon_mb, "swapped_mb": facts.swapped_mb}
    if not facts.balloon_mb and not facts.swapped_mb:
        return Outcome(PASSED, expected, found, evidence=evidence)
    if not facts.wish.tweaks.reserve_memory:
        return Outcome(WARNED, expected, found, "the wish reserves no memory, so its host may do that", evidence)
    return Outcome(FAILED, expected, found, "the guest waits for memory that it believes to have", evidence)


def cpu_shares(facts: MachineFacts) -> Outcome:
    """Shares and limit where they are wished; -1 is vSphere's word for no limit."""
    wished, found = facts.wish.tweaks.hardware, facts.vm.hardware
    rows = [
        ("shares", wished.cpu_shares, found.cpu_shares),
        ("limit in MHz", wished.cpu_limit_mhz, found.cpu_limit_mhz),
    ]
    asked = [(name, _limit(want), _limit(have)) for name, want, have in rows if want is not None]
    if not asked:
        return Outcome(NOT_APPLICABLE, detail="neither cpu_shares nor cpu_limit_mhz is wished")
    expected = ", ".join(f"{name} {want}" for name, want, _have in asked)
    actual = ", ".join(f"{name} {have}" for name, _want, have in asked)
    return (
        Outcome(PASSED, expected, actual) if expected == actual else _differs(expected, actual, "others take its time")
    )


def _limit(value: object) -> str:
    return "unlimited" if value == UNLIMITED else str(value)


def data_controller(facts: MachineFacts) -> Outcome:
    """Each data disk on bus 1, large enough, and the controller's type."""
    if not facts.wish.disks:
        return Outcome(NOT_APPLICABLE, detail="vm_disks is empty")
    wished, kind = facts.wish.tweaks.data_controller, facts.vm.controllers.get(DATA_BUS)
    expected = f"{len(facts.wish.disks)} data disks on {wished}"
    lacks: List[str] = []
    for index, disk in enumerate(facts.wish.disks):
        found = facts.vm.data_disk(index)
        if found is None:
            lacks.append(f"no disk '{disk.name}'")
        elif found.size_kb < disk.size_gb * KB_PER_GB:
            lacks.append(f"disk '{disk.name}' of {found.size_kb // KB_PER_GB} GB instead of {disk.size_gb} GB")
    # A disk is added while the VM runs; only exchanging its controller needs it off.
    if lacks:
        return _differs(expected, ", ".join(lacks), "the model's cache and results have no place")
    if kind == TYPES[wished]:
        return Outcome(PASSED, expected, word(kind))
    return _differs(expected, word(kind) if kind else "no controller", "another controller is slower under load")


def nic(facts: MachineFacts) -> Outcome:
    """Adapter and network of each card, in the order of the wish."""
    if not facts.wish.networks:
        return Outcome(NOT_APPLICABLE, detail="vm_networks is empty: the template's cards stay as they are")
    wanted = [f"{network.adapter} in '{network.network}'" for network in facts.wish.networks]
    found = [f"{card.adapter} in '{card.network}'" for card in facts.vm.nics]
    expected, actual = ", ".join(wanted), ", ".join(found) or "no card"
    if wanted == found:
        return Outcome(PASSED, expected, actual)
    networks = [network.network for network in facts.wish.networks] == [card.network for card in facts.vm.nics]
    if not networks:
        return _differs(expected, actual, "the guest is not where its address is expected")
    text = "Make the VM anew, which removes what is on it; where the template has that card, exchange it there first."
    return Outcome(FAILED, expected, actual, "this adapter is slow and loads the CPU", fix=Fix(text, VM_ANEW))


def snapshots(facts: MachineFacts) -> Outcome:
    """DirectPath and snapshots exclude each other; what a vGPU allows its host decides, so that is no fault."""
    modes = [gpu.mode for gpu in facts.wish.gpu] + [gpu.mode for gpu in facts.vm.gpus]
    if not {"static", "dynamic"}.intersection(modes):
        return Outcome(NOT_APPLICABLE, detail="the VM has no passed-through GPU")
    names = list(facts.snapshots)
    if not names:
        return Outcome(PASSED, "no snapshot", "none")
    found = ", ".join(f"'{name}'" for name in names)
    why = "with a passed-through device vSphere can neither run nor revert it cleanly: 'device is busy'"
    return Outcome(FAILED, "no snapshot", found, why, {"snapshots": names})


def probes(facts: MachineFacts) -> Mapping[str, Probe]:
    """The probe of each check of this VM."""
    found: Dict[str, Probe] = {name: partial(probe, facts) for name, probe in _ASKED.items()}
    return found


_ASKED = {
    "vm.exists": exists,
    "vm.owner": owner,
    "vm.power": power,
    "vm.size": size,
    "vm.hardware_version": hardware_version,
    "vm.firmware": firmware,
    "vm.accel_3d": accel_3d,
    "vm.balloon": balloon,
    "vm.page_sharing": page_sharing,
    "vm.memory_reserved": memory_reserved,
    "vm.memory_limit": memory_limit,
    "vm.memory_locked": memory_locked,
    "vm.memory_reclaimed": memory_reclaimed,
    "vm.cpu_shares": cpu_shares,
    "vm.data_controller": data_controller,
    "vm.nic": nic,
    "vm.gpu": vsphere_gpu.devices,
    "vm.gpu_host": vsphere_gpu.on_host,
    "vm.mmio": vsphere_gpu.mmio,
    "vm.snapshots": snapshots,
}
