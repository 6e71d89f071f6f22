# SPDX-License-Identifier: GPL-3.0-or-later
"""The role pyenv stops at a bad wish before it touches the host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.programs import refusals

PROJECT = Path(__file__).parents[3]
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {os_family: "{{ facts.os_family }}", python: "{{ facts.python }}", cacheable: true}
    - ansible.builtin.include_role:
        name: nanobanana.testbed.pyenv
      when: pyenv_pillow is undefined
    - ansible.builtin.include_role:
        name: nanobanana.testbed.pyenv
        tasks_from: pillow
      when: pyenv_pillow is defined
"""
LINUX = {"os_family": "Debian", "python": {"executable": sys.executable}}
WINDOWS = {"os_family": "Windows", "python": {}}
# host -> facts, wish, what it says
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unknown": (
        {"os_family": "Archlinux", "python": {}},
        {},
        "expected the facts os_family (Debian, RedHat or Windows)",
    ),
    "provider": (LINUX, {"pyenv_provider": "conda"}, "value of pyenv_provider must be one of"),
    "short": (LINUX, {"pyenv_python_version": "3.10"}, "three numbers from 3.8.0 on, such as 3.10.12; found 3.10."),
    "old": (LINUX, {"pyenv_python_version": "3.7.9"}, "found 3.7.9. Next: correct it in group_vars."),
    "unchecked": (LINUX, {"pyenv_archive": __file__}, "expected the 64 digits of the SHA-256 of " + __file__),
    "missing": (
        LINUX,
        {"pyenv_archive": "/no/python.tar.gz", "pyenv_archive_sha256": "0" * 64},
        "expected a file on the control node or an address; found no /no/python.tar.gz",
    ),
    "installer": (WINDOWS, {}, "expected an installer of Miniforge or Miniconda and its SHA-256; found no installer"),
    "simd": (
        WINDOWS,
        {"pyenv_pillow": "simd", "pyenv_pillow_wheel": "\\\\share\\simd.whl"},
        "is simd: expected Windows, a wheel and its SHA-256; found Windows,",
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All hosts' answers, from one run; a host is a connection to this machine."""
    folder = tmp_path_factory.mktemp("refused")
    hosts = {
        host: {"facts": facts, "ansible_connection": "local", **wish} for host, (facts, wish, _words) in CASES.items()
    }
    return refusals(folder, hosts, PLAY)


@pytest.mark.parametrize("host", CASES)
def test_a_bad_wish_stops_the_role(host: str, said: str) -> None:
    assert CASES[host][2] in said


def test_no_host_was_touched(said: str) -> None:
    assert "See which Python" not in said
