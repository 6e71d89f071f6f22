# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VM gets which GPU of which host: pure functions over what gpu_desk.py has read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual

SHARED_DIRECT = "sharedDirect"  # the graphics type of a host's GPU that vGPU needs
DYNAMIC_ESXI = 7  # first major version of ESXi with dynamic DirectPath
Slot = tuple[str, str]  # id of the host, PCI address


@dataclass(frozen=True)
class Gpu:
    """A display device of a host; ids are unsigned, ``memory_mb`` is 0 where the host does not tell it."""

    host: str
    address: str
    vendor_id: int
    device_id: int
    name: str
    memory_mb: int = 0
    pci_name: str = ""
    capable: bool = True
    enabled: bool = True
    active: bool = True
    graphics: str = ""
    label: str = ""

    @property
    def slot(self) -> Slot:
        """What no two VMs may hold."""
        return (self.host, self.address)


@dataclass(frozen=True)
class GpuHost:
    """A host of the inventory; ``unusable`` says why no VM may be put on it now."""

    moid: str
    name: str
    version: str = "8.0.0"
    gpus: tuple[Gpu, ...] = ()
    profiles: tuple[str, ...] = ()
    unusable: str = ""
    datastores: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()  # addresses of devices that are no GPUs


@dataclass(frozen=True)
class Holder:
    """A VM (or template) with GPU devices, whoever made it."""

    moid: str
    name: str
    host: str
    on: bool
    gpus: tuple[GpuActual, ...]


@dataclass(frozen=True)
class Inventory:
    """All hosts, and all VMs that have GPU devices."""

    hosts: tuple[GpuHost, ...] = ()
    holders: tuple[Holder, ...] = ()

    def host(self, moid: str) -> GpuHost | None:
        """The host of this id."""
        return next((host for host in self.hosts if host.moid == moid), None)


@dataclass(frozen=True)
class Need:
    """What one VM wants, where it may live, and what it has already."""

    name: str
    gpus: tuple[GpuWish, ...]
    hosts: frozenset[str]
    where: str
    vm: str = ""
    host: str = ""
    has: tuple[GpuActual, ...] = ()
    on: bool = False


@dataclass(frozen=True)
class Pick:
    """The device for one entry of the wish; ``key`` is that of the VM's device that is it already."""

    wish: GpuWish
    gpu: Gpu | None = None
    key: int = 0
    memory_mb: int = 0
    system_id: str = ""


@dataclass(frozen=True)
class Choice:
    """The host and devices of one VM; ``foreign`` are passed-through devices of it that are no GPUs."""

    host: str
    host_name: str
    picks: tuple[Pick, ...] = ()
    foreign: frozenset[int] = frozenset()


def is_model(gpu: Gpu, model: str) -> bool:
    """Whether one of the device's names has the model as whole words: A10 is not A100."""
    pattern = re.compile(rf"(?<![a-z0-9]){re.escape(model)}(?![a-z0-9])", re.IGNORECASE)
    return any(pattern.search(name) for name in (gpu.name, gpu.pci_name))


def is_the_kind(gpu: Gpu, wish: GpuWish) -> bool:
    """Whether the device is what the entry asks for, free or not."""
    if wish.mode == "static":
        return gpu.address == wish.address if wish.address else is_model(gpu, wish.model)
    if wish.mode == "dynamic":
        return (gpu.vendor_id, gpu.device_id, wish.label or gpu.label) == (wish.vendor_id, wish.device_id, gpu.label)
    model = re.split(r"[_-]", wish.profile)[1:2]  # nvidia_a10-4c: its boards have a10 in their names
    return not model or is_model(gpu, model[0])


