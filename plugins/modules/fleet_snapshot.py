#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation, argument spec and main() of the module; the logic is in module_utils/vsphere/snapshot*.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_snapshot
short_description: Take, revert to, remove and list snapshots of VMs that fleet has made
version_added: 0.1.0
description:
  - Does one thing with the snapshots of many VMs in one call. Everything is checked first; when anything cannot be, nothing
    is changed and one error names all of it. A VM without the owner's mark is never changed.
  - A VM with a DirectPath device can have no snapshots at all. For a VM with a vGPU that is on, its host is asked whether
    the profile allows them; while it is off, they always work.
  - A revert brings the VM's settings back too, the marks of owner, run and expiry among them. M(nanobanana.testbed.fleet)
    then changes again what differs from the wish.
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
extends_documentation_fragment:
  - nanobanana.testbed.vsphere
attributes:
  check_mode:
    description: The plan is made and shown, and nothing is written to vCenter.
    support: full
  diff_mode:
    description: Shows which snapshots come and go, and the power state before and after a revert.
    support: full
options:
  state:
    description:
      - V(present) takes the snapshot where a VM has none of that name.
      - V(reverted) goes back to it. Nobody can see whether the guest has written to its disks since, so each call does it
        and it is an action, as C(rebooted) of M(nanobanana.testbed.fleet) is.
      - V(absent) removes it. What it holds is merged into the disks, and snapshots taken after it are kept.
      - V(gathered) only lists, of VMs of any owner.
    type: str
    choices: [present, absent, reverted, gathered]
    default: present
  owner:
    description: Name of who owns the VMs, as for M(nanobanana.testbed.fleet).
    type: str
    required: true
  vms:
    description: Names of the VMs, each of which has to exist.
    type: list
    elements: str
    required: true
  name:
    description:
      - Name of the snapshot. vCenter allows several of one name, of which this module never chooses one.
      - Required, unless O(state=gathered) or O(all=true).
    type: str
  description:
    description: Text that a new snapshot gets.
    type: str
    default: ""
  memory:
    description:
      - Whether a new snapshot holds the memory of a running VM, so that a revert ends in a running guest. A VM that is off
        has none, and a warning says so. That of a suspended VM is always taken.
    type: bool
    default: false
  quiesce:
    description:
      - Whether VMware Tools bring the guest's file systems into order first. Refused while the Tools of a running VM do not
        run, where vCenter would leave it out silently. Not together with O(memory).
    type: bool
    default: false
  power:
    description:
      - Power state after O(state=reverted). V(snapshot) is the one to which it leads, which is off for a snapshot without
        memory.
      - V(on) does not wait for the guest; M(nanobanana.testbed.fleet) does.
    type: str
    choices: [snapshot, "on", "off"]
    default: snapshot
  all:
    description: With O(state=absent) and without O(name), remove every snapshot of the VMs.
    type: bool
    default: false
  concurrency:
    description: How many operations are under way in vCenter at once, of all kinds together.
    type: int
    default: 32
  limits:
    description: How many operations of a kind are under way at once. 0 means that there is no such limit.
    type: dict
    suboptions:
      snapshot:
        description: Snapshots taken, reverted to or removed. They move much data on the datastore.
        type: int
        default: 4
      power:
        description: Power operations.
        type: int
        default: 16
  deadline_seconds:
    description:
      - Seconds for the whole call; 0 means no end. At the deadline nothing more is started and unfinished VMs have failed.
        What runs inside vCenter goes on there.
    type: int
    default: 0
  progress_file:
    description: File to which progress is appended as JSON lines. The action plugin sets it and shows what it reads.
    type: path
  watch_pid:
    description: Process whose end makes the module stop starting operations. The action plugin names ansible-playbook.
    type: int
    default: 0
seealso:
  - module: nanobanana.testbed.fleet
"""

EXAMPLES = r"""
- name: Keep the VMs as they are before the first case
  nanobanana.testbed.fleet_snapshot:
    owner: gpu-lab
    name: clean
    description: before the first case
    vms: "{{ ansible_play_hosts }}"

- name: Keep a running guest with its memory
  nanobanana.testbed.fleet_snapshot:
    owner: gpu-lab
    name: model-loaded
    memory: true
    vms: [nb-compatibility-01]

- name: Keep file systems that are in order
  nanobanana.testbed.fleet_snapshot:
    owner: gpu-lab
    name: installed
    quiesce: true
    vms: [nb-compatibility-01]

- name: Go back to the snapshot, and power the VMs on
  nanobanana.testbed.fleet_snapshot:
    owner: gpu-lab
    state: reverted
    name: clean
    power: "on"
    vms: "{{ ansible_play_hosts }}"

- name: List the snapshots
  nanobanana.testbed.fleet_snapshot:
    owner: gpu-lab
    state: gathered
    vms: "{{ ansible_play_hosts }}"
  register: found

- name: Remove one snapshot and keep those that were taken after it
  nanobanana.testbed.fleet_snapshot:
    owner: gpu-lab
    state: absent
    name: clean
    vms: "{{ ansible_play_hosts }}"

- name: Remove all snapshots, two at a time on a slow datastore
  nanobanana.testbed.fleet_snapshot:
    owner: gpu-lab
    state: absent
    all: true
    limits:
      snapshot: 2
    vms: "{{ ansible_play_hosts }}"
"""

RETURN = r"""
vms:
  description:
    - By name, the snapshots of each VM as they are now, parents before children, with C(status) (V(unchanged), V(changed)
      or V(failed)), what was done and how many seconds each of that took. A failed VM has C(error_code) and C(error).
    - C(power) of a snapshot is the state to which it leads, and C(parent) is the name of the one that it is based on.
  returned: always, unless the request or the connection is refused
  type: dict
  sample:
    nb-compatibility-01:
      moid: vm-61
      power: poweredOn
      snapshots:
        - name: clean
          id: 1
          description: before the first case
          created: "2030-01-31T12:00:00Z"
          power: poweredOff
          quiesced: false
          parent: ""
          current: true
      status: changed
      operations:
        - take the snapshot clean
      seconds:
        snapshot: 3.4
      error_code: ""
      error: ""
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
  sample: unknown_snapshot
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import snapshot_call
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.module_end import end


def main() -> None:
    """Entry point."""
    end(AnsibleModule(argument_spec=snapshot_call.argument_spec(), supports_check_mode=True), snapshot_call.run)


if __name__ == "__main__":
    main()
