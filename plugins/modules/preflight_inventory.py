#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; there is no module code."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_inventory
short_description: Check the inventory before anything is asked of vCenter
version_added: 0.1.0
description:
  - Refuses an inventory that still holds the template's placeholders, has no host in the environments' groups, or wishes
    for something that cannot be read. One error names everything that is wrong, and the next thing to type.
  - Runs on the control node and changes nothing.
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
attributes:
  check_mode:
    description: Works in check mode as otherwise, because it changes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  action:
    description: It has an action plugin, and all of it runs there.
    support: full
options:
  environments:
    description: Names of the groups whose hosts are VMs of the testbed.
    type: list
    elements: str
    default: [baseline, compatibility, stress]
"""

EXAMPLES = r"""
- name: Read the wish
  nanobanana.testbed.preflight_inventory:
  run_once: true
"""

RETURN = r"""
hosts:
  description: The hosts that this run cares for.
  returned: success
  type: list
  elements: str
  sample: [nb-baseline-01]
error_code:
  description: A stable word for the kind of the error.
  returned: failure
  type: str
  sample: unfilled_inventory
"""
