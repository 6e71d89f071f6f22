# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what the vSphere checks judge: a handful of calls to the property collector, however many VMs there are."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import (
    HostFacts,
    MachineFacts,
    Server,
    Site,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_privileges import Privilege
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import cost, lookup, placing
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Session
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import Inventory, Need, assign
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_desk import (
    concerned,
    gpu_host,
    need_of,
    read_inventory,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import HostLimits
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hosts import HostBook
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Node, Place, Resolver, Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.preflight_grants import Placed, read_grants
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.preflight_items import Shelf
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.snapshots import read_tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

HOST_PROPERTIES = ("name", "datastore", "config.product", "runtime.connectionState", "runtime.inMaintenanceMode")
# What fleet reads of a VM, but for the guest: no check of these gates asks for that.
VM_PROPERTIES = (*(name for name in lookup.VM_PROPERTIES if name != "guest"), "snapshot", "summary.quickStats")


@dataclass
class Row:
    """One wish, its VM and its place."""

    wish: VmWish
    actual: VmActual | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = None
    problems: tuple[Problem, ...] = ()
    need: Need | None = None


class Desk:
    """One session's view of vCenter for the wishes of one owner."""

    def __init__(self, session: Session, owner: str, wishes: Iterable[VmWish]) -> None:
        self._session, self._content, self._owner = session, session.content, owner
        self._tree = Tree(self._content)
        self._book = HostBook(self._content)
        self.rows = [Row(wish) for wish in wishes]
        self._find()
        self._place()
        self._inventory = Inventory()
        for row in self.rows:
            if row.place and concerned(row.wish, row.actual):
                row.need = need_of(self._tree, self._hosts, row.wish, row.actual, row.place)

    def _find(self) -> None:
        references = lookup.find_vms(self._content, [row.wish.name for row in self.rows])
        names, networks = {ref._moId: name for name, ref in references.items()}, self._tree.network_names
        known = {row.wish.name: row for row in self.rows}
        for reference, values in lookup.retrieve(self._content, vim.VirtualMachine, references.values(), VM_PROPERTIES):
            row = known[names[reference._moId]]
            row.actual, row.values = lookup.vm_actual(reference, values, networks), values

    def _place(self) -> None:
        resolver = Resolver(self._tree)
        for row in self.rows:
            before = len(resolver.problems)
            row.place = resolver.resolve(row.wish, exists=row.actual is not None)
            row.problems = tuple(resolver.problems[before:])

    def _hosts(self) -> Inventory:
        """All hosts, with their GPUs where some VM has to do with these; read when first asked for."""
        if not self._inventory.hosts:
            hosts = [node.reference for node in self._tree.nodes.values() if node.kind == "HostSystem"]
            if any(concerned(row.wish, row.actual) for row in self.rows):
                known = [row.actual for row in self.rows if row.actual]
                self._inventory = read_inventory(self._content, hosts, known)
            else:
                read = lookup.retrieve(self._content, vim.HostSystem, hosts, HOST_PROPERTIES)
                self._inventory = Inventory(tuple(gpu_host(host._moId, values) for host, values in read))
        return self._inventory

    def _cluster(self, place: Place) -> Node | None:
        pool = self._tree.nodes[place.pool._moId]
        return next((node for node in self._tree.ancestors(pool) if node.kind == "ClusterComputeResource"), None)

    def _limits(self, row: Row) -> tuple[HostLimits, ...]:
        cluster = self._cluster(row.place) if row.place else None
        return tuple(self._book.of_cluster(cluster.reference, row.place)) if cluster and row.place else ()

    def machines(self) -> list[MachineFacts]:
        """Each VM beside its wish."""
        gpus = any(concerned(row.wish, row.actual) for row in self.rows)
        inventory = self._hosts() if gpus else Inventory()
        return [self._machine(row, inventory) for row in self.rows]

    def _machine(self, row: Row, inventory: Inventory) -> MachineFacts:
        config, stats = row.values.get("config"), row.values.get("summary.quickStats")
        memory = config.memoryAllocation if config else None
        return MachineFacts(
            wish=row.wish,
            owner=self._owner,
            actual=row.actual,
            limit_mb=memory.limit if memory else None,
            balloon_mb=(stats.balloonedMemory or 0) if stats else 0,
            swapped_mb=(stats.swappedMemory or 0) if stats else 0,
            snapshots=tuple(item.name for item in read_tree(row.values.get("snapshot"))),
            inventory=inventory,
            candidates=row.need.hosts if row.need else frozenset(),
            hosts=self._limits(row),
        )

    def sites(self, shelf: Shelf) -> list[Site]:
        """What there is for each wished VM before it is made."""
        taken = assign([row.need for row in self.rows if row.need], self._hosts())[1]
        return [self._site(row, shelf, taken) for row in self.rows]

    def _site(self, row: Row, shelf: Shelf, taken: Iterable[Problem]) -> Site:
        name, networks = row.wish.name, f"{row.wish.name}: vm_networks["
        alone = assign([row.need], Inventory(self._hosts().hosts))[1] if row.need and row.wish.gpu else []
        return Site(
            wish=row.wish,
            exists=row.actual is not None,
            placement=tuple(problem for problem in row.problems if not problem.what.startswith(networks)),
            networks=tuple(problem for problem in row.problems if problem.what.startswith(networks)),
            template=tuple(shelf.problems.get(row.wish.template, ())),
            item=shelf.items.get(row.wish.template),
            hosts=self._limits(row),
            gpu_host=tuple(alone),
            gpu=tuple(problem for problem in taken if problem.what.startswith(f"{name}: vm_gpu[")),
        )

    def shelf(self) -> Shelf:
        """The sources of all wishes; each is looked up once."""
        wanted: dict[Any, str] = {}
        for row in self.rows:
            wanted.setdefault(row.wish.template, row.place.pool._moId if row.place else "")
        return Shelf.read(self._session, self._tree, wanted)

    def server(self, shelf: Shelf, privileges: Iterable[Privilege], clock: float) -> Server:
        """vCenter itself, and what of it all wishes together need."""
        about = self._content.about
        placed = [
            Placed(row.wish, row.place, self._cluster(row.place), shelf.sources.get(row.wish.template))
            for row in self.rows
            if row.place
        ]
        grants, no_grants = read_grants(self._content, self._tree, privileges, placed)
        costs = [
            placing.cost(row.wish, row.actual, source, row.place, self._tree)
            for row in self.rows
            if row.place and ((source := shelf.sources.get(row.wish.template)) or row.actual)
        ]
        stores = placing.stores(self._tree)
        pools = placing.pools(self._tree, [row.place for row in self.rows if row.place])
        return Server(
            hostname=self._session.connection.hostname,
            version=about.version or "",
            build=about.build or "",
            full_name=about.fullName or "",
            clock=clock,
            hosts=tuple(self._candidates()),
            grants=grants,
            no_grants=no_grants,
            rooms=cost.summary(costs, stores, pools),
            full=tuple(cost.refusals(costs, stores, pools)),
        )

    def _candidates(self) -> Iterable[HostFacts]:
        """The hosts on which some wish lets its VM run."""
        named = {row.place.host._moId for row in self.rows if row.place and row.place.host is not None}
        free = [self._cluster(row.place) for row in self.rows if row.place and row.place.host is None]
        clusters = {cluster.reference._moId for cluster in free if cluster}
        for host in self._hosts().hosts:
            if host.moid in named or self._tree.nodes[host.moid].parent in clusters:
                yield HostFacts(host.name, host.version, host.unusable)


def clock_offset(session: Session) -> float:
    """Seconds by which vCenter's clock is ahead; the middle of the call is when it was read."""
    before = datetime.datetime.now(tz=datetime.UTC)
    told = session.instance.CurrentTime()
    after = datetime.datetime.now(tz=datetime.UTC)
    return float((told - (before + (after - before) / 2)).total_seconds())
