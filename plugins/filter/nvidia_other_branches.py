# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds packages of another driver branch among those that an installation would bring."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nvidia_other_branches
short_description: Find packages of another driver branch in what apt would install
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Distributions end a driver branch with empty packages that depend on its successor's, so that another driver comes than
    the one that was asked for.
positional: branch
options:
  _input:
    description: The lines of C(apt-get --simulate install).
    type: list
    elements: str
    required: true
  branch:
    description: The wished branch.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse another branch
  ansible.builtin.assert:
    that: simulated.stdout_lines | nanobanana.testbed.nvidia_other_branches('535') | length == 0
"""

RETURN = r"""
_value:
  description: The names of packages of other branches.
  type: list
  elements: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.nvidia_versions import other_branches


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"nvidia_other_branches": other_branches}