@dataclass
class _Ledger:
    """Who holds what while VMs are given their devices one after the other."""

    inventory: Inventory
    held: dict[Slot, list[str]] = field(default_factory=dict)
    vgpus: dict[str, list[GpuWish]] = field(default_factory=dict)  # by id of the host

    def take(self, name: str, choice: Choice) -> None:
        for pick in choice.picks:
            if pick.gpu:
                self.held.setdefault(pick.gpu.slot, []).append(name)
            if pick.wish.mode == "vgpu":
                self.vgpus.setdefault(choice.host, []).append(pick.wish)

    def free(self, gpu: Gpu) -> bool:
        return gpu.capable and gpu.enabled and gpu.active and gpu.slot not in self.held

    def room(self, host: GpuHost, wish: GpuWish) -> int:
        """How many more of this profile fit, by memory; vCenter alone knows better, so this errs upwards."""
        boards = [gpu for gpu in host.gpus if gpu.graphics == SHARED_DIRECT and is_the_kind(gpu, wish)]
        if wish.profile not in host.profiles or not boards:
            return 0
        used = self.vgpus.get(host.moid, [])
        if not wish.profile_mb or not all(gpu.memory_mb for gpu in boards):
            return 32 * len(boards) - len(used)
        most = sum(round(gpu.memory_mb / wish.profile_mb) for gpu in boards)
        left = sum(gpu.memory_mb for gpu in boards) - sum(
            vgpu.profile_mb for vgpu in used if any(is_the_kind(gpu, vgpu) for gpu in boards)
        )
        return min(most, round(left / wish.profile_mb))


def _ledger(inventory: Inventory, without: Iterable[str], reserved: Mapping[str, Choice]) -> _Ledger:
    """Everything that VMs outside of ``without`` (ids) hold or have been promised (``reserved``)."""
    ledger = _Ledger(inventory)
    skip = set(without)
    floating: list[tuple[Holder, GpuActual]] = []
    for holder in inventory.holders:
        if holder.moid in skip:
            continue
        for gpu in holder.gpus:
            address = gpu.address if gpu.mode == "static" else gpu.assigned
            if address:
                ledger.held.setdefault((holder.host, address), []).append(holder.name)
            elif gpu.mode == "vgpu" and holder.on:
                ledger.vgpus.setdefault(holder.host, []).append(GpuWish("vgpu", profile=gpu.profile))
            elif gpu.mode == "dynamic" and holder.on:
                floating.append((holder, gpu))
    for name, choice in reserved.items():
        ledger.take(name, choice)
    for holder, gpu in floating:  # vCenter 7 does not say which device a running VM got: count one as its
        host = inventory.host(holder.host)
        taken = next((item for item in host.gpus if ledger.free(item) and _like(item, gpu)), None) if host else None
        if taken:
            ledger.held[taken.slot] = [holder.name]
    return ledger


def _like(gpu: Gpu, actual: GpuActual) -> bool:
    return (gpu.vendor_id, gpu.device_id) == (actual.vendor_id, actual.device_id)


def keep(need: Need, inventory: Inventory, avoid: frozenset[Slot] = frozenset()) -> dict[int, Pick]:
    """Which entries of the wish the VM's own devices meet already, by position in the wish."""
    host = inventory.host(need.host)
    found: dict[int, Pick] = {}
    left = list(need.has)
    order = sorted(range(len(need.gpus)), key=lambda index: not need.gpus[index].address)
    for index in order:
        wish = need.gpus[index]
        for actual in left:
            gpu = _device_of(actual, host)
            if not _meets(actual, gpu, wish) or (gpu is not None and gpu.slot in avoid):
                continue
            left.remove(actual)
            found[index] = Pick(wish, gpu, actual.key, _memory(wish, gpu, inventory, need.hosts))
            break
    return found


