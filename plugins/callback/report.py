# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listens to a run, and leaves its report; what a report says is decided in module_utils/report/."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report
type: aggregate
short_description: Leave a readable report of each run of the testbed
version_added: 0.1.0
description:
  - Gives the run its id and its folder, and writes there one HTML page for people and one JSON file a stage for programs,
    also when the run failed or was broken off. A link C(latest) beside the folders points to the newest one.
  - Sets E(NANOBANANA_RUN_ID) and E(NANOBANANA_ARTIFACTS_DIR), the absolute path of the run's folder, before the first play
    begins; playbooks read both by P(ansible.builtin.env#lookup).
  - Ends the run's output with one line for each host and the path of the report. Of more than 20 hosts it shows those
    that failed, were blocked or did not run, and one line that counts the others.
  - Writes nothing for a run in which neither M(nanobanana.testbed.fleet) nor M(nanobanana.testbed.preflight_gate) nor the
    testinfra suite took part.
  - A report that cannot be written is a warning and never fails the run.
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
requirements:
  - enable in configuration, C(callbacks_enabled = nanobanana.testbed.report)
options:
  run_id:
    description:
      - Name of the run and of its folder, at most 64 letters, digits, dots, dashes and underscores.
      - By default the time of the start in UTC and four random hexadecimal digits, such as V(20261121-064512-3fa2).
      - A run id that is used again writes over the earlier report.
    type: str
    default: ''
    env:
      - name: NANOBANANA_RUN_ID
  artifacts:
    description: The folder that holds the folders of the runs.
    type: path
    default: ./artifacts
    env:
      - name: NANOBANANA_ARTIFACTS
    ini:
      - section: callback_nanobanana_report
        key: artifacts
"""

import atexit
import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible_collections.nanobanana.testbed.plugins.module_utils.report import build, events, summary
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.folder import Folder
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.model import Report, RunInfo

RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
FLEET = "nanobanana.testbed.fleet"
GATE = "nanobanana.testbed.preflight_gate"
COMMAND = "ansible.builtin.command"
COLOURS = {"passed": "green", "warned": "yellow", "failed": "red", "blocked": "purple"}


class CallbackModule(CallbackBase):
    """Turns what Ansible tells into events, and writes the report made of them."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "nanobanana.testbed.report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._events: list[events.Event] = []
        self._info: RunInfo | None = None
        self._folder = Folder(Path("artifacts"))
        self._stage = ""
        self._ended = False

    # Ansible calls what follows, in the order in which a run goes.

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ARG002 - the signature is Ansible's
        """Before any worker is forked and any variable is read: what stands in the environment here, all of them see."""
        self._ended = False
        if self._info:
            return  # a further playbook on the same command line belongs to the same run
        run_id = self._run_id()
        self._folder = Folder(Path(self.get_option("artifacts")).absolute() / run_id)
        os.environ["NANOBANANA_RUN_ID"] = run_id
        os.environ["NANOBANANA_ARTIFACTS_DIR"] = str(self._folder.path)
        arguments = context.CLIARGS
        self._info = RunInfo(
            run_id=run_id,
            started=time.time(),
            inventory=tuple(_shown(str(source)) for source in arguments.get("inventory") or ()),
            check_mode=bool(arguments.get("check")),
            limit=str(arguments.get("subset") or ""),
        )
        # Ctrl-C ends ansible-playbook without v2_playbook_on_stats. Workers leave by os._exit and so never come here.
        atexit.register(self._break_off, os.getpid())

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play begins; what was known until now is written, for a run that is killed has no other chance."""
        self._write(going=True)
        self._stage = events.STAGE_OF_PLAYBOOK.get(Path(play.get_path().rpartition(":")[0]).name, "")
        self._events.append(events.PlayStarted(time.time(), play.get_name(), self._stage, _hosts(play)))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        """A task begins, and the one before it has ended."""
        self._events.append(events.TaskStarted(time.time(), events.clean(_name(task))))

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler begins."""
        self._events.append(events.TaskStarted(time.time(), events.clean(_name(task))))

    def v2_runner_on_ok(self, result: Any) -> None:
        """Take what the testbed's own tasks answer."""
        self._take(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A gate that stays shut answers, too."""
        self._take(result)
        if not ignore_errors:
            self._fail(result, unreachable=False)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The host does not answer."""
        if not result.task_fields.get("ignore_unreachable"):
            self._fail(result, unreachable=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The playbook has ended, well or not."""
        figures = {host: stats.summarize(host) for host in stats.processed}
        self._events.append(events.RunEnded(time.time(), figures))
        self._ended = True
        self._close()

    # What follows is ours.

    def _run_id(self) -> str:
        wished = str(self.get_option("run_id") or "")
        if RUN_ID.fullmatch(wished) and wished != "latest":
            return wished
        made = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
        if wished:
            self._display.warning(
                f"NANOBANANA_RUN_ID: expected at most 64 letters, digits, dots, dashes and underscores, and not 'latest'; "
                f"found '{events.clean(wished, 80)}'. This run is called {made}."
            )
        return made

    def _take(self, result: Any) -> None:
        task = result.task
        # After a loop Ansible no longer knows what an action's name stood for, and warns whoever asks.
        action = task.action if task.loop else task.resolved_action
        if action not in (FLEET, GATE, COMMAND):
            return
        if action != COMMAND:
            self._folder.make()
        for answer in events.answers(result.result):
            if action == FLEET:
                self._events.append(events.fleet_ran(answer, self._fleet_stage(result)))
            elif action == GATE:
                self._events += events.gate_ran(answer)
            elif found := self._suite_ran(answer):
                self._events.append(found)

    def _suite_ran(self, answer: Mapping[str, Any]) -> events.SuiteRan | None:
        return events.suite_ran(answer, str(self._folder.path))

    def _fleet_stage(self, result: Any) -> str:
        """What a call of fleet is for; of its arguments, which hold secrets, only the state is read."""
        state = (result.task_fields.get("args") or {}).get("state", "present")
        if state == "present":
            return "platform" if self._stage == "platform" else "provision"
        return "teardown" if state == "absent" else ""

    def _fail(self, result: Any, *, unreachable: bool) -> None:
        name, fields = _name(result.task), result.task_fields
        self._events.append(
            events.TaskFailed(
                at=time.time(),
                host=result.host.get_name(),
                task=events.clean(result.task_name if "{{" in name else name),
                message=events.message_of(result.result),
                stage=self._stage,
                unreachable=unreachable,
                for_all=bool(fields.get("run_once") or fields.get("any_errors_fatal")),
            )
        )

    def _break_off(self, pid: int) -> None:
        if os.getpid() == pid and not self._ended:
            self._close()

    def _close(self) -> None:
        report = self._write(going=False)
        if report:
            self._say(report)

    def _write(self, *, going: bool) -> Report | None:
        """Write the report; None when there is nothing to report or it cannot be written."""
        if not self._info:
            return None
        try:
            evidence = self._folder.evidence(self._info.started, build.drawn(self._events))
            if not (build.happened(self._events) or evidence.tests):
                return None
            report = build.build(self._info, self._events, evidence, time.time(), going=going)
            self._folder.write(report)
        except Exception as error:  # what the run did counts more than its report
            self._display.warning(
                f"{self._folder.path}: the run's report was not written: {type(error).__name__}: {error}"
            )
            return None
        for warning in self._folder.warnings:
            self._display.warning(warning)
        self._folder.warnings.clear()
        return report

    def _say(self, report: Report) -> None:
        self._display.banner("TESTBED")
        for status, line in summary.lines(report.hosts):
            self._display.display(line, color=COLOURS.get(status))
        self._display.display(f"{report.headline}. Report: {_shown(str(self._folder.path / 'report.html'))}")


def _name(task: Any) -> str:
    """'role : task'; the collection's own name before each role would only push the rest out of sight."""
    return str(task.get_name(include_role_fqcn=False))


def _shown(path: str) -> str:
    """A path as one would type it here."""
    given = Path(path)
    if not given.is_absolute():
        return path
    here = Path.cwd()
    return str(given.relative_to(here)) if given.is_relative_to(here) else path


def _hosts(play: Any) -> dict[str, tuple[str, str]]:
    """The play's hosts that belong to an environment, each with (environment, wished operating system)."""
    variables = play.get_variable_manager().get_vars(play=play)
    groups = variables.get("groups") or {}
    found = {}
    for name in variables.get("ansible_play_hosts_all") or ():
        environment = next((each for each in events.ENVIRONMENTS if name in groups.get(each, ())), "")
        if environment:
            found[str(name)] = (environment, _wished_os(variables, name))
    return found


def _wished_os(variables: Mapping[str, Any], host: str) -> str:
    try:
        return events.clean(variables["hostvars"][host].get("testbed_os"))
    except Exception:  # the guest gate says what was wished, too
        return ""
