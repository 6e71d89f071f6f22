# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for many tasks and VMs at once: one filter over a list of objects, one blocking call, no polling.

The list is a view that vCenter keeps for the session. What joined and left it since the last wait goes there in
one call, so a round costs two calls however many tasks ended: with a filter for each task it would be two for
each of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim, vmodl

TASK_PROPERTIES = ("info.state", "info.error", "info.result")
GUEST_PROPERTIES = ("guest.ipAddress", "guest.net", "runtime.powerState")


class _View:
    """The watched objects of one kind: a list in vCenter and the filter that reports on it."""

    def __init__(self, content: Any, collector: Any, kind: Any, properties: tuple[str, ...]) -> None:
        spec = vmodl.query.PropertyCollector
        self.joined: dict[str, Any] = {}
        self.left: dict[str, Any] = {}
        self.missing: list[str] = []  # joined, and do not exist
        self._list = content.viewManager.CreateListView()
        traversal = spec.TraversalSpec(name="list", path="view", skip=False, type=vim.view.ListView)
        collector.CreateFilter(
            spec.FilterSpec(
                objectSet=[spec.ObjectSpec(obj=self._list, skip=True, selectSet=[traversal])],
                propSet=[spec.PropertySpec(type=kind, pathSet=list(properties))],
            ),
            partialUpdates=False,
        )

    def update(self) -> None:
        """Tell vCenter who joined and left."""
        if self.joined or self.left:
            unknown = self._list.ModifyListView(add=list(self.joined.values()), remove=list(self.left.values()))
            self.joined, self.left = {}, {}
            self.missing += [reference._moId for reference in unknown or ()]

    def close(self) -> None:
        """Give the list back; the filter goes with its collector."""
        self._list.DestroyView()


class Watcher:
    """Reports which of the watched objects changed. Close it at the end: it holds lists and filters in vCenter."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self._collector = content.propertyCollector.CreatePropertyCollector()
        self._version = ""
        self._views: dict[tuple[str, ...], _View] = {}
        self._watched: dict[str, _View] = {}
        self._values: dict[str, dict[str, Any]] = {}

    def watch(self, reference: Any, properties: Iterable[str]) -> None:
        """Watch one task or VM; the first wait() after this reports its present state."""
        kind = vim.Task if isinstance(reference, vim.Task) else vim.VirtualMachine
        wanted = tuple(properties)
        if wanted not in self._views:
            self._views[wanted] = _View(self._content, self._collector, kind, wanted)
        view = self._watched[reference._moId] = self._views[wanted]
        if reference._moId in view.left:
            view.update()  # only what newly joins is reported with its present state
        view.joined[reference._moId] = reference

    def forget(self, reference: Any) -> None:
        """Stop watching."""
        self._values.pop(reference._moId, None)
        view = self._watched.pop(reference._moId, None)
        if view is not None and view.joined.pop(reference._moId, None) is None:
            view.left[reference._moId] = reference

    def wait(self, seconds: float) -> dict[str, dict[str, Any]]:
        """Block until something changes, at most ``seconds``; all known values of what changed, by id."""
        gone: dict[str, dict[str, Any]] = {}
        for view in self._views.values():
            view.update()
            gone |= {key: {"gone": True} for key in view.missing if key in self._watched}
            view.missing.clear()
        if gone:
            return gone
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=max(0, round(seconds)))
        update = self._collector.WaitForUpdatesEx(self._version, options)
        if update is None:
            return {}
        self._version = update.version
        changed: dict[str, dict[str, Any]] = {}
        for filter_update in update.filterSet or ():
            for item in filter_update.objectSet or ():
                key = item.obj._moId
                if key not in self._watched:  # it left the list because we took it out
                    continue
                values = self._values.setdefault(key, {})
                values.update({change.name: change.val for change in item.changeSet or ()})
                changed[key] = values | ({"gone": True} if item.kind == "leave" else {})
        return changed

    def close(self) -> None:
        """Give the collector, its filters and the lists back."""
        self._collector.Destroy()
        for view in self._views.values():
            view.close()
