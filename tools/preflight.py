# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the three gates and ends with a code that says why: `python tools/preflight.py [arguments of ansible-playbook]`.

  0   open: every gate is open
  10  shut: a check failed and no waiver covers it
  11  no verdict: a gate could not judge, or the run ended outside of the checks (inventory, connection, waivers, plan)
  12  expired: nothing but waivers that ran out keeps a gate shut

Neither 2 nor 4, which Ansible and GNU make use for everything. The codes come from the verdicts that the gates left in
the run's folder, preflight-STAGE.json. Scripts call this program: GNU make ends with 2 whatever a recipe ends with.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STAGES = ("platform", "machine", "guest")
OPEN, SHUT, NO_VERDICT, EXPIRED = 0, 10, 11, 12
WORDS = {
    OPEN: ("open", "every gate is open"),
    SHUT: ("shut", "a check failed and no waiver covers it"),
    NO_VERDICT: ("no verdict", "a gate could not judge, or the run ended outside of the checks"),
    EXPIRED: ("expired", "nothing but waivers that ran out keeps a gate shut"),
}
RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def code_of(returncode: int, verdicts: Mapping[str, Mapping[str, Any]]) -> int:
    """The exit code for Ansible's one and the gates' documents by stage."""
    shut = [verdict for verdict in verdicts.values() if verdict.get("verdict") == "shut"]
    if shut:
        return EXPIRED if all(verdict.get("only_expired") for verdict in shut) else SHUT
    return OPEN if returncode == 0 and verdicts else NO_VERDICT


def read(folder: Path) -> dict[str, Any]:
    """The gates' documents by stage; one that cannot be read is as good as none."""
    found = {}
    for stage in STAGES:
        try:
            found[stage] = json.loads((folder / f"preflight-{stage}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return {stage: verdict for stage, verdict in found.items() if isinstance(verdict, dict)}


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the gates in a folder of their own, say the verdict on the last line, and return its code."""
    run_id = environment.get("NANOBANANA_RUN_ID", "")
    if not RUN_ID.fullmatch(run_id) or run_id == "latest":
        run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    folder = ROOT / environment.get("NANOBANANA_ARTIFACTS", "artifacts") / run_id
    for stage in STAGES:  # of a run that had the same id
        (folder / f"preflight-{stage}.json").unlink(missing_ok=True)
    command = [environment.get("ANSIBLE_PLAYBOOK", "ansible-playbook"), "playbooks/preflight.yml", *arguments]
    try:
        returncode = subprocess.run(
            command, cwd=ROOT, env={**environment, "NANOBANANA_RUN_ID": run_id}, check=False
        ).returncode
    except OSError as error:
        print(f"{command[0]}: {error.strerror}. Next: make setup", file=sys.stderr)
        returncode = 127
    except KeyboardInterrupt:
        returncode = 130
    code = code_of(returncode, read(folder))
    verdict, meaning = WORDS[code]
    print(f"preflight: {verdict} (exit code {code}, {meaning})", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], os.environ))
