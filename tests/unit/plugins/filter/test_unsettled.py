# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of settings differ from the wish, by what a probe printed."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.nanobanana.testbed.plugins.filter.unsettled import unsettled

DIGEST = hashlib.sha256(b"a\n").hexdigest()
WISH = {"path": "/etc/x", "text": "a\n"}
HIDDEN = WISH | {"mode": "600", "owner": "tester"}
GONE = {"path": "/etc/x", "text": ""}


@pytest.mark.parametrize(
    ("setting", "line", "settled"),
    [
        (WISH, f"setting /etc/x {DIGEST} 644 root", True),
        (WISH, "setting /etc/x 00 644 root", False),
        (WISH, f"setting /etc/x {DIGEST} 600 root", False),
        (WISH, f"setting /etc/x {DIGEST} 644 tester", False),
        (WISH, f"setting /etc/y {DIGEST} 644 root", False),
        (WISH, "setting /etc/x", False),
        (WISH, f"folder /etc/x {DIGEST} 644 root", False),
        (HIDDEN, f"setting /etc/x {DIGEST} 600 tester", True),
        (HIDDEN, f"setting /etc/x {DIGEST} 644 tester", False),
        (GONE, "", True),
        (GONE, f"setting /etc/x {DIGEST} 644 root", False),
    ],
)
def test_a_file_is_settled_by_text_mode_and_owner(setting: dict[str, str], line: str, settled: bool) -> None:
    assert unsettled([setting], ["another line", line]) == ([] if settled else [setting])


def test_the_order_stays() -> None:
    wishes = [{"path": f"/{name}", "text": name} for name in "cab"]
    assert unsettled(wishes, []) == wishes
