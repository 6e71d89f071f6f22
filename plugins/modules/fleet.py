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
        description: Clones of one source. vCenter runs 8 at a time and queues the ninth.
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
        description:
          - What the VM is made from, in exactly one of four forms. O(vms[].template.library) and O(vms[].template.item)
            together, O(vms[].template.inventory) alone, O(vms[].template.vm) alone for a full clone, or
            O(vms[].template.vm) with O(vms[].template.snapshot) and O(vms[].template.linked) for a linked clone.
          - A VM that was made from something else is an error and never made anew.
        type: dict
        suboptions:
          library:
            description: Name of the Content Library.
            type: str
          item:
            description: Name of its item of type vm-template.
            type: str
          inventory:
            description:
              - A template of the inventory, by name, by its path below the datacenter's VM folder, or by its whole path
                from the datacenter on (C(DC0/vm/templates/ubuntu)).
            type: str
          vm:
            description: A VM, named like O(vms[].template.inventory). It may be running; its guest data and MACs are not taken over.
            type: str
          snapshot:
            description: Name of the VM's snapshot that a linked clone builds on.
            type: str
          linked:
            description:
              - Make a linked clone, which shares the disks of the snapshot and holds only what differs. Its disks cannot
                grow, and the snapshot has to stay for as long as the clone lives.
            type: bool
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
        description:
          - The complete list of the VM's GPU devices. A device that is not in it is removed, and an empty list removes all.
          - A VM with GPUs needs O(vms[].tweaks.reserve_memory), and gets C(pciPassthru.use64bitMMIO) and
            C(pciPassthru.64bitMMIOSizeGB) for the sum of their memory, unless O(vms[].tweaks.extra_config) names them.
            That needs a template with EFI firmware. A host with free devices is chosen and never a device that another
            VM has, powered on or off.
          - Devices change only while the VM is powered off.
        type: list
        elements: dict
        default: []
        suboptions:
          mode:
            description:
              - V(static) passes one device of one host through (DirectPath I/O).
              - V(dynamic) lets vCenter take any device with these ids at power-on (Dynamic DirectPath I/O). It needs
                ESXi 7 and raises the VM's hardware version to 17 where it is lower.
              - V(vgpu) gives the VM a share of a device by an NVIDIA vGPU profile.
            type: str
            choices: [static, dynamic, vgpu]
          address:
            description: With O(vms[].gpu[].mode=static), the PCI address of the device in quotes, such as V("0000:3b:00.0").
            type: raw
          model:
            description:
              - With O(vms[].gpu[].mode=static) and instead of O(vms[].gpu[].address), any free device whose name has
                this word, such as V(A10). New VMs are spread over the hosts.
            type: str
          vendor_id:
            description: With O(vms[].gpu[].mode=dynamic), the PCI vendor as four hexadecimal digits in quotes, such as V("10de").
            type: raw
          device_id:
            description: With O(vms[].gpu[].mode=dynamic), the PCI device as four hexadecimal digits in quotes, such as V("2236").
            type: raw
          label:
            description: With O(vms[].gpu[].mode=dynamic), only devices with this hardware label.
            type: str
          profile:
            description: With O(vms[].gpu[].mode=vgpu), the profile, such as V(nvidia_a10-4c).
            type: str
      placement:
        description: Where the VM lives. What is not named is the only one there is.
        type: dict
        suboptions:
          datacenter:
            description: Name of the datacenter.
            type: str
          folder:
            description: Path of a folder below the datacenter's VM folder.
            type: str
          create_folder:
            description:
              - Whether O(vms[].placement.folder) and the folders above it are made when they do not exist. Nobody
                removes them again.
            type: bool
            default: false
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
          datastore_cluster:
            description:
              - Name of a datastore cluster, in place of O(vms[].placement.datastore). Its datastore with most free
                space is planned with. Where storage DRS is on, its recommendation at the time of the clone decides.
            type: str
      customization:
        description: What the guest learns about itself at first boot.
        type: dict
        suboptions:
          method:
            description:
              - V(cloud_init) writes C(guestinfo.metadata) and C(guestinfo.userdata) for cloud-init's VMware data source.
              - V(spec) lets vCenter carry out a customization specification at first boot, and ends on its event.
              - V(none) tells the guest nothing.
            type: str
            choices: [cloud_init, spec, none]
            default: cloud_init
          hostname:
            description:
              - Host name of the guest when it is not the VM's name.
              - With a Windows specification, a name of more than 15 characters is cut and gets five digits that keep it
                unique.
            type: str
          userdata:
            description: User data for cloud-init as text. Readable by every process of the guest, so put no password in it.
            type: str
          metadata:
            description:
              - More cloud-init metadata. Instance id and host name are added.
              - Its C(network) is the guest's network configuration, in cloud-init's version 1 or 2, and is passed on as it is.
            type: dict
            default: {}
          spec:
            description:
              - Name of a customization specification of vCenter, for V(spec).
              - It is carried out once. Another name on a VM that exists is an error. Other options on such a VM change nothing.
            type: str
          addresses:
            description:
              - Static addresses in the order of the network cards, in place of what the specification says. An empty
                entry leaves that card to the specification.
            type: list
            elements: dict
            default: []
            suboptions:
              address:
                description: IPv4 address.
                type: str
              netmask:
                description: Its netmask.
                type: str
              gateway:
                description: Default gateway.
                type: str
          dns_servers:
            description: Name servers, in place of the specification's.
            type: list
            elements: str
            default: []
          dns_suffixes:
            description: Domains to search, in place of the specification's.
            type: list
            elements: str
            default: []
          wait_seconds:
            description: How long the end of a specification is waited for, once the VM is on.
            type: int
            default: 1800
      tweaks:
        description: Settings that GPU inference needs.
        type: dict
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
            description: Whether all memory is reserved and locked. V(false) takes a full reservation back.
            type: bool
            default: true
          cores_per_socket:
            description: Cores of one virtual socket, a divisor of O(vms[].cpus). Not set leaves what the template has.
            type: int
          cpu_shares:
            description:
              - V(low), V(normal), V(high) or a number of shares, which count when VMs compete for CPU time. Takes effect at
                once. Not set leaves what the template has.
            type: str
          cpu_limit_mhz:
            description: V(unlimited), or the most MHz that the VM gets. Takes effect at once. Not set leaves what the template has.
            type: str
          cpu_reservation_mhz:
            description: MHz that the host keeps for the VM. Takes effect at once. Not set leaves what the template has.
            type: int
          latency_sensitivity:
            description:
              - V(high) gives the VM's CPUs cores of their own. It demands O(vms[].tweaks.reserve_memory), no CPU limit and an
                O(vms[].tweaks.cpu_reservation_mhz) of at least O(vms[].cpus) times the MHz of a core of each host where the
                VM may run.
              - V(normal) or V(high).
            type: str
          hardware_version:
            description:
              - Virtual hardware, such as V(20) for ESXi 8.0 or V(21) for ESXi 8.0 U2. A VM that is off is upgraded; an older
                version than it has, or a newer one than the hosts run, is refused. Not set leaves what the template has.
              - One of 10, 11, 13, 14, 15, 17, 18, 19, 20, 21 and 22.
            type: int
          firmware:
            description:
              - What the template has to be installed with, V(bios) or V(efi).
              - Checked and never changed, because its guest would not boot.
            type: str
          boot_controller:
            description:
              - On what the boot disk has to hang, V(pvscsi), V(lsilogic), V(lsilogic_sas), V(buslogic), V(nvme), V(sata) or
                V(ide).
              - Checked and never swapped, because the guest may lack the driver.
            type: str
          extra_config:
            description:
              - More VMX keys, written as they are. One that is taken out of the list again is removed from the VM, and so is
                one whose value is empty. Keys that ESXi rewrites by itself, such as C(numa.autosize.cookie), are not compared.
            type: dict
            default: {}
      lifecycle:
        description: How long the VM is kept and in which power state.
        type: dict
        suboptions:
          ttl_hours:
            description: Hours after which the VM may be reaped, counted from its making.
            type: int
            default: 24
          power:
            description:
              - Wanted power state. V(suspended) is refused for a VM with a DirectPath device, and for one with a vGPU whose
                host does not support it.
            type: str
            choices: ["on", "off", suspended]
            default: "on"
          power_cycle:
            description:
              - Whether a running VM may be shut down and powered on again for a change that it cannot take while it runs.
                V(never) refuses such a change before anything is changed.
            type: str
            choices: [never, allowed]
            default: never
          shutdown_seconds:
            description:
              - How long a guest with VMware Tools may take to shut down, before it is switched off. V(0) switches it off at
                once. Counts for every power-off, also with O(state=absent) and O(state=rebooted).
            type: int
            default: 60
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

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import (
    client,
    cost,
    limits,
    sdk,
    wish,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.fleet import Call, Fleet, Outcome
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reconcile import Bounds


def _group(**options: dict[str, Any]) -> dict[str, Any]:
    """A mapping; ``default: {}`` would be one object that Ansible fills for every VM alike."""
    return {"type": "dict", "apply_defaults": True, "options": options}


def _part(**options: dict[str, Any]) -> dict[str, Any]:
    """A group within a list: Ansible would fill one and the same default for all items, and refuse its own nulls."""
    return {"type": "dict", "options": options}


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


# What may stay unset has no `choices` here: Ansible would hold the unset value against them. wish.py reads it strictly.
VM_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "template": {
        "type": "dict",
        "options": {name: _text() for name in ("library", "item", "inventory", "vm", "snapshot")}
        | {"linked": {"type": "bool"}},
    },
    "cpus": _number(),
    "memory_mb": _number(),
    "disks": _rows(name=_text(), size_gb=_number(), provisioning=_choice("lazy_zeroed", "eager_zeroed", "thin")),
    "networks": _rows(network=_text(), adapter=_choice("vmxnet3")),
    "gpu": _rows(
        # raw: a number is what YAML makes of an address or id without quotes, and the wish's reader says so
        mode={"type": "str", "choices": ["static", "dynamic", "vgpu"]},
        address={"type": "raw"},
        model=_text(),
        vendor_id={"type": "raw"},
        device_id={"type": "raw"},
        label=_text(),
        profile=_text(),
    ),
    "placement": _part(
        create_folder=_switch(False),
        **{
            name: _text()
            for name in ("datacenter", "folder", "cluster", "host", "resource_pool", "datastore", "datastore_cluster")
        },
    ),
    "customization": _part(
        method=_choice("cloud_init", "spec", "none"),
        hostname=_text(),
        userdata={"type": "str", "no_log": True},
        metadata={"type": "dict", "default": {}},
        spec=_text(),
        addresses=_rows(address=_text(), netmask=_text(), gateway=_text()),
        dns_servers={"type": "list", "elements": "str", "default": []},
        dns_suffixes={"type": "list", "elements": "str", "default": []},
        wait_seconds=_number(1800),
    ),
    "tweaks": _part(
        balloon=_switch(False),
        page_sharing=_switch(False),
        accel_3d=_switch(False),
        reserve_memory=_switch(True),
        cores_per_socket=_number(),
        cpu_shares=_text(),
        cpu_limit_mhz=_text(),
        cpu_reservation_mhz=_number(),
        latency_sensitivity=_text(),
        hardware_version=_number(),
        firmware=_text(),
        boot_controller=_text(),
        extra_config={"type": "dict", "default": {}},
    ),
    "lifecycle": _part(
        ttl_hours=_number(24),
        power=_choice("on", "off", "suspended"),
        power_cycle=_choice("never", "allowed"),
        shutdown_seconds=_number(wish.SHUTDOWN_SECONDS),
        wait_seconds=_number(300),
        address_networks={"type": "list", "elements": "str", "default": []},
    ),
}