def contested(mine: Holder, holders: Iterable[Holder]) -> dict[Slot, bool]:
    """The VM's static devices that other VMs hold too, each with whether this VM gives way at once.

    Runs look at this after they have assigned a device, so of two at least the later one sees both VMs. A powered-on
    VM has its device; else the VM with the higher id gives way. The other one waits for that and gives way itself when
    it does not happen: that VM's run may have looked before, or there may be none.
    """
    slots = {(mine.host, gpu.address) for gpu in mine.gpus if gpu.mode == "static"}
    found: dict[Slot, bool] = {}
    for holder in holders:
        for gpu in holder.gpus:
            slot = (holder.host, gpu.address or gpu.assigned)
            if holder.moid != mine.moid and slot in slots:
                at_once = holder.on or _age(holder) < _age(mine)
                found[slot] = found.get(slot, False) or at_once
    return found


def _age(holder: Holder) -> tuple[int, str]:
    """Orders vCenter's ids, which it counts up: vm-99 comes before vm-100."""
    return (len(holder.moid), holder.moid)


def _device_of(actual: GpuActual, host: GpuHost | None) -> Gpu | None:
    address = actual.address or actual.assigned
    return next((gpu for gpu in host.gpus if gpu.address == address), None) if host and address else None


def _meets(actual: GpuActual, gpu: Gpu | None, wish: GpuWish) -> bool:
    if actual.mode != wish.mode:
        return False
    if wish.mode == "vgpu":
        return actual.profile == wish.profile
    if wish.mode == "dynamic":
        return (actual.vendor_id, actual.device_id, actual.label) == (wish.vendor_id, wish.device_id, wish.label)
    return gpu is not None and is_the_kind(gpu, wish)


def _memory(wish: GpuWish, gpu: Gpu | None, inventory: Inventory, hosts: Iterable[str]) -> int:
    """Video memory in MB that counts for the entry; of a dynamic one the most that any host could give it."""
    if wish.mode == "vgpu":
        return wish.profile_mb
    if wish.mode == "static":
        return gpu.memory_mb if gpu else 0
    allowed = set(hosts)
    sizes = [
        item.memory_mb
        for host in inventory.hosts
        if host.moid in allowed
        for item in host.gpus
        if is_the_kind(item, wish)
    ]
    return max(sizes, default=0) if all(sizes) else 0


def _fit(need: Need, host: GpuHost, ledger: _Ledger, kept: Mapping[int, Pick], avoid: frozenset[Slot]) -> Choice | None:
    """All entries of the wish on this host, or None."""
    stays = host.moid == need.host
    if (host.unusable and not stays) or _too_old(host, need):
        return None
    picks = {index: pick for index, pick in kept.items() if stays or pick.wish.mode != "static"}
    trial = _Ledger(ledger.inventory, dict(ledger.held), {key: list(value) for key, value in ledger.vgpus.items()})
    order = sorted(range(len(need.gpus)), key=lambda index: (not need.gpus[index].address, not need.gpus[index].model))
    for index in order:
        wish = need.gpus[index]
        if index in picks:
            continue
        gpu = None
        if wish.mode == "vgpu":
            if trial.room(host, wish) < 1:
                return None
        else:
            free = (item for item in host.gpus if trial.free(item) and item.slot not in avoid)
            gpu = next((item for item in free if is_the_kind(item, wish)), None)
            if gpu is None:
                return None
        picks[index] = Pick(wish, gpu, 0, _memory(wish, gpu, ledger.inventory, need.hosts))
        trial.take(need.name, Choice(host.moid, host.name, (picks[index],)))
    return Choice(host.moid, host.name, tuple(picks[index] for index in range(len(need.gpus))), foreign(need.has, host))


def foreign(gpus: Iterable[GpuActual], host: GpuHost | None) -> frozenset[int]:
    """Passed-through devices that are not known to be GPUs or known to be something else, such as a network card."""
    others = host.others if host else frozenset()
    return frozenset(gpu.key for gpu in gpus if gpu.mode == "other" or (gpu.mode == "static" and gpu.address in others))


