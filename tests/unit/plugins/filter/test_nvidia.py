# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of the roles nvidia_driver and cuda_toolkit: what is refused, in which words, and names of packages."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.filter.nvidia_packages import nvidia_packages
from ansible_collections.nanobanana.testbed.plugins.filter.nvidia_wish import nvidia_wish

SHA = "0123456789abcdef" * 4
DRIVER: dict[str, Any] = {
    "role": "nvidia_driver",
    "host": "gpu-1",
    "family": "Debian",
    "os": "ubuntu-22.04",
    "branch": "535",
    "version": "",
    "kind": "passthrough",
    "source": "nvidia",
    "cuda": "12.2",
    "strict": True,
    "repo_url": "",
    "file": "",
    "sha256": "",
    "token": False,
    "space_mb": 2000,
}
TOOLKIT: dict[str, Any] = {
    "role": "cuda_toolkit",
    "host": "gpu-1",
    "family": "Debian",
    "os": "ubuntu-22.04",
    "version": "12.2",
    "source": "nvidia",
    "driver": "535",
    "strict": True,
    "repo_url": "",
    "file": "",
    "sha256": "",
    "space_mb": 10000,
}
FOUND: dict[str, Any] = {"secure_boot": False, "packages": "", "runfile": False, "installed": False, "free_mb": 20000}
CENTOS = {"family": "RedHat", "os": "centos-7"}
FILE = {"source": "runfile", "file": "/srv/driver.run", "sha256": SHA, "version": "535.183.06"}
VGPU = FILE | {"kind": "vgpu", "source": "nvidia", "token": True}


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        (DRIVER, {}),
        (DRIVER, FOUND),
        (DRIVER | {"branch": "", "family": "Windows", "os": "microsoft windows server 2019-10"}, {}),
        (DRIVER | {"version": "535.183.06"}, FOUND),
        (DRIVER | CENTOS, FOUND),
        (DRIVER | {"source": "distribution"}, FOUND | {"secure_boot": True}),
        (DRIVER | {"source": "distribution", "os": "debian-12"}, FOUND),
        (DRIVER | {"source": "mirror", "repo_url": "https://mirror.example/cuda"}, FOUND),
        (DRIVER | FILE, FOUND),
        (DRIVER | VGPU, FOUND),
        # What is installed needs no space any more.
        (DRIVER, FOUND | {"installed": True, "free_mb": 10}),
        (DRIVER | {"cuda": ""}, FOUND),
        (TOOLKIT, FOUND),
        (TOOLKIT | CENTOS, FOUND),
        (TOOLKIT | {"version": ""}, {}),
        (TOOLKIT | {"driver": ""}, FOUND),
        (TOOLKIT | {"source": "none", "version": "12.2", "os": "rocky-9"}, FOUND),
    ],
)
def test_a_good_wish_is_not_refused(wish: dict[str, Any], found: dict[str, Any]) -> None:
    assert nvidia_wish(wish, found) == {"refusals": [], "notes": []}


