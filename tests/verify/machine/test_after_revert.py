# SPDX-License-Identifier: GPL-3.0-or-later
"""After a revert the disks hold what they held when the snapshot was taken."""

from __future__ import annotations

from typing import Any


def test_what_was_there_is_back_on_both_disks(host: Any) -> None:
    with host.sudo():
        found = host.run("cat /srv/data/kept /root/kept").stdout.split()
    assert found == ["kept", "kept"], f"expected the marks of before the snapshot; found {found}"


def test_what_came_later_is_gone(host: Any) -> None:
    with host.sudo():
        assert host.run("test -e /root/late").rc == 1, "/root/late was written after the snapshot and is still there"
