# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a placement asks of vCenter beyond names: folders that are made, a datastore of a cluster, room that is left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.cost import (
    BYTES_PER_GB,
    BYTES_PER_MB,
    Cost,
    Room,
    disk_gb,
    memory_mb,
    swap_gb,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import (
    Node,
    Place,
    Tree,
    takes_disks,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim, vmodl
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sources import Source
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.spec import policy_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish


def put_policy(cloning: Any, place: Place, source: Source) -> None:
    """The storage policy of a clone's files and of the disks that it takes over, where the datastore is known."""
    location = cloning.location
    location.profile = policy_spec(place.policy)
    location.disk = [
        vim.vm.RelocateSpec.DiskLocator(
            diskId=disk.key,
            datastore=location.datastore,
            diskMoveType=location.diskMoveType,
            profile=policy_spec(place.policy),
        )
        for disk in source.actual.disks
    ]


class Folders:
    """Makes the folders that are wished and missing, each once."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, tuple[str, ...]], Any] = {}

    def of(self, place: Place) -> Any:
        """The folder of a place; one that somebody makes at the same time is taken as it is."""
        folder = place.folder
        for depth in range(1, len(place.missing_folders) + 1):
            key = (place.folder._moId, place.missing_folders[:depth])
            if key not in self._made:
                try:
                    self._made[key] = folder.CreateFolder(key[1][-1])
                except vim.fault.DuplicateName as fault:
                    self._made[key] = fault.object
            folder = self._made[key]
        return folder


def recommended(content: Any, place: Place, source: Source, name: str, cloning: Any) -> Any:
    """The datastore that storage DRS recommends for a clone, or the one that was planned where it has no advice."""
    if place.pod is None:
        return place.datastore
    if place.policy:
        cloning.location.profile = policy_spec(place.policy)
    cloning.location.datastore = None  # a datastore in the specification would be the answer to the question
    question = vim.storageDrs.StoragePlacementSpec(
        type="clone",
        vm=source.reference,
        cloneName=name,
        cloneSpec=cloning,
        folder=cloning.location.folder,
        resourcePool=place.pool,
        host=place.host,
        podSelectionSpec=vim.storageDrs.PodSelectionSpec(storagePod=place.pod),
    )
    try:
        answer = content.storageResourceManager.RecommendDatastores(question)
    except vmodl.MethodFault:  # advice only: the clone itself says what is wrong, if anything is
        return place.datastore
    actions = [action for item in answer.recommendations or () for action in item.action or ()]
    return next((action.destination for action in actions if hasattr(action, "destination")), place.datastore)


def cost(wish: VmWish, actual: VmActual | None, source: Source | None, place: Place, tree: Tree) -> Cost:
    """What bringing this VM to the wish takes. A disk that is added to a VM lies where the VM lies."""
    datastore = place.datastore._moId
    if actual is not None:
        stores = [key for key, node in tree.nodes.items() if node.kind == "Datastore" and node.name == actual.datastore]
        datastore = next(iter(stores), datastore)
        taken = disk_gb(wish, actual)
    else:
        taken = disk_gb(wish, source.actual if source else None, source.committed if source else 0)
    pool = place.host._moId if place.host is not None else place.pool._moId
    return Cost(wish.name, datastore, taken + swap_gb(wish, actual), pool, memory_mb(wish, actual))


def stores(tree: Tree) -> dict[str, Room]:
    """What each datastore has left, in GB."""
    return {
        key: Room(node.name, free_gb(node), takes_disks(node))
        for key, node in tree.nodes.items()
        if node.kind == "Datastore"
    }


def pools(tree: Tree, places: Iterable[Place]) -> dict[str, Room]:
    """What each resource pool, and each host that is named, has left to reserve, in MB."""
    found: dict[str, Room] = {}
    for place in places:
        if (place.host or place.pool)._moId in found:
            continue
        if place.host is not None:
            host = tree.nodes[place.host._moId]
            found[host.reference._moId] = Room(f"host {host.name}", None, most=_memory(host))
            continue
        pool = tree.nodes[place.pool._moId]
        cluster = next((node for node in tree.ancestors(pool) if node.kind == "ClusterComputeResource"), None)
        memory = pool.values.get("runtime.memory")
        free = memory.unreservedForVm / BYTES_PER_MB if memory and memory.unreservedForVm is not None else None
        name, hosts = pool.name, list[int | None]()
        if cluster is not None:
            root = cluster.values["resourcePool"]._moId == pool.reference._moId
            name = cluster.name if root else tree.path(pool, cluster)
            hosts = [_memory(node) for node in tree.nodes.values() if node.parent == cluster.reference._moId]
        found[pool.reference._moId] = Room(name, free, most=max((item for item in hosts if item), default=None))
    return found


def _memory(host: Node) -> int | None:
    size = host.values.get("summary.hardware.memorySize")
    return None if size is None else size // BYTES_PER_MB


def free_gb(store: Node) -> float | None:
    """GB free on a datastore, None where it is not known."""
    free = store.values.get("summary.freeSpace")
    return None if free is None else free / BYTES_PER_GB
