# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the names of a placement to vCenter's objects; the whole inventory tree is read in one call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, nearest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lookup import everything, unquote
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish


@dataclass(frozen=True)
class Node:
    """One managed object: its reference, name and parent's id."""

    reference: Any
    kind: str
    name: str
    parent: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The resolved placement of one VM."""

    folder: Any
    pool: Any
    datastore: Any
    host: Any
    networks: dict[str, Any]  # backing (of a network card) by name
    missing_folders: tuple[str, ...] = ()  # to be made below ``folder``, from the top down
    pod: Any = None  # the datastore cluster, where storage DRS has a say in the datastore
    policy: str = ""  # id of the storage policy, where one is wished
    network_ids: dict[str, str] = field(default_factory=dict)  # of every network of the datacenter, by name


class Tree:
    """The inventory tree of a vCenter, without its VMs."""

    def __init__(self, content: Any) -> None:
        kinds = {
            vim.Datacenter: ["name", "parent", "vmFolder"],
            vim.Folder: ["name", "parent", "childType"],
            vim.ClusterComputeResource: ["name", "parent", "resourcePool"],
            vim.HostSystem: ["name", "parent", "summary.hardware.memorySize"],
            vim.ResourcePool: ["name", "parent", "runtime.memory"],
            vim.Datastore: [
                "name",
                "parent",
                "summary.freeSpace",
                "summary.accessible",
                "summary.maintenanceMode",
            ],
            vim.StoragePod: ["name", "parent", "podStorageDrsEntry.storageDrsConfig.podConfig.enabled"],
            vim.Network: ["name", "parent"],
            vim.dvs.DistributedVirtualPortgroup: ["name", "parent", "key", "config.distributedVirtualSwitch"],
            vim.DistributedVirtualSwitch: ["name", "parent", "uuid"],
        }
        self.nodes: dict[str, Node] = {}
        for reference, values in everything(content, kinds):
            parent = values.get("parent")
            kind = type(reference).__name__.rsplit(".", 1)[-1]
            name = unquote(values.get("name", ""))
            self.nodes[reference._moId] = Node(reference, kind, name, parent._moId if parent else "", values)

    @property
    def network_names(self) -> dict[str, str]:
        """Names of networks by id and of port groups by key, for reading network cards."""
        names = {
            key: node.name for key, node in self.nodes.items() if "Network" in node.kind or "Portgroup" in node.kind
        }
        return names | {node.values["key"]: node.name for node in self.nodes.values() if node.values.get("key")}

    def ancestors(self, node: Node) -> Iterator[Node]:
        """The node's parents, nearest first."""
        while node.parent in self.nodes:
            node = self.nodes[node.parent]
            yield node

    def below(self, top: Node, kinds: tuple[str, ...]) -> list[Node]:
        """Every node of these kinds below another."""
        return [node for node in self.nodes.values() if node.kind in kinds and top in self.ancestors(node)]

    def path(self, node: Node, top: Node) -> str:
        """Names from below ``top`` down to the node, with slashes."""
        names = [node.name]
        for parent in self.ancestors(node):
            if parent == top:
                break
            names.append(parent.name)
        return "/".join(reversed(names))


