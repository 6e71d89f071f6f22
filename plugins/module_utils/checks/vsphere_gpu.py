# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of the machine gate that concern a VM's GPUs."""

from __future__ import annotations

from typing import Iterator, List, Optional

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import (
    SHARED_DIRECT,
    Gpu,
    GpuHost,
    foreign,
    is_model,
    is_the_kind,
    state,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_plan import MMIO_SIZE, USE_MMIO, mmio_gb
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

from .result import FAILED, NOT_APPLICABLE, PASSED, Fix, Outcome
from .vsphere_facts import MachineFacts


def mapped(wish: VmWish) -> bool:
    """Whether fleet maps the memory of a GPU above 4 GB, which vm_tweaks.extra_config can switch off."""
    user = wish.tweaks.extra_config
    off = user.get(USE_MMIO, "TRUE").upper() == "FALSE" or user.get(MMIO_SIZE, "1").strip() == "0"
    return not off and any(gpu.wants_mmio for gpu in wish.gpu)


def devices(facts: MachineFacts) -> Outcome:
    """Each entry of vm_gpu is a device of the VM, there is no other, and no other VM names the same device."""
    host = facts.inventory.host(facts.vm.host)
    strangers = foreign(facts.vm.gpus, host)
    left = [gpu for gpu in facts.vm.gpus if gpu.key not in strangers]
    if not facts.wish.gpu and not left:
        return Outcome(NOT_APPLICABLE, detail="no GPU is wished (vm_gpu)")
    expected = ", ".join(map(str, facts.wish.gpu)) or "no GPU"
    actual = ", ".join(map(str, left)) or "no GPU"
    missing: List[GpuWish] = []
    for wish in sorted(facts.wish.gpu, key=lambda item: not item.address):
        own = next((gpu for gpu in left if _fits(gpu, wish, host)), None)
        if own is None:
            missing.append(wish)
        else:
            left.remove(own)
    if missing:
        return Outcome(FAILED, expected, actual, f"the VM lacks {', '.join(map(str, missing))}")
    if left:
        return Outcome(FAILED, expected, actual, f"the VM holds {', '.join(map(str, left))}, which nobody wished for")
    return _alone(facts, expected, actual)


def _fits(actual: GpuActual, wish: GpuWish, host: Optional[GpuHost]) -> bool:
    """Whether the device is what the entry asks for; where its host does not show it, vm.gpu_host says so."""
    if actual.mode != wish.mode:
        return False
    if wish.mode == "vgpu":
        return actual.profile == wish.profile
    if wish.mode == "dynamic":
        return (actual.vendor_id, actual.device_id, actual.label) == (wish.vendor_id, wish.device_id, wish.label)
    if wish.address:
        return actual.address == wish.address
    gpu = _on(host, actual.address)
    return gpu is None or is_model(gpu, wish.model)


def _alone(facts: MachineFacts, expected: str, actual: str) -> Outcome:
    """No two VMs that name one device can run at once; vCenter allows it while both are off."""
    mine = {gpu.address or gpu.assigned for gpu in facts.vm.gpus} - {""}
    others = [
        f"'{holder.name}' ({gpu})"
        for holder in facts.inventory.holders
        if holder.moid != facts.vm.moid and holder.host == facts.vm.host
        for gpu in holder.gpus
        if (gpu.address or gpu.assigned) in mine
    ]
    if not others:
        return Outcome(PASSED, expected, actual)
    fix = Fix(f"Remove the device from {' and '.join(others)}, or power this VM off and provision it again.")
    return Outcome(
        FAILED, f"{expected}, held by nobody else", f"held by {', '.join(others)} too", "one VM alone can run", fix=fix
    )


def on_host(facts: MachineFacts) -> Outcome:
    """Passthrough is active on the VM's host, or its board serves vGPUs; of a VM that is off any candidate will do."""
    if not facts.wish.gpu:
        return Outcome(NOT_APPLICABLE, detail="no GPU is wished (vm_gpu)")
    host = facts.inventory.host(facts.vm.host)
    if host is None:
        return Outcome(
            FAILED, "a host with the GPUs", "no host that can be read", "nobody knows where the VM would run"
        )
    bad = [text for gpu in facts.vm.gpus if gpu.mode != "other" for text in _unready(facts, gpu, host)]
    wished = facts.wish.placement.host
    if wished and wished != host.name:
        bad.append(f"the VM is on {host.name}, vm_placement.host wishes for {wished}")
    expected = f"{', '.join(str(gpu) for gpu in facts.wish.gpu)} ready on {host.name}"
    if not bad:
        return Outcome(PASSED, expected, "ready", evidence={"host": host.name})
    fix = _advice(bad[0], host)
    return Outcome(FAILED, expected, "; ".join(bad), "the guest gets no GPU that way", {"host": host.name}, fix=fix)


def _unready(facts: MachineFacts, actual: GpuActual, host: GpuHost) -> Iterator[str]:
    if actual.mode == "static":
        gpu = _on(host, actual.address)
        if gpu is None and actual.address not in host.others:
            yield f"{host.name} has no device {actual.address}"
        elif gpu is not None and not (gpu.capable and gpu.enabled and gpu.active):
            yield f"{gpu.address} {gpu.name}: {state(gpu, False, ())}"
        return
    places = [host] if facts.vm.power != "poweredOff" else _candidates(facts, host)
    if not any(_serves(place, actual) for place in places):
        wish = GpuWish(actual.mode, vendor_id=actual.vendor_id, device_id=actual.device_id, profile=actual.profile)
        alike = [gpu for place in places for gpu in place.gpus if is_the_kind(gpu, wish)]
        told = [f"{gpu.address} {gpu.name}: {state(gpu, actual.mode == 'vgpu', ())}" for gpu in alike]
        yield f"no host offers {actual}" + (f" ({', '.join(told)})" if told else "")


def _candidates(facts: MachineFacts, host: GpuHost) -> List[GpuHost]:
    return [host, *(item for item in facts.inventory.hosts if item.moid in facts.candidates and item != host)]


def _serves(host: GpuHost, actual: GpuActual) -> bool:
    if actual.mode == "vgpu":
        wish = GpuWish("vgpu", profile=actual.profile)
        boards = [gpu for gpu in host.gpus if gpu.graphics == SHARED_DIRECT and is_the_kind(gpu, wish)]
        return actual.profile in host.profiles and bool(boards)
    alike = [gpu for gpu in host.gpus if (gpu.vendor_id, gpu.device_id) == (actual.vendor_id, actual.device_id)]
    return any(gpu.capable and gpu.enabled and gpu.active for gpu in alike)


def _advice(problem: str, host: GpuHost) -> Optional[Fix]:
    if "enabled but not active" in problem:
        return Fix(f"Reboot host {host.name}, which makes the passthrough active.")
    if "vGPU needs" in problem:
        return Fix(f"Set the graphics type on host {host.name} to Shared Direct and restart its Xorg.")
    if "not enabled" in problem or "serves vGPUs" in problem:
        return Fix(f"Enable the passthrough on host {host.name} (Configure, Hardware, PCI Devices), then reboot it.")
    if "vm_placement.host" in problem:
        return Fix("Correct vm_placement.host, or power the VM off and provision it again.")
    return None


def _on(host: Optional[GpuHost], address: str) -> Optional[Gpu]:
    return next((gpu for gpu in host.gpus if gpu.address == address), None) if host else None


def mmio(facts: MachineFacts) -> Outcome:
    """The window above 4 GB, as large as what the VM's devices map: without it the VM starts and the driver fails."""
    if not mapped(facts.wish):
        return Outcome(NOT_APPLICABLE, detail="no device is wished whose memory is mapped above 4 GB")
    keys, user = facts.vm.extra_config, facts.wish.tweaks.extra_config
    use, size = keys.get(USE_MMIO), keys.get(MMIO_SIZE, "")
    least = int(user[MMIO_SIZE]) if user.get(MMIO_SIZE, "").isdecimal() else _window(facts)
    expected = f"{USE_MMIO} = TRUE, {MMIO_SIZE} of at least {least}"
    found = f"{USE_MMIO} = {use or 'not set'}, {MMIO_SIZE} = {size or 'not set'}"
    if vmx.same(USE_MMIO, "TRUE", use) and size.strip().isdecimal() and int(size) >= least:
        return Outcome(PASSED, expected, found)
    return Outcome(FAILED, expected, found, "the guest cannot map the GPU's memory: its driver finds no usable device")


def _window(facts: MachineFacts) -> int:
    """GB for the devices that the VM has; what no host tells counts as little, so that no guess fails a VM."""
    host, sizes = facts.inventory.host(facts.vm.host), []
    for actual in facts.vm.gpus:
        gpu = _on(host, actual.address or actual.assigned)
        wish = GpuWish("vgpu", profile=actual.profile)
        sizes.append((wish.profile_mb if actual.mode == "vgpu" else gpu.memory_mb if gpu else 0) or 1)
    return mmio_gb(sizes)
