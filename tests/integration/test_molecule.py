# SPDX-License-Identifier: GPL-3.0-or-later
"""The Molecule scenarios, as `make molecule` runs them, in a lab of the tests' own."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.integration.conftest import BIN, ROOT, Lab

pytestmark = [pytest.mark.integration, pytest.mark.machine]


def test_the_scenario_machine_passes(machine_lab: Lab) -> None:
    env = machine_lab.env | {
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "NANOBANANA_ARTIFACTS_DIR": str(machine_lab.state.parent / "artifacts"),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [str(BIN / "molecule"), "test", "--scenario-name", "machine"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    assert done.returncode == 0, told[-6000:]
    proofs = re.findall(r"msg: (\d+) passed", told)
    assert len(proofs) == 3 and all(int(count) > 0 for count in proofs), f"three suites prove it; found {proofs}"