class Resolver:
    """Resolves the placements of many wishes and keeps every problem."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._planned_gb: dict[str, float] = {}  # by datastore of a cluster: what earlier VMs of this call will take
        self.problems: list[Problem] = []

    def resolve(self, wish: VmWish, *, exists: bool = False) -> Place | None:
        """The objects that the wish names, or None with the problems noted; nothing is chosen for a VM that exists."""
        before = len(self.problems)
        placement = wish.placement
        centers = [node for node in self._tree.nodes.values() if node.kind == "Datacenter"]
        center = self._pick(wish, "datacenter", placement.datacenter, {node.name: node for node in centers})
        if center is None:
            return None
        folder, missing = self._folder(wish, center)
        pool, host = self._compute(wish, center)
        datastore, pod = self._storage(wish, center, exists)
        networks, ids = self._networks(wish, center)
        if len(self.problems) > before or not pool or not datastore:
            return None
        return Place(folder, pool, datastore.reference, host, networks, missing, pod, network_ids=ids)

    def _pick(self, wish: VmWish, what: str, name: str, known: dict[str, Node]) -> Node | None:
        """The named one; without a name the only one there is."""
        if name in known:
            return known[name]
        if not name and len(known) == 1:
            return next(iter(known.values()))
        found = f"no {what} '{name}'" if name else f"{len(known)} of them and no choice"
        hint = nearest(name, known) if name else f"set vm_placement.{what} to one of {', '.join(sorted(known))}"
        self.problems.append(Problem(f"{wish.name}: vm_placement.{what}", f"an existing {what}", found, hint))
        return None

    def _folder(self, wish: VmWish, center: Node) -> tuple[Any, tuple[str, ...]]:
        """The folder, or the nearest one above it that exists and the names below that are to be made."""
        root = self._tree.nodes[center.values["vmFolder"]._moId]
        path = wish.placement.folder.strip("/")
        if not path:
            return root.reference, ()
        folders = {self._tree.path(node, root): node for node in self._tree.below(root, ("Folder",))}
        names = tuple(name for name in path.split("/") if name)
        if wish.placement.create_folder:
            for depth in range(len(names), 0, -1):
                known = folders.get("/".join(names[:depth]))
                if known:
                    return known.reference, names[depth:]
            return root.reference, names
        node = self._pick(wish, "folder", path, folders)
        return (node.reference if node else None), ()

    def _storage(self, wish: VmWish, center: Node, exists: bool) -> tuple[Node | None, Any]:
        """The datastore, and the cluster it was chosen from when storage DRS may know a better one."""
        placement = wish.placement
        if not placement.datastore_cluster:
            stores = {node.name: node for node in self._tree.below(center, ("Datastore",))}
            return self._pick(wish, "datastore", placement.datastore, stores), None
        pods = {node.name: node for node in self._tree.below(center, ("StoragePod",))}
        pod = self._pick(wish, "datastore_cluster", placement.datastore_cluster, pods)
        if pod is None:
            return None, None
        members = [node for node in self._tree.below(pod, ("Datastore",)) if takes_disks(node)]
        if not members:
            what = f"{wish.name}: vm_placement.datastore_cluster"
            found = f"none that is accessible and not in maintenance mode in '{pod.name}'"
            self.problems.append(Problem(what, "a datastore to use", found, "name another one"))
            return None, None
        best = max(members, key=lambda node: (self._left(node), node.name))
        if not exists:
            key = best.reference._moId
            taken = sum(disk.size_gb for disk in wish.disks if disk.provisioning != "thin")
            self._planned_gb[key] = self._planned_gb.get(key, 0) + taken
        advised = pod.values.get("podStorageDrsEntry.storageDrsConfig.podConfig.enabled")
        return best, pod.reference if advised else None

    def _left(self, store: Node) -> float:
        free = (store.values.get("summary.freeSpace") or 0) / 1024**3
        return free - self._planned_gb.get(store.reference._moId, 0)

    def _compute(self, wish: VmWish, center: Node) -> tuple[Any, Any]:
        """Resource pool and, when one is named, host."""
        placement = wish.placement
        clusters = {node.name: node for node in self._tree.below(center, ("ClusterComputeResource",))}
        host = None
        if placement.host:
            hosts = {node.name: node for node in self._tree.below(center, ("HostSystem",))}
            host = self._pick(wish, "host", placement.host, hosts)
            if host is None:
                return None, None
        name = placement.cluster or (self._tree.nodes[host.parent].name if host else "")
        cluster = self._pick(wish, "cluster", name, clusters)
        if cluster is None:
            return None, None
        if host and host.parent != cluster.reference._moId:
            text = f"a host of cluster '{cluster.name}'"
            self.problems.append(Problem(f"{wish.name}: vm_placement.host", text, f"'{host.name}' of another cluster"))
        pool = cluster.values["resourcePool"]
        if placement.resource_pool:
            root = self._tree.nodes[pool._moId]
            pools = {self._tree.path(node, root): node for node in self._tree.below(root, ("ResourcePool",))}
            chosen = self._pick(wish, "resource_pool", placement.resource_pool.strip("/"), pools)
            pool = chosen.reference if chosen else None
        return pool, host.reference if host else None

    def _networks(self, wish: VmWish, center: Node) -> tuple[dict[str, Any], dict[str, str]]:
        """The backings of the wished networks, and the ids of all there are."""
        kinds = ("Network", "DistributedVirtualPortgroup", "OpaqueNetwork")
        known = {node.name: node for node in self._tree.below(center, kinds)}
        backings = {}
        for index, network in enumerate(wish.networks):
            node = known.get(network.network)
            if node is None:
                what = f"{wish.name}: vm_networks[{index}].network"
                hint = nearest(network.network, known)
                self.problems.append(Problem(what, "an existing network", f"no network '{network.network}'", hint))
            else:
                backings[network.network] = self._backing(node)
        return backings, {name: node.reference._moId for name, node in known.items()}

    def _backing(self, node: Node) -> Any:
        """What a network card's backing needs to be plugged in there."""
        card = vim.vm.device.VirtualEthernetCard
        if node.kind == "DistributedVirtualPortgroup":
            switch = self._tree.nodes[node.values["config.distributedVirtualSwitch"]._moId]
            port = vim.dvs.PortConnection(portgroupKey=node.values["key"], switchUuid=switch.values["uuid"])
            return card.DistributedVirtualPortBackingInfo(port=port)
        return card.NetworkBackingInfo(deviceName=node.name, network=node.reference)


def takes_disks(store: Node) -> bool:
    """Whether a datastore can be reached and is not in maintenance mode."""
    maintenance = store.values.get("summary.maintenanceMode") or "normal"
    return bool(store.values.get("summary.accessible", True)) and maintenance == "normal"
