# SPDX-License-Identifier: GPL-3.0-or-later
"""roles/data_disk/files/place.py: what a folder holds is moved before a link takes its place, and never lost."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.programs import loaded

SCRIPT = Path(__file__).parents[3] / "roles/data_disk/files/place.py"


@pytest.fixture(scope="module")
def place() -> ModuleType:
    return loaded(SCRIPT)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder with results, and an empty one to lead to."""
    (tmp_path / "output/case").mkdir(parents=True)
    (tmp_path / "output/case/1.png").write_text("one")
    (tmp_path / "output/notes").write_text("mine")
    (tmp_path / "share").mkdir()
    return tmp_path / "output"


def test_a_folder_becomes_a_link_and_its_contents_are_behind_it(place: ModuleType, output: Path) -> None:
    share = output.parent / "share"
    assert place.link(str(output), str(share))
    assert output.readlink() == share
    assert (output / "case/1.png").read_text() == "one"
    assert not place.link(str(output), str(share))


def test_a_name_that_is_taken_gets_a_number_and_the_same_file_is_not_doubled(place: ModuleType, output: Path) -> None:
    share = output.parent / "share"
    (share / "notes").write_text("theirs")
    (output / "same").write_text("same")
    (share / "same").write_text("same")
    place.link(str(output), str(share))
    assert (share / "notes").read_text() == "theirs"
    assert (share / "notes.1").read_text() == "mine"
    assert sorted(path.name for path in share.iterdir()) == ["case", "notes", "notes.1", "same"]


def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(
    place: ModuleType, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = output.parent / "share"

    def full(old: str, new: str, **_options: Any) -> None:
        Path(new).write_text("m")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place.shutil, "copy2", full)
        with pytest.raises(OSError, match="No space left"):
            place.link(str(output), str(share))
    assert (output / "notes").read_text() == "mine"
    assert place.link(str(output), str(share))
    assert (share / "notes").read_text() == "mine"
    assert sorted(path.name for path in share.iterdir()) == ["case", "notes"]


def test_without_a_share_the_link_becomes_a_folder_and_the_share_keeps_its_files(
    place: ModuleType, output: Path
) -> None:
    share = output.parent / "share"
    place.link(str(output), str(share))
    assert place.link(str(output), "")
    assert output.is_dir()
    assert not output.is_symlink()
    assert (share / "notes").read_text() == "mine"


def test_a_missing_source_is_told_with_the_next_step(place: ModuleType, tmp_path: Path) -> None:
    share = {"type": "bind", "source": str(tmp_path / "none"), "path": str(tmp_path / "at"), "create": False}
    with pytest.raises(place.RefusedError, match=r"of nb-01: expected .*; found: no folder .* Next: make it"):
        place.mount_share({"host": "nb-01", "user": "tester", "share": share})
    assert not (tmp_path / "at").exists()


def test_a_server_that_does_not_answer_is_given_up(place: ModuleType) -> None:
    status, words = place.bounded(1, "sleep", "20")
    assert (status, words) == (124, "no answer within 1 s")
