# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's login may do is made of the role's data, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import settings
from lab.errors import LabError
from lab.paths import Paths


def roles(tmp_path: Path) -> dict[str, object]:
    return settings.for_roles(settings.load(), Paths(tmp_path, tmp_path, "0123abcd"))


def test_each_place_has_a_role_and_a_grant(tmp_path: Path) -> None:
    made = roles(tmp_path)
    assert made["user"] == "testbed@vsphere.local"
    assert {
        "type": "Folder",
        "name": "nano-banana",
        "role": "nanobanana-testbed-folder",
        "propagate": True,
    } in made["grants"]  # type: ignore[operator]
    assert made["roles"]["nanobanana-testbed-template"] == [  # type: ignore[index]
        "VirtualMachine.Provisioning.DeployTemplate",
        "VirtualMachine.Provisioning.Clone",
        "VirtualMachine.Provisioning.Customize",
    ]
    assert made["global"] == "nanobanana-testbed-library"


@pytest.mark.parametrize("text", ["[", "name: x", "{name: x, places: {moon: {type: Folder, propagate: true}}}"])
def test_data_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(settings, "ROLE", tmp_path / "role.yml")
    (tmp_path / "role.yml").write_text(text)
    with pytest.raises(LabError, match=r"role\.yml: expected name, places"):
        roles(tmp_path)
