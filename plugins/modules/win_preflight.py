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
  name:
    description: The guest's name in the inventory; messages and the commands that they propose use it.
    type: str
    required: true
  environment:
    description: The environment of the guest, for checks that not all environments have.
    type: str
    default: ''
  os_expected:
    description: The operating system that the guest should run, such as V(Windows Server 2019). Empty means any.
    type: str
    default: ''
  allow_stand_in:
    description: Whether another system or machine than the wished one is a warning that names both, not a failure.
    type: bool
    default: false
  user:
    description: The model's user, from whose folder O(venv) and O(picture_path) come where they are empty.
    type: str
    default: tester
  python_expected:
    description: The wanted Python version of the environment; a deviation is a warning. Empty means any.
    type: str
    default: ''
  venv:
    description: The environment that holds the engine. Empty means the one that the role P(nanobanana.testbed.pyenv#role) makes.
    type: str
    default: ''
  modules:
    description: The Python modules that the model's profile needs.
    type: list
    elements: str
    default: []
  pillow:
    description: Which Pillow is wished, V(plain) or V(simd), as in the role's variable C(pyenv_pillow).
    type: str
    default: plain
  disk_path:
    description: The data disk's volume, such as V(N:\\). Empty means that there is none.
    type: str
    default: ''
  disk_free_mb:
    description: MB that must be free on the data disk.
    type: int
    default: 1000
  share_path:
    description: The share for results, such as V(\\\\SERVER\\SHARE). Empty means that there is none.
    type: str
    default: ''
  share_seconds:
    description: Seconds within which the share must answer.
    type: float
    default: 2.0
  engine:
    description: Whether the model's profile brings the engine of this repository.
    type: bool
    default: true
  picture_path:
    description: Where the picture of the check is written; an older file there is deleted first. Empty means C(preflight.png) in the output.
    type: str
    default: ''
  picture_prompt:
    description: What the engine is asked to draw.
    type: str
    required: true
  picture_backend:
    description: The engine's backend. The picture's metadata must name the same one.
    type: str
    default: preview
  picture_timeout:
    description: Seconds that drawing may take, the start of the engine included.
    type: float
    default: 60.0
  first_inference_seconds:
    description: Seconds above which the first picture counts as slow.
    type: float
    default: 30.0
  fail_on:
    description: With V(failed) a failed check fails the task; with V(never) it is only told, for a gate that judges later.
    type: str
    choices: [failed, never]
    default: failed
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
