# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for many tasks and VMs at once: one property collector, one blocking call, no polling."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from http.client import HTTPException
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim, vmodl

TASK_PROPERTIES = ("info.state", "info.error", "info.result")
GUEST_PROPERTIES = ("guest.ipAddress", "guest.net", "runtime.powerState")


class Watcher:
    """Reports which of the watched objects changed. Close it at the end: it holds filters in vCenter."""

    def __init__(self, content: Any) -> None:
        self._collector = content.propertyCollector.CreatePropertyCollector()
        self._version = ""
        self._filters: dict[str, Any] = {}
        self._values: dict[str, dict[str, Any]] = {}

    def watch(self, reference: Any, properties: Iterable[str]) -> None:
        """Watch one task or VM; the first wait() after this reports its present state."""
        collector = vmodl.query.PropertyCollector
        kind = vim.Task if isinstance(reference, vim.Task) else vim.VirtualMachine
        spec = collector.FilterSpec(
            objectSet=[collector.ObjectSpec(obj=reference)],
            propSet=[collector.PropertySpec(type=kind, pathSet=list(properties))],
            reportMissingObjectsInResults=True,
        )
        self._filters[reference._moId] = self._collector.CreateFilter(spec, partialUpdates=False)

    def forget(self, reference: Any) -> None:
        """Stop watching."""
        found = self._filters.pop(reference._moId, None)
        self._values.pop(reference._moId, None)
        # A filter that cannot be given back goes with its collector; whatever broke shows in the next wait().
        with suppress(vim.fault.NotAuthenticated, vmodl.fault.ManagedObjectNotFound, OSError, HTTPException):
            if found is not None:
                found.Destroy()

    def wait(self, seconds: float) -> dict[str, dict[str, Any]]:
        """Block until something changes, at most ``seconds``; all known values of what changed, by id."""
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=max(0, round(seconds)))
        update = self._collector.WaitForUpdatesEx(self._version, options)
        if update is None:
            return {}
        self._version = update.version
        changed: dict[str, dict[str, Any]] = {}
        for filter_update in update.filterSet or ():
            for item in filter_update.objectSet or ():
                key = item.obj._moId
                values = self._values.setdefault(key, {})
                values.update({change.name: change.val for change in item.changeSet or ()})
                changed[key] = values | ({"gone": True} if item.kind == "leave" else {})
            for missing in filter_update.missingSet or ():
                if isinstance(missing.fault, vmodl.fault.ManagedObjectNotFound):
                    changed[missing.obj._moId] = {"gone": True}
        return changed

    def close(self) -> None:
        """Give the collector and its filters back."""
        self._collector.Destroy()
