# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys OVF items of the Content Library, each in a thread of its own (docs/adr/0018)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import ovf, ownership, vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Session
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.jobs import Job
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Place
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placing import Folders
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Marks, Operation, deployment_marks
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish


class Deployer:
    """Starts deployments, and knows which VMs they have made."""

    def __init__(self, session: Session, folders: Folders) -> None:
        self._session, self._folders = session, folders
        self._tokens: dict[str, str] = {}  # by VM; kept until it is made, so that a second try makes no second VM
        self._made: set[str] = set()

    def start(self, wish: VmWish, item: ovf.OvfItem, place: Place, marks: Marks) -> Job:
        """Begin; the job's result is the VM."""
        target = {"resource_pool_id": place.pool._moId, "folder_id": self._folders.of(place)._moId}
        if place.host is not None:
            target["host_id"] = place.host._moId
        notes = ownership.told(deployment_marks(wish, marks), item.annotation or f"Deployed from {wish.template}.")
        token = self._tokens.setdefault(wish.name, str(uuid.uuid4()))
        body = ovf.request(wish, item, target, place.network_ids, place.datastore._moId, notes)
        connection, stub = self._session.connection, self._session.instance._stub

        def work() -> object:
            # Imported where it is used: Ansible's HTTP client takes longer to load than a quiet run's calls.
            from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import library

            moid = library.deploy(connection, item.item, body, token)
            self._made.add(moid)
            self._tokens.pop(wish.name, None)
            return vim.VirtualMachine(moid, stub)

        return Job(wish.name, work)

    def marked(self, actual: VmActual | None, wish: VmWish, given: Marks) -> VmActual | None:
        """The VM with its marks, in case that vCenter left the notes out of one that was deployed in this call."""
        if actual is None or actual.moid not in self._made or not ownership.adoptable(actual):
            return actual
        marks = deployment_marks(wish, given)
        notes = f"Deployed from {marks[vmx.TEMPLATE]}."
        return replace(actual, extra_config={**actual.extra_config, **marks}, deployed=marks, notes=notes)

    def unknown(self, plans: Mapping[str, Iterable[Operation]]) -> list[str]:
        """What check mode cannot know of VMs that will be deployed."""
        names = [name for name, operations in plans.items() if any(step.kind == "deploy" for step in operations)]
        if not names:
            return []
        return [
            f"{', '.join(names)}: what hardware the OVF item has shows when it is deployed; the plan writes every "
            "setting of the wish, and changes of the item's own devices, where the wish needs them, come on top"
        ]
