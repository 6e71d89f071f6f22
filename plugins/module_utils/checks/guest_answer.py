# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of the guest gate return: checks, their count, facts for the report, why they fail."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

from .result import FAILED, Result, explain, summarise

# A fact's name, the check that tells it, and its name there.
FACTS: Tuple[Tuple[str, str, str], ...] = (
    ("os", "guest.os", "os"),
    ("stand_in", "guest.os", "stand_in"),
    ("python", "guest.python", "python"),
    ("engine", "model.import", "engine"),
    ("backend", "model.picture", "backend"),
    ("picture", "model.picture", "picture"),
    ("gpu", "gpu.present", "gpu"),
    ("driver", "gpu.driver", "driver"),
    ("kernel", "guest.kernel", "kernel"),
)


def facts(results: Sequence[Result]) -> Dict[str, Any]:
    """What the run's report says about the guest; a value is empty where its check gave none."""
    evidence = {result.id: result.evidence for result in results}
    return {name: evidence.get(check, {}).get(key, "") for name, check, key in FACTS}


def answer(results: Sequence[Result], name: str, fail_on: str) -> Dict[str, Any]:
    """Ansible's result; ``msg`` and ``failed`` are there only where a failed check shall fail the task."""
    told: Dict[str, Any] = {
        "changed": False,
        "checks": [result.as_dict() for result in results],
        "summary": summarise(results),
        "facts": facts(results),
    }
    if told["summary"]["verdict"] == FAILED and fail_on == "failed":
        again = f"ansible-playbook playbooks/preflight_guest.yml --limit {name}"
        told.update(failed=True, msg=explain(results, f"Guest gate of {name}", again))
    return told
