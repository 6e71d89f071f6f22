# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM storage policies: their names, the datastores that satisfy them, and which VM has which.

vCenter keeps them in a service of its own beside the API (/pbm), which takes the API's session. It is asked only where
a wish names a policy: for the policies and for the datastores once in a call, for all VMs that are read in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, nearest, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import faults
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import ANSWER_SECONDS, Session
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import policy_change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VM_HOME, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Node, Place, Tree, takes_disks
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import SoapStubAdapter, pbm, vim, vmodl
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

PATH, VERSION = "/pbm/sdk", "pbm.version.version2"
PRIVILEGE = "StorageProfile.View"


class PolicyService:
    """The calls to vCenter's policy service, in the session of the API."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._cookie = ""
        self._content: Any = None

    def names(self) -> dict[str, str]:
        """The name of each policy for VMs, by id."""
        return self._ask(self._names)

    def _names(self, content: Any) -> dict[str, str]:
        kind = pbm.profile.ResourceType(resourceType="STORAGE")
        ids = content.profileManager.QueryProfile(kind, "REQUIREMENT")
        found = content.profileManager.RetrieveContent(ids) if ids else ()
        return {profile.profileId.uniqueId: str(profile.name) for profile in found}

    def satisfying(self, policy: str, stores: Iterable[str]) -> set[str]:
        """Those of the datastores, by id, that satisfy a policy, by id."""
        hubs = [pbm.placement.PlacementHub(hubType="Datastore", hubId=key) for key in stores]
        wanted = pbm.profile.ProfileId(uniqueId=policy)
        rows = self._ask(lambda content: content.placementSolver.CheckCompatibility(hubs, wanted))
        return {str(row.hub.hubId) for row in rows or () if not row.error}

    def associated(self, objects: Mapping[tuple[str, int], Any]) -> dict[tuple[str, int], str]:
        """The id of each object's policy; one that has none, or is gone, is left out."""
        if not objects:
            return {}
        rows = self._ask(lambda content: content.profileManager.QueryAssociatedProfiles(list(objects.values())))
        keys = {item.key: key for key, item in objects.items()}
        return {keys[row.object.key]: str(row.profileId[0].uniqueId) for row in rows or () if row.profileId}

    def object(self, vm: str, disk: int) -> Any:
        """How the service names a VM's own files, or one of its disks."""
        kind, key = ("virtualMachine", vm) if disk == VM_HOME else ("virtualDiskId", f"{vm}:{disk}")
        server = self._session.content.about.instanceUuid
        return pbm.ServerObjectRef(objectType=kind, key=key, serverUuid=server)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self._connected())
        except vim.fault.NotAuthenticated:
            raise
        except vmodl.MethodFault as fault:
            raise one_problem(
                "no_storage_policies",
                "vm_placement.storage_policy",
                "an answer of vCenter's storage policy service",
                faults.describe(fault),
                f"grant {PRIVILEGE} on vCenter's root, or take vm_placement.storage_policy out",
            ) from fault

    def _connected(self) -> Any:
        """The service's content; a session that was renewed has another cookie."""
        cookie = self._session.instance._stub.cookie or ""
        if self._content is None or cookie != self._cookie:
            connection = self._session.connection
            stub = SoapStubAdapter(
                host=connection.hostname,
                port=connection.port,
                path=PATH,
                version=VERSION,
                sslContext=connection.tls(),
                httpConnectionTimeout=ANSWER_SECONDS,
                requestContext={"vcSessionCookie": cookie.partition("=")[2].partition(";")[0].strip('"')},
            )
            self._cookie, self._content = cookie, pbm.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        return self._content


class Policies:
    """The storage policies of one call of fleet."""

    def __init__(self, session: Session, tree: Tree) -> None:
        self._service, self._tree = PolicyService(session), tree
        self._known: dict[str, str] | None = None  # names by id
        self._fitting: dict[str, set[str]] = {}

    def complete(self, wished: Iterable[tuple[VmWish | None, VmActual | None]]) -> dict[str, VmActual]:
        """The VMs, by id, whose wish names a policy, with those that they have."""
        actuals = [
            actual for wish, actual in wished if wish and wish.placement.storage_policy and actual and actual.ready
        ]
        if not actuals:
            return {}
        objects = {
            (actual.moid, key): self._service.object(actual.moid, key)
            for actual in actuals
            for key in (VM_HOME, *(disk.key for disk in actual.disks))
        }
        names, found = self._names(), self._service.associated(objects)
        completed = {}
        for actual in actuals:
            held = {key: names.get(policy, policy) for (moid, key), policy in found.items() if moid == actual.moid}
            completed[actual.moid] = replace(actual, policies=held)
        return completed

    def resolve(self, wish: VmWish, actual: VmActual | None, place: Place) -> tuple[Place, list[Problem]]:
        """The place with the policy's id, and on a datastore that satisfies it; or what cannot be."""
        wanted = wish.placement.storage_policy
        if not wanted:
            return place, []
        what = f"{wish.name}: vm_placement.storage_policy"
        ids = {name: key for key, name in self._names().items()}
        if wanted not in ids:
            found = f"no storage policy '{wanted}'"
            return place, [Problem(what, "an existing storage policy", found, nearest(wanted, ids))]
        place = replace(place, policy=ids[wanted])
        if actual is not None and not policy_change(wanted, actual):
            return place, []
        fitting, stores = self._satisfying(ids[wanted]), self._candidates(wish, actual, place)
        chosen = next((node for node in stores if node.reference._moId in fitting), None)
        if chosen is not None:
            return (place if actual else replace(place, datastore=chosen.reference)), []
        good = sorted(node.name for node in self._stores() if node.reference._moId in fitting)
        names = ", ".join(f"'{node.name}'" for node in stores) or "none"
        advice = f"these satisfy it: {', '.join(good)}" if good else "no datastore satisfies it: name another policy"
        return place, [Problem(what, f"a datastore that satisfies '{wanted}'", f"{names}, which does not", advice)]

    def _candidates(self, wish: VmWish, actual: VmActual | None, place: Place) -> list[Node]:
        """Where the VM lies, or the datastores where it may be made, the best first."""
        if actual is not None:
            return [node for node in self._stores() if node.name == actual.datastore]
        planned = self._tree.nodes[place.datastore._moId]
        if not wish.placement.datastore_cluster:
            return [planned]
        members = [node for node in self._stores() if node.parent == planned.parent and takes_disks(node)]
        members.sort(key=lambda node: node.values.get("summary.freeSpace") or 0, reverse=True)
        return [planned, *(node for node in members if node != planned)]

    def _stores(self) -> list[Node]:
        return [node for node in self._tree.nodes.values() if node.kind == "Datastore"]

    def _names(self) -> dict[str, str]:
        if self._known is None:
            self._known = self._service.names()
        return self._known

    def _satisfying(self, policy: str) -> set[str]:
        if policy not in self._fitting:
            stores = [node.reference._moId for node in self._stores()]
            self._fitting[policy] = self._service.satisfying(policy, stores)
        return self._fitting[policy]
