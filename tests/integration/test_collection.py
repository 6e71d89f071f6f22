# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ansible-galaxy collection build` packs works in an empty place and carries nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.integration.conftest import BIN, ROOT

PLUGINS = {
    "module": ["fleet", "preflight_gate", "preflight_guest", "preflight_inventory"],
    "filter": ["wishes"],
    "callback": ["report"],
    "inventory": ["owned"],
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    command = [str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(folder), str(ROOT)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return next(folder.glob("nanobanana-testbed-*.tar.gz"))


def test_only_the_collection_is_packed(built: Path) -> None:
    with tarfile.open(built) as archive:
        tops = {name.split("/")[0] for name in archive.getnames()}
    assert tops <= {
        *("plugins", "roles", "playbooks", "meta", "docs", "changelogs", "inventories", "requirements"),
        *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "requirements.yml", "MANIFEST.json", "FILES.json"),
    }
    assert {"plugins", "roles", "playbooks", "meta"} <= tops


def test_the_installed_collection_documents_every_plugin(built: Path, tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    env |= {"HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections")}
    install = [str(BIN / "ansible-galaxy"), "collection", "install", "--offline", "-p", str(tmp_path / "collections")]
    subprocess.run([*install, str(built)], cwd=tmp_path, env=env, check=True, capture_output=True)
    for kind, names in PLUGINS.items():
        wanted = [f"nanobanana.testbed.{name}" for name in names]
        command = [str(BIN / "ansible-doc"), "-t", kind, "--json", *wanted]
        done = subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        assert sorted(found) == sorted(wanted)
        for entry in found.values():
            assert str(tmp_path) in entry["doc"]["filename"]


def test_an_installed_playbook_runs_by_its_name(built: Path, tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    env |= {"HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections")}
    install = [str(BIN / "ansible-galaxy"), "collection", "install", "--offline", "-p", str(tmp_path / "collections")]
    subprocess.run([*install, str(built)], cwd=tmp_path, env=env, check=True, capture_output=True)
    command = [str(BIN / "ansible-playbook"), "-i", str(ROOT / "inventories/production"), "nanobanana.testbed.site"]
    done = subprocess.run(command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "found the template's FILL_IN" in done.stdout + done.stderr


def test_an_edited_module_is_what_the_next_run_runs(tmp_path: Path) -> None:
    """A checkout in another folder, an edit, and nothing else in between."""
    for name in ("plugins", "playbooks", "roles", "meta", "inventories"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("ansible.cfg", "galaxy.yml", "Makefile", "site.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    tmp_path.chmod(0o755)
    link = ".collections/ansible_collections/nanobanana/testbed"
    subprocess.run(["make", "-s", link], cwd=tmp_path, check=True, capture_output=True)

    def output() -> str:
        env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        command = [str(BIN / "ansible-playbook"), "-i", "/dev/null", "site.yml"]
        done = subprocess.run(command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "expected at least one host" in output()
    edited = tmp_path / "plugins/plugin_utils/inventory.py"
    edited.write_text(edited.read_text().replace("at least one host", "somebody to be at home"))
    assert "expected somebody to be at home" in output()
