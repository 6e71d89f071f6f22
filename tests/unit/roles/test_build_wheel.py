# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/model/files/build_wheel.py: one wheel for one content, the same bytes each time, no half-made cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

from tests.unit.programs import loaded

SCRIPT = Path(__file__).parents[3] / "roles/model/files/build_wheel.py"
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "tiny"
version = "1.0"
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded(SCRIPT)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "engine"
    (folder / "src/tiny").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "src/tiny/__init__.py").write_text("ANSWER = 42\n")
    return folder


def test_the_key_follows_names_and_contents_alone(script: ModuleType, project: Path) -> None:
    first = script.key_of(project)
    source = project / "src/tiny/__init__.py"
    source.touch()
    source.chmod(0o600)
    assert script.key_of(project) == first
    source.write_text("ANSWER = 43\n")
    changed = script.key_of(project)
    source.rename(source.with_name("other.py"))
    assert len({first, changed, script.key_of(project)}) == 3


@pytest.mark.parametrize(
    "litter",
    ["build/lib/x.py", "src/tiny.egg-info/PKG-INFO", "src/tiny/__pycache__/x.pyc", "tests/test_x.py", ".venv/x"],
)
def test_what_no_wheel_contains_does_not_change_the_key(script: ModuleType, project: Path, litter: str) -> None:
    first = script.key_of(project)
    path = project / litter
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("litter")
    assert script.key_of(project) == first


def test_a_wheel_is_built_once_and_is_the_same_each_time(script: ModuleType, project: Path, tmp_path: Path) -> None:
    key = script.key_of(project)
    wheel, built = script.cached(project, tmp_path / "one", key)
    assert built
    assert "tiny/__init__.py" in ZipFile(wheel).namelist()
    assert script.cached(project, tmp_path / "one", key) == (wheel, False)
    os.utime(project / "src/tiny/__init__.py", (1, 1))
    (project / "src/tiny/__init__.py").chmod(0o755)
    other, _built = script.cached(project, tmp_path / "two", key)
    assert other.read_bytes() == wheel.read_bytes()
    assert sorted(path.name for path in project.iterdir()) == ["pyproject.toml", "src"]


def test_an_interrupted_build_is_no_cache_hit(
    script: ModuleType, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = script.key_of(project)
    (tmp_path / "cache" / key[:16]).mkdir(parents=True)
    monkeypatch.setattr(script, "build", lambda source, into: (into / "tiny-1.0-py3-none-any.whl").touch())
    wheel, built = script.cached(project, tmp_path / "cache", key)
    assert built
    assert wheel.is_file()


def test_key_only_builds_nothing(
    script: ModuleType, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([str(project), str(tmp_path / "cache"), "--key-only"]) == 0
    assert json.loads(capsys.readouterr().out) == {"key": script.key_of(project), "wheel": "", "built": False}
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("pyproject", "words"),
    [
        (None, ["expected a folder with pyproject.toml", "Next:"]),
        ("[project\n", ["was not built", "exit status", "Next:"]),
    ],
)
def test_what_cannot_be_built_is_told_in_one_message(
    script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    pyproject: str | None,
    words: list[str],
) -> None:
    if pyproject is not None:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    assert script.main([str(tmp_path), str(tmp_path / "cache")]) == 1
    message = capsys.readouterr().err
    assert [word for word in words if word not in message] == []
    assert list((tmp_path / "cache").rglob("*.whl")) == []
