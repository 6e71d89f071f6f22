# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share; documented once in doc_fragments/vsphere.py, compared by a test."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import env_fallback


def vsphere_spec() -> dict[str, dict[str, Any]]:
    """The connection to vCenter, with the environment names that community.vmware uses."""
    return {
        "vsphere_hostname": {"type": "str", "required": True, "fallback": (env_fallback, ["VMWARE_HOST"])},
        "vsphere_port": {"type": "int", "default": 443, "fallback": (env_fallback, ["VMWARE_PORT"])},
        "vsphere_username": {"type": "str", "required": True, "fallback": (env_fallback, ["VMWARE_USER"])},
        "vsphere_password": {
            "type": "str",
            "required": True,
            "no_log": True,
            "fallback": (env_fallback, ["VMWARE_PASSWORD"]),
        },
        "vsphere_validate_certs": {
            "type": "bool",
            "default": True,
            "fallback": (env_fallback, ["VMWARE_VALIDATE_CERTS"]),
        },
        "vsphere_ca_file": {"type": "path"},
    }
