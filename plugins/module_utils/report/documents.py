# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's results as JSON, one document a stage, for programs.

All six are written by every run; a stage that the run did not reach has the status ``no_run``. Each begins with
``schema`` (1), ``run_id``, ``stage``, ``status`` (passed, warned, failed, blocked, skipped, no_run), ``seconds`` and
``check_mode``, and has ``failures``: a list of ``host``, ``task``, ``message``, ``unreachable``, ``at`` (UTC, ISO
8601). What else there is:

``platform.json``, ``provision.json``
    ``vcenter``: ``full_name``, ``version``, ``simulated``. ``changed``. ``vms``: by name ``exists``, ``address``,
    ``power``, ``moid``, ``instance_uuid``, ``owner``, ``run``, ``expires``, ``template``, ``cpus``, ``memory_mb``,
    ``operations`` (what was done; in platform.json and in check mode what would be), ``error``.
``platform.json``, ``machine.json``, ``guest.json``
    ``hosts``: by name ``environment``, ``facts`` (guest.json alone: ``os``, ``python``, ``engine``, ``backend``,
    ``picture``: where it is on the guest) and ``checks``: a list of ``id``, ``title``, ``status``, ``expected``,
    ``actual``, ``detail``, ``fix``, ``seconds``, ``waived`` (until when and why a failure is accepted, or empty).
    ``common``: by name the same ``checks`` of what is no host, such as the vCenter.
``verify.json``
    ``hosts``: by name ``environment``, ``passed``, ``failed``, ``skipped`` and ``tests``: a list of ``name``,
    ``status``, ``seconds``, ``message``.
``run.json``
    The stage is ``run``. ``headline``, ``state`` (ended, unfinished, broken off), ``started``, ``ended`` (null unless
    it ended), ``inventory``, ``limit``, ``vcenter``, ``stages``: a list of ``name``, ``status``, ``seconds``, ``note``.
    ``hosts``: by name ``environment``, ``wished_os``, ``found_os``, ``status``, ``reason``, ``address``,
    ``operations``, ``stats``. ``stand_ins``: a list of ``what``, ``wished``, ``found``, ``hosts``. ``slowest``: a
    list of ``name``, ``seconds``, ``stage``.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .events import TaskFailed, Vm
from .model import ENDED, FAILED, NO_RUN, PASSED, SKIPPED, Host, Report

SCHEMA = 1
DOCUMENTS = ("platform", "provision", "machine", "guest", "verify", "run")


def documents(report: Report) -> dict[str, str]:
    """File name to JSON text, for every document."""
    bodies = {
        "platform": _fleet(report, "platform") | _gate(report, "platform"),
        "provision": _fleet(report, "provision"),
        "machine": _gate(report, "machine"),
        "guest": _gate(report, "guest"),
        "verify": {"hosts": {host.name: _verify(host) for host in report.hosts if host.tests}},
        "run": _run(report),
    }
    return {f"{name}.json": _text(_head(report, name) | bodies[name]) for name in DOCUMENTS}


def utc(at: float) -> str:
    """'2026-11-21T06:45:12Z'."""
    return datetime.datetime.fromtimestamp(at, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _head(report: Report, name: str) -> dict[str, Any]:
    stage = next((stage for stage in report.stages if stage.name == name), None)
    failures = [failure for failure in report.failures if name in ("run", failure.stage)]
    status, seconds = (stage.status, stage.seconds) if stage else (NO_RUN, 0.0)
    if name == "run":
        status, seconds = report.status, report.seconds
    return {
        "schema": SCHEMA,
        "run_id": report.info.run_id,
        "stage": name,
        "status": status,
        "seconds": round(seconds, 3),
        "check_mode": report.info.check_mode,
        "failures": [_failure(failure) for failure in failures],
    }


def _failure(failure: TaskFailed) -> dict[str, Any]:
    return {
        "host": "" if failure.for_all else failure.host,
        "task": failure.task,
        "message": failure.message,
        "unreachable": failure.unreachable,
        "at": utc(failure.at),
    }


def _fleet(report: Report, stage: str) -> dict[str, Any]:
    return {
        "vcenter": _vcenter(report),
        "changed": report.changed.get(stage, False),
        "vms": {vm.name: _vm(vm) for vm in report.fleet.get(stage, ())},
    }


def _vcenter(report: Report) -> dict[str, Any]:
    return asdict(report.vcenter) | {"simulated": report.vcenter.simulated}


def _vm(vm: Vm) -> dict[str, Any]:
    return {key: value for key, value in asdict(vm).items() if key != "name"}


def _gate(report: Report, stage: str) -> dict[str, Any]:
    judged = {host.name: (host, host.gates[stage]) for host in report.hosts if stage in host.gates}
    hosts = {
        name: {"environment": host.environment}
        | ({"facts": dict(host.facts)} if stage == "guest" else {})
        | {"checks": [asdict(check) for check in checks]}
        for name, (host, checks) in judged.items()
    }
    common = {
        name: {"checks": [asdict(check) for check in gates[stage]]}
        for name, gates in report.common.items()
        if stage in gates
    }
    return {"hosts": hosts, "common": common}


def _verify(host: Host) -> dict[str, Any]:
    counts = Counter(test.status for test in host.tests)
    tests = [asdict(test) for test in host.tests]
    return {"environment": host.environment, **{key: counts[key] for key in (PASSED, FAILED, SKIPPED)}, "tests": tests}


def _run(report: Report) -> dict[str, Any]:
    info = report.info
    return {
        "headline": report.headline,
        "state": report.state,
        "started": utc(info.started),
        "ended": utc(info.started + report.seconds) if report.state == ENDED else None,
        "inventory": list(info.inventory),
        "limit": info.limit,
        "vcenter": _vcenter(report),
        "stages": [asdict(stage) | {"seconds": round(stage.seconds, 3)} for stage in report.stages],
        "hosts": {host.name: _host(host) for host in report.hosts},
        "stand_ins": [asdict(each) for each in report.stand_ins],
        "slowest": [asdict(task) | {"seconds": round(task.seconds, 3)} for task in report.slowest],
    }


def _host(host: Host) -> dict[str, Any]:
    words = ("environment", "wished_os", "found_os", "status", "reason")
    return {word: getattr(host, word) for word in words} | {
        "address": host.vm.address if host.vm else "",
        "operations": list(host.vm.operations) if host.vm else [],
        "stats": dict(host.stats),
    }
