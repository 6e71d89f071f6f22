# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of ``fleet_snapshot`` must happen on the control node: connection from variables, and progress."""

from __future__ import annotations

from ansible_collections.nanobanana.testbed.plugins.plugin_utils.driving import DrivingAction


class ActionModule(DrivingAction):
    """Needs nothing of its own."""
