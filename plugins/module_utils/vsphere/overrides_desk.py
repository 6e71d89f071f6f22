# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the overrides of the clusters that some wish concerns, and writes those of many VMs in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import Change
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lookup import retrieve, unquote
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.overrides import (
    DISABLED,
    INHERIT,
    TITLES,
    ClusterActual,
    changes,
    idle,
    wanted,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Node, Place, Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

PRIVILEGE = "Host.Inventory.EditCluster"
BEHAVIORS = {"manual": "manual", "partially_automated": "partiallyAutomated", "fully_automated": "fullyAutomated"}
OF_CLUSTER = "clusterRestartPriority"


class Wanted(NamedTuple):
    """A VM that is ours or to be made: its wish, what it is, and where it lives."""

    wish: VmWish
    actual: VmActual | None
    place: Place


def read_cluster(reference: Any, values: dict[str, Any]) -> ClusterActual:
    """A cluster as plain data, from its collected properties."""
    config = values.get("configurationEx")
    drs_config, das_config = getattr(config, "drsConfig", None), getattr(config, "dasConfig", None)
    off = set()
    if not (drs_config and drs_config.enabled) or drs_config.enableVmBehaviorOverrides is False:
        off.add("drs")
    if not (das_config and das_config.enabled):
        off.add("ha")
    drs = {entry.key._moId: entry for entry in getattr(config, "drsVmConfig", None) or ()}
    ha = {entry.key._moId: entry for entry in getattr(config, "dasVmConfig", None) or ()}
    return ClusterActual(
        reference._moId,
        unquote(values.get("name", reference._moId)),
        frozenset(off),
        {key: _drs(entry) for key, entry in drs.items()},
        {key: _ha(entry) for key, entry in ha.items()},
        {"drs": drs, "ha": ha},
    )


def _drs(entry: Any) -> str:
    if entry.enabled is False:
        return DISABLED
    return next((name for name, behavior in BEHAVIORS.items() if behavior == str(entry.behavior)), INHERIT)


def _ha(entry: Any) -> str:
    priority = (entry.dasSettings.restartPriority if entry.dasSettings else None) or entry.restartPriority
    return INHERIT if str(priority) in (OF_CLUSTER, "None") else str(priority)


def cluster_spec(cluster: ClusterActual, rows: Iterable[tuple[Any, Iterable[Change]]]) -> Any:
    """The ConfigSpec for the changes of these VMs, by their references."""
    spec = vim.cluster.ConfigSpecEx()
    for reference, items in rows:
        for item in items:
            setting = item.what.removeprefix("placement.")
            entry = cluster.entries.get(setting, {}).get(reference._moId)
            if item.after == INHERIT and entry is None:
                continue  # somebody has taken it out meanwhile
            if setting == "drs":
                spec.drsVmConfigSpec.append(_drs_spec(reference, entry, item.after))
            else:
                spec.dasVmConfigSpec.append(_ha_spec(reference, entry, item.after))
    return spec


def _drs_spec(reference: Any, entry: Any, value: str) -> Any:
    if value == INHERIT:
        return vim.cluster.DrsVmConfigSpec(operation="remove", removeKey=reference)
    info = vim.cluster.DrsVmConfigInfo(key=reference, enabled=value != DISABLED)
    if value in BEHAVIORS:
        info.behavior = BEHAVIORS[value]
    return vim.cluster.DrsVmConfigSpec(operation="edit" if entry else "add", info=info)


def _ha_spec(reference: Any, entry: Any, value: str) -> Any:
    """An entry also holds what HA does with a VM of an isolated host, so it is edited and never removed."""
    settings = (entry.dasSettings if entry else None) or vim.cluster.DasVmSettings()
    settings.restartPriority = OF_CLUSTER if value == INHERIT else value
    info = vim.cluster.DasVmConfigInfo(key=reference, dasSettings=settings)
    return vim.cluster.DasVmConfigSpec(operation="edit" if entry else "add", info=info)


class OverridesDesk:
    """The overrides in one call of fleet. A cluster is read when a wish concerns it, and again after each write."""

    def __init__(self, content: Any, tree: Tree) -> None:
        self._content, self._tree = content, tree
        self._clusters: dict[str, ClusterActual] = {}
        self._denied: set[str] = set()
        self.warnings: list[str] = []

    def prepare(self, machines: Iterable[Wanted]) -> list[Problem]:
        """Read the clusters of all VMs that want overrides, and tell what cannot be."""
        concerned: dict[str, list[Wanted]] = {}
        for machine in machines:
            node = self._node(machine) if wanted(machine.wish) else None
            if node is not None:
                concerned.setdefault(node.reference._moId, []).append(machine)
        self._read(concerned)
        for key in concerned:
            for setting, title in TITLES.items():
                names = [item.wish.name for item in concerned[key] if setting in idle(item.wish, self._of(key))]
                if names:
                    self.warnings.append(
                        f"{', '.join(names)}: vm_placement.{setting} does nothing, because cluster "
                        f"'{self._of(key).name}' has {title}, or its overrides, switched off"
                    )
        return self._check_privilege(concerned)

    def changes(self, wish: VmWish, actual: VmActual | None, place: Place) -> tuple[Change, ...]:
        """What differs for this VM."""
        node = self._node(Wanted(wish, actual, place)) if wanted(wish) else None
        if node is None:
            return ()
        key = node.reference._moId
        return changes(wish, actual.moid if actual else "", self._of(key), may=key not in self._denied)

    def cluster(self, wish: VmWish, actual: VmActual | None, place: Place) -> str:
        """The id of the cluster whose overrides count for this VM."""
        node = self._node(Wanted(wish, actual, place))
        return node.reference._moId if node else ""

    def start(self, key: str, rows: Mapping[Any, Iterable[Change]]) -> Any:
        """Write the overrides of these VMs in one task. They are read anew: an entry is added once, then edited."""
        self._read([key])
        spec = cluster_spec(self._clusters.pop(key, ClusterActual(key, key)), rows.items())
        return self._tree.nodes[key].reference.ReconfigureComputeResource_Task(spec, modify=True)

    def _check_privilege(self, concerned: Mapping[str, list[Wanted]]) -> list[Problem]:
        """Refuse what a wish names and nobody may do; what passthrough alone asks for is left with a warning."""
        due = {key: [item for item in items if self.changes(*item)] for key, items in concerned.items()}
        self._denied = self._without_privilege([key for key, items in due.items() if items])
        problems = []
        for key in sorted(self._denied):
            cluster, advice = self._of(key).name, "grant it (playbooks/vcenter_role.yml makes the role)"
            lacking = f"the privilege {PRIVILEGE} on cluster '{cluster}'"
            silent = []
            for item in due[key]:
                left = self.changes(*item)
                if not left:
                    silent.append(item.wish.name)
                problems += [
                    Problem(f"{item.wish.name}: vm_{change.what}", lacking, "a login without it", advice)
                    for change in left
                ]
            if silent:
                self.warnings.append(
                    f"{', '.join(silent)}: DRS and HA stay on although a device of the host holds the VM there: the "
                    f"login lacks {lacking}; {advice}, or set vm_placement.drs and vm_placement.ha to inherit"
                )
        return problems

    def _without_privilege(self, keys: list[str]) -> set[str]:
        if not keys:
            return set()
        session = self._content.sessionManager.currentSession.key
        answer = self._content.authorizationManager.HasPrivilegeOnEntities(
            [self._tree.nodes[key].reference for key in keys], session, [PRIVILEGE]
        )
        return {item.entity._moId for item in answer if not all(one.isGranted for one in item.privAvailability)}

    def _of(self, key: str) -> ClusterActual:
        if key not in self._clusters:
            self._read([key])
        return self._clusters.get(key) or ClusterActual(key, key, frozenset(TITLES))

    def _read(self, keys: Iterable[str]) -> None:
        references = [self._tree.nodes[key].reference for key in keys]
        properties = ("name", "configurationEx")
        for reference, values in retrieve(self._content, vim.ClusterComputeResource, references, properties):
            self._clusters[reference._moId] = read_cluster(reference, values)

    def _node(self, machine: Wanted) -> Node | None:
        """The cluster that the VM is in, or will be."""
        host = self._tree.nodes.get(machine.actual.host) if machine.actual else None
        if host is not None:
            return self._tree.nodes.get(host.parent)
        pool = self._tree.nodes[machine.place.pool._moId]
        return next((node for node in self._tree.ancestors(pool) if node.kind == "ClusterComputeResource"), None)
