# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of the wishes for the checks: which of them exist, what is wrong with the others, what is current."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import Item
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Session
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Tree
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sources import Source, Sources
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.template import Template


@dataclass
class Shelf:
    """All sources by template; ``problems`` are those of the ones that cannot be used."""

    sources: dict[Template, Source] = field(default_factory=dict)
    problems: dict[Template, tuple[Problem, ...]] = field(default_factory=dict)
    items: dict[Template, Item] = field(default_factory=dict)

    @classmethod
    def read(cls, session: Session, tree: Tree, wanted: Mapping[Template, str]) -> Shelf:
        """``wanted`` names the resource pool (its id) that each source is for."""
        shelf = cls()
        shelf._find(Sources(session, tree), dict(wanted))
        found = [template for template in shelf.sources if template.library]
        if found:
            shelf.items = _items(session, found)
        return shelf

    def _find(self, finder: Sources, left: dict[Template, str]) -> None:
        """One wrong source refuses all: what is wrong is taken out, and the others are looked up again."""
        while left:
            try:
                self.sources = finder.find(left)
                return
            except TestbedError as error:
                wrong = {item: _about(item, error.problems) for item in left if _about(item, error.problems)}
                if not wrong:  # the libraries as a whole
                    wrong = {item: error.problems for item in left if item.library}
                if not wrong:
                    raise
                self.problems |= wrong
                left = {item: pool for item, pool in left.items() if item not in wrong}


def _about(template: Template, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(problem for problem in problems if problem.what == f"template '{template}'")


def _items(session: Session, templates: Iterable[Template]) -> dict[Template, Item]:
    # Imported where it is used: Ansible's HTTP client takes longer to load than the machine gate's calls.
    from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import library

    found: dict[Template, Item] = {}
    with library.rest_session(session.connection) as rest:
        for template in templates:
            (holder,) = rest.find("content/library", name=template.library)[:1]
            (item,) = rest.find("content/library/item", name=template.item, library_id=holder)[:1]
            found[template] = describe(
                template, rest.get(f"content/library/{holder}"), rest.get(f"content/library/item/{item}")
            )
    return found


def describe(template: Template, library: Mapping[str, Any], item: Mapping[str, Any]) -> Item:
    """An item as plain data, from vCenter's answers; what they leave out is at its default."""
    subscription = library.get("subscription_info") or {}
    return Item(
        library=template.library,
        name=template.item,
        kind=str(item.get("type", "")),
        subscribed=library.get("type") == "SUBSCRIBED",
        automatic=bool(subscription.get("automatic_sync_enabled", False)),
        cached=bool(item.get("cached", False)),
        synced=bool(item.get("last_sync_time") or library.get("last_sync_time")),
    )
