# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says what is wrong with the wish for a driver or a toolkit."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nvidia_wish
short_description: Compare the wish for an NVIDIA driver or a CUDA toolkit with NVIDIA's tables
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Says what is wrong with the wish of the roles C(nvidia_driver) and C(cuda_toolkit) before anything is installed. The
    tables are in C(plugins/module_utils/checks/data/nvidia.py).
positional: found
options:
  _input:
    description: The wish, with C(role) (V(nvidia_driver) or V(cuda_toolkit)), C(host) and the role's variables without its prefix.
    type: dict
    required: true
  found:
    description: What the role's probe found on the guest. Without it only what the wish itself says is judged.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Refuse a wish that NVIDIA's table forbids
  ansible.builtin.assert:
    that: (wish | nanobanana.testbed.nvidia_wish).refusals | length == 0
"""

RETURN = r"""
_value:
  description: C(refusals), whole messages, and C(notes), which are worth a line.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import nvidia_wish as wishes

JUDGES = {"nvidia_driver": wishes.driver, "cuda_toolkit": wishes.cuda}


def nvidia_wish(wish: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """Refusals and notes, each a list of texts."""
    judged = JUDGES[str(wish["role"])](wish, found or {})
    return {"refusals": judged.refusals, "notes": judged.notes}


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"nvidia_wish": nvidia_wish}
