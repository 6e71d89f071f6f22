# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of playbooks/acceptance.yml: built from a list of what may be told, so that nothing else can be in it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: acceptance_report
short_description: Turn results of P(nanobanana.testbed.fleet#module) into a report without names
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Takes only versions, counts and error codes over, so that the report can be sent to others. Names of VMs, hosts and users,
    addresses and error texts are left out, and vCenter's identifier is hashed.
options:
  _input:
    description:
      - The checks in order. C(name) is its name and C(result) what fleet returned. C(changed) says whether it had to change
        something, and C(same_as) is another result that has to have the same operations. Both may be left out.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what may be shown
  ansible.builtin.debug:
    msg: "{{ [{'name': 'plan', 'result': planned, 'changed': true}] | nanobanana.testbed.acceptance_report }}"
"""

RETURN = r"""
_value:
  description: C(passed), C(vcenter) and C(checks), each with C(name), C(status), C(vms), C(operations) and C(error_code).
  type: dict
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

OLDEST = (7, 0, 3)
ABOUT = ("full_name", "version", "build", "api_version")


def acceptance_report(checks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The report; ``passed`` only when each check is."""
    checks = list(checks)
    rows = [_row(check) for check in checks]
    about: Mapping[str, Any] = next(
        (check["result"]["vcenter"] for check in checks if check["result"].get("vcenter")), {}
    )
    rows.insert(0, _version(about))
    return {
        "format": "nanobanana.testbed/acceptance",
        "version": 1,
        "passed": all(row["status"] == "passed" for row in rows),
        "vcenter": {name: str(about.get(name, "")) for name in ABOUT}
        | {"id": hashlib.sha256(str(about.get("instance_uuid", "")).encode()).hexdigest()[:12]},
        "checks": rows,
    }


def _version(about: Mapping[str, Any]) -> dict[str, Any]:
    found = tuple(int(part) for part in re.findall(r"\d+", str(about.get("version", ""))))
    return {"name": "vCenter 7.0.3 or newer", "status": "passed" if found >= OLDEST else "failed"}


def _row(check: Mapping[str, Any]) -> dict[str, Any]:
    result = check["result"]
    vms = result.get("vms")
    row = {
        "name": str(check["name"]),
        "vms": len(vms or {}),
        "operations": _operations(vms or {}),
        "changed": bool(result.get("changed")),
        "error_code": str(result.get("error_code", "" if vms is not None else "no_result")),
    }
    good = vms is not None and not row["error_code"]
    if check.get("changed") is not None:
        good = good and row["changed"] == check["changed"]
    if check.get("same_as") is not None:
        good = good and row["operations"] == _operations(check["same_as"].get("vms") or {})
    return row | {"status": "passed" if good else "failed"}


def _operations(vms: Mapping[str, Any]) -> dict[str, int]:
    """How often each kind of operation is planned or done; the rest of its text may hold names."""
    told = [str(operation) for vm in vms.values() for operation in vm.get("operations", ())]
    return dict(Counter(text if text in ("power on", "power off") else text.split(" ")[0] for text in told))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"acceptance_report": acceptance_report}