def _too_old(host: GpuHost, need: Need) -> bool:
    major = host.version.split(".", 1)[0]
    dynamic = any(wish.mode == "dynamic" for wish in need.gpus)
    return dynamic and major.isdigit() and int(major) < DYNAMIC_ESXI


def assign(
    needs: Sequence[Need],
    inventory: Inventory,
    reserved: Mapping[str, Choice] | None = None,
    avoid: Mapping[str, frozenset[Slot]] | None = None,
) -> tuple[dict[str, Choice], list[Problem]]:
    """Give each VM a host and devices, never one device to two of them.

    What a VM has already and still wants stays. ``reserved`` are choices for other VMs (by name), ``avoid`` are
    devices that another run won from a VM. Those that are hardest to serve come first; new VMs are spread over
    the hosts, most free devices first. The problems name every VM that cannot be served.
    """
    ledger = _ledger(inventory, [need.vm for need in needs if need.vm], reserved or {})
    lost = {need.name: (avoid or {}).get(need.name, frozenset()) for need in needs}
    kept = {need.name: keep(need, inventory, lost[need.name]) for need in needs}
    for need in needs:
        ledger.take(need.name, Choice(need.host, "", tuple(kept[need.name].values())))
    chosen: dict[str, Choice] = {}
    problems: list[Problem] = []
    for need in sorted(needs, key=_hardness):
        choice = _best(need, ledger, kept[need.name], lost[need.name])
        if choice is None:
            problems.append(_problem(need, ledger, kept[need.name], lost[need.name]))
            continue
        chosen[need.name] = choice
        ledger.take(need.name, replace(choice, picks=tuple(pick for pick in choice.picks if not pick.key)))
    return chosen, problems


def _hardness(need: Need) -> tuple[bool, bool, int, int]:
    return (not need.vm, not any(wish.address for wish in need.gpus), len(need.hosts), -len(need.gpus))


def _best(need: Need, ledger: _Ledger, kept: Mapping[int, Pick], avoid: frozenset[Slot]) -> Choice | None:
    if need.vm and len(kept) == len(need.gpus):  # as wished: nothing about its host may stand in the way
        host = ledger.inventory.host(need.host) or GpuHost(need.host, need.host)
        picks = tuple(kept[index] for index in range(len(need.gpus)))
        return Choice(host.moid, host.name, picks, foreign(need.has, host))
    fitting = [
        ((host.moid != need.host, -_free(host, ledger), len(ledger.vgpus.get(host.moid, [])), host.name), choice)
        for host in _candidates(need, ledger.inventory)
        if (choice := _fit(need, host, ledger, kept, avoid))
    ]
    return min(fitting, key=lambda item: item[0])[1] if fitting else None


def _free(host: GpuHost, ledger: _Ledger) -> int:
    return sum(ledger.free(gpu) for gpu in host.gpus)


def _candidates(need: Need, inventory: Inventory) -> Iterator[GpuHost]:
    """The hosts that may take the VM: only its own while it runs."""
    for host in inventory.hosts:
        if host.moid == need.host or (host.moid in need.hosts and not need.on):
            yield host


def _problem(need: Need, ledger: _Ledger, kept: Mapping[int, Pick], avoid: frozenset[Slot]) -> Problem:
    """The clear error: what is missing, which hosts have which devices, and who holds them."""
    hosts = sorted(_candidates(need, ledger.inventory), key=lambda host: host.name)
    missing = [index for index in range(len(need.gpus)) if index not in kept]
    alone = [index for index in missing if not any(_fit(_only(need, index), host, ledger, {}, avoid) for host in hosts)]
    blamed = alone or missing
    wishes = [need.gpus[index] for index in blamed]
    where = f"host {hosts[0].name}, where the VM runs" if need.on and hosts else need.where
    together = "" if alone or len(missing) == 1 else " at once"
    expected = f"a free {' and a free '.join(map(str, wishes))}{together} on {where}"
    told = [_describe(host, wishes, ledger, need) for host in hosts if host.gpus]
    bare = [host.name for host in hosts if not host.gpus]
    if bare:
        told.append(f"{', '.join(bare[:5])}{' and more' if len(bare) > 5 else ''}: no GPU")
    paths = ", ".join(f"vm_gpu[{index}]" for index in blamed)
    return Problem(
        f"{need.name}: {paths}", expected, "; ".join(told) or "no host", _advice(need, wishes, hosts, ledger)
    )


