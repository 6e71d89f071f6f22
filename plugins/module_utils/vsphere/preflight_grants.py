# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the login may do where the wishes need it: one question for all objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import Grant
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_privileges import (
    SOFT,
    Privilege,
    Use,
    needed,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import faults
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Node, Place, Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vmodl
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sources import Source
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish


@dataclass(frozen=True)
class Placed:
    """A wish with its objects; ``source`` is what it would be made from, if that is there."""

    wish: VmWish
    place: Place
    cluster: Node | None = None
    source: Source | None = None

    def use(self) -> Use:
        """What the list of privileges is chosen by."""
        kind = ""
        if self.source is not None:
            kind = "ovf" if self.source.package else "vm" if self.wish.template.vm else "template"
        return Use(self.wish, kind, makes_folder=bool(self.place.missing_folders))


def read_grants(
    content: Any, tree: Tree, privileges: Iterable[Privilege], placed: Iterable[Placed]
) -> tuple[tuple[Grant, ...], str]:
    """Every privilege that is needed, and whether it is held; or nothing, and why nobody knows."""
    rows, wanted = tuple(privileges), {}
    for item in placed:
        for place, privilege in needed(rows, item.use()):
            for name, reference in _objects(content, tree, item, place):
                wanted[(reference._moId, privilege.id)] = (place, name, reference, privilege)
    if not wanted:
        return (), "no list of privileges was given" if not rows else "no wish needs one"
    references = {reference._moId: reference for _place, _name, reference, _privilege in wanted.values()}
    try:
        session = content.sessionManager.currentSession
        answer = content.authorizationManager.FetchUserPrivilegeOnEntities(list(references.values()), session.userName)
    except (vmodl.MethodFault, AttributeError) as fault:
        return (), f"vCenter does not say what the login may do ({_words(fault)})"
    held = {result.entity._moId: frozenset(result.privileges or ()) for result in answer or ()}
    grants = [
        Grant(place, name, privilege.id, privilege.why, privilege.id in held.get(moid, ()), privilege.id in SOFT)
        for (moid, _id), (place, name, _reference, privilege) in sorted(wanted.items())
    ]
    return tuple(grants), ""


def _words(fault: Exception) -> str:
    return faults.describe(fault) if isinstance(fault, vmodl.MethodFault) else str(fault)


def _objects(content: Any, tree: Tree, item: Placed, place: str) -> Iterator[tuple[str, Any]]:
    """The objects of this kind of place that a wish is about, with their names."""
    where = item.place
    if place == "root":
        yield "root folder", content.rootFolder
    elif place == "folder":
        yield tree.nodes[where.folder._moId].name, where.folder
    elif place == "compute" and item.cluster:
        yield item.cluster.name, item.cluster.reference
    elif place == "datastore":
        yield tree.nodes[where.datastore._moId].name, where.datastore
    elif place == "network":
        for network in item.wish.networks:
            node = tree.nodes[where.network_ids[network.network]]
            yield node.name, node.reference
    elif place == "template" and item.source is not None and item.source.reference is not None:
        yield item.source.actual.name, item.source.reference
