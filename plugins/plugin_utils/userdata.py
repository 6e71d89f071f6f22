# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""User data of a wish on its way to a module."""

from __future__ import annotations

from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.customization import userdata_text


def as_text(vm: dict[str, Any]) -> dict[str, Any]:
    """User data as one text: the module can then hide it as a whole wherever arguments are shown."""
    customization = dict(vm.get("customization") or {})
    if not customization:
        return vm
    customization["userdata"] = userdata_text(customization.get("userdata"))
    return vm | {"customization": customization}
