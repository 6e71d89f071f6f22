# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan takes from datastores and clusters, and whether they have it. Pure.

Thick disks count with their whole size, thin ones with nothing: they take what the guest writes, which nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

BYTES_PER_GB = 1024**3
BYTES_PER_MB = 1024**2
KB_PER_GB = 1024**2


@dataclass(frozen=True)
class Cost:
    """What one VM takes: ``memory_mb`` is reserved where ``pool`` says, ``disk_gb`` lies on ``datastore`` (ids)."""

    name: str
    datastore: str
    disk_gb: float
    pool: str
    memory_mb: int


@dataclass(frozen=True)
class Room:
    """What a datastore (GB) or a resource pool (MB) has left; None where the login may not see it.

    ``most`` is the memory of the pool's largest host (or of the chosen one), in MB: no VM is larger.
    """

    name: str
    free: float | None
    usable: bool = True
    most: int | None = None


def disk_gb(wish: VmWish, base: VmActual | None, committed: int = 0) -> float:
    """GB that disks take beyond ``base``: the VM as it is, or its source, which holds ``committed`` bytes itself."""
    needed = committed / BYTES_PER_GB
    for index, disk in enumerate(wish.disks):
        existing = base.data_disk(index) if base else None
        if disk.provisioning != "thin":
            needed += max(0, disk.size_gb - (existing.size_kb / KB_PER_GB if existing else 0))
    return needed


def memory_mb(wish: VmWish, actual: VmActual | None) -> int:
    """MB of memory that the plan reserves on a host: all of it at power-on, what is added on a running VM."""
    if wish.lifecycle.power != "on" or not wish.tweaks.reserve_memory:
        return 0
    running = actual is not None and actual.power == "poweredOn"
    held = actual.memory_reservation_mb if actual and running else 0
    return max(0, wish.memory_mb - held)


def swap_gb(wish: VmWish, actual: VmActual | None) -> float:
    """GB of the swap file that ESXi makes at power-on for memory that is not reserved."""
    running = actual is not None and actual.power == "poweredOn"
    if wish.lifecycle.power != "on" or wish.tweaks.reserve_memory or running:
        return 0.0
    return wish.memory_mb / 1024


def summary(costs: Iterable[Cost], stores: Mapping[str, Room], pools: Mapping[str, Room]) -> dict[str, Any]:
    """Needed and free per datastore (GB) and cluster (MB), by name, for results and diffs."""
    costs = list(costs)

    def shown(value: float | None) -> float | None:
        return None if value is None else round(value, 1)

    disks = _total((cost.datastore, cost.disk_gb) for cost in costs)
    memory = _total((cost.pool, cost.memory_mb) for cost in costs)
    return {
        "datastores": {
            stores[key].name: {"needed_gb": shown(needed), "free_gb": shown(stores[key].free)}
            for key, needed in disks.items()
        },
        "clusters": {
            pools[key].name: {"needed_memory_mb": int(needed), "free_memory_mb": _whole(pools[key].free)}
            for key, needed in memory.items()
        },
    }


def refusals(costs: Iterable[Cost], stores: Mapping[str, Room], pools: Mapping[str, Room]) -> list[Problem]:
    """Why the plan cannot fit; empty when it can."""
    costs = list(costs)
    problems: list[Problem] = []
    for key, needed in _total((cost.datastore, cost.disk_gb) for cost in costs).items():
        store = stores[key]
        what = f"datastore '{store.name}'"
        if not store.usable:
            problems.append(Problem(what, "one that takes VMs", "it is not accessible or in maintenance mode"))
        elif store.free is not None and needed > store.free:
            expected = f"{needed:.1f} GB free for this plan"
            hint = "free space there, make disks thin, or name another one in vm_placement"
            problems.append(Problem(what, expected, f"{store.free:.1f} GB", hint))
    for key, needed in _total((cost.pool, cost.memory_mb) for cost in costs).items():
        pool = pools[key]
        if pool.free is not None and needed > pool.free:
            expected = f"{int(needed)} MB of memory free to reserve for this plan"
            hint = "power off VMs there, ask for less vm_memory_mb, or name another cluster"
            problems.append(Problem(f"cluster '{pool.name}'", expected, f"{int(pool.free)} MB", hint))
    for cost in costs:
        most = pools[cost.pool].most
        if most is not None and cost.memory_mb > most:
            expected = f"at most {most} MB, the memory of the largest host it may run on"
            problems.append(Problem(f"{cost.name}: vm_memory_mb", expected, f"{cost.memory_mb} MB to reserve"))
    return problems


def lines(cost: Mapping[str, Any]) -> str:
    """The summary as a person reads it in a diff; empty when the plan takes nothing."""
    text = [
        f"datastore {name}: needs {row['needed_gb']} GB, has {row['free_gb']} GB free"
        for name, row in cost.get("datastores", {}).items()
    ]
    text += [
        f"cluster {name}: reserves {row['needed_memory_mb']} MB of memory, has {row['free_memory_mb']} MB free"
        for name, row in cost.get("clusters", {}).items()
    ]
    return "\n".join(text) + "\n" if text else ""


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _total(rows: Iterable[tuple[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for key, value in rows:
        if value:
            total[key] = total.get(key, 0) + value
    return total
