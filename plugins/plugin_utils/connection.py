# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills the connection options of a vSphere task from the variables of the same name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError

HINT = "testbed_connection_hint"


def connection_args(
    args: Mapping[str, Any], variables: Mapping[str, Any], template: Callable[[Any], Any]
) -> dict[str, Any]:
    """The task's own options win, then variables, then the VMWARE_* environment (which the module reads itself).

    Raises TestbedError (``no_connection``) that names every required option that nobody sets.
    """
    filled: dict[str, Any] = {}
    problems: list[Problem] = []
    hint = str(template(variables[HINT])) if HINT in variables else "set it in the inventory's group_vars/all"
    for name, option in vsphere_spec().items():
        value = args.get(name)
        if value is None and name in variables:
            value = template(variables[name])
        if value not in (None, ""):
            filled[name] = value
            continue
        environment = option["fallback"][1][0] if "fallback" in option else ""
        if option.get("required") and not os.environ.get(environment):
            problems.append(Problem(name, "a value", "nothing", f"{hint}, or set {environment}"))
    if problems:
        raise TestbedError("no_connection", problems)
    return filled
