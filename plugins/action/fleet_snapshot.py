# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of ``fleet_snapshot`` must happen on the control node: connection from variables, and progress."""

from __future__ import annotations

from typing import Any

from ansible_collections.nanobanana.testbed.plugins.plugin_utils.driving import DrivingAction


class ActionModule(DrivingAction):
    """Needs nothing but its work."""

    def work(self) -> Any:
        """What the module does."""
        from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import snapshot_call

        return snapshot_call
