# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vCenter told, as plain data for the checks: made by vsphere/preflight_reader.py, judged by vsphere_*.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Mapping, Optional, Tuple

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import extra_config
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import Inventory
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import HostLimits
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish


@dataclass(frozen=True)
class HostFacts:
    """A host on which some of the wished VMs may run; ``unusable`` says why no VM may be put on it now."""

    name: str
    version: str
    unusable: str = ""


@dataclass(frozen=True)
class Grant:
    """A privilege that some wish needs on one object, and whether the login has it there.

    ``soft``: without it fleet does less and warns.
    """

    place: str
    name: str
    privilege: str
    why: str
    held: bool
    soft: bool = False


@dataclass(frozen=True)
class Server:
    """vCenter itself; ``clock`` is how many seconds its clock is ahead of the control node's.

    ``no_grants`` says why nobody knows what the login may do; ``rooms`` is what the plan takes and what there is, by
    datastore (GB) and cluster (MB), as cost.summary() tells it.
    """

    hostname: str
    version: str
    build: str
    full_name: str
    clock: float = 0.0
    hosts: Tuple[HostFacts, ...] = ()
    grants: Tuple[Grant, ...] = ()
    no_grants: str = ""
    rooms: Mapping[str, Mapping[str, Mapping[str, object]]] = field(default_factory=dict)
    full: Tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Item:
    """An item of a Content Library; ``subscribed``: its library copies another, ``cached``: its content is here."""

    library: str
    name: str
    kind: str = ""
    subscribed: bool = False
    automatic: bool = True
    cached: bool = True
    synced: bool = True


@dataclass(frozen=True)
class Site:
    """What there is for one wished VM before it is made; problems are those that fleet would refuse the wish with."""

    wish: VmWish
    exists: bool = False
    placement: Tuple[Problem, ...] = ()
    networks: Tuple[Problem, ...] = ()
    template: Tuple[Problem, ...] = ()
    item: Optional[Item] = None
    hosts: Tuple[HostLimits, ...] = ()
    gpu_host: Tuple[Problem, ...] = ()
    gpu: Tuple[Problem, ...] = ()


@dataclass(frozen=True)
class MachineFacts:
    """One VM beside its wish. Memory in MB; ``limit_mb`` is None where there is no limit.

    ``candidates`` are ids of the hosts that it may run on, ``hosts`` what these can run.
    """

    wish: VmWish
    owner: str
    actual: Optional[VmActual] = None
    limit_mb: Optional[int] = None
    balloon_mb: int = 0
    swapped_mb: int = 0
    snapshots: Tuple[str, ...] = ()
    inventory: Inventory = field(default_factory=Inventory)
    candidates: frozenset[str] = frozenset()
    hosts: Tuple[HostLimits, ...] = ()

    @cached_property
    def keys(self) -> Mapping[str, str]:
        """The VMX keys that fleet would write; several checks ask, and each of them is made of the whole wish."""
        return extra_config(self.wish)

    @property
    def vm(self) -> VmActual:
        """The VM; only checks that need vm.exists ask for it."""
        if self.actual is None:
            raise ValueError(f"{self.wish.name} does not exist")
        return self.actual
