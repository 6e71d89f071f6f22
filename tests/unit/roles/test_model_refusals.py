# SPDX-License-Identifier: GPL-3.0-or-later
"""The role itself, up to its first refusal: nothing is built, asked or written when the wish is bad."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PLAY = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "roles": ["nanobanana.testbed.model"],
    }
]


def play(folder: Path, wish: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the folder's play.yml on this machine."""
    words = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", f"{folder}/play.yml"]
    return subprocess.run(
        [*words, "-e", json.dumps(wish)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "COLUMNS": "2000", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (
            {"model_profile": "sora", "ansible_facts": {"os_family": "Debian"}},
            "model_profile of localhost: expected one of nano_banana, qwen3_vl; found sora.",
        ),
        (
            {"model_weights_source": "hub", "model_hub_revision": "main", "model_variant": "diffusion"},
            "model_hub_revision of localhost: expected a commit of 40 digits; found main.",
        ),
        ({"model_weights_source": "tape"}, "value of model_weights_source must be one of: none, path, share, hub"),
    ],
)
def test_a_bad_wish_ends_the_role_before_anything_is_done(tmp_path: Path, wish: dict[str, Any], words: str) -> None:
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    wish = {"ansible_facts": {"os_family": "Debian"}, "model_wheel_cache": f"{tmp_path}/wheels"} | wish
    done = play(tmp_path, wish)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, said
    assert words in said
    assert not (tmp_path / "wheels").exists()


@pytest.mark.parametrize(
    ("family", "python"),
    [("Debian", "/home/tester/nano-env/bin"), ("Windows", "C:\\Users\\tester\\miniforge3\\envs\\nano-env\\Scripts")],
)
def test_each_system_has_paths_of_its_own_kind(tmp_path: Path, family: str, python: str) -> None:
    tasks = [
        {"ansible.builtin.import_role": {"name": "nanobanana.testbed.model", "tasks_from": "expect"}},
        {"ansible.builtin.assert": {"that": "__model_cases.bin == python"}},
    ]
    (tmp_path / "play.yml").write_text(json.dumps([PLAY[0] | {"roles": [], "tasks": tasks}]))
    wish = {"ansible_facts": {"os_family": family}, "role_path": str(ROOT / "roles/model"), "python": python}
    done = play(tmp_path, wish)
    assert done.returncode == 0, done.stdout