def _only(need: Need, index: int) -> Need:
    return replace(need, gpus=(need.gpus[index],), has=())


def state(gpu: Gpu, vgpu: bool, holders: Sequence[str]) -> str:
    """What an operator has to know of a device to see why it is or is not taken."""
    held = "held by " + ", ".join(f"'{name}'" for name in holders) if holders else ""
    if vgpu:
        if gpu.graphics == SHARED_DIRECT:
            return f"graphics type '{SHARED_DIRECT}'"
        if gpu.enabled:
            return "passed through as a whole"
        return f"graphics type '{gpu.graphics or 'none'}', vGPU needs '{SHARED_DIRECT}'"
    if held:
        return held
    if not gpu.capable:
        return "cannot be passed through"
    if not gpu.enabled:
        return "serves vGPUs" if gpu.graphics == SHARED_DIRECT else "passthrough not enabled"
    return "free" if gpu.active else "passthrough enabled but not active"


def _describe(host: GpuHost, wishes: Sequence[GpuWish], ledger: _Ledger, need: Need) -> str:
    vgpu = all(wish.mode == "vgpu" for wish in wishes)
    parts = [
        f"{gpu.address} {gpu.name} [{gpu.vendor_id:04x}:{gpu.device_id:04x}] "
        f"{state(gpu, vgpu, ledger.held.get(gpu.slot, []))}"
        for gpu in host.gpus
    ]
    for wish in wishes:
        if wish.mode == "vgpu" and wish.profile not in host.profiles:
            parts.append(f"offers the profiles {', '.join(sorted(host.profiles)) or 'none'}")
        elif wish.mode == "vgpu":
            parts.append(f"room for {max(0, ledger.room(host, wish))} more of '{wish.profile}'")
    if host.unusable and host.moid != need.host:
        parts.append(f"the host is {host.unusable}")
    if _too_old(host, need):
        parts.append(f"ESXi {host.version}, dynamic DirectPath needs {DYNAMIC_ESXI}.0")
    return f"{host.name}: {', '.join(parts)}"


def _advice(need: Need, wishes: Sequence[GpuWish], hosts: Sequence[GpuHost], ledger: _Ledger) -> str:
    """What to do first: the device that needs least comes first."""
    alike = [(host, gpu, wish) for host in hosts for gpu in host.gpus for wish in wishes if is_the_kind(gpu, wish)]
    for host, gpu, wish in alike:
        if wish.mode != "vgpu" and gpu.enabled and not gpu.active:
            return f"reboot host {host.name}, which makes the passthrough of {gpu.address} active"
        if wish.mode == "vgpu" and not gpu.enabled and gpu.graphics != SHARED_DIRECT:
            return f"set the graphics type of {gpu.address} on host {host.name} to Shared Direct and restart its Xorg"
    for host, gpu, wish in alike:
        if wish.mode != "vgpu" and gpu.capable and not gpu.enabled and gpu.graphics != SHARED_DIRECT:
            return f"enable the passthrough of {gpu.address} on host {host.name} (Configure, Hardware, PCI Devices)"
    if need.on:
        return "power the VM off, so that the next run moves it to a host that has one"
    if any(host.unusable for host, _gpu, _wish in alike):
        return "bring that host back"
    if any(ledger.held.get(gpu.slot) for _host, gpu, _wish in alike):
        return "remove a VM that holds one, or wish for fewer"
    return "wish for a device from this list in vm_gpu, or name another cluster or host in vm_placement"
