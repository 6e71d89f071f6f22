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
  - Takes the list of wanted VMs and makes vCenter match it in one call. VMs are cloned from templates or deployed from
    OVF items of a Content Library, configured for GPU inference, given their guest data, powered on and waited for until
    they have a routable address.
  - Everything is checked first. When anything in the list cannot be, nothing is changed and one error names all of it.
  - A VM carries its owner, run and expiry from the call on that makes it. A VM without the owner's mark is never changed
    or removed.
  - A run that was killed is finished by the next one, and two runs at once end in the same VMs.
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
extends_documentation_fragment:
  - nanobanana.testbed.vsphere
  - nanobanana.testbed.vms
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
      - V(rebooted) shuts existing VMs down and powers them on again, so that settings which need a power cycle count. Each
        call does it, so it is an action and not a state.
    type: str
    choices: [present, absent, gathered, rebooted]
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
  expired_only:
    description:
      - With O(state=absent), remove only VMs whose time is over. It ends O(vms[].lifecycle.ttl_hours) after the VM was
        made and is the VMX key C(nanobanana.expires).
      - A VM whose expiry is missing or cannot be read is kept, and a warning names it.
    type: bool
    default: false
  adopt:
    description:
      - With O(state=present), take over an existing VM of a wished name that carries no mark of any owner. The marks are
        written before anything else is changed. A VM with somebody else's mark, and a template, are refused as ever.
      - A VM that was taken over expires and is removed like any other of O(owner).
    type: bool
    default: false
  concurrency:
    description: How many operations are under way in vCenter at once, of all kinds together.
    type: int
    default: 32
  limits:
    description: How many operations of a kind, or in a place, are under way at once. 0 means that there is no such limit.
    type: dict
    suboptions:
      clone:
        description: Clones of one source, or deployments of one OVF item. vCenter runs 8 at a time and queues the ninth.
        type: int
        default: 8
      reconfigure:
        description: Reconfigurations.
        type: int
        default: 16
      power:
        description: Power operations.
        type: int
        default: 16
      destroy:
        description: Removals.
        type: int
        default: 16
      host:
        description: Operations on one host, for VMs whose placement names it.
        type: int
        default: 0
      datastore:
        description: Clones onto one datastore.
        type: int
        default: 0
  deadline_seconds:
    description:
      - Seconds for the whole call; 0 means no end. At the deadline nothing more is started and unfinished VMs have failed.
        What runs inside vCenter goes on there, and the next call finds it.
    type: int
    default: 0
  progress_file:
    description: File to which progress is appended as JSON lines. The action plugin sets it and shows what it reads.
    type: path
  watch_pid:
    description: Process whose end makes the module stop starting operations. The action plugin names ansible-playbook.
    type: int
    default: 0
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

- name: Give the guest a static address, by cloud-init and by a customization specification
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms:
      - name: nb-linux-01
        template: {library: nano-banana, item: nano-banana-baseline-template}
        cpus: 4
        memory_mb: 6144
        customization:
          metadata:
            network:
              version: 2
              ethernets:
                ens192:
                  addresses: [192.0.2.10/24]
                  routes: [{to: default, via: 192.0.2.1}]
                  nameservers: {addresses: [192.0.2.53]}
      - name: nb-windows-01
        template: {library: nano-banana, item: nano-banana-compatibility-template}
        cpus: 8
        memory_mb: 16384
        customization:
          method: spec
          spec: windows-2019
          addresses:
            - {address: 192.0.2.11, netmask: 255.255.255.0, gateway: 192.0.2.1}
          dns_servers: [192.0.2.53]

- name: Make a linked clone of a VM that somebody prepared, and a full clone of a template of the inventory
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms:
      - name: nb-linked-01
        template: {vm: prepared, snapshot: clean, linked: true}
        cpus: 4
        memory_mb: 6144
      - name: nb-full-01
        template: {inventory: templates/ubuntu-22.04}
        cpus: 4
        memory_mb: 6144

