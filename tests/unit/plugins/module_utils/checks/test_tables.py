# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of vCenter releases, hardware versions and NVIDIA devices: their shape and order.

Drivers and toolkits are in test_nvidia_versions.py; docs/how-to/add-a-row-to-the-tables.md says how to add a row.
"""

from __future__ import annotations

import datetime
import re
from itertools import pairwise

from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import nvidia_versions, vsphere_server
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.data import nvidia
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.data import vsphere as data
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import hardware


def test_releases_go_from_old_to_new_and_name_their_source() -> None:
    assert data.RELEASES[0].version == data.OLDEST_VCENTER
    for row in data.RELEASES:
        assert len(row.source) > 10
        assert row.build > 10_000_000
        assert datetime.date.fromisoformat(row.date) > datetime.date(2021, 1, 1)
        assert row.name.startswith(row.version[:3])
    for older, newer in pairwise(data.RELEASES):
        assert vsphere_server.parse(older.version) <= vsphere_server.parse(newer.version)
        if older.version == newer.version:
            assert older.build < newer.build
            assert older.date <= newer.date
    assert len({row.build for row in data.RELEASES}) == len(data.RELEASES)


def test_hardware_versions_go_from_old_to_new_with_the_esxi_that_runs_them() -> None:
    def number(text: str) -> tuple[float, ...]:
        return tuple(float(part) for part in text.replace("U", "").split())

    for (older, before), (newer, after) in pairwise(hardware.HARDWARE_VERSIONS.items()):
        assert older < newer
        assert number(before) < number(after)
    assert set(data.RECOMMENDED_HARDWARE) <= set(hardware.HARDWARE_VERSIONS)
    assert list(data.RECOMMENDED_HARDWARE) == sorted(data.RECOMMENDED_HARDWARE, reverse=True)
    assert data.CLOCK_WARNS < data.CLOCK_FAILS


def test_families_and_the_toolkits_of_repositories_are_known() -> None:
    majors = [row.major for row in nvidia.FAMILIES]
    assert majors == sorted(set(majors))
    toolkits = {row.cuda for row in nvidia.TOOLKITS}
    for row in nvidia.REPOSITORIES:
        assert {row.first, row.last} - {""} <= toolkits, row
        assert re.fullmatch(r"[0-9A-Fa-f]{8}\.pub", row.key)
    assert len({row.os for row in nvidia.REPOSITORIES}) == len(nvidia.REPOSITORIES)


def test_devices_are_pci_ids_and_there_once() -> None:
    for row in nvidia.GPUS:
        assert re.fullmatch(r"[0-9a-f]{4}", row.device), row
        assert row.name
        assert row.generation[0].isupper()
    assert len({row.device for row in nvidia.GPUS}) == len(nvidia.GPUS)


def test_the_windows_drivers_of_families_are_no_newer_than_their_toolkits() -> None:
    least = {row.major: row.windows for row in nvidia.FAMILIES}
    for row in nvidia.TOOLKITS:
        family = least[nvidia_versions.parse(row.cuda)[0]]
        if row.windows and family:
            assert nvidia_versions.parse(family) <= nvidia_versions.parse(row.windows), row
