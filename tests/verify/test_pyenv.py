# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python on the guest and the environment that was made of it."""

from __future__ import annotations

from typing import Any

from conftest import Expected


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
