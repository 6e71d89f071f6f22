# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's tables: their shape, and what follows from them for a driver and a CUDA version."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import nvidia_versions as versions
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.data import nvidia as data

ROWS = [
    *data.TOOLKITS,
    *data.FAMILIES,
    *data.BRANCHES,
    *data.PACKAGES,
    *data.REPOSITORIES,
    *data.GPUS,
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_row_names_its_source(row: object) -> None:
    assert len(getattr(row, "source", "")) > 10


def test_toolkits_and_their_drivers_go_from_old_to_new() -> None:
    for older, newer in pairwise(data.TOOLKITS):
        assert versions.parse(older.cuda) < versions.parse(newer.cuda)
        assert versions.parse(older.linux) < versions.parse(newer.linux)
    windows = [versions.parse(row.windows) for row in data.TOOLKITS if row.windows]
    assert windows == sorted(windows)


def test_branches_go_from_old_to_new_and_offer_their_own_toolkit() -> None:
    assert [versions.parse(row.name) for row in data.BRANCHES] == sorted(
        versions.parse(row.name) for row in data.BRANCHES
    )
    for row in data.BRANCHES:
        assert versions.branch_of(row.newest) == row.name
        assert versions.judge(row.newest, row.cuda, strict=True).status == "passed", row


def test_every_toolkit_has_a_family_that_is_not_newer_than_it() -> None:
    lowest = {row.major: row.linux for row in data.FAMILIES}
    for row in data.TOOLKITS:
        assert versions.parse(lowest[versions.parse(row.cuda)[0]]) <= versions.parse(row.linux)


def test_packages_name_known_branches_and_systems() -> None:
    for row in data.PACKAGES:
        assert set(row.branches) <= set(versions.branches())
        assert versions.repository(row.os)
        assert row.origin in ("distribution", "nvidia")
        for name in (*row.user, *row.kernel):
            assert set(re.findall(r"{(\w+)}", name)) <= {"branch", "kernel"}
    assert len({(row.os, row.origin) for row in data.PACKAGES}) == len(data.PACKAGES)


# driver, CUDA, strict, status, what would pass
JUDGED = [
    ("535.183.06", "12.2", True, "passed", "535.54.03"),
    ("535.54.03", "12.2", True, "passed", "535.54.03"),
    ("535", "12.2", True, "passed", "535.54.03"),
    ("535.54.02", "12.2", True, "failed", "535.54.03"),
    ("535.54.02", "12.2", False, "warned", "535.54.03"),
    # Updates of a toolkit have drivers of their own; one that the table does not know counts as the first release.
    ("535.86.05", "12.2.1", True, "failed", "535.86.09"),
    ("535.86.05", "12.2.0", True, "passed", "535.54.03"),
    ("535.104.05", "12.2.2", True, "passed", "535.104.05"),
    ("555.42.02", "12.5.1", True, "passed", "555.42.02"),
    # Minor-version compatibility: 525 runs what any 12.x brings, with limits.
    ("525.60.13", "12.4", False, "warned", "550.54.14"),
    ("525.60.13", "12.4", True, "failed", "550.54.14"),
    ("525.60.12", "12.4", False, "failed", "525.60.13"),
    ("525.60.12", "12.4", True, "failed", "550.54.14"),
    ("450.80.02", "11.8", False, "warned", "520.61.05"),
    ("450.80.01", "11.8", False, "failed", "450.80.02"),
    # Drivers are backward compatible, whatever the tables' upper bounds say.
    ("580.65.06", "12.2", True, "passed", "535.54.03"),
    ("595.45.04", "11.1", True, "passed", "455.23"),
    ("999.1", "12.2", True, "passed", "535.54.03"),
    # Another major version is another family.
    ("575.51.03", "13.0", False, "failed", "580"),
    ("580.65.06", "13.0", True, "passed", "580.65.06"),
    ("580.65.06", "13.2", False, "warned", "595.45.04"),
    ("580.65.06", "13.2", True, "failed", "595.45.04"),
    # What the table does not know is no guess.
    ("534", "12.2", False, "failed", ""),
    ("535.183.06", "14.0", False, "failed", ""),
    ("535.183.06", "12.7", False, "failed", ""),
    ("535.183.06", "twelve", False, "failed", ""),
    ("five.three", "12.2", False, "failed", ""),
]


@pytest.mark.parametrize(("driver", "cuda", "strict", "status", "minimum"), JUDGED)
def test_a_driver_against_a_cuda(driver: str, cuda: str, strict: bool, status: str, minimum: str) -> None:
    verdict = versions.judge(driver, cuda, strict)
    assert (verdict.status, verdict.minimum) == (status, minimum)
    assert bool(verdict.reason) == (status != "passed")
    if minimum and status != "passed":
        assert driver in verdict.reason


@pytest.mark.parametrize(
    ("driver", "cuda", "status"),
    [
        ("536.25", "12.2", "passed"),
        ("535.98", "12.2", "warned"),
        ("527.40", "12.2", "failed"),
        ("580.88", "13.0", "failed"),
    ],
)
def test_windows_has_figures_of_its_own(driver: str, cuda: str, status: str) -> None:
    assert versions.judge(driver, cuda, strict=False, platform="windows").status == status


@pytest.mark.parametrize(
    ("cuda", "os", "why"),
    [
        ("12.2", "ubuntu-22.04", ""),
        ("12.4", "centos-7", ""),
        ("12.4.1", "centos-7", ""),
        ("12.5", "centos-7", "CUDA 12.4 is the last"),
        ("13.0", "centos-7", "CUDA 12.4 is the last"),
        ("12.2", "debian-12", "CUDA 12.3 is the first"),
        ("12.2", "rocky-9", "NVIDIA has no repository for rocky-9"),
    ],
)
def test_which_toolkits_are_packaged_for_a_system(cuda: str, os: str, why: str) -> None:
    found = versions.in_repository(cuda, os)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("Inst nvidia-utils-535-server (535.183.06-0ubuntu0.22.04.1 Ubuntu:22.04/jammy [amd64])", False),
        ("Inst nvidia-utils-580-server (580.95.05-0ubuntu1 Ubuntu:22.04/jammy-updates [amd64])", True),
        ("Inst libnvidia-compute-580 [535.1-1] (580.95.05-0ubuntu1 Ubuntu:22.04/jammy [amd64])", True),
        ("Inst linux-modules-nvidia-580-server-5.15.0-186-generic (5.15.0-186.196+1 Ubuntu:22.04/jammy [amd64])", True),
        ("Inst linux-modules-nvidia-535-server-5.15.0-186-generic (5.15.0-186.196 Ubuntu:22.04/jammy [amd64])", False),
        ("Inst nvidia-driver (550.163.01-2 Debian:12/bookworm [amd64])", True),
        ("Inst nvidia-tesla-535-driver (535.216.03-3~deb12u1 Debian:12/bookworm [amd64])", False),
        ("Inst libcuda1 (1:535.183.06-1 NVIDIA:1.0 [amd64])", False),
        ("Inst cuda-drivers-535 (535.183.06-1 NVIDIA:1.0 [amd64])", False),
        # These have versions of their own.
        ("Inst nvidia-settings (510.47.03-0ubuntu1 Ubuntu:22.04/jammy [amd64])", False),
        ("Inst nvidia-modprobe (550.54-1 NVIDIA:1.0 [amd64])", False),
        ("Inst dkms (2.8.7-2ubuntu2.2 Ubuntu:22.04/jammy [all])", False),
        ("Conf nvidia-utils-580-server (580.95.05-0ubuntu1 Ubuntu:22.04/jammy [amd64])", False),
        ("535 upgraded, 580 newly installed", False),
    ],
)
def test_packages_of_another_branch_are_found_before_they_are_installed(line: str, other: bool) -> None:
    assert bool(versions.other_branches([line], "535")) == other


def test_gpus_have_names() -> None:
    assert versions.gpu_name("1eb8") == "Tesla T4 (0x1eb8)"
    assert versions.gpu_name("2236") == "A10 (0x2236)"
    assert versions.gpu_name("ffff") == "NVIDIA device 0xffff"


def test_what_to_set_is_worked_out() -> None:
    assert versions.oldest_branch_with("550.54.14") == "550"
    assert versions.oldest_branch_with("999") == ""
    assert versions.newest_toolkit_for("535.54.03", strict=True) == "12.2"
    assert versions.newest_toolkit_for("535.54.03", strict=False) == "12.9"
    assert versions.newest_toolkit_for("100.1", strict=False) == ""
