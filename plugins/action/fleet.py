# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of ``fleet`` must happen on the control node: connection from variables, strict reading, progress."""

from __future__ import annotations

from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import wish
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.driving import DrivingAction
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.userdata import as_text


class ActionModule(DrivingAction):
    """Reads the wish before Ansible's own argument check would, whose messages name no VM."""

    def checked(self, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments with a wish that was read strictly."""
        return args | {"vms": _checked(args.get("state", "present"), list(args.get("vms") or []))}

    def work(self) -> Any:
        """What the module does."""
        from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import fleet_call

        return fleet_call


def _checked(state: str, vms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = wish.parse_names(vms)
    patience = wish.parse_patience(vms)
    if state == "absent":
        return [{"name": name, "lifecycle": {"shutdown_seconds": patience[name]}} for name in names]
    wish.parse_wishes(vms if state == "present" else wish.with_wish(vms))
    return [as_text(vm) for vm in vms]
