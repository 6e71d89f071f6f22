# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs are powered off, suspended and reverted after a test case."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nanobanana.testbed.plugins.filter.after_case import after_case


def raw(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "template": {"library": "l", "item": "i"}, "cpus": 1, "memory_mb": 4} | fields


def test_work_is_sorted_by_what_is_done() -> None:
    wishes = [
        raw("kept"),
        raw("off", lifecycle={"after_case": "power_off", "ttl_hours": 2}),
        raw("gpu", gpu=[{"mode": "vgpu", "profile": "p-4c"}]),
        raw("asleep", lifecycle={"after_case": "suspend"}),
        raw("ended", lifecycle={"after_case": "suspend"}),
        raw("back", lifecycle={"after_case": "revert", "snapshot": "clean"}),
        raw("too", lifecycle={"after_case": "revert", "snapshot": "clean"}),
        raw("other", lifecycle={"after_case": "revert", "snapshot": "loaded"}),
        raw("missing", lifecycle={"after_case": "power_off"}),
        raw("unknown", lifecycle={"after_case": "power_off"}),
    ]
    names = [wish["name"] for wish in wishes if wish["name"] != "unknown"]
    found: dict[str, dict[str, Any]] = {name: {"exists": True, "power": "poweredOn"} for name in names}
    found["ended"]["power"] = "poweredOff"
    found["missing"] = {"exists": False, "power": "absent"}
    todo = after_case(wishes, found)
    assert todo["revert"] == {"clean": ["back", "too"], "loaded": ["other"]}
    assert {wish["name"]: wish["lifecycle"]["power"] for wish in todo["power"]} == {
        "off": "off",
        "gpu": "off",
        "asleep": "suspended",
    }
    assert todo["power"][0]["lifecycle"]["ttl_hours"] == 2
    assert "power" not in wishes[1]["lifecycle"], "the wish itself stays as it is"


def test_a_wish_that_cannot_be_read_is_told() -> None:
    with pytest.raises(AnsibleFilterError, match=r"vm_lifecycle\.snapshot"):
        after_case([raw("a", lifecycle={"after_case": "revert"})], {})
