# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which VMs are powered off, suspended and reverted after a test case."""

from __future__ import annotations

DOCUMENTATION = r"""
name: after_case
short_description: Sort wishes by what is done with their VMs after a test case
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Reads C(vm_lifecycle.after_case) of each wish. VMs that do not exist, that are kept, or that are off and were to be
    suspended, are left out.
positional: found
options:
  _input:
    description: Wishes, as P(nanobanana.testbed.wishes#filter) collects them.
    type: list
    elements: dict
    required: true
  found:
    description: What P(nanobanana.testbed.fleet#module) returns as C(vms) with C(state=gathered).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Read the VMs
  nanobanana.testbed.fleet:
    owner: gpu-lab
    state: gathered
    vms: "{{ ansible_play_hosts | nanobanana.testbed.wishes(hostvars) }}"
  register: found

- name: Power off or suspend those that shall be
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms: "{{ (ansible_play_hosts | nanobanana.testbed.wishes(hostvars) | nanobanana.testbed.after_case(found.vms)).power }}"
"""

RETURN = r"""
_value:
  description:
    - C(power) has the wishes of VMs to power off or suspend, with that as their C(lifecycle.power). C(revert) has the names
      of VMs to revert by the name of their snapshot.
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import parse_wishes

POWER = {"power_off": "off", "suspend": "suspended"}


def after_case(wishes: Iterable[Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Two lists of work; raises AnsibleFilterError for a wish that cannot be read."""
    raw = list(wishes)
    power: list[dict[str, Any]] = []
    revert: dict[str, list[str]] = {}
    try:
        parsed = parse_wishes(raw)
    except TestbedError as error:
        raise AnsibleFilterError(str(error)) from error
    for item, wish in zip(raw, parsed, strict=True):
        actual, policy = found.get(wish.name, {}), wish.after_case
        if not actual.get("exists") or (policy == "suspend" and actual.get("power") == "poweredOff"):
            continue
        if policy in POWER:
            lifecycle = dict(item.get("lifecycle") or {}) | {"power": POWER[policy]}
            power.append(dict(item) | {"lifecycle": lifecycle})
        elif policy == "revert":
            revert.setdefault(wish.lifecycle.snapshot, []).append(wish.name)
    return {"power": power, "revert": revert}


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"after_case": after_case}
