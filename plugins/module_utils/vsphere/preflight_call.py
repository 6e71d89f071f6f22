# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``preflight_vsphere``: its options, and Ansible's result. Used by the module and by its action plugin."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import (
    vsphere_machine,
    vsphere_privileges,
    vsphere_server,
    vsphere_wish,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue_vsphere import (
    LOGIN,
    MACHINE,
    VCENTER,
    WISH,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    FAILED,
    Check,
    Probe,
    Result,
    explain,
    run_checks,
    summarise,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import MachineFacts
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import client, faults, vm_spec, wish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.outcome import refused
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.preflight_reader import Desk, clock_offset
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vmodl
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import Lifecycle, VmWish

Results = dict[str, list[Result]]


def argument_spec() -> dict[str, Any]:
    """All options of the module."""
    return vsphere_spec() | {
        "stage": {"type": "str", "choices": ["platform", "machine"], "required": True},
        "owner": {"type": "str", "required": True},
        "vms": {"type": "list", "elements": "dict", "default": [], "options": vm_spec.VM_SPEC},
        "environments": {"type": "dict", "default": {}},
        "privileges": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "id": {"type": "str", "required": True},
                "where": {"type": "list", "elements": "str", "required": True},
                "why": {"type": "str", "required": True},
                "optional": {"type": "str"},
            },
        },
        "fail_on": {"type": "str", "choices": ["failed", "never"], "default": "failed"},
    }


class Gate:
    """The checks of one stage for all wishes."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._connection = client.Connection.from_params(dict(params))
        self._params, self.wishes = params, wish.parse_wishes(params["vms"])
        self.vcenter: dict[str, str] = {}

    def run(self) -> Results:
        """Results by target: the vCenter under its host name, each VM under its own. A login that fails is a result."""
        reached = False
        try:
            with client.connected(self._connection) as session:
                reached = True
                self.vcenter = client.describe(session)
                return self._stage(session)
        except TestbedError as error:
            if reached:
                raise
            return self._judge(None, error, {}, {})
        except vmodl.MethodFault as fault:
            where, next_step = self._connection.where, "look at vCenter's event log, and at the login's privileges"
            raise one_problem("fault", where, "an answer", faults.describe(fault), next_step) from fault

    def _stage(self, session: client.Session) -> Results:
        clock = clock_offset(session)
        desk = Desk(session, self._params["owner"], self.wishes)
        if self._params["stage"] == "machine":
            machines = {facts.wish.name: facts for facts in desk.machines()}
            probes = {name: vsphere_machine.probes(facts) for name, facts in machines.items()}
            return self._judge(None, None, probes, machines)
        shelf = desk.shelf()
        server = desk.server(shelf, vsphere_privileges.read(self._params["privileges"]), clock)
        probes = {site.wish.name: vsphere_wish.probes(site) for site in desk.sites(shelf)}
        return self._judge(server, None, probes, {})

    def _judge(
        self,
        server: Any,
        error: TestbedError | None,
        probes: Mapping[str, Mapping[str, Probe]],
        machines: Mapping[str, MachineFacts],
    ) -> Results:
        platform, where = self._params["stage"] == "platform", self._connection.where
        about = vsphere_server.probes(server, error, where)
        checks: tuple[Check, ...] = VCENTER if platform else (LOGIN,)
        results = {self._connection.hostname: run_checks(checks, about, self._values(""))}
        rows = WISH if platform else MACHINE
        for item in self.wishes:
            found = probes.get(item.name, {})
            environment = str(self._params["environments"].get(item.name, ""))
            values = self._values(item.name, cycle(item, machines.get(item.name)))
            # The login is the vCenter's own row; each VM's checks are asked behind it, or blocked by it.
            results[item.name] = run_checks(_behind(rows), {**about, **found}, values, environment)[1:]
        return results

    def _values(self, name: str, allowed: str = "") -> dict[str, str]:
        user, _at, domain = self._connection.username.partition("@")
        principal = f"'{domain.upper() or 'DOMAIN'}\\{user}'" if "\\" not in user else f"'{user}'"
        return {"name": name, "owner": self._params["owner"], "cycle": allowed, "principal": principal}


def _behind(rows: Iterable[Check]) -> tuple[Check, ...]:
    """The login first, and every check that needs nothing else needs it."""
    login = (LOGIN.id,)
    return (LOGIN, *(row if row.needs else dataclasses.replace(row, needs=login) for row in rows))


def cycle(item: VmWish, facts: MachineFacts | None) -> str:
    """The option that lets fleet power this VM off and on, where it runs and its wish does not allow that."""
    running = facts is not None and facts.actual is not None and facts.actual.power != "poweredOff"
    if not running or item.lifecycle.power_cycle == "allowed" or item.lifecycle.power == "off":
        return ""
    default, own = dataclasses.asdict(Lifecycle()), dataclasses.asdict(item.lifecycle)
    wanted = {name: value for name, value in own.items() if value != default[name]} | {"power_cycle": "allowed"}
    return " -e " + shlex.quote(json.dumps({"vm_lifecycle": wanted}))


def run(params: dict[str, Any], *, check: bool = False) -> dict[str, Any]:  # noqa: ARG001 - it only reads, always
    """Ask, and tell it in Ansible's terms: ``failed``, ``warnings`` and what the module documents."""
    try:
        gate = Gate(params)
        results = gate.run()
    except TestbedError as error:
        return refused(error)
    hosts = {
        name: {"checks": [row.as_dict() for row in rows], "summary": summarise(rows)} for name, rows in results.items()
    }
    told = {"changed": False, "failed": False, "warnings": [], "hosts": hosts, "vcenter": gate.vcenter}
    bad = {name: rows for name, rows in results.items() if any(row.status == FAILED for row in rows)}
    if bad and params["fail_on"] == "failed":
        again = f"ansible-playbook playbooks/preflight_{params['stage']}.yml"
        texts = [explain(rows, f"{params['stage'].capitalize()} gate, {name}", again) for name, rows in bad.items()]
        told |= {"failed": True, "msg": "\n".join(texts)}
    return told
