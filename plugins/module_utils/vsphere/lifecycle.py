# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of power states that are neither the wish's nor vCenter's: guests are asked before they are switched off."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Operation

TOOLS_RUNNING = "guestToolsRunning"


def gently(operations: list[Operation], actual: VmActual | None, seconds: int, *, asked: bool) -> list[Operation]:
    """The plan with its first power-off turned into a request to the guest.

    That needs a running guest with VMware Tools, time to wait (``seconds``), and a guest that was not ``asked`` in
    vain before: it is then switched off.
    """
    if actual is None or actual.power != "poweredOn" or actual.tools != TOOLS_RUNNING or asked or not seconds:
        return operations
    index = next((index for index, operation in enumerate(operations) if operation.kind == "power_off"), None)
    if index is None:
        return operations
    return [*operations[:index], replace(operations[index], kind="shutdown"), *operations[index + 1 :]]
