# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/model/files/install.py and probe.py: a broken install is never taken for done, and the next one mends it."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.programs import loaded

FILES = Path(__file__).parents[3] / "roles/model/files"


def load(name: str) -> ModuleType:
    return loaded(FILES / f"{name}.py")


def wheel(folder: Path, name: str, body: str = "") -> Path:
    """A wheel of one module."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": body,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{member},sha256={digest},{len(text)}")
            archive.writestr(member, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return path


class Guest:
    """An environment, a folder that stands for the package index, and a wish."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self.folder, self.venv = folder, venv
        self.index = folder / "index"
        self.index.mkdir()
        self.dependency = wheel(self.index, "dependency")
        self.lock = folder / "lock.txt"
        digest = hashlib.sha256(self.dependency.read_bytes()).hexdigest()
        self.lock.write_text(f"dependency==1.0 \\\n    --hash=sha256:{digest}\n")
        self.wish: dict[str, Any] = {
            "key": "0123",
            "lock": str(self.lock),
            "wheel": str(wheel(folder, "engine", "import dependency")),
            "modules": ["dependency", "engine"],
            "disk_mb": 1,
            "weights": "",
            "environment": {"WITH": "it"},
            "smoke": ["{python}", "-c", "import os, engine; assert os.environ['WITH'] == 'it' and {'a': 1}"],
        }
        self.environment = {
            **os.environ,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_NO_CACHE_DIR": "1",
        }

    def words(self, do: str, **changes: Any) -> list[str]:
        wish = {**self.wish, **changes, "do": do}
        return [str(self.venv / "bin/python"), "-I", str(FILES / "install.py"), json.dumps(wish)]

    def run(self, do: str, **changes: Any) -> tuple[int, str]:
        done = subprocess.run(
            self.words(do, **changes), env=self.environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    def marks(self) -> list[str]:
        return [path.name for path in self.venv.glob("nano-banana.installed-*")]

    def whole(self) -> None:
        """A run from here on ends well."""
        assert self.run("install") == (0, "")
        assert self.marks() == []
        assert self.run("prove") == (0, "")
        assert self.marks() == ["nano-banana.installed-0123"]


def new_venv(folder: Path) -> Path:
    """An environment with pip, which is copied: ensurepip takes its time."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = importlib.util.find_spec("pip")
    assert pip and pip.origin
    shutil.copytree(Path(pip.origin).parent, next(folder.glob("lib/python*/site-packages")) / "pip")
    return folder


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_venv(tmp_path_factory.mktemp("model") / "venv")


@pytest.fixture
def guest(tmp_path: Path, venv: Path) -> Guest:
    (venv / "nano-banana.installed-old").touch()
    return Guest(tmp_path, venv)


def test_an_install_leaves_one_mark_and_the_smoke_command_writes_it(guest: Guest) -> None:
    guest.whole()


def test_a_corrupted_wheel_is_refused_and_the_next_run_mends_it(guest: Guest) -> None:
    good = guest.dependency.read_bytes()
    subprocess.run(
        [str(guest.venv / "bin/python"), "-m", "pip", "uninstall", "-qy", "dependency"],
        stderr=subprocess.DEVNULL,
        check=True,
    )
    guest.dependency.write_bytes(good + b"x")
    status, said = guest.run("install")
    assert (status, guest.marks()) == (1, [])
    assert "DO NOT MATCH THE HASHES" in said
    assert "Next: run the play again; a wrong hash" in said
    guest.dependency.write_bytes(good)
    guest.whole()


def test_files_that_are_gone_come_back_when_asked_for_anew(guest: Guest) -> None:
    guest.whole()
    next(guest.venv.glob("lib/python*/site-packages/dependency.py")).unlink()
    # pip's books still have it.
    status, said = guest.run("install")
    assert (status, "No module named 'dependency'" in said) == (1, True)
    assert guest.run("install", reinstall=True) == (0, "")
    assert guest.run("prove") == (0, "")


def test_a_killed_install_is_done_again(guest: Guest, tmp_path: Path) -> None:
    # pip waits when it starts, and is killed there with its parent.
    started = tmp_path / "started"
    waiting = next(guest.venv.glob("lib/python*/site-packages")) / "waiting.pth"
    waiting.write_text(
        "import os, sys, time; 'SLOW' in os.environ and '-m' in sys.orig_argv"
        f" and (open({str(started)!r}, 'w').close(), time.sleep(60))\n"
    )
    with subprocess.Popen(
        ["env", "SLOW=1", *guest.words("install")], env=guest.environment, start_new_session=True
    ) as running:
        deadline = time.monotonic() + 20
        while not started.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
    assert started.exists()
    assert guest.marks() == []
    waiting.unlink()
    guest.whole()


@pytest.mark.parametrize(
    ("do", "changes", "words"),
    [
        ("install", {"disk_mb": 10**9}, ["expected 1000000000 MB free", "Next: free some"]),
        (
            "install",
            {"modules": ["dependency", "absent"]},
            ["import of dependency, absent", "No module named"],
        ),
        ("install", {"lock": "/nowhere/lock.txt"}, ["lock.txt", "Next:"]),
        ("prove", {"smoke": ["{python}", "-c", "raise SystemExit('no picture')"]}, ["smoke command", "no picture"]),
        ("prove", {"smoke": ["/nowhere/engine"]}, ["/nowhere/engine: No such file", "Next:"]),
    ],
)
def test_what_fails_is_told_and_leaves_no_mark(
    guest: Guest, do: str, changes: dict[str, Any], words: list[str]
) -> None:
    status, said = guest.run(do, **changes)
    assert status == 1
    assert "nano-banana.installed-0123" not in guest.marks()
    assert [word for word in words if word not in said] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system, which needs root")
def test_a_disk_that_fills_up_in_the_middle_is_mended_by_the_next_run(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        guest = Guest(tmp_path, new_venv(small / "venv"))
        filler = small / "filler"
        free = os.statvfs(small)
        filler.write_bytes(b"\0" * (free.f_bavail * free.f_frsize - 8192))
        status, said = guest.run("install", disk_mb=0)
        assert (status, guest.marks()) == (1, [])
        assert "No space left on device" in said
        filler.unlink()
        guest.whole()
    finally:
        subprocess.run(["umount", str(small)], check=True)


MOUNTS = ["/", "/srv/nano-banana", "/proc", "/mnt/with space"]


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/srv/nano-banana/cache", "/srv/nano-banana"),
        ("/srv/nano-banana", "/srv/nano-banana"),
        ("/srv/nano-banana-2/cache", ""),
        ("/mnt/with space/x", "/mnt/with space"),
        ("/home/tester", ""),
    ],
)
def test_a_mount_is_found_below_the_root_alone(path: str, mount: str) -> None:
    assert load("probe").mount_of(path, MOUNTS) == mount


def test_mount_points_are_read_as_the_kernel_writes_them() -> None:
    text = "22 1 0:21 / /mnt/with\\040space rw shared:1 - tmpfs tmpfs rw\n23 1 0:22 / / rw - ext4 /dev/x rw\n"
    assert load("probe").mount_points(text) == ["/mnt/with space", "/"]


def test_the_cache_falls_back_to_the_home_with_a_reason(tmp_path: Path) -> None:
    probe, home = load("probe"), "/home/tester"
    fallback = "/home/tester/nano-banana/cache"
    assert probe.cache_of("/srv/none/cache", home, MOUNTS) == (fallback, "/srv/none/cache is on no disk of its own")
    assert probe.cache_of("/home/tester/c", home, MOUNTS) == ("/home/tester/c", "")
    (tmp_path / "cache").mkdir()
    assert probe.cache_of(f"{tmp_path}/cache", home, [str(tmp_path)]) == (f"{tmp_path}/cache", "")
    assert probe.cache_of("/proc/sys/none/cache", home, ["/proc"])[1] == "/proc/sys/none/cache is not writable"
    assert probe.tmp_of(f"{tmp_path}/cache") == ""
    (tmp_path / "tmp").mkdir()
    assert probe.tmp_of(f"{tmp_path}/cache") == f"{tmp_path}/tmp"


def test_weights_that_were_lost_count_as_not_installed(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    asked = {
        "venv": "/v",
        "mark": f"{tmp_path}/mark",
        "cache": f"{tmp_path}/c",
        "home": str(tmp_path),
        "files": ["/none"],
    }
    asked |= {"weights_path": "", "weights_name": "models/m", "weights_files": ["a.bin"]}
    probe = load("probe")
    assert probe.main(asked)["installed"] is False
    (tmp_path / "c/models/m").mkdir(parents=True)
    (tmp_path / "c/models/m/a.bin").touch()
    found = probe.main(asked)
    assert (found["installed"], found["python"], found["files"]) == (True, "", {"/none": ""})
