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
  - Fails with one message that names each failed check, what was expected, what was found and how to mend it.
  - What needs a check that failed is not run and ends as V(blocked).
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
options:
  name:
    description: The guest's name in the inventory; messages and the commands that they propose use it.
    type: str
    required: true
  os_expected:
    description:
      - The operating system that the guest should run, with its version, such as V(Ubuntu 22.04) or V(CentOS 7.9).
      - Empty means that any system will do; the check then ends as V(not_applicable).
    type: str
    default: ''
  allow_stand_in:
    description: Whether another operating system than O(os_expected) is a warning that names both, not a failure.
    type: bool
    default: false
  python_expected:
    description: The wanted Python version of the virtual environment; a deviation is a warning. Empty means any.
    type: str
    default: ''
  venv:
    description: The virtual environment that holds the engine.
    type: path
    required: true
  picture_path:
    description: Where the picture of the check is written. An older file there is deleted first.
    type: path
    required: true
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
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details: What is only read is checked; the picture is not drawn and ends as V(skipped).
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
      description: The check's name, V(guest.os), V(guest.python), V(model.import) or V(model.picture).
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
    fix:
      description: How to mend it; empty unless the check failed or warned.
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
  description: The guest's C(os), whether it is a C(stand_in), C(python), C(engine) version, C(backend) and C(picture).
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import guest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import Host, LocalHost
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.model_picture import Order
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    FAILED,
    explain,
    run_checks,
    summarise,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def argument_spec() -> dict[str, dict[str, Any]]:
    """The module's options, as DOCUMENTATION describes them."""
    return {
        "name": {"type": "str", "required": True},
        "os_expected": {"type": "str", "default": ""},
        "allow_stand_in": {"type": "bool", "default": False},
        "python_expected": {"type": "str", "default": ""},
        "venv": {"type": "path", "required": True},
        "picture_path": {"type": "path", "required": True},
        "picture_prompt": {"type": "str", "required": True},
        "picture_backend": {"type": "str", "default": "preview"},
        "picture_timeout": {"type": "float", "default": 60.0},
    }


def wish_from(params: dict[str, Any], check_mode: bool) -> guest.Wish:
    """The gate's wish from the module's options."""
    return guest.Wish(
        name=params["name"],
        os=params["os_expected"],
        allow_stand_in=params["allow_stand_in"],
        python=params["python_expected"],
        venv=params["venv"],
        check_mode=check_mode,
        picture=Order(
            engine=f"{params['venv']}/bin/nano-banana",
            python=f"{params['venv']}/bin/python",
            output=params["picture_path"],
            prompt=params["picture_prompt"],
            backend=params["picture_backend"],
            timeout=params["picture_timeout"],
        ),
    )


def examine(host: Host, wish: guest.Wish) -> dict[str, Any]:
    """Run the gate and shape what the module returns; ``msg`` is there only when the gate is shut."""
    results = run_checks(guest.catalogue(host, wish))
    answer: dict[str, Any] = {
        "changed": False,
        "checks": [result.as_dict() for result in results],
        "summary": summarise(results),
        "facts": guest.facts(results),
    }
    if answer["summary"]["verdict"] == FAILED:
        again = f"ansible-playbook playbooks/preflight_guest.yml --limit {wish.name}"
        answer["msg"] = explain(results, f"Guest gate of {wish.name}", again)
    return answer


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    answer = examine(LocalHost(), wish_from(module.params, module.check_mode))
    if "msg" in answer:
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
