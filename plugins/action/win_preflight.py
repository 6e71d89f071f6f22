# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest gate of a Windows host: asked by PowerShell, judged here by the same rules as a Linux guest."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import guest_answer, windows_gate

COLLECTOR = "nanobanana.testbed.win_collect"


class ActionModule(ActionBase):
    """One module call on the guest brings all answers; only check mode leaves the picture out."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask, then judge."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec(windows_gate.options())
        wish = windows_gate.wish_from(args, bool(self._task.check_mode))
        answer = self._execute_module(COLLECTOR, module_args=windows_gate.order(wish), task_vars=task_vars)
        outputs = answer.get("outputs")
        if answer.get("failed") or answer.get("unreachable") or not isinstance(outputs, dict):
            return result | answer | {"failed": True, "msg": _no_answer(wish.name, answer)}
        return result | guest_answer.answer(windows_gate.judged(outputs, wish), wish.name, args["fail_on"])


def _no_answer(name: str, answer: dict[str, Any]) -> str:
    found = answer.get("msg") or "an answer without outputs"
    return (
        f"Guest gate of {name}: expected the answers of {COLLECTOR}; found {found}. "
        f"Next: ansible-playbook playbooks/preflight_guest.yml --limit {name} -vvv"
    )
