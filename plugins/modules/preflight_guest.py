#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest gate; the checks are in module_utils/checks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_guest
short_description: Check that a configured guest can run the model
version_added: 0.1.0
description:
  - The guest gate. Runs on the guest, after it was configured, and answers one question after the other, from the
    operating system to the first picture.
  - Fails (see O(fail_on)) with one message that names each failed check, what was expected, what was found and how to mend it.
  - What needs a check that failed is not run and ends as V(blocked).
  - Changes nothing. The share and the data disk are tried with a file each, which is deleted at once.
extends_documentation_fragment: nanobanana.testbed.guest_checks
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
options:
  venv:
    description: The virtual environment that holds the engine.
    type: path
    required: true
  isolated_cores:
    description: The cores that the kernel shall isolate.
    type: list
    elements: int
    default: []
  swap_off:
    description: Whether the guest shall have no swap.
    type: bool
    default: false
  disk_mb_per_second:
    description: MB/s below which writing to the data disk past the page cache is a warning.
    type: float
    default: 50.0
  share_type:
    description: The kind of the share for results.
    type: str
    choices: [none, nfs, bind]
    default: none
  share_source:
    description: Where the share comes from.
    type: str
    default: ''
  share_folder:
    description: The guest's own folder on the share; empty means O(share_path).
    type: str
    default: ''
  gpu:
    description: >-
      With V(required) a guest without a GPU fails, with V(optional) its checks of the GPU end as V(not_applicable), with
      V(none) nobody looks for one.
    type: str
    choices: [required, optional, none]
    default: none
  gpu_pci_root:
    description: The PCI bus on which a GPU is looked for.
    type: str
    default: /sys/bus/pci/devices
  gpu_used_mb:
    description: MB of video memory that may be in use by no process; an idle driver keeps some.
    type: int
    default: 200
  driver_branch:
    description: The wished driver branch, such as V(535). Empty means any.
    type: str
    default: ''
  driver_version:
    description: The wished driver version. Empty means any of O(driver_branch).
    type: str
    default: ''
  driver_kind:
    description: Whether the driver is that of a whole GPU or of a vGPU.
    type: str
    choices: [passthrough, vgpu]
    default: passthrough
  cuda:
    description: The CUDA version that the driver must run. Empty means none.
    type: str
    default: ''
  cuda_policy:
    description: >-
      With V(strict) a driver below the toolkit's own fails; with V(minor_version) it warns as long as NVIDIA's minor-version
      compatibility covers it.
    type: str
    choices: [strict, minor_version]
    default: minor_version
  video_memory_mb:
    description: MB of video memory that the model's profile needs.
    type: int
    default: 0
  picture_path:
    description: Where the picture of the check is written. An older file there is deleted first.
    type: path
    required: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: What is only read is checked; what would write (picture, speed of the disk) ends as V(skipped).
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check mode), when in diff mode.
    support: none
"""

EXAMPLES = r"""
- name: Check the guest
  nanobanana.testbed.preflight_guest:
    name: "{{ inventory_hostname }}"
    os_expected: Ubuntu 22.04
    python_expected: 3.10.12
    venv: /home/tester/nano-env
    picture_path: /home/tester/nano-banana/output/preflight.png
    picture_prompt: LEGO Technic crane set exploded view, colorful bricks separated by type
"""

RETURN = r"""
checks:
  description: Every check of the gate, in the order in which they ran; returned on failure, too.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The check's name, such as V(guest.os) or V(gpu.driver).
      type: str
    title:
      description: What is asked, in a sentence.
      type: str
    status:
      description: One of V(passed), V(warned), V(failed), V(blocked), V(skipped), V(not_applicable).
      type: str
    expected:
      description: What the wish asks for.
      type: str
    actual:
      description: What was found.
      type: str
    detail:
      description: Why the status is what it is; empty only for V(passed).
      type: str
    severity:
      description: V(error), or V(warning) for a check that never fails, but warns.
      type: str
    fix:
      description: How to mend it; empty unless the check failed or warned.
      type: str
    mend:
      description: The same for programs, as C(run), C(where) (V(control) or V(guest)) and whether it is C(automatic).
      type: dict
    cause:
      description: The id of the known cause that explains a failure; empty where none does.
      type: str
    evidence:
      description: Figures and names that a report may show.
      type: dict
    seconds:
      description: How long the check took.
      type: float
summary:
  description: Number of checks by status, their C(total), and a C(verdict) of V(passed), V(warned), V(failed) or V(skipped).
  returned: always
  type: dict
facts:
  description: >-
    The guest's C(os), whether it is a C(stand_in), its C(kernel), C(gpu), C(driver) and C(python), the C(engine) version,
    C(backend) and C(picture).
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.guest import examine
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.guest_answer import answer
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.guest_wish import from_options, options
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import LocalHost


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=options(), supports_check_mode=True)
    wish = from_options(module.params, module.check_mode)
    told = answer(examine(LocalHost(), wish), wish.name, module.params["fail_on"])
    if told.get("failed"):
        module.fail_json(**told)
    module.exit_json(**told)


if __name__ == "__main__":
    main()
