# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``fleet_snapshot``: its options, and Ansible's result. Used by the module and by its action plugin."""

from __future__ import annotations

from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import (
    client,
    limits,
    snapshots,
    vm_spec,
    wish,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.machine import Bounds
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.outcome import Call, Outcome, refused, result
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.snapshot_desk import SnapshotDesk


def argument_spec() -> dict[str, Any]:
    """All options of the module."""
    return vsphere_spec() | {
        "state": {"type": "str", "choices": list(snapshots.STATES), "default": "present"},
        "owner": {"type": "str", "required": True},
        "vms": {"type": "list", "elements": "str", "required": True},
        "name": vm_spec.text(),
        "description": {"type": "str", "default": ""},
        "memory": vm_spec.switch(False),
        "quiesce": vm_spec.switch(False),
        "power": vm_spec.choice(*snapshots.POWERS),
        "all": vm_spec.switch(False),
        "concurrency": vm_spec.number(32),
        "limits": vm_spec.group(**{kind: vm_spec.number(limit) for kind, limit in limits.SNAPSHOT_DEFAULTS.items()}),
        "deadline_seconds": vm_spec.number(0),
        "progress_file": {"type": "path"},
        "watch_pid": vm_spec.number(0),
    }


def act(params: dict[str, Any], *, check: bool) -> tuple[Outcome, dict[str, str]]:
    """Read what is asked, connect, and do it."""
    connection = client.Connection.from_params(params)
    ask = snapshots.read_ask(params)
    names = wish.parse_names([{"name": name} for name in params["vms"]])
    bounds = Bounds(params["concurrency"], params["limits"], params["deadline_seconds"])
    call = Call(bounds, params["progress_file"], params["watch_pid"])
    with client.connected(connection) as session:
        outcome = SnapshotDesk(session, params["owner"], ask, call).run(names, check=check)
        return outcome, client.describe(session)


def run(params: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Act, and tell it in Ansible's terms: ``failed``, ``warnings`` and what the module documents."""
    try:
        outcome, vcenter = act(params, check=check)
    except TestbedError as error:
        return refused(error)
    return result(outcome, vcenter=vcenter, diff={"before": outcome.before, "after": outcome.after})
