# SPDX-License-Identifier: GPL-3.0-or-later
"""win_preflight's action: one call of the collector, judged here; its options are documented as they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.playbook.task import Task
from ansible_collections.nanobanana.testbed.plugins.action import win_preflight
from ansible_collections.nanobanana.testbed.plugins.doc_fragments import guest_checks
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import windows_gate
from ansible_collections.nanobanana.testbed.plugins.modules import win_preflight as documentation

ARGS = {"name": "nb-compatibility-01", "picture_prompt": "a crane"}


class Action(win_preflight.ActionModule):
    """The action with a collector that answers what the test says."""

    def __init__(self, args: dict[str, Any], answer: dict[str, Any], check_mode: bool = False) -> None:
        self._task = Task()
        self._task.args = args
        self._task.check_mode = check_mode
        self._task.async_val = 0
        self._supports_async = False
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="there"))
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def _execute_module(self, module_name: str, **options: Any) -> dict[str, Any]:
        self.asked.append((module_name, options["module_args"]))
        return self.answer


def run(answer: dict[str, Any], check_mode: bool = False, **args: Any) -> tuple[Action, dict[str, Any]]:
    action = Action({**ARGS, **args}, answer, check_mode)
    return action, action.run(task_vars={})


def test_the_guest_is_asked_once_and_its_answers_are_judged() -> None:
    action, found = run({"changed": False, "outputs": {}})
    assert [name for name, _args in action.asked] == ["nanobanana.testbed.win_collect"]
    assert {program["name"] for program in action.asked[0][1]["programs"]} >= {"python", "import", "picture"}
    assert found["failed"] is True
    assert found["changed"] is False
    assert "guest.python: The engine's environment runs the wished Python" in found["msg"]


def test_a_gate_that_judges_later_gets_the_checks_and_no_failure() -> None:
    _action, found = run({"outputs": {}}, fail_on="never")
    assert not found.get("failed")
    assert found["summary"]["failed"] > 0


def test_check_mode_reaches_the_judges() -> None:
    _action, found = run({"outputs": {}}, check_mode=True, fail_on="never")
    assert {check["id"]: check["status"] for check in found["checks"]}["guest.python"] == "skipped"


@pytest.mark.parametrize(
    "answer",
    [
        {"failed": True, "msg": "The term 'x' is not recognized"},
        {"unreachable": True, "msg": "The term 'x' is not recognized"},
        {"msg": "The term 'x' is not recognized", "outputs": []},
    ],
)
def test_a_collector_that_fails_is_named_with_the_next_command(answer: dict[str, Any]) -> None:
    _action, found = run(answer)
    assert found["failed"] is True
    assert found["msg"] == (
        "Guest gate of nb-compatibility-01: expected the answers of nanobanana.testbed.win_collect; found "
        "The term 'x' is not recognized. "
        "Next: ansible-playbook playbooks/preflight_guest.yml --limit nb-compatibility-01 -vvv"
    )


@pytest.mark.parametrize(("option", "value"), [("fail_on", "sometimes"), ("picture_timeout", "soon"), ("wishes", "x")])
def test_an_option_that_cannot_be_read_is_refused(option: str, value: str) -> None:
    with pytest.raises(AnsibleActionFail, match=option):
        run({"outputs": {}}, **{option: value})


def test_the_options_are_documented_as_they_are() -> None:
    documented = yaml.safe_load(documentation.DOCUMENTATION)["options"]
    documented |= yaml.safe_load(guest_checks.ModuleDocFragment.DOCUMENTATION)["options"]
    keys = ("type", "required", "default", "choices", "elements")
    assert {name: {key: option[key] for key in keys if key in option} for name, option in documented.items()} == {
        name: {key: option[key] for key in keys if key in option} for name, option in windows_gate.options().items()
    }
