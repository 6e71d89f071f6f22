# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what both modules of the guest gate take; the options themselves are in checks/guest_wish.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The options that mean the same on Linux and on Windows."""

    DOCUMENTATION = r"""
options:
  name:
    description: The guest's name in the inventory; messages and the commands that they propose use it.
    type: str
    required: true
  user:
    description: The user who runs the model. Commands that mend something name it, and paths that are not given are his.
    type: str
    default: tester
  environment:
    description: The environment, such as V(baseline). Checks of other environments end as V(not_applicable). Empty means all.
    type: str
    default: ''
  fail_on:
    description: With V(failed) a failed check fails the task; with V(never) it is only told, for a gate that judges later.
    type: str
    choices: [failed, never]
    default: failed
  os_expected:
    description:
      - The operating system that the guest should run, with its version, such as V(Ubuntu 22.04), V(CentOS 7.9) or
        V(Windows Server 2019).
      - Empty means that any system will do; the check then ends as V(not_applicable).
    type: str
    default: ''
  allow_stand_in:
    description: Whether another system or machine than the wished one is a warning that names both, not a failure.
    type: bool
    default: false
  python_expected:
    description: The wanted Python version of the environment; a deviation is a warning. Empty means any.
    type: str
    default: ''
  modules:
    description: The Python modules that the model's profile needs.
    type: list
    elements: str
    default: []
  engine:
    description: Whether the model's profile brings the engine of this repository.
    type: bool
    default: true
  pillow:
    description: Which Pillow is wished, V(plain) or V(simd), as in the role's variable C(pyenv_pillow); asked on Windows only.
    type: str
    default: plain
  disk_path:
    description: Where the data disk is, such as V(/srv/nano-banana) or V(N:\\); empty where none is wished.
    type: str
    default: ''
  disk_free_mb:
    description: MB that must be free on the data disk.
    type: int
    default: 1000
  share_path:
    description: Where the share is mounted, on Windows its address such as V(\\\\SERVER\\SHARE). Empty means that there is none.
    type: str
    default: ''
  share_seconds:
    description: Seconds within which the share must answer.
    type: float
    default: 2.0
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
    description: Seconds above which the first picture counts as too slow.
    type: float
    default: 30.0
"""
