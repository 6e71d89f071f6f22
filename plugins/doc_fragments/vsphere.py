# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the connection options in module_utils/argument_spec.py."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that talks to vCenter."""

    DOCUMENTATION = r"""
options:
  vsphere_hostname:
    description:
      - Name or address of the vCenter server.
      - The environment variable E(VMWARE_HOST) is used when the option is not set.
    type: str
    required: true
  vsphere_port:
    description:
      - TCP port of the vCenter server.
      - The environment variable E(VMWARE_PORT) is used when the option is not set.
    type: int
    default: 443
  vsphere_username:
    description:
      - User to log in as, for example V(testbed@vsphere.local).
      - The environment variable E(VMWARE_USER) is used when the option is not set.
    type: str
    required: true
  vsphere_password:
    description:
      - Password of the user. Take it from Ansible Vault, a lookup or the environment, never from a plain file.
      - The environment variable E(VMWARE_PASSWORD) is used when the option is not set.
    type: str
    required: true
  vsphere_validate_certs:
    description:
      - Whether the server's TLS certificate is checked. Leave it on, and name your authority in O(vsphere_ca_file).
      - The environment variable E(VMWARE_VALIDATE_CERTS) is used when the option is not set.
    type: bool
    default: true
  vsphere_ca_file:
    description:
      - PEM file on the control node with the certificate authority that signed vCenter's certificate.
      - The operating system's trust store is used when the option is not set.
    type: path
requirements:
  - pyVmomi >= 8.0.3
"""
