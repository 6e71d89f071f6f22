# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/reference/lab-faults.md from lab/faults.yml: `python -m lab.faults_page`. A test compares the two."""

from __future__ import annotations

import yaml

from lab.paths import CHECKOUT

DATA = CHECKOUT / "lab" / "faults.yml"
PAGE = CHECKOUT / "docs" / "reference" / "lab-faults.md"
GUEST_FIELDS = ("subject", "vsphere", "lab", "reason")
VCENTER_FIELDS = ("id", "method", "condition", "fault", "vsphere", "source")
HEAD = """# What the lab does otherwise, and how it fails

<!-- Written by `python -m lab.faults_page` from lab/faults.yml; edit that file. -->

The lab stands in for a vCenter with hosts and guests. This page lists every fault that its vCenter raises on purpose,
and every point at which it deviates from a real vSphere, with the source that says what a real one does. What is "from
memory" here, nobody has checked against a real vCenter yet.

Delays, random errors, refusals, expiring sessions and lost connections come from a JSON file, which the variable
`NANOBANANA_LAB_FAULTS` names at `lab/lab up`:

```json
{
  "delays": {"CloneVM_Task": "2s", "ReconfigVM_Task": "0.3s", "PowerOnVM_Task": "0.5s"},
  "clones_at_once": 8,
  "random": {"seed": 7, "rate": 0.05, "methods": ["CloneVM_Task"], "faults": ["TaskInProgress", "HostNotConnected"]},
  "sessions": {"expire_after_calls": 200, "rest_expire_after_calls": 20, "times": 1},
  "drop_connection": {"after_calls": 50, "methods": ["CloneVM_Task"], "executed": true, "times": 1},
  "refuse": [{"vm": "nb-07", "method": "CloneVM_Task", "fault": "NoDiskSpace", "times": 0}]
}
```

Every key may be left out. Host full and datastore full need no settings: reserve more memory than the hosts of
lab/inventory.yml have, or add thick disks beyond the datastore's free space.
"""


def page(text: str) -> str:
    """The page for the text of lab/faults.yml. Raises ValueError that names a row without one of its fields."""
    data = yaml.safe_load(text)
    parts = [
        HEAD,
        "## The vCenter\n",
        _table(
            ("row", "method", "condition", "fault in the lab", "real vSphere", "source"),
            VCENTER_FIELDS,
            data["vcenter"],
        ),
        "\n## Podman guests\n",
        _table(("subject", "real vSphere", "the lab", "why"), GUEST_FIELDS, data["guests"]),
        "\n## QEMU guests\n",
        _table(("subject", "real vSphere", "the lab", "why"), GUEST_FIELDS, data["machines"]),
    ]
    return "\n".join(parts)


def _table(titles: tuple[str, ...], fields: tuple[str, ...], rows: list[dict[str, str]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for row in rows:
        if missing := [field for field in fields if not row.get(field)]:
            raise ValueError(f"{DATA.name}: row {row.get(fields[0], row)} lacks {', '.join(missing)}")
        lines.append("| " + " | ".join(_cell(row[field]) for field in fields) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(DATA.read_text()))


if __name__ == "__main__":
    main()
