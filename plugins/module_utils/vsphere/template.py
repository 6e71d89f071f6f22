# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM is made from, as ``vm_template`` says it: one of four forms, read strictly. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reader import Reader

NAMES = ("library", "item", "accept_eula", "inventory", "vm", "snapshot", "linked")
FORMS = (
    "one of {library, item}, {inventory: path or name of a template}, {vm: name} and "
    "{vm: name, snapshot: name, linked: true}"
)


@dataclass(frozen=True)
class Template:
    """A Content Library item, a template of the inventory, or a VM that is there (``linked``: from its snapshot).

    The text of it is what the mark ``nanobanana.template`` holds, so it must never change for the same wish.
    """

    library: str = ""
    item: str = ""
    inventory: str = ""
    vm: str = ""
    snapshot: str = ""
    linked: bool = False
    accept_eula: bool = False  # of an OVF item's license agreements

    def __str__(self) -> str:
        if self.inventory:
            return f"inventory:{self.inventory}"
        if self.linked:
            return f"linked:{self.vm}@{self.snapshot}"
        if self.vm:
            return f"vm:{self.vm}"
        return f"{self.library}/{self.item}"


def read_template(reader: Reader, value: Any) -> Template:
    """The source of a VM; a name that is None counts as not given, for that is what Ansible makes of it."""
    if value is None:
        reader.bad("template", FORMS, None, "name library and item of the Content Library")
    values = {
        name: item for name, item in reader.mapping("template", value, NAMES).items() if item not in (None, False)
    }
    given = set(values)
    if given <= {"library", "item", "accept_eula"}:
        if not given - {"accept_eula"}:
            if value is not None:
                reader.bad("template", FORMS, value)
            return Template()
        return Template(
            library=reader.text("template.library", values.get("library"), empty=False),
            item=reader.text("template.item", values.get("item"), empty=False),
            accept_eula=reader.boolean("template.accept_eula", values.get("accept_eula", False)),
        )
    if given == {"inventory"}:
        path = reader.text("template.inventory", values["inventory"], empty=False)
        return Template(inventory=path.rstrip("/"))
    if given == {"vm"}:
        return Template(vm=_vm(reader, values))
    if given == {"vm", "snapshot", "linked"}:
        reader.boolean("template.linked", values["linked"])
        snapshot = reader.text("template.snapshot", values["snapshot"], empty=False)
        return Template(vm=_vm(reader, values), snapshot=snapshot, linked=True)
    reader.bad("template", FORMS, ", ".join(sorted(given)), _way_out(given))
    return Template()


def _vm(reader: Reader, values: dict[str, Any]) -> str:
    name = reader.text("template.vm", values["vm"], empty=False)
    if name and name == reader.name:
        reader.bad("template.vm", "another VM than the one that is made", name)
    return name


def _way_out(given: set[str]) -> str:
    if "accept_eula" in given and "library" not in given:
        return "leave accept_eula out: only an OVF item of a library has license agreements"
    if "linked" in given and "vm" not in given:
        return "a linked clone is made from the snapshot of a VM, never from a template: name vm and snapshot"
    if "linked" in given and "snapshot" not in given:
        return "name the snapshot of that VM on which the linked clone builds"
    if "snapshot" in given and "linked" not in given:
        return "add linked: true, or leave the snapshot out for a full clone of the VM as it is"
    return "leave out what belongs to another form"