def argument_spec() -> dict[str, Any]:
    """All options of the module."""
    return vsphere_spec() | {
        "state": {"type": "str", "choices": ["present", "absent", "gathered", "rebooted"], "default": "present"},
        "owner": {"type": "str", "required": True},
        "run": {"type": "str", "default": "manual"},
        "all_owned": {"type": "bool", "default": False},
        "expired_only": {"type": "bool", "default": False},
        "adopt": {"type": "bool", "default": False},
        "concurrency": {"type": "int", "default": 32},
        "limits": _group(**{kind: _number(limit) for kind, limit in limits.DEFAULTS.items()}),
        "deadline_seconds": _number(0),
        "progress_file": {"type": "path"},
        "watch_pid": _number(0),
        "vms": {"type": "list", "elements": "dict", "default": [], "options": VM_SPEC},
    }


def act(params: dict[str, Any], *, check: bool) -> tuple[Outcome, dict[str, str]]:
    """Read the wish, connect, and do what the state says."""
    connection = client.Connection.from_params(params)
    state, vms = params["state"], params["vms"]
    names, patience = wish.parse_names(vms), wish.parse_patience(vms)
    wishes = [] if state == "absent" else wish.parse_wishes(vms if state == "present" else wish.with_wish(vms))
    bounds = Bounds(params["concurrency"], params["limits"], params["deadline_seconds"])
    call = Call(bounds, params["progress_file"], params["watch_pid"])
    with client.connected(connection) as session:
        fleet = Fleet(session, params["owner"], params["run"], call)
        if state == "present":
            outcome = fleet.present(wishes, check=check, adopt=params["adopt"])
        elif state == "absent":
            options = {name: params[name] for name in ("all_owned", "expired_only")}
            outcome = fleet.absent(patience, **options, check=check)
        elif state == "rebooted":
            outcome = fleet.rebooted(patience, wishes, check=check)
        else:
            outcome = fleet.gathered(names, wishes)
        return outcome, client.describe(session)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if not sdk.HAS_PYVMOMI:
        module.fail_json(msg=missing_required_lib("pyVmomi"))
    try:
        outcome, vcenter = act(module.params, check=module.check_mode)
    except TestbedError as error:
        module.fail_json(msg=str(error), error_code=error.error_code)
    for warning in outcome.warnings:
        module.warn(warning)
    difference: list[dict[str, Any]] = [{"before": outcome.before, "after": outcome.after}]
    if takes := cost.lines(outcome.cost):
        difference.append({"prepared": takes})
    result = {
        "changed": outcome.changed,
        "vms": outcome.vms,
        "cost": outcome.cost,
        "vcenter": vcenter,
        "diff": difference,
    }
    if outcome.error:
        module.fail_json(msg=str(outcome.error), error_code=outcome.error.error_code, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
