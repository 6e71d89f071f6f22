# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the modules that drive vCenter end, where they are modules: a call's result in AnsibleModule's terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import sdk


def end(module: AnsibleModule, run: Callable[..., dict[str, Any]]) -> None:
    """Run the call and leave with its result; never returns."""
    if not sdk.HAS_PYVMOMI:
        module.fail_json(msg=missing_required_lib("pyVmomi"))
    result = run(module.params, check=module.check_mode)
    for warning in result.pop("warnings"):
        module.warn(warning)
    if result["failed"]:
        module.fail_json(**result)
    module.exit_json(**result)
