# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From ``vm_template`` to the VM or template in vCenter that is cloned, with its snapshot where one is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError, nearest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import lookup
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Session
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import NicActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.ovf import OvfItem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Node, Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.template import Template


@dataclass(frozen=True)
class Source:
    """What is cloned. ``actual`` is its hardware at the snapshot, if there is one; ``committed`` counts bytes.

    An OVF item has no VM: ``actual`` holds no more than its networks.
    """

    actual: VmActual
    reference: Any
    snapshot: Any = None
    committed: int = 0
    package: OvfItem | None = None


@dataclass(frozen=True)
class Candidate:
    """A VM or template of the inventory with every text by which it may be named."""

    reference: Any
    name: str
    paths: tuple[str, ...]
    is_template: bool

    @property
    def path(self) -> str:
        """The longest of its names: from the datacenter on."""
        return self.paths[-1] if self.paths else self.name


class Sources:
    """Finds sources; the Content Library's by REST, the others by one look at the names of all VMs."""

    def __init__(self, session: Session, tree: Tree) -> None:
        self._connection, self._tree = session.connection, tree
        self._content = session.content
        self._stub = session.instance._stub  # pyVmomi offers no public way from an id to an object

    def find(self, wanted: Mapping[Template, str]) -> dict[Template, Source]:
        """The source of each template, for VMs in that resource pool (its id).

        Raises TestbedError (``unknown_template``) that names everything that does not exist, with the nearest
        that does, and (same code) everything that cannot be cloned that way.
        """
        templates = sorted(set(wanted), key=str)
        references: dict[Template, Any] = {}
        problems: list[Problem] = []
        packages: dict[Template, Source] = {}
        items = {template: wanted[template] for template in templates if template.library}
        if items:
            try:
                # Imported where it is used: Ansible's HTTP client takes longer to load than a quiet run's calls.
                from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import library

                with library.rest_session(self._connection) as session:
                    found_items = library.find_items(session, items)
                for template, item in found_items.items():
                    if isinstance(item, OvfItem):
                        packages[template] = packaged(template, item)
                    else:
                        references[template] = vim.VirtualMachine(item, self._stub)
            except TestbedError as error:
                if error.error_code != "unknown_template":
                    raise
                problems += error.problems
        others = [template for template in templates if not template.library]
        candidates = list(self._candidates()) if others else []
        for template in others:
            found = pick(template, candidates)
            if isinstance(found, Problem):
                problems.append(found)
            else:
                references[template] = found.reference
        sources, unreadable = self._read(references)
        if problems or unreadable:
            raise TestbedError("unknown_template", [*problems, *unreadable])
        return sources | packages

    def _candidates(self) -> Iterator[Candidate]:
        for reference, values in lookup.everything(
            self._content, {vim.VirtualMachine: ["name", "parent", "config.template"]}
        ):
            name, folder = lookup.unquote(values.get("name", "")), values.get("parent")
            node = Node(reference, "VirtualMachine", name, folder._moId if folder else "", values)
            above = list(self._tree.ancestors(node))[::-1]
            center = next((at for at, parent in enumerate(above) if parent.kind == "Datacenter"), None)
            # below the datacenter comes its one VM folder, which nobody names; a VM inside a vApp has no folder
            starts = () if center is None else (center + 2, center)
            paths = tuple("/".join([*(parent.name for parent in above[start:]), name]) for start in starts)
            yield Candidate(reference, name, paths, bool(values.get("config.template")))

    def _read(self, references: dict[Template, Any]) -> tuple[dict[Template, Source], list[Problem]]:
        unique = {reference._moId: reference for reference in references.values()}
        actuals = lookup.read_vms(self._content, unique.values(), self._tree.network_names)
        properties = ("snapshot", "summary.storage.committed")
        more = {
            reference._moId: values
            for reference, values in lookup.retrieve(self._content, vim.VirtualMachine, unique.values(), properties)
        }
        sources: dict[Template, Source] = {}
        problems: list[Problem] = []
        for template, reference in references.items():
            actual = actuals.get(reference._moId)
            if actual is None or not actual.ready:
                problems.append(Problem(f"template '{template}'", "a VM that can be read", f"none: {reference._moId}"))
                continue
            values = more.get(reference._moId, {})
            source = Source(actual, reference, None, values.get("summary.storage.committed") or 0)
            if template.linked:
                linked = self._at_snapshot(template, source, values.get("snapshot"))
                if isinstance(linked, Problem):
                    problems.append(linked)
                    continue
                source = linked
            sources[template] = source
        return sources, problems

    def _at_snapshot(self, template: Template, source: Source, info: Any) -> Source | Problem:
        """The source as it was at its snapshot: the clone's devices are those, not today's."""
        found = [node for node in snapshots(info.rootSnapshotList if info else ()) if node.name == template.snapshot]
        what = f"template '{template}'"
        if len(found) != 1:
            names = [node.name for node in snapshots(info.rootSnapshotList if info else ())]
            text = f"no snapshot '{template.snapshot}'" if not found else f"{len(found)} of that name"
            hint = nearest(template.snapshot, names) if not found else "rename all but one of them"
            if not names:
                hint = f"make one: govc snapshot.create -vm '{template.vm}' '{template.snapshot}'"
            return Problem(what, f"one snapshot of that name on VM '{template.vm}'", text, hint)
        reference = found[0].snapshot
        config = next(
            (
                values.get("config")
                for _reference, values in lookup.retrieve(self._content, vim.vm.Snapshot, [reference], ["config"])
            ),
            None,
        )
        actual = source.actual
        if config is not None and config.hardware is not None:
            then = {"name": actual.name, "config": config, "runtime.powerState": actual.power}
            actual = lookup.vm_actual(source.reference, then, self._tree.network_names)
        disks = tuple(replace(disk, has_parent=True) for disk in actual.disks)
        return replace(source, actual=replace(actual, disks=disks), snapshot=reference, committed=0)


def packaged(template: Template, item: OvfItem) -> Source:
    """An OVF item as a source."""
    cards = tuple(NicActual(0, "", network) for network in item.networks)
    return Source(VmActual(moid="", name=str(template), nics=cards), None, committed=item.size, package=item)


def pick(template: Template, candidates: list[Candidate]) -> Candidate | Problem:
    """The one VM or template that is meant, or why there is none."""
    wanted = template.inventory or template.vm
    what = f"template '{template}'"
    kind = "template" if template.inventory else "VM"
    found = [item for item in candidates if wanted.strip("/") in (item.name, *item.paths)]
    right = [item for item in found if item.is_template == (kind == "template")]
    if not found:
        known = {item.name for item in candidates if item.is_template == (kind == "template")}
        return Problem(what, f"an existing {kind}", f"none named '{wanted}'", nearest(wanted, known))
    if len(right) > 1:
        paths = ", ".join(sorted(item.path for item in right))
        return Problem(what, f"one {kind} of that name", paths, "write the path from the datacenter on")
    if right:
        return right[0]
    if template.linked:
        hint = "a linked clone is never made from a template: clone it to a VM, take a snapshot of that and name both"
        return Problem(what, "a VM with a snapshot", f"'{wanted}' is a template", hint)
    other, its = ("vm", "a VM") if template.inventory else ("inventory", "a template")
    return Problem(what, f"a {kind}", f"'{wanted}' is {its}", f"write vm_template: {{{other}: {wanted}}}")


def snapshots(roots: Iterable[Any]) -> Iterator[Any]:
    """Every node of a VM's tree of snapshots."""
    for node in roots or ():
        yield node
        yield from snapshots(node.childSnapshotList)
