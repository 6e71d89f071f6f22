# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``fleet``: its options, and Ansible's result. Used by the module and by its action plugin."""

from __future__ import annotations

from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import (
    client,
    cost,
    limits,
    vm_spec,
    wish,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.fleet import Fleet
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.machine import Bounds
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.outcome import Call, Outcome, refused, result


def argument_spec() -> dict[str, Any]:
    """All options of the module."""
    return vsphere_spec() | {
        "state": {"type": "str", "choices": ["present", "absent", "gathered", "rebooted"], "default": "present"},
        "owner": {"type": "str", "required": True},
        "run": {"type": "str", "default": "manual"},
        "all_owned": {"type": "bool", "default": False},
        "expired_only": {"type": "bool", "default": False},
        "adopt": {"type": "bool", "default": False},
        "concurrency": {"type": "int", "default": 32},
        "limits": vm_spec.group(**{kind: vm_spec.number(limit) for kind, limit in limits.DEFAULTS.items()}),
        "deadline_seconds": vm_spec.number(0),
        "progress_file": {"type": "path"},
        "watch_pid": vm_spec.number(0),
        "vms": {"type": "list", "elements": "dict", "default": [], "options": vm_spec.VM_SPEC},
    }


def act(params: dict[str, Any], *, check: bool) -> tuple[Outcome, dict[str, str]]:
    """Read the wish, connect, and do what the state says."""
    connection = client.Connection.from_params(params)
    state, vms = params["state"], params["vms"]
    names, patience = wish.parse_names(vms), wish.parse_patience(vms)
    wishes = [] if state == "absent" else wish.parse_wishes(vms if state == "present" else wish.with_wish(vms))
    bounds = Bounds(params["concurrency"], params["limits"], params["deadline_seconds"])
    call = Call(bounds, params["progress_file"], params["watch_pid"])
    with client.connected(connection) as session:
        fleet = Fleet(session, params["owner"], params["run"], call)
        if state == "present":
            outcome = fleet.present(wishes, check=check, adopt=params["adopt"])
        elif state == "absent":
            options = {name: params[name] for name in ("all_owned", "expired_only")}
            outcome = fleet.absent(patience, **options, check=check)
        elif state == "rebooted":
            outcome = fleet.rebooted(patience, wishes, check=check)
        else:
            outcome = fleet.gathered(names, wishes)
        return outcome, client.describe(session)


def run(params: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Act, and tell it in Ansible's terms: ``failed``, ``warnings`` and what the module documents."""
    try:
        outcome, vcenter = act(params, check=check)
    except TestbedError as error:
        return refused(error)
    difference: list[dict[str, Any]] = [{"before": outcome.before, "after": outcome.after}]
    if takes := cost.lines(outcome.cost):
        difference.append({"prepared": takes})
    return result(outcome, cost=outcome.cost, vcenter=vcenter, diff=difference)
