# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform gate's first question, asked of the inventory before vCenter is."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.nanobanana.testbed.plugins.filter.wishes import wishes
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import parse_wishes
from ansible_collections.nanobanana.testbed.plugins.plugin_utils import inventory
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.connection import connection_args

ENVIRONMENTS = ("baseline", "compatibility", "stress")


class ActionModule(ActionBase):
    """Runs on the control node alone and changes nothing, so check mode is the same."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the inventory strictly."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _options, args = self.validate_argument_spec(
            {"environments": {"type": "list", "elements": "str", "default": list(ENVIRONMENTS)}}
        )
        try:
            hosts = self._check(variables, args["environments"])
        except TestbedError as error:
            return result | {"failed": True, "msg": str(error), "error_code": error.error_code}
        return result | {"changed": False, "hosts": hosts}

    def _check(self, variables: dict[str, Any], environments: list[str]) -> list[str]:
        sources = [str(source) for source in variables.get("ansible_inventory_sources") or []]
        problems = inventory.unfilled(sources)
        if problems:
            raise TestbedError("unfilled_inventory", problems)
        groups = variables["groups"]
        hosts = inventory.targets(groups, environments, variables["ansible_play_hosts_all"])
        if not hosts:
            limit = str(variables.get("ansible_limit") or "")
            raise TestbedError("no_targets", [inventory.nobody(groups, environments, sources, limit)])
        problems = inventory.unsafe_windows(hosts, variables["hostvars"])
        if problems:
            raise TestbedError("unsafe_connection", problems)
        parse_wishes(wishes(hosts, variables["hostvars"]))
        connection_args({}, variables["hostvars"][hosts[0]], self._templar.template)
        return hosts