- name: Make a VM of an OVF item with two networks and a license agreement
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms:
      - name: nb-appliance-01
        template: {library: nano-banana, item: nano-banana-appliance-ovf, accept_eula: true}
        cpus: 2
        memory_mb: 4096
        networks:  # in the order of the package's networks
          - network: management
          - network: testbed

- name: Restart the VMs, and wait for their addresses
  nanobanana.testbed.fleet:
    owner: gpu-lab
    state: rebooted
    vms: "{{ ansible_play_hosts | nanobanana.testbed.wishes(hostvars) }}"

- name: Make a VM with any free A10, on whichever host has one
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms:
      - name: nb-gpu-01
        template:
          library: nano-banana
          item: nano-banana-baseline-template
        cpus: 8
        memory_mb: 32768
        gpu:
          - mode: static
            model: A10
        placement:
          cluster: gpu-cluster

- name: Make a VM with two GPUs by their PCI ids, chosen by vCenter at each power-on
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms:
      - name: nb-gpu-02
        template:
          library: nano-banana
          item: nano-banana-baseline-template
        cpus: 16
        memory_mb: 65536
        gpu:
          - mode: dynamic
            vendor_id: "10de"
            device_id: "2236"
          - mode: dynamic
            vendor_id: "10de"
            device_id: "2236"

- name: Make a VM with a vGPU, and a larger window for its memory than fleet would choose
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms:
      - name: nb-vgpu-01
        template:
          library: nano-banana
          item: nano-banana-baseline-template
        cpus: 4
        memory_mb: 16384
        gpu:
          - mode: vgpu
            profile: nvidia_a10-4c
        tweaks:
          extra_config:
            pciPassthru.64bitMMIOSizeGB: "128"

- name: Remove everything that this owner has made
  nanobanana.testbed.fleet:
    owner: gpu-lab
    state: absent
    all_owned: true

- name: Remove what this owner has made and forgotten
  nanobanana.testbed.fleet:
    owner: gpu-lab
    state: absent
    all_owned: true
    expired_only: true

- name: Take over a VM that was made by hand
  nanobanana.testbed.fleet:
    owner: gpu-lab
    adopt: true
    vms: "{{ ['nb-baseline-01'] | nanobanana.testbed.wishes(hostvars) }}"
"""

RETURN = r"""
vms:
  description:
    - What each VM is now, by name, with C(status) (V(unchanged), V(changed) or V(failed)), what was done to it and how
      many seconds each of that took. A failed VM has C(error_code) and C(error).
  returned: always, unless the wish or the connection is refused
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
      gpu:
        - mode: static
          address: 0000:3b:00.0
          vendor_id: 10de
          device_id: "2236"
          host: esx-01.example.com
      owner: gpu-lab
      status: changed
      expires: "2030-01-31T12:00:00Z"
      wish: 1c5b2a90f3de
      operations:
        - clone from the template
        - power on
      seconds:
        clone: 41.2
        power_on: 2.0
        wait_address: 18.7
      error_code: ""
      error: ""
cost:
  description:
    - What the plan takes, with what is free, by name of datastore (GB) and cluster (MB). Thick disks count in full,
      the template with what it takes now, thin disks with nothing. Empty where the plan takes nothing.
    - A plan that cannot fit is refused with C(error_code=no_room) before anything is changed.
  returned: success
  type: dict
  sample:
    datastores:
      vmfs-01: {needed_gb: 24.5, free_gb: 3976.0}
    clusters:
      gpu-cluster: {needed_memory_mb: 6144, free_memory_mb: 786432}
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import fleet_call
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.module_end import end


def main() -> None:
    """Entry point."""
    end(AnsibleModule(argument_spec=fleet_call.argument_spec(), supports_check_mode=True), fleet_call.run)


if __name__ == "__main__":
    main()
