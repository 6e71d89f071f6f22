# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of one owner as an inventory; what is told of them is decided in plugin_utils/owned.py."""

from __future__ import annotations

DOCUMENTATION = r"""
name: owned
short_description: The VMs that one owner has in vCenter
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Hosts are the VMs that carry the mark of O(owner), as P(nanobanana.testbed.fleet#module) writes it. VMs of others are
    never shown. The name of a host is the VM's name.
  - The file that configures it has a name that ends in C(owned.yml) or C(owned.yaml).
  - Each host has the variables C(testbed_address), C(testbed_moid), C(testbed_instance_uuid), C(testbed_power),
    C(testbed_owner), C(testbed_run), C(testbed_template), C(testbed_wish) (digest of the wish it was made from),
    C(testbed_expires) and C(testbed_expired). C(ansible_host) is set where the VM has a routable address.
  - Groups are the environment (see O(environments)), C(template_<item>), C(run_<run>), C(power_on), C(power_off) or
    C(power_suspended), and C(expired).
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Has to be V(nanobanana.testbed.owned).
    type: str
    required: true
    choices: [nanobanana.testbed.owned, owned]
  owner:
    description: Name of the owner, the C(testbed_owner) of the inventory that the VMs were made from.
    type: str
    required: true
  environments:
    description:
      - Group name to template, as C(library/item). A VM that was made from the template is in the group, so that the
        collection's playbooks find it.
    type: dict
    default:
      baseline: nano-banana/nano-banana-baseline-template
      compatibility: nano-banana/nano-banana-compatibility-template
      stress: nano-banana/nano-banana-stress-template
  address_networks:
    description: Networks in which an address has to lie to count, such as V(10.20.0.0/16). Any routable address when empty.
    type: list
    elements: str
    default: []
  vsphere_hostname:
    description: Name or address of the vCenter server.
    type: str
    required: true
    env:
      - name: VMWARE_HOST
  vsphere_port:
    description: TCP port of the vCenter server.
    type: int
    default: 443
    env:
      - name: VMWARE_PORT
  vsphere_username:
    description: User to log in as. Reading is all that it has to be allowed.
    type: str
    required: true
    env:
      - name: VMWARE_USER
  vsphere_password:
    description:
      - Password of the user. Take it from Ansible Vault, a lookup or the environment, never from a plain file.
      - It is in no variable of a host and in no cache.
    type: str
    required: true
    env:
      - name: VMWARE_PASSWORD
  vsphere_validate_certs:
    description: Whether the server's TLS certificate is checked. Leave it on, and name your authority in O(vsphere_ca_file).
    type: bool
    default: true
    env:
      - name: VMWARE_VALIDATE_CERTS
  vsphere_ca_file:
    description:
      - PEM file with the certificate authority that signed vCenter's certificate.
      - The operating system's trust store is used when the option is not set.
    type: path
requirements:
  - pyVmomi >= 8.0.3
"""

EXAMPLES = r"""
# gpu-lab.owned.yml; VMWARE_HOST, VMWARE_USER and VMWARE_PASSWORD are in the environment
# ansible-inventory -i gpu-lab.owned.yml --graph
plugin: nanobanana.testbed.owned
owner: gpu-lab

---
# Everything in the file, the password from a lookup, and a group of one's own
plugin: nanobanana.testbed.owned
owner: gpu-lab
vsphere_hostname: vcenter.example.com
vsphere_username: testbed@vsphere.local
vsphere_password: "{{ lookup('ansible.builtin.env', 'VMWARE_PASSWORD') }}"
vsphere_ca_file: /etc/ssl/vcenter-ca.pem
environments:
  baseline: my-library/ubuntu-2204
compose:
  ansible_user: "'tester'"
groups:
  idle: testbed_power == 'poweredOff'

---
# Asked once in ten minutes
plugin: nanobanana.testbed.owned
owner: gpu-lab
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: .cache/inventory
cache_timeout: 600
"""

import datetime
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import client, lookup, sdk
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.owned import group_names, host_variables


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """What Ansible loads."""

    NAME = "nanobanana.testbed.owned"

    def verify_file(self, path: str) -> bool:
        """Whether the file is meant for this plugin."""
        return bool(super().verify_file(path)) and path.endswith(("owned.yml", "owned.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory, from the cache where that is wanted and there is one."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        key = self.get_cache_key(path)
        wanted = bool(self.get_option("cache"))
        rows: dict[str, dict[str, Any]] | None = None
        if wanted and cache:
            rows = self._cache.get(key)
        if rows is None:
            rows = self._ask()
            if wanted:
                self._cache[key] = rows
        for name in sorted(rows):
            self._add(name, rows[name])

    def _ask(self) -> dict[str, dict[str, Any]]:
        """Read the owner's VMs from vCenter: their variables by name."""
        if not sdk.HAS_PYVMOMI:
            raise AnsibleParserError(missing_required_lib("pyVmomi"))
        params = {name: self._value(name) for name in vsphere_spec()}
        now = datetime.datetime.now(tz=datetime.UTC)
        try:
            with client.connected(client.Connection.from_params(params)) as instance:
                references = lookup.owned_vms(instance.content, str(self._value("owner")))
                actuals = lookup.read_vms(instance.content, references.values(), {})
        except TestbedError as error:
            raise AnsibleParserError(str(error)) from error
        networks = self.get_option("address_networks")
        return {actual.name: host_variables(actual, now, networks) for actual in actuals.values()}

    def _value(self, name: str) -> Any:
        """An option; the connection and the owner may be templates."""
        value = self.get_option(name)
        return self.templar.template(value) if isinstance(value, str) else value

    def _add(self, name: str, variables: Mapping[str, Any]) -> None:
        self.inventory.add_host(name)
        for variable, value in variables.items():
            self.inventory.set_variable(name, variable, value)
        for group in group_names(variables, self.get_option("environments")):
            safe = self._sanitize_group_name(group)
            self.inventory.add_group(safe)
            self.inventory.add_host(name, group=safe)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), dict(variables), name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), dict(variables), name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), dict(variables), name, strict=strict)
