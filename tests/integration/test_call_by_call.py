# SPDX-License-Identifier: GPL-3.0-or-later
"""The page "What fleet does to your vCenter, call by call" says what the vCenter's own log says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import ROOT, Lab, wish

pytestmark = pytest.mark.integration
PAGE = ROOT / "docs/explanation/what-fleet-does-call-by-call.md"
IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\bvm-\d+\b")
PLACE = {"datacenter": "DC0", "folder": "nano-banana", "cluster": "gpu-cluster", "datastore": "vmfs-01"}
STATIC = {"disks": [], "gpu": [{"mode": "static", "model": "A10"}]}
PACKAGE = {"library": "nano-banana", "item": "nano-banana-baseline-ovf"}
LSI = {"tweaks": {"data_controller": "lsilogic"}, "lifecycle": {"power_cycle": "allowed"}}
BIGGER = {"disks": [{"name": "data", "size_gb": 30}]}


def tables() -> dict[str, dict[str, bool]]:
    """For each heading of the page its calls, and whether they are in bold, which means that they write."""
    found: dict[str, dict[str, bool]] = {}
    for part in PAGE.read_text().split("\n## ")[1:]:
        rows = re.findall(r"^\| (\*\*)?`([^`]+)`(?:\*\*)? \|", part, re.MULTILINE)
        found[part.splitlines()[0]] = {call: bool(bold) for bold, call in rows}
    return found


def called(lab: Lab, act: Callable[[], Any]) -> dict[str, bool]:
    """The distinct calls of one run and whether they write."""
    since = len(lab.calls())
    act()
    return {IDENTIFIER.sub("{id}", call["method"]): call["write"] for call in lab.calls()[since:]}


@pytest.mark.parametrize(
    ("headings", "exists", "run"),
    [
        (["Check mode, for a VM that does not exist"], False, lambda lab: lab.fleet(wish("a"), check=True)),
        (["Check mode, for a VM that does not exist", "Create"], False, lambda lab: lab.fleet(wish("a"))),
        (
            ["Check mode, for a VM that does not exist", "Create", "Create with a storage policy"],
            False,
            lambda lab: lab.fleet(wish("a", placement=PLACE | {"storage_policy": "gold"})),
        ),
        (
            ["Check mode, for a VM that does not exist", "Create", "Create with static DirectPath"],
            False,
            lambda lab: lab.fleet(wish("a", **STATIC)),
        ),
        (["Create, from an OVF item"], False, lambda lab: lab.fleet(wish("a", template=PACKAGE))),
        (["Nothing to do"], True, lambda lab: lab.fleet(wish("a"))),
        (["Change"], True, lambda lab: lab.fleet(wish("a", **BIGGER))),
        (["Change of the data disks' controller"], True, lambda lab: lab.fleet(wish("a", **LSI))),
        (["Remove"], True, lambda lab: lab.fleet({"name": "a"}, state="absent")),
        (["Read only (state: gathered)"], True, lambda lab: lab.fleet(wish("a"), state="gathered")),
    ],
    ids=["check", "create", "policy", "static", "ovf", "nothing", "change", "controller", "remove", "gathered"],
)
def test_the_page_names_each_call_and_no_other(
    lab: Lab, headings: list[str], exists: bool, run: Callable[[Lab], Any]
) -> None:
    if exists:
        lab.fleet(wish("a"))
    expected: dict[str, bool] = {}
    for heading in ["In every run", *headings]:
        expected |= tables()[heading]
    assert called(lab, lambda: run(lab)) == expected


def test_the_number_of_reads_does_not_follow_the_number_of_vms(lab: Lab) -> None:
    vms = [wish(f"vm-{number:02}", disks=[]) for number in range(12)]
    lab.fleet(*vms)
    counts = []
    for some in (vms[:1], vms):
        since = len(lab.calls())
        assert not lab.fleet(*some).changed
        counts.append(len(lab.calls()) - since)
    assert counts[0] == counts[1]


def test_each_table_is_checked_by_a_run() -> None:
    prose = {"What it never does"}
    marks = test_the_page_names_each_call_and_no_other.pytestmark  # type: ignore[attr-defined]
    rows = next(mark for mark in marks if mark.name == "parametrize").args[1]
    assert set(tables()) - prose == {"In every run"} | {heading for headings, *_rest in rows for heading in headings}
