# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's verdict for programs: JSON, and JUnit in which a target is a suite and a check is a case.

``preflight-STAGE.json`` has ``schema`` (1), ``stage``, ``verdict`` (open, shut), ``only_expired`` (nothing but waivers
that ran out keeps it shut), ``written`` (UTC, ISO 8601), ``summary`` (checks by status), ``targets``: by name
``status``, ``facts``, ``checks`` (a list of what the modules answered, and ``waived``, ``excused``), and ``waivers``: a
list of ``check``, ``hosts``, ``reason``, ``until``, ``state`` (used, expired, unused, idle), ``covers``.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping
from xml.etree import ElementTree

from .gate import Row, Verdict, counts, worst
from .result import BLOCKED, FAILED, NOT_APPLICABLE, SKIPPED

SCHEMA = 1
# XML 1.0 knows no other control characters, and a program's output may hold any.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def documents(verdict: Verdict, written: str) -> Dict[str, str]:
    """File name to text. ``written`` is the time, UTC in ISO 8601."""
    name = f"preflight-{verdict.stage}"
    body = {"schema": SCHEMA, "stage": verdict.stage, **as_dict(verdict), "written": written}
    return {f"{name}.json": json.dumps(body, indent=2, ensure_ascii=False) + "\n", f"{name}.xml": junit(verdict)}


def as_dict(verdict: Verdict) -> Dict[str, Any]:
    """The verdict as plain data."""
    return {
        "verdict": verdict.word,
        "only_expired": verdict.only_expired,
        "summary": counts(verdict.rows),
        "targets": {
            target: {
                "status": worst(rows),
                "facts": plain(verdict.facts.get(target, {})),
                "checks": [_check(row) for row in rows],
            }
            for target, rows in verdict.targets.items()
        },
        "waivers": [
            {**vars(use.waiver), "until": str(use.waiver.until), "state": use.state, "covers": list(use.covers)}
            for use in verdict.uses
        ],
    }


def junit(verdict: Verdict) -> str:
    """What CI systems read."""
    root = ElementTree.Element("testsuites", name=f"preflight {verdict.stage}")
    for target, rows in verdict.targets.items():
        skipped = sum(_is_skipped(row) for row in rows)
        failed = sum(row.status == FAILED for row in rows)
        seconds = sum(row.seconds for row in rows)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(target),
            tests=str(len(rows)),
            failures=str(failed),
            errors="0",
            skipped=str(skipped),
            time=f"{seconds:.3f}",
        )
        for row in rows:
            _case(suite, verdict.stage, row)
    ElementTree.indent(root)
    return (
        ElementTree.tostring(root, encoding="unicode", xml_declaration=True).replace("encoding='us-ascii'", "") + "\n"
    )


def write(folder: Path, texts: Mapping[str, str]) -> List[str]:
    """Write each file whole or not at all; returns their paths. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in texts.items():
        draft = folder / f".{name}.{os.getpid()}"
        draft.write_text(text, encoding="utf-8", errors="replace")
        draft.replace(folder / name)
        paths.append(str(folder / name))
    return paths


def plain(value: Any) -> Any:
    """Plain data of what Ansible hands over, whose texts carry tags."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def _check(row: Row) -> Dict[str, Any]:
    return {key: plain(value) for key, value in vars(row).items() if key != "target"}


def _is_skipped(row: Row) -> bool:
    return row.status in (SKIPPED, NOT_APPLICABLE, BLOCKED)


def _case(suite: ElementTree.Element, stage: str, row: Row) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=_xml(f"{stage}.{row.target}"), name=_xml(row.id), time=f"{row.seconds:.3f}"
    )
    if row.status == FAILED:
        failure = ElementTree.SubElement(case, "failure", message=_xml(row.detail or row.actual))
        pairs = (("expected", row.expected), ("found", row.actual), ("why", row.detail), ("fix", row.fix))
        failure.text = _xml("\n".join(f"{label}: {text}" for label, text in pairs if text))
    elif _is_skipped(row):
        ElementTree.SubElement(case, "skipped", message=_xml(f"{row.status.replace('_', ' ')}: {row.detail}"))
    elif row.detail:
        ElementTree.SubElement(case, "system-out").text = _xml(f"{row.status}: {row.detail}")


def _xml(text: str) -> str:
    return _NO_XML.sub("?", text)
