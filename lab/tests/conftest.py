# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.paths import CHECKOUT, STATE_VARIABLE, Paths
from lab.tests.helpers import FAKE_VCENTER
from lab.up import VCENTER_VARIABLE


class LabUnderTest:
    """A lab of its own beside the checkout's, with the fake vCenter, driven as an operator drives it."""

    def __init__(self, state: Path, guests: str) -> None:
        self.guests = guests
        self.environment = {STATE_VARIABLE: str(state), VCENTER_VARIABLE: str(FAKE_VCENTER), "PATH": _path()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(STATE_VARIABLE, str(state))
            self.paths = Paths.of_checkout()

    def __call__(self, *arguments: str, seconds: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            cwd=CHECKOUT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def up(self) -> str:
        done = self("up", "--guests", self.guests, seconds=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _path() -> str:
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def fake_lab(tmp_path: Path) -> Iterator[LabUnderTest]:
    lab = LabUnderTest(tmp_path / "state", "fake")
    yield lab
    assert lab("down").returncode == 0


@pytest.fixture
def podman_lab(tmp_path: Path) -> Iterator[LabUnderTest]:
    lab = LabUnderTest(tmp_path / "state", "podman")
    yield lab
    assert lab("down").returncode == 0
