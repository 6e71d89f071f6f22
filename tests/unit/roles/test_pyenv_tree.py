# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/pyenv/files/python_tree.py: built once, packed, unpacked elsewhere, mended after a kill or a full disk."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.programs import loaded
from tests.unit.roles import pyenv_stand_in

FILES = Path(__file__).parents[3] / "roles/pyenv/files"
VERSION = platform.python_version()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded(FILES / "python_tree.py")


@pytest.fixture(scope="module")
def pyenv(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Address and revision of the stand-in."""
    folder = tmp_path_factory.mktemp("stand-in") / "pyenv"
    revision = pyenv_stand_in.make(folder)
    return str(folder), revision


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(FILES / "python_tree.py"), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, dict, str]:
    out, error = process.communicate(timeout=60)
    return process.returncode, json.loads(out or "{}"), error


def do(*words: object) -> tuple[int, dict, str]:
    return finish(start(*words))


def probed(root: Path, version: str = VERSION) -> str:
    command = [sys.executable, str(FILES / "probe.py"), "pyenv", version, str(root), str(root / "no-venv")]
    return str(json.loads(subprocess.check_output(command))["version"])


def builds(root: Path) -> int:
    return len((root / "stand-in.builds").read_text().splitlines())


@pytest.fixture
def archive(root: Path, tmp_path: Path, pyenv: tuple[str, str]) -> tuple[Path, str]:
    """A Python that was built and packed, and its SHA-256; the folder where it was built is gone."""
    status, answer, error = do("build", root, VERSION, *pyenv)
    assert status == 0, error
    kept = tmp_path / "kept.tar.gz"
    shutil.copyfile(answer["archive"], kept)
    shutil.rmtree(Path(answer["archive"]).parent)
    shutil.rmtree(root)
    return kept, answer["sha256"]


def test_a_build_runs_and_its_archive_can_be_read_by_whoever_logs_in(root: Path, pyenv: tuple[str, str]) -> None:
    (root / "versions/other").mkdir(parents=True)  # what an archive brought earlier stays
    status, answer, error = do("build", root, VERSION, *pyenv)
    assert status == 0, error
    found = Path(answer["archive"])
    assert (found.stat().st_mode & 0o777, found.parent.stat().st_mode & 0o777) == (0o644, 0o755)
    with tarfile.open(found) as tar:
        members = tar.getmembers()
    assert {Path(member.name).parts[0] for member in members} == {VERSION}
    assert {(member.uid, member.uname) for member in members} == {(0, "root")}
    shutil.rmtree(found.parent)
    assert probed(root) == VERSION
    assert (root / "versions/other").is_dir()
    assert sorted(path.name for path in (root / "versions").glob(".[mu]*")) == []


def test_an_unpacked_python_runs_and_replaces_a_broken_one(root: Path, archive: tuple[Path, str]) -> None:
    (root / "versions" / VERSION / "bin").mkdir(parents=True)
    (root / "versions" / VERSION / "left").touch()
    status, _answer, error = do("unpack", root, VERSION, *archive)
    assert status == 0, error
    assert probed(root) == VERSION
    assert not (root / "versions" / VERSION / "left").exists()
    assert not (root / "stand-in.builds").exists()


def test_a_killed_build_is_no_python_and_the_next_run_builds_again(root: Path, pyenv: tuple[str, str]) -> None:
    (root / "stand-in.hold").touch()
    process = start("build", root, VERSION, *pyenv)
    until = time.monotonic() + 20
    while not (root / "versions" / VERSION / "bin/python").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    (root / "stand-in.hold").unlink()
    (root / ".git/index.lock").touch()
    assert (root / "versions" / VERSION / "bin/python").exists()
    assert probed(root) == ""
    status, answer, error = do("build", root, VERSION, *pyenv)
    assert status == 0, error
    shutil.rmtree(Path(answer["archive"]).parent)
    assert (probed(root), builds(root)) == (VERSION, 2)
    assert list((root / "versions").glob(".making-*")) == []


def test_whoever_comes_while_another_builds_waits_and_takes_it(root: Path, pyenv: tuple[str, str]) -> None:
    first, second = start("build", root, VERSION, *pyenv), start("build", root, VERSION, *pyenv)
    answers = [finish(first), finish(second)]
    assert [status for status, _answer, _error in answers] == [0, 0]
    for _status, answer, _error in answers:
        shutil.rmtree(Path(answer["archive"]).parent, ignore_errors=True)
    assert builds(root) == 1


def test_a_failed_build_tells_its_last_words_and_is_no_python(root: Path, pyenv: tuple[str, str]) -> None:
    (root / "stand-in.fail").write_text("checksum mismatch: Python.tar.xz (file is corrupt)\n")
    status, _answer, error = do("build", root, VERSION, *pyenv)
    assert status == 1
    assert f"pyenv install {VERSION}: expected success; found exit status 1" in error
    assert "checksum mismatch" in error
    assert probed(root) == ""


def test_an_unknown_revision_is_told(root: Path, pyenv: tuple[str, str]) -> None:
    status, _answer, error = do("build", root, VERSION, pyenv[0], "0" * 40)
    assert (status, "pyenv_git_version: expected success" in error) == (1, True)


@pytest.mark.parametrize(("version", "words"), [("3.7.1", "expected Python 3.7.1; found " + VERSION)])
def test_another_version_than_the_wished_one_is_refused(
    root: Path, pyenv: tuple[str, str], version: str, words: str
) -> None:
    status, _answer, error = do("build", root, version, *pyenv)
    assert (status, words in error) == (1, True), error
    assert probed(root, version) == ""


def test_a_python_without_ssl_is_refused_with_the_reason(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 3.10.12\necho \"ssl (No module named '_ssl')\"\necho 'lzma (gone)'\n")
    program.chmod(0o755)
    with pytest.raises(script.TreeError) as caught:
        script.examine(program, "3.10.12")
    assert "found no ssl (No module named '_ssl'), lzma (gone)" in str(caught.value)
    assert "Next: install OpenSSL >= 1.1.1 with its headers (on CentOS 7: openssl11-devel of EPEL)" in str(caught.value)


def test_the_question_itself_names_a_module_that_is_missing(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "MODULES", "zlib no_such_module")
    with pytest.raises(script.TreeError, match=r"found no no_such_module \(No module named"):
        script.examine(Path(sys.executable), VERSION)


def test_an_archive_with_another_checksum_is_refused_and_nothing_is_touched(
    root: Path, archive: tuple[Path, str]
) -> None:
    with archive[0].open("r+b") as stream:
        stream.seek(2000)
        stream.write(b"broken")
    status, _answer, error = do("unpack", root, VERSION, *archive)
    assert (status, f"expected SHA-256 {archive[1]}; found" in error) == (1, True)
    assert not root.exists()


@pytest.mark.parametrize("name", ["../outside", "3.9.9/bin/python", "{}/../../outside"])
def test_an_archive_that_would_write_elsewhere_is_refused(
    script: ModuleType, root: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(__file__, arcname=name.format(VERSION))
    status, _answer, error = do("unpack", root, VERSION, path, script.digest(path))
    assert (status, f"expected one folder {VERSION}" in error) == (1, True)
    assert not (root / "versions" / VERSION).exists()


def test_what_is_no_archive_is_told(script: ModuleType, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.tar.gz"
    path.write_text("<html>Sign in</html>")
    status, _answer, error = do("unpack", root, VERSION, path, script.digest(path))
    assert (status, "expected a tar archive" in error) == (1, True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_while_unpacking_is_mended_by_the_next_run(root: Path, archive: tuple[Path, str]) -> None:
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let the test mount a file system")
    try:
        status, _answer, error = do("unpack", root, VERSION, *archive)
        assert (status, "No space left on device" in error) == (1, True), error
        left = {path.name for path in (root / "versions").iterdir()}
        assert left == {f".lock-{VERSION}", f".unfinished-{VERSION}"}
        assert probed(root) == ""
        subprocess.run(["mount", "-o", "remount,size=256m", str(root)], check=True)
        status, _answer, error = do("unpack", root, VERSION, *archive)
        assert status == 0, error
        assert probed(root) == VERSION
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_the_cache_takes_a_whole_archive_and_no_other(script: ModuleType, tmp_path: Path) -> None:
    part, kept = tmp_path / ".part", tmp_path / "python.tar.gz"
    part.write_bytes(b"archive")
    status, _answer, error = do("store", part, kept, "0" * 64)
    assert (status, kept.exists()) == (1, False), error
    assert do("store", part, kept, script.digest(part))[0] == 0
    assert (tmp_path / "python.tar.gz.sha256").read_text().strip() == script.digest(kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["python.tar.gz", "python.tar.gz.sha256"]