REFUSED = [
    (DRIVER | {"branch": "999"}, {}, ["nvidia_driver_branch of gpu-1", "one of 470, 525, 535", "found 999"]),
    (DRIVER | {"branch": "536"}, {}, ["nvidia_driver_branch", "found 536"]),
    (DRIVER | {"version": "550.54.14"}, {}, ["nvidia_driver_version", "a full version of branch 535", "550.54.14"]),
    (DRIVER | {"version": "newest"}, {}, ["nvidia_driver_version", "found newest"]),
    (
        DRIVER | {"cuda": "12.4"},
        {},
        ["at least driver 550.54.14 for CUDA 12.4", "found driver 535", "set nvidia_driver_branch to 550 or newer"],
    ),
    (
        DRIVER | {"branch": "470", "strict": False},
        {},
        ["at least driver 525.60.13 for CUDA 12.2", "found driver 470", "cuda_toolkit_version to 11.8 or older"],
    ),
    (DRIVER | {"cuda": "12.7"}, {}, ["CUDA 12.7 for linux is not in NVIDIA's table"]),
    (DRIVER | {"source": "mirror"}, {}, ["nvidia_driver_repo_url of gpu-1", "found nothing"]),
    (DRIVER | FILE | {"sha256": "abc"}, {}, ["nvidia_driver_file of gpu-1", "64 hexadecimal digits", "'abc'"]),
    (DRIVER | FILE | {"file": ""}, {}, ["nvidia_driver_file of gpu-1"]),
    (DRIVER | FILE | {"version": ""}, {}, ["nvidia_driver_version of gpu-1", "the version that the file brings"]),
    (DRIVER | VGPU | {"token": False}, {}, ["nvidia_driver_vgpu_token of gpu-1", "Ansible Vault"]),
    (DRIVER | {"family": "Windows"}, {}, ["nothing on a system of the family Windows", "found 535"]),
    (DRIVER | {"family": ""}, {}, ["family unknown", "gather the facts"]),
    (DRIVER | {"os": "rocky-9"}, FOUND, ["a source that has branch 535 for rocky-9: runfile", "found nvidia"]),
    (DRIVER | CENTOS | {"source": "distribution"}, FOUND, ["nvidia, mirror, runfile", "found distribution"]),
    (DRIVER | CENTOS | {"branch": "580"}, FOUND, ["branch 580 for centos-7: runfile"]),
    (DRIVER, FOUND | {"secure_boot": True}, ["Secure Boot of gpu-1", "nvidia_driver_source to distribution"]),
    (DRIVER | FILE, FOUND | {"secure_boot": True}, ["Secure Boot of gpu-1", "unsigned"]),
    (
        DRIVER | {"source": "distribution", "os": "debian-12"},
        FOUND | {"secure_boot": True},
        ["Secure Boot of gpu-1", "only nvidia_driver_source=distribution on Ubuntu"],
    ),
    (
        DRIVER | FILE,
        FOUND | {"packages": "cuda-drivers-535"},
        ["one driver", "packages of another", "cuda-drivers-535"],
    ),
    (DRIVER, FOUND | {"runfile": True}, ["one driver", "a runfile", "nvidia-uninstall"]),
    (DRIVER, FOUND | {"free_mb": 100}, ["disk of gpu-1", "2000 MB free", "found 100 MB"]),
    (TOOLKIT | {"version": "12.7"}, {}, ["cuda_toolkit_version of gpu-1", "found 12.7"]),
    (TOOLKIT | {"version": "latest"}, {}, ["cuda_toolkit_version of gpu-1", "found latest"]),
    (TOOLKIT | {"version": "12.4"}, {}, ["at least driver 550.54.14 for CUDA 12.4", "found driver 535"]),
    (
        TOOLKIT | {"version": "12.4", "driver": "470.256.02", "strict": False},
        {},
        ["at least driver 525.60.13", "set nvidia_driver_branch to 525 or newer"],
    ),
    # The driver that runs counts more than the one that is wished.
    (TOOLKIT, FOUND | {"driver": "520.61.05"}, ["for CUDA 12.2", "found driver 520.61.05"]),
    (
        TOOLKIT | CENTOS | {"version": "12.5", "driver": "555.42.02"},
        FOUND,
        ["packages for centos-7 (CUDA 12.4 is the last", "found 12.5", "cuda_toolkit_source to runfile"],
    ),
    (TOOLKIT | {"family": "Windows"}, {}, ["nothing on a system of the family Windows"]),
    (TOOLKIT | {"source": "mirror"}, {}, ["because cuda_toolkit_source is mirror"]),
    (TOOLKIT | {"source": "runfile"}, {}, ["cuda_toolkit_file of gpu-1"]),
    (TOOLKIT, FOUND | {"free_mb": 2000}, ["disk of gpu-1", "10000 MB", "found 2000 MB"]),
]


@pytest.mark.parametrize(("wish", "found", "words"), REFUSED)
def test_a_bad_wish_is_refused_with_what_was_expected_found_and_to_do(
    wish: dict[str, Any], found: dict[str, Any], words: list[str]
) -> None:
    refusals = nvidia_wish(wish, found)["refusals"]
    assert len(refusals) == 1, refusals
    for part in [*words, ": expected ", "; found ", ". Next: "]:
        assert part in refusals[0]


def test_a_file_without_checksum_version_and_licence_is_one_message_each() -> None:
    wish = DRIVER | {"kind": "vgpu"}
    assert len(nvidia_wish(wish)["refusals"]) == 3


def test_minor_version_compatibility_is_worth_a_note() -> None:
    notes = nvidia_wish(DRIVER | {"branch": "525", "strict": False})["notes"]
    assert notes == [
        "driver 525 is older than 535.54.03, which CUDA 12.2 was made for; it runs by minor-version compatibility "
        "(from 525.60.13 on), with fewer features"
    ]


@pytest.mark.parametrize(
    ("os", "origin", "user", "kernel"),
    [
        (
            "ubuntu-22.04",
            "distribution",
            ["nvidia-headless-no-dkms-535-server", "nvidia-utils-535-server"],
            ["linux-modules-nvidia-535-server-{kernel}"],
        ),
        ("ubuntu-22.04", "nvidia", ["cuda-drivers-535"], ["linux-headers-{kernel}"]),
        ("ubuntu-22.04", "mirror", ["cuda-drivers-535"], ["linux-headers-{kernel}"]),
        ("debian-12", "distribution", ["nvidia-tesla-535-driver"], ["linux-headers-{kernel}"]),
        (
            "centos-7",
            "nvidia",
            ["nvidia-driver-branch-535", "nvidia-driver-branch-535-cuda"],
            ["kernel-devel-{kernel}", "kernel-headers-{kernel}"],
        ),
        ("debian-12", "file", [], ["gcc", "make", "dkms", "linux-headers-{kernel}"]),
        ("centos-7", "file", [], ["gcc", "make", "dkms", "kernel-devel-{kernel}", "kernel-headers-{kernel}"]),
        ("rocky-9", "nvidia", [], []),
    ],
)
def test_packages_of_a_branch(os: str, origin: str, user: list[str], kernel: list[str]) -> None:
    found = nvidia_packages(os, origin, "535")
    assert (found["user"], found["kernel"]) == (user, kernel)


def test_repositories_have_addresses_and_keys() -> None:
    found = nvidia_packages("centos-7", "nvidia", "535")["repository"]
    assert found["url"].startswith("https://")
    assert found["url"].endswith("/rhel7/x86_64")
    assert found["key"] == "D42D0685.pub"
    assert nvidia_packages("rocky-9", "nvidia", "535")["repository"] == {"name": "", "url": "", "key": ""}
