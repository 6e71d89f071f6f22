# SPDX-License-Identifier: GPL-3.0-or-later
"""After suspend and resume the same boot goes on."""

from __future__ import annotations

from typing import Any


def test_the_uptime_goes_on(host: Any, machine: Any) -> None:
    boot, uptime = host.check_output("cat /proc/sys/kernel/random/boot_id /proc/uptime").splitlines()
    before, then = machine.boot
    assert boot == before, "the guest was booted anew"
    assert float(uptime.split()[0]) > float(then.split()[0])
