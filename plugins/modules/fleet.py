#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation, argument spec and main() of the module; the logic is in module_utils/vsphere/."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet
short_description: Make vCenter match a list of virtual machines
version_added: 0.1.0
description:
  - Takes the list of wanted VMs and makes vCenter match it in one call. VMs are cloned from Content Library templates,
    configured for GPU inference, given their guest data, powered on and waited for until they have a routable address.
  - Everything is checked first. When anything in the list cannot be, nothing is changed and one error names all of it.
  - A VM carries its owner, run and expiry from the clone call on. A VM without the owner's mark is never changed or removed.
  - A run that was killed is finished by the next one, and two runs at once end in the same VMs.
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
extends_documentation_fragment:
  - nanobanana.testbed.vsphere
attributes:
  check_mode:
    description: The plan is made and shown, and nothing is written to vCenter.
    support: full
  diff_mode:
    description: Shows each setting before and after; user data is shown as a digest only.
    support: full
options:
  state:
    description:
      - V(present) makes the VMs exist as wished.
      - V(absent) powers them off and removes them.
      - V(gathered) only reads them.
    type: str
    choices: [present, absent, gathered]
    default: present
  owner:
    description: Name of who owns the VMs, one for each inventory. Written into each VM and checked before it is touched.
    type: str
    required: true
  run:
    description: Name of the run, written into each VM that it makes.
    type: str
    default: manual
  all_owned:
    description: With O(state=absent), remove every VM of O(owner) instead of those in O(vms).
    type: bool
    default: false
  concurrency:
    description: How many operations are under way in vCenter at once. vCenter runs 8 clones of one source at a time.
    type: int
    default: 8
  vms:
    description:
      - The wanted VMs. An inventory writes each field as a variable with the prefix C(vm_), and
        P(nanobanana.testbed.wishes#filter) collects them.
      - With O(state=absent) only O(vms[].name) counts. With O(state=gathered) the rest may be left out; where it is
        given, it names the disks and says which address counts.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the VM, and host name of the guest unless O(vms[].customization.hostname) is set.
        type: str
        required: true
      template:
        description: The Content Library item of type vm-template that the VM is made from.
        type: dict
        suboptions:
          library:
            description: Name of the Content Library.
            type: str
          item:
            description: Name of the item.
            type: str
      cpus:
        description: Number of virtual CPUs.
        type: int
      memory_mb:
        description: Memory in MB, a multiple of 4.
        type: int
      disks:
        description: Data disks besides the template's own, on a paravirtual SCSI controller. A disk grows and never shrinks.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the disk in results, unique within the VM.
            type: str
          size_gb:
            description: Size in GB.
            type: int
          provisioning:
            description: How the disk takes its space from the datastore.
            type: str
            choices: [lazy_zeroed, eager_zeroed, thin]
            default: lazy_zeroed
      networks:
        description: The complete list of network cards in order. An empty list keeps the template's cards.
        type: list
        elements: dict
        default: []
        suboptions:
          network:
            description: Name of the port group or network.
            type: str
          adapter:
            description: Type of the card.
            type: str
            choices: [vmxnet3]
            default: vmxnet3
      gpu:
        description: The complete list of GPU devices. This version takes an empty list only.
        type: list
        elements: dict
        default: []
      placement:
        description: Where the VM lives. What is not named is the only one there is.
        type: dict
        default: {}
        suboptions:
          datacenter:
            description: Name of the datacenter.
            type: str
          folder:
            description: Path of an existing folder below the datacenter's VM folder.
            type: str
          cluster:
            description: Name of the cluster.
            type: str
          host:
            description: Name of a host of the cluster; vCenter chooses one when it is not set.
            type: str
          resource_pool:
            description: Path of a resource pool below the cluster's.
            type: str
          datastore:
            description: Name of the datastore.
            type: str
      customization:
        description: What the guest learns about itself at first boot.
        type: dict
        default: {}
        suboptions:
          method:
            description: V(cloud_init) writes C(guestinfo.metadata) and C(guestinfo.userdata) for cloud-init's VMware data source.
            type: str
            choices: [cloud_init, none]
            default: cloud_init
          hostname:
            description: Host name of the guest when it is not the VM's name.
            type: str
          userdata:
            description: User data for cloud-init as text. Readable by every process of the guest, so put no password in it.
            type: str
          metadata:
            description: More cloud-init metadata, for example C(network). Instance id and host name are added.
            type: dict
            default: {}
      tweaks:
        description: Settings that GPU inference needs.
        type: dict
        default: {}
        suboptions:
          balloon:
            description: Whether ESXi may take memory back by the balloon driver. Off needs O(vms[].tweaks.reserve_memory).
            type: bool
            default: false
          page_sharing:
            description: Whether ESXi may share equal pages of the VM.
            type: bool
            default: false
          accel_3d:
            description: Whether the console may use 3D acceleration.
            type: bool
            default: false
          reserve_memory:
            description: Whether all memory is reserved and locked.
            type: bool
            default: true
          extra_config:
            description: More VMX keys, written as they are.
            type: dict
            default: {}
      lifecycle:
        description: How long the VM is kept and in which power state.
        type: dict
        default: {}
        suboptions:
          ttl_hours:
            description: Hours after which the VM may be reaped, counted from its making.
            type: int
            default: 24
          power:
            description: Wanted power state.
            type: str
            choices: ["on", "off"]
            default: "on"
          wait_seconds:
            description: How long a routable address is waited for after power-on, in seconds; 0 waits for none.
            type: int
            default: 300
          address_networks:
            description: Networks in which the address has to lie, for VMs with several cards. Any routable address when empty.
            type: list
            elements: str
            default: []
"""

EXAMPLES = r"""
- name: Make one VM
  nanobanana.testbed.fleet:
    vsphere_hostname: vcenter.example.com
    vsphere_username: testbed@vsphere.local
    vsphere_password: "{{ vault_vsphere_password }}"
    owner: gpu-lab
    vms:
      - name: nb-baseline-01
        template:
          library: nano-banana
          item: nano-banana-baseline-template
        cpus: 4
        memory_mb: 6144
        disks:
          - name: data
            size_gb: 20
        placement:
          cluster: gpu-cluster
          datastore: vmfs-01

- name: Make what the inventory wishes
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms: "{{ ansible_play_hosts | nanobanana.testbed.wishes(hostvars) }}"

- name: Remove everything that this owner has made
  nanobanana.testbed.fleet:
    owner: gpu-lab
    state: absent
    all_owned: true
"""

RETURN = r"""
vms:
  description: What each VM is now, by name.
  returned: always
  type: dict
  sample:
    nb-baseline-01:
      exists: true
      moid: vm-61
      instance_uuid: 5a4f5a3c-7a9e-4b7e-8a43-0d9a4dd7a7d2
      power: poweredOn
      address: 192.0.2.10
      disks:
        - name: data
          uuid: 6000C29a-0000-0000-0000-000000000000
          size_gb: 20
      owner: gpu-lab
      operations:
        - clone from the template
        - power on
vcenter:
  description: Which vCenter this is.
  returned: success
  type: dict
  sample:
    full_name: VMware vCenter Server 8.0.3 build-24022515
    version: 8.0.3
error_code:
  description: A stable word for the kind of the error.
  returned: failure
  type: str
  sample: unknown_object
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import client, sdk, wish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.fleet import Fleet, Outcome


def _group(**options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "dict", "default": {}, "options": options}


def _rows(**options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


def _text() -> dict[str, Any]:
    return {"type": "str"}


def _number(default: int | None = None) -> dict[str, Any]:
    return {"type": "int"} if default is None else {"type": "int", "default": default}


def _switch(default: bool) -> dict[str, Any]:
    return {"type": "bool", "default": default}


def _choice(*choices: str) -> dict[str, Any]:
    return {"type": "str", "choices": list(choices), "default": choices[0]}


VM_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "template": {"type": "dict", "options": {"library": _text(), "item": _text()}},
    "cpus": _number(),
    "memory_mb": _number(),
    "disks": _rows(name=_text(), size_gb=_number(), provisioning=_choice("lazy_zeroed", "eager_zeroed", "thin")),
    "networks": _rows(network=_text(), adapter=_choice("vmxnet3")),
    "gpu": {"type": "list", "elements": "dict", "default": []},
    "placement": _group(
        **{name: _text() for name in ("datacenter", "folder", "cluster", "host", "resource_pool", "datastore")}
    ),
    "customization": _group(
        method=_choice("cloud_init", "none"),
        hostname=_text(),
        userdata={"type": "str", "no_log": True},
        metadata={"type": "dict", "default": {}},
    ),
    "tweaks": _group(
        balloon=_switch(False),
        page_sharing=_switch(False),
        accel_3d=_switch(False),
        reserve_memory=_switch(True),
        extra_config={"type": "dict", "default": {}},
    ),
    "lifecycle": _group(
        ttl_hours=_number(24),
        power=_choice("on", "off"),
        wait_seconds=_number(300),
        address_networks={"type": "list", "elements": "str", "default": []},
    ),
}


def argument_spec() -> dict[str, Any]:
    """All options of the module."""
    return vsphere_spec() | {
        "state": {"type": "str", "choices": ["present", "absent", "gathered"], "default": "present"},
        "owner": {"type": "str", "required": True},
        "run": {"type": "str", "default": "manual"},
        "all_owned": {"type": "bool", "default": False},
        "concurrency": {"type": "int", "default": 8},
        "vms": {"type": "list", "elements": "dict", "default": [], "options": VM_SPEC},
    }


def act(params: dict[str, Any], *, check: bool) -> tuple[Outcome, dict[str, str]]:
    """Read the wish, connect, and do what the state says."""
    connection = client.Connection.from_params(params)
    state, vms = params["state"], params["vms"]
    names = wish.parse_names(vms)
    wishes = [] if state == "absent" else wish.parse_wishes(wish.with_wish(vms) if state == "gathered" else vms)
    with client.connected(connection) as instance:
        fleet = Fleet(instance, connection, params["owner"], params["run"], params["concurrency"])
        if state == "present":
            outcome = fleet.present(wishes, check=check)
        elif state == "absent":
            outcome = fleet.absent(names, all_owned=params["all_owned"], check=check)
        else:
            outcome = fleet.gathered(names, wishes)
        return outcome, client.describe(instance)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if not sdk.HAS_PYVMOMI:
        module.fail_json(msg=missing_required_lib("pyVmomi"))
    try:
        outcome, vcenter = act(module.params, check=module.check_mode)
        if outcome.error:
            raise outcome.error
    except TestbedError as error:
        module.fail_json(msg=str(error), error_code=error.error_code)
    difference = {"before": outcome.before, "after": outcome.after}
    module.exit_json(changed=outcome.changed, vms=outcome.vms, vcenter=vcenter, diff=difference)


if __name__ == "__main__":
    main()
