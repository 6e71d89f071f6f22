#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the PowerShell module of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: win_collect
short_description: Run programs on Windows, each within its time, and bring what they wrote
version_added: 0.1.0
description:
  - Collects what M(nanobanana.testbed.win_preflight) judges on the control node. It judges nothing and never fails because of
    what a program does.
  - Tells besides which system and machine it runs on (V(system)), the fixed volumes (V(volumes)) and the registered
    distributions of WSL (V(distributions)).
  - Not verified on a real Windows yet.
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
attributes:
  check_mode:
    description: Programs that write are not run.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  platform:
    description: The systems that it runs on.
    platforms: windows
    support: full
options:
  programs:
    description: What is run, in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The answer's name.
        type: str
        required: true
      argv:
        description: Program and arguments, which no shell reads.
        type: list
        elements: str
        required: true
      seconds:
        description: After this time the program is ended with all its children; its C(rc) is V(124).
        type: float
        required: true
      needs:
        description: Run it only if the answer of this name has the C(rc) V(0).
        type: str
        default: ''
      removes:
        description: A file that is deleted first, so that an older one cannot pass for what the program writes.
        type: str
        default: ''
      writes:
        description: Whether the program writes; in check mode it is not run then.
        type: bool
        default: false
  folders:
    description: Folders that must answer; the C(rc) of each is V(0), V(1), or V(124) when it did not answer in time.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The answer's name.
        type: str
        required: true
      path:
        description: The folder, such as V(\\\\SERVER\\SHARE).
        type: str
        required: true
      seconds:
        description: How long it may take.
        type: float
        required: true
  seconds:
    description: How long each question to Windows itself may take.
    type: float
    default: 10.0
"""

EXAMPLES = r"""
- name: Ask the environment's Python for its version
  nanobanana.testbed.win_collect:
    programs:
      - name: python
        argv: ['C:\Users\tester\miniforge3\envs\nano-env\python.exe', --version]
        seconds: 20
"""

RETURN = r"""
outputs:
  description:
    - An answer for each name, as C(rc), C(out), C(err) and C(seconds).
    - The C(rc) is V(127) for a program that is not there and V(124) for one that ran out of time.
  returned: always
  type: dict
  sample:
    python:
      rc: 0
      out: "Python 3.10.12\r\n"
      err: ''
      seconds: 0.1
"""
