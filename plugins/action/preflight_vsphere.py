# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of ``preflight_vsphere`` must happen on the control node: connection, strict reading, the list of privileges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import wish
from ansible_collections.nanobanana.testbed.plugins.plugin_utils import here
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.connection import connection_args
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.userdata import as_text

ROLE = Path(__file__).parents[2] / "playbooks/files/vcenter_role.yml"


class ActionModule(ActionBase):
    """Reads the wish before Ansible's own argument check would, whose messages name no VM."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Complete the arguments, and ask in this process where the module would run here anyway."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        try:
            args = dict(self._task.args)
            args["vms"] = _checked(list(args.get("vms") or []))
            args |= connection_args(args, variables, self._templar.template)
            args.setdefault("privileges", _privileges())
        except TestbedError as error:
            return result | {"failed": True, "msg": str(error), "error_code": error.error_code}
        from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import sdk

        if sdk.HAS_PYVMOMI and here.possible(self, variables):
            from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import preflight_call

            answer = here.run(preflight_call.argument_spec(), args, preflight_call.run, check=self._task.check_mode)
        else:
            answer = self._execute_module(module_name=self._task.action, module_args=args, task_vars=variables)
        return result | answer


def _checked(vms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wish.parse_wishes(vms)
    return [as_text(vm) for vm in vms]


def _privileges() -> list[dict[str, Any]]:
    try:
        return list(yaml.safe_load(ROLE.read_text(encoding="utf-8"))["privileges"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        what, expected = f"{ROLE.name} of the collection", "the list of privileges that fleet needs"
        raise one_problem("no_role", what, expected, str(error), "install the collection again") from error
