# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collects the wish of each host from its variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wishes
short_description: Collect the wishes of hosts from their C(vm_*) variables
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Turns host names into the list that P(nanobanana.testbed.fleet#module) takes. Every variable of a host that begins
    with C(vm_) becomes a field without that prefix, unknown ones included, so that fleet can refuse them.
positional: hostvars
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Make what the inventory wishes
  nanobanana.testbed.fleet:
    owner: gpu-lab
    vms: "{{ ansible_play_hosts | nanobanana.testbed.wishes(hostvars) }}"
"""

RETURN = r"""
_value:
  description: One mapping for each host, with C(name) and the fields of its wish.
  type: list
  elements: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

PREFIX = "vm_"


def wishes(hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One mapping per host, in the order of the hosts."""
    return [_wish(str(host), hostvars[host]) for host in hosts]


def _wish(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """``variables`` are looked up once for each host: Ansible puts them together anew each time."""
    fields = {str(key).removeprefix(PREFIX): variables[key] for key in variables if str(key).startswith(PREFIX)}
    return {"name": name} | fields


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"wishes": wishes}
