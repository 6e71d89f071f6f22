#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation and main() of the module; the checks are in module_utils/checks, the reading is in module_utils/vsphere."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_vsphere
short_description: Check that vCenter can give what is wished, or that VMs are as wished
version_added: 0.1.0
description:
  - The checks of the platform gate (before anything is made) and of the machine gate (after the VMs were made, before
    their guests are touched). One session reads everything in a handful of calls and writes nothing.
  - A VM is checked for what its wish asks for and nothing else. What the wish leaves alone ends as V(not_applicable).
  - A vCenter that cannot be reached, or refuses the login, is the failed check C(vcenter.login); the others are then
    V(blocked).
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
extends_documentation_fragment:
  - nanobanana.testbed.vsphere
  - nanobanana.testbed.vms
attributes:
  check_mode:
    description: Only reads, in check mode as without it.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
options:
  stage:
    description:
      - V(platform) asks whether the wishes can be met.
      - V(machine) asks whether the VMs are as wished.
    type: str
    choices: [platform, machine]
    required: true
  owner:
    description: Name of who owns the VMs, as for M(nanobanana.testbed.fleet). A VM of somebody else fails C(vm.owner).
    type: str
    required: true
  environments:
    description: The environment (baseline, compatibility, stress) of each VM by its name.
    type: dict
    default: {}
  privileges:
    description:
      - What the login has to be allowed. The action plugin takes it from C(playbooks/files/vcenter_role.yml), so that
        nobody has to give it.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The privilege as vSphere calls it.
        type: str
        required: true
      where:
        description: Kinds of place on which it is needed.
        type: list
        elements: str
        required: true
      why:
        description: What stops without it.
        type: str
        required: true
      optional:
        description: Which wish needs it. Empty means that every wish does.
        type: str
  fail_on:
    description:
      - V(failed) ends the task when a check failed, with one text that names each and its fix.
      - V(never) leaves the verdict to who reads the result.
    type: str
    choices: [failed, never]
    default: failed
"""

EXAMPLES = r"""
- name: Check that vCenter can give what the inventory wishes
  nanobanana.testbed.preflight_vsphere:
    stage: platform
    owner: gpu-lab
    vms: "{{ ansible_play_hosts | nanobanana.testbed.wishes(hostvars) }}"

- name: Check that the VMs are as wished, and look at the results later
  nanobanana.testbed.preflight_vsphere:
    stage: machine
    owner: gpu-lab
    vms: "{{ ansible_play_hosts | nanobanana.testbed.wishes(hostvars) }}"
    environments: {nb-baseline-01: baseline}
    fail_on: never
  register: machine_checks
"""

RETURN = r"""
hosts:
  description:
    - The results by target, which is the name of a VM, or O(vsphere_hostname) for what concerns vCenter itself. Each has
      C(checks) and their C(summary).
    - A check has C(id), C(title), C(status), C(severity), C(expected), C(actual), C(detail), C(fix) for people, C(mend) with
      the same in parts for programs, C(cause), C(evidence) and C(seconds).
  returned: always, unless the wish is refused
  type: dict
  sample:
    nb-baseline-01:
      summary: {total: 20, verdict: failed, passed: 12, warned: 0, failed: 1, blocked: 0, skipped: 0, not_applicable: 7}
      checks:
        - id: vm.memory_locked
          title: The memory is locked to its reservation
          status: failed
          severity: error
          expected: locked
          actual: not locked
          detail: the reservation does not follow the memory's size
          fix: >-
            Let fleet set it again; the VM goes on running.
            Type: ansible-playbook playbooks/provision.yml --limit nb-baseline-01
          mend:
            run: ansible-playbook playbooks/provision.yml --limit nb-baseline-01
            where: control
            automatic: true
          cause: ""
          evidence: {}
          seconds: 0.0
vcenter:
  description: Which vCenter this is; empty where there is no session.
  returned: always, unless the wish is refused
  type: dict
  sample:
    full_name: VMware vCenter Server 8.0.3 build-24022515
    version: 8.0.3
error_code:
  description: A stable word for the kind of the error, where the wish is refused.
  returned: failure
  type: str
  sample: invalid_wish
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import preflight_call
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.module_end import end


def main() -> None:
    """Entry point."""
    end(AnsibleModule(argument_spec=preflight_call.argument_spec(), supports_check_mode=True), preflight_call.run)


if __name__ == "__main__":
    main()
