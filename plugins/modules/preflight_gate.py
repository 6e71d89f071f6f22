#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; there is no module code."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_gate
short_description: Judge what the checks of one stage found on all hosts
version_added: 0.1.0
description:
  - Takes the answers of M(nanobanana.testbed.preflight_guest) and its siblings, applies waivers, and says once for all
    targets whether the gate is open. A target that should have answered and did not is a failed check C(gate.answer).
  - A waiver that ran out covers nothing and is a failed check C(gate.waiver) of its own; one that covers nothing any more
    is a warning.
  - Runs on the control node and changes nothing there but the two files that it writes. Run it with C(run_once).
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
attributes:
  check_mode:
    description: Works in check mode as otherwise, because it changes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  action:
    description: It has an action plugin, and all of it runs there.
    support: full
options:
  stage:
    description: Which gate this is.
    type: str
    required: true
    choices: [platform, machine, guest]
  hosts:
    description:
      - By target what it answered, a mapping with C(checks) and C(facts), or with C(msg) and C(unreachable) where it did not
        get to its checks. A target is a host, or the vCenter.
    type: dict
    required: true
  expected:
    description: Names of the targets that must have answered.
    type: list
    elements: str
    default: []
  waivers:
    description:
      - Failures that are accepted, each with C(check) (an id), C(hosts) (a pattern such as V(nb-stress-*)), C(reason) and
        C(until) (the last day, as V(2026-12-31), by the clock of the control node). All four are mandatory.
      - What a waived failure blocks stays blocked and does not shut the gate.
    type: list
    elements: raw
    default: []
  artifacts_dir:
    description: Where C(preflight-STAGE.json) and C(preflight-STAGE.xml) (JUnit) are written. Nothing is written without it.
    type: path
  advisory:
    description: Whether a shut gate only says so, because in check mode nothing was done that could open it.
    type: bool
    default: false
  fail_on:
    description: Whether a shut gate fails the task, or only says so in RV(verdict).
    type: str
    default: failed
    choices: [failed, never]
"""

EXAMPLES = r"""
- name: Judge all hosts
  nanobanana.testbed.preflight_gate:
    stage: guest
    hosts: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'answer'))) }}"
    expected: "{{ ansible_play_hosts_all }}"
    waivers:
      - check: gpu.licence
        hosts: nb-stress-*
        reason: the licence server moves this week
        until: 2026-12-31
    artifacts_dir: artifacts
  run_once: true
"""

RETURN = r"""
verdict:
  description: V(open) or V(shut).
  returned: always
  type: str
advisory:
  description: The option of that name.
  returned: always
  type: bool
only_expired:
  description: Whether nothing but waivers that ran out keeps the gate shut.
  returned: always
  type: bool
msg:
  description: One table for all targets, failures first, each with its fix. Short where the gate is open.
  returned: always
  type: str
stage:
  description: Which gate this is.
  returned: always
  type: str
summary:
  description: Number of checks by status.
  returned: always
  type: dict
targets:
  description: By name C(status), C(facts) and C(checks), each as the module answered it, with C(waived) and C(excused).
  returned: always
  type: dict
waivers:
  description: Those of this stage with C(state) (used, expired, unused, idle) and what each C(covers).
  returned: always
  type: list
  elements: dict
mends:
  description: By target the commands that may be run unasked, each with C(id), C(run) and C(where) (control or guest).
  returned: always
  type: dict
files:
  description: What was written.
  returned: always
  type: list
  elements: str
error_code:
  description: A stable word for the kind of the error, V(invalid_waiver) or V(no_artifacts).
  returned: when nothing was judged
  type: str
"""
