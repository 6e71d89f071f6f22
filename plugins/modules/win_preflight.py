#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; there is no module code."""

from __future__ import annotations

DOCUMENTATION = r"""
module: win_preflight
short_description: Check that a configured Windows guest can run the model
version_added: 0.1.0
description:
  - The guest gate of a Windows host. M(nanobanana.testbed.win_collect) asks the guest in one call, and the answers are judged on the
    control node by the rules that M(nanobanana.testbed.preflight_guest) has.
  - Nothing is asked about a GPU, which Windows hosts of the testbed do not have.
  - Not verified on a real Windows yet.
extends_documentation_fragment: nanobanana.testbed.guest_checks
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
attributes:
  check_mode:
    description: What is only read is checked; the picture is not drawn and ends as V(skipped).
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  action:
    description: It has an action plugin, which judges what the guest answers.
    support: full
  platform:
    description: The systems that it examines.
    platforms: windows
    support: full
options:
  venv:
    description: The environment that holds the engine. Empty means the one that the role P(nanobanana.testbed.pyenv#role) makes.
    type: str
    default: ''
  picture_path:
    description: Where the picture of the check is written; an older file there is deleted first. Empty means C(preflight.png) in the output.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Check the guest
  nanobanana.testbed.win_preflight:
    name: "{{ inventory_hostname }}"
    os_expected: Windows Server 2019
    python_expected: 3.10.12
    picture_prompt: LEGO Technic crane set exploded view, colorful bricks separated by type
"""

RETURN = r"""
checks:
  description: Every check of the gate, in the order in which they ran; the fields are those of M(nanobanana.testbed.preflight_guest).
  returned: always
  type: list
  elements: dict
summary:
  description: Number of checks by status, their C(total), and a C(verdict) of V(passed), V(warned), V(failed) or V(skipped).
  returned: always
  type: dict
facts:
  description: The guest's C(os), whether it is a C(stand_in), C(python), C(engine) version, C(backend) and C(picture).
  returned: always
  type: dict
"""
