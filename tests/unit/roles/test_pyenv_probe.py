# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/pyenv/files/probe.py: which Python is taken from a guest, and what is wrong with its environment."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.programs import loaded

SCRIPT = Path(__file__).parents[3] / "roles/pyenv/files/probe.py"


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    return loaded(SCRIPT)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"python3.10": "3.10.4", "python3": "3.12.1"}, "python3.10"),
        ({"python3": "3.12.1", "python3.11": "3.11.2"}, "python3"),
        ({"python3": "3.6.8", "python3.9": "3.9.18", "python3.11": "3.11.2"}, "python3.11"),
        ({"python3": "3.6.8"}, ""),
        ({"python3.10": "", "python3": "3.8.10"}, "python3"),
        ({}, ""),
    ],
)
def test_the_wanted_minor_version_comes_first_then_the_systems_choice(
    probe: ModuleType, there: dict[str, str], taken: str
) -> None:
    path, version, _why = probe.from_system(
        "3.10.12", which=lambda name: name if name in there else None, asked=lambda path, module: (there[path], True)
    )
    assert (path, version) == (taken, there.get(taken, ""))


def answer(*arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-", *arguments], input=SCRIPT.read_bytes(), stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def test_a_version_that_pyenv_has_not_built_is_no_version(tmp_path: Path) -> None:
    found = answer("pyenv", "3.10.12", str(tmp_path), str(tmp_path / "venv"))
    assert found.pop("system").endswith("-" + platform.machine())
    assert found == {
        "python": f"{tmp_path}/versions/3.10.12/bin/python",
        "version": "",
        "ensurepip": False,
        "venv": "",
    }


def test_the_kind_of_system_is_distribution_release_and_processor(probe: ModuleType, tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('NAME="CentOS Linux"\nVERSION_ID="7"\nID="centos"\n\n# a comment\n')
    assert probe.system(release) == f"centos-7-{platform.machine()}"


def test_an_environment_that_is_half_made_counts_as_missing(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    asked = ("system", "3.10.12", str(tmp_path), str(venv))
    assert answer(*asked)["venv"] == ""
    (package := next(venv.glob("lib/python*/site-packages")) / "pip").mkdir()
    (package / "__init__.py").touch()
    assert answer(*asked)["venv"] == platform.python_version()
    (mark := tmp_path / "venv.unfinished").touch()
    assert answer(*asked)["venv"] == ""
    mark.unlink()
    # Ubuntu 22.04's own Python may have the wanted version, too.
    assert answer("pyenv", *asked[1:])["venv"] == ""
