# SPDX-License-Identifier: GPL-3.0-or-later
"""tools/preflight.py turns the gates' verdicts into exit codes, and `make preflight` says them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.programs import ROOT, loaded

preflight = loaded(ROOT / "tools/preflight.py")
OPEN = {"verdict": "open", "only_expired": False}
SHUT = {"verdict": "shut", "only_expired": False}
EXPIRED = {"verdict": "shut", "only_expired": True}
# Leaves what it is told to, as the gates do, and says how it was called.
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path
folder = Path(os.environ["NANOBANANA_ARTIFACTS"]) / os.environ["NANOBANANA_RUN_ID"]
folder.mkdir(parents=True, exist_ok=True)
for stage, verdict in json.loads(os.environ["VERDICTS"]).items():
    (folder / f"preflight-{{stage}}.json").write_text(json.dumps(verdict))
print("called:", *sys.argv[1:])
sys.exit(int(os.environ["CODE"]))
"""


@pytest.mark.parametrize(
    ("returncode", "verdicts", "code"),
    [
        (0, {"platform": OPEN, "machine": OPEN, "guest": OPEN}, 0),
        (0, {"platform": OPEN}, 0),  # check mode, nothing is made yet
        (0, {}, 11),
        (2, {"platform": OPEN, "machine": SHUT}, 10),
        (2, {"machine": SHUT, "guest": EXPIRED}, 10),
        (2, {"machine": EXPIRED}, 12),
        (2, {"platform": OPEN}, 11),  # fleet's plan, after the platform gate
        (4, {}, 11),
        (250, {"platform": OPEN}, 11),
        (0, {"guest": {}}, 0),
    ],
)
def test_the_code_is_that_of_the_verdicts(returncode: int, verdicts: dict[str, Any], code: int) -> None:
    assert preflight.code_of(returncode, verdicts) == code


def test_no_code_is_one_of_ansibles_or_makes() -> None:
    assert not {2, 4} & set(preflight.WORDS)
    for code, (word, meaning) in preflight.WORDS.items():
        assert f"  {code:<3} {word}: {meaning}" in preflight.__doc__


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A stand-in for ansible-playbook."""
    path = tmp_path / "ansible-playbook"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return path


def call(program: Path, command: list[str], verdicts: dict[str, Any], code: int, **more: str) -> Any:
    environment = {
        **os.environ,
        "ANSIBLE_PLAYBOOK": str(program),
        "NANOBANANA_ARTIFACTS": str(program.parent / "artifacts"),
        "NANOBANANA_RUN_ID": "r1",
        "VERDICTS": json.dumps(verdicts),
        "CODE": str(code),
        **more,
    }
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("verdicts", "ansible", "code", "last"),
    [
        ({"guest": OPEN}, 0, 0, "preflight: open (exit code 0, every gate is open)"),
        ({"guest": SHUT}, 2, 10, "preflight: shut (exit code 10, a check failed and no waiver covers it)"),
        (
            {},
            4,
            11,
            "preflight: no verdict (exit code 11, a gate could not judge, or the run ended outside of the checks)",
        ),
        (
            {"guest": EXPIRED},
            2,
            12,
            "preflight: expired (exit code 12, nothing but waivers that ran out keeps a gate shut)",
        ),
    ],
)
def test_a_run_ends_with_its_code_and_says_it(
    program: Path, verdicts: dict[str, Any], ansible: int, code: int, last: str
) -> None:
    command = [sys.executable, str(ROOT / "tools/preflight.py"), "-i", "inventories/x", "--limit", "a b"]
    done = call(program, command, verdicts, ansible)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines() == ["called: playbooks/preflight.yml -i inventories/x --limit a b", last]


def test_verdicts_of_an_earlier_run_with_the_same_id_are_not_taken(program: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/preflight.py")]
    assert call(program, command, {"guest": SHUT}, 2).returncode == 10
    assert call(program, command, {}, 4).returncode == 11


@pytest.mark.parametrize("run_id", ["../elsewhere", "latest", ""])
def test_an_id_that_the_report_would_refuse_is_not_used(program: Path, run_id: str) -> None:
    command = [sys.executable, str(ROOT / "tools/preflight.py")]
    assert call(program, command, {"guest": OPEN}, 0, NANOBANANA_RUN_ID=run_id).returncode == 0
    (made,) = (program.parent / "artifacts").iterdir()
    assert made.name not in ("latest", "elsewhere")


def test_a_program_that_is_not_there_is_said(program: Path) -> None:
    program.unlink()
    done = call(program, [sys.executable, str(ROOT / "tools/preflight.py")], {}, 0)
    assert done.returncode == 11
    assert "No such file or directory. Next: make setup" in done.stderr


@pytest.mark.parametrize(("verdicts", "ansible", "code"), [({"guest": OPEN}, 0, 0), ({"guest": SHUT}, 2, 2)])
def test_gnu_make_ends_with_2_whatever_the_program_ends_with(
    program: Path, verdicts: dict[str, Any], ansible: int, code: int
) -> None:
    make = shutil.which("make")
    assert make
    # -o: what `make setup` builds counts as there, and as old.
    command = [make, "-s", "-o", "setup", "preflight", "ARGS=--limit h1"]
    done = call(program, command, verdicts, ansible)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[0] == "called: playbooks/preflight.yml --limit h1"
    assert done.stdout.splitlines()[-1].startswith("preflight: ")
