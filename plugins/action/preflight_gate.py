# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges what the checks of one stage found on all targets, on the control node."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import gate, waivers
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue import CATALOGUE
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gate_documents import (
    as_dict,
    documents,
    plain,
    write,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gate_table import table
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import STAGES
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError, one_problem

SPEC: dict[str, dict[str, Any]] = {
    "stage": {"type": "str", "required": True, "choices": list(STAGES)},
    "hosts": {"type": "dict", "required": True},
    "expected": {"type": "list", "elements": "str", "default": []},
    "waivers": {"type": "list", "elements": "raw", "default": []},
    "artifacts_dir": {"type": "path"},
    "advisory": {"type": "bool", "default": False},
    "fail_on": {"type": "str", "default": "failed", "choices": ["failed", "never"]},
}
ADVICE = "\n\nCheck mode: nothing was made or configured before this gate, so it does not stop the run."


class ActionModule(ActionBase):
    """Asks no host anything, so that check mode is the same."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge, write the artifacts, and fail where the gate is shut and may fail."""
        variables = task_vars or {}
        result: dict[str, Any] = super().run(tmp, variables)
        _options, args = self.validate_argument_spec(SPEC)
        try:
            verdict = _judged(args, sorted(variables.get("groups", {}).get("all", ())))
            files = _written(verdict, args["artifacts_dir"])
        except TestbedError as error:
            return result | {"failed": True, "msg": str(error), "error_code": error.error_code}
        result |= as_dict(verdict) | {"stage": verdict.stage, "files": files, "mends": gate.mends(verdict)}
        advised = verdict.word == gate.SHUT and args["advisory"]
        result |= {"changed": False, "advisory": args["advisory"], "msg": table(verdict) + ADVICE * advised}
        fails = verdict.word == gate.SHUT and not advised and args["fail_on"] == "failed"
        return result | ({"failed": True} if fails else {})


def _judged(args: dict[str, Any], inventory: list[str]) -> gate.Verdict:
    known = {check.id: check.stage for check in CATALOGUE}
    return gate.judge(
        stage=args["stage"],
        hosts={name: answer if isinstance(answer, dict) else {} for name, answer in plain(args["hosts"]).items()},
        expected=[str(name) for name in args["expected"]],
        waivers=waivers.parse(args["waivers"], known),
        today=datetime.date.today(),
        known=known,
        inventory=inventory,
    )


def _written(verdict: gate.Verdict, folder: str | None) -> list[str]:
    if not folder:
        return []
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        return write(Path(folder), documents(verdict, now))
    except OSError as error:
        reason = f"{error.strerror} ({error.filename})"
        raise one_problem(
            "no_artifacts", "artifacts_dir", "a folder to write into", reason, "set testbed_artifacts_dir"
        ) from error
