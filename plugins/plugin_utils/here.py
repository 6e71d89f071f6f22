# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what a module would do in Ansible's own worker, where the module would run on this machine and Python anyway.

That spares packing the module, a second interpreter and compiling everything once more: about a second of each run.
Asynchronous tasks, privilege escalation, another interpreter, other machines and variables of a task's environment go
the module's way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase

Run = Callable[..., dict[str, Any]]


def possible(action: ActionBase, variables: Mapping[str, Any]) -> bool:
    """Whether the module would run as this user, on this machine, by this interpreter and environment."""
    task = action._task
    if action._connection.transport != "local" or action._play_context.become or task.async_val:
        return False
    if any(task.environment or ()):
        return False
    python = str(action._templar.template(variables.get("ansible_python_interpreter") or ""))
    return _in_its_folder(python) == _in_its_folder(sys.executable)


def _in_its_folder(program: str) -> Path:
    """The program without links above it; its own link stays, which is what tells environments apart."""
    path = Path(program)
    return path.parent.resolve() / path.name


def run(spec: dict[str, Any], args: Mapping[str, Any], work: Run, *, check: bool) -> dict[str, Any]:
    """Read the arguments as AnsibleModule does and call ``work``; no value of a secret option is in its result."""
    checked = ArgumentSpecValidator(spec).validate(_plain(args))
    if checked.error_messages:
        return {"failed": True, "msg": "; ".join(checked.error_messages)}
    result = work(checked.validated_parameters, check=check)
    secrets = checked._no_log_values  # AnsibleModule takes them from there too
    return dict(remove_values(result, secrets))


def _plain(value: Any) -> Any:
    """Plain data: Ansible's own kinds of text and lists are unknown to pyVmomi."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
