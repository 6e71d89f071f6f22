# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python on the guest and the environment that was made of it."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Expected

MODULES = "ssl, sqlite3, zlib, ctypes, lzma, bz2"


def test_the_environment_runs_the_wished_python(expected: Expected, as_user: Any) -> None:
    wish = expected.of("pyenv")
    found = as_user(f"{wish['venv']}/bin/python -c 'import sys; print(*sys.version_info[:3], sep=\".\")'").strip()
    if wish["provider"] == "pyenv":
        assert found == wish["version"], f"{wish['venv']}: expected Python {wish['version']}; found {found}"
    else:
        # What the guest offers may stand in for it; the guest gate warns of that.
        assert tuple(map(int, found.split("."))) >= (3, 8), f"{wish['venv']}: expected Python >= 3.8; found {found}"


def test_pip_works_in_the_environment(expected: Expected, as_user: Any) -> None:
    found = as_user(f"{expected.of('pyenv')['venv']}/bin/python -m pip --version")
    assert expected.of("pyenv")["venv"] in found


def test_the_environment_has_what_a_build_leaves_out_without_a_word(expected: Expected, as_user: Any) -> None:
    found = as_user(f"{expected.of('pyenv')['venv']}/bin/python -c 'import {MODULES}; print(ssl.OPENSSL_VERSION)'")
    assert found.startswith("OpenSSL "), f"ssl: expected a version of OpenSSL; found {found.strip()}"


def test_the_environment_hangs_on_the_python_that_was_built(expected: Expected, as_user: Any) -> None:
    wish = expected.of("pyenv")
    if wish["provider"] != "pyenv":
        pytest.skip("the environment is made from the guest's own Python (pyenv_provider system)")
    found = as_user(f"readlink -f {wish['venv']}/bin/python").strip()
    assert found.startswith(f"{wish['root']}/versions/{wish['version']}/"), f"expected {wish['root']}; found {found}"


def test_nothing_is_half_made(expected: Expected, as_user: Any) -> None:
    wish = expected.of("pyenv")
    left = as_user(f"ls -d {wish['venv']}.unfinished {wish['root']}/versions/.[mu]* 2>/dev/null; true").split()
    assert left == [], f"expected nothing half made; found {', '.join(left)}"
