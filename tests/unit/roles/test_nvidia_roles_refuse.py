# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles nvidia_driver and cuda_toolkit stop at a bad wish before they touch the host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (folder / "play.yml").write_text(PLAY)
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(program), "-i", str(folder / "hosts.json"), str(folder / "play.yml")],
        cwd=PROJECT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.timer",
            "ANSIBLE_CACHE_PLUGIN": "memory",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("host", CASES)
def test_a_bad_wish_stops_the_role(host: str, said: str) -> None:
    assert CASES[host][2] in said


def test_no_host_was_touched(said: str) -> None:
    assert "See the bus" not in said
