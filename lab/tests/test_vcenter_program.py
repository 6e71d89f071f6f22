# SPDX-License-Identifier: GPL-3.0-or-later
"""The Go program's own tests, run with the toolchain that builds it."""

from __future__ import annotations

import os
import subprocess

import pytest

from lab.build import SOURCES, go_program


@pytest.mark.integration
def test_the_vcenter_programs_own_tests() -> None:
    env = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    command = [str(go_program()), "test", "-count=1", "./..."]
    done = subprocess.run(command, cwd=SOURCES, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no tests to run" not in done.stdout
