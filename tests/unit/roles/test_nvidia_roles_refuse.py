# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles nvidia_driver and cuda_toolkit stop at a bad wish before they touch the host."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.programs import refusals

PROJECT = Path(__file__).parents[3]
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.setup:
        gather_subset: ["!all", "!min", distribution, python]
    - ansible.builtin.include_role:
        name: "nanobanana.testbed.{{ asked }}"
"""
# host -> role, wish, what it says
CASES = {
    "unknown": ("nvidia_driver", {"nvidia_driver_branch": "999"}, "expected one of 470, 525, 535"),
    "source": ("nvidia_driver", {"nvidia_driver_source": "floppy"}, "value of nvidia_driver_source must be one of"),
    "old": (
        "nvidia_driver",
        {"cuda_toolkit_version": "13.0"},
        "expected at least driver 580 for CUDA 13.0; found driver 535",
    ),
    "toolkit": (
        "cuda_toolkit",
        {"cuda_toolkit_version": "12.7"},
        "cuda_toolkit_version of toolkit: expected one of 11.1",
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All hosts' answers, from one run; a host is a connection to this machine."""
    folder = tmp_path_factory.mktemp("refused")
    hosts = {
        host: {"asked": role, "ansible_connection": "local", "ansible_python_interpreter": sys.executable, **wish}
        for host, (role, wish, _words) in CASES.items()
    }
    return refusals(folder, hosts, PLAY)


@pytest.mark.parametrize("host", CASES)
def test_a_bad_wish_stops_the_role(host: str, said: str) -> None:
    assert CASES[host][2] in said


def test_no_host_was_touched(said: str) -> None:
    assert "See the bus" not in said
