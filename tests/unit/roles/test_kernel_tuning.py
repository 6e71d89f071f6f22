# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on this machine: bad wishes end it with one message, and the programs that it installs do what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
# Each refused host is one wish; none of them gets as far as a question to its guest.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "range": ({"kernel_tuning_isolated_cores": ["1-3"]}, ["such as [1, 2, 3]", "found '1-3'"]),
    "beyond": ({"kernel_tuning_isolated_cores": [1, 9], "vm_cpus": 4}, ["cores below 4", "found 9"]),
    "zero": ({"kernel_tuning_isolated_cores": [0, 1], "vm_cpus": 2}, ["core 0 left over"]),
    "cap": ({"kernel_tuning_memory_cap_mb": 8192, "vm_memory_mb": 4096}, ["at most the VM's memory, 4096 MB"]),
    "tiny": ({"kernel_tuning_memory_cap_mb": 4}, ["at least 64"]),
    "windows": ({"kernel_tuning_isolated_cores": [1], "family": "Windows"}, ["expected nothing", "Windows"]),
    "suse": ({"family": "Suse"}, ["Debian, RedHat or Windows", "found Suse"]),
}
PLAIN: dict[str, Any] = {"cap_mb": 0, "cores": [], "skipped": [], "mask": "0"}
RENDERED: dict[str, tuple[dict[str, Any], int]] = {
    "plain": (PLAIN, 252),
    "pinned": (PLAIN | {"cores": [0]}, 252),
    "capped": (PLAIN | {"cap_mb": 256}, 252),
    "old": (PLAIN | {"cap_mb": 3584, "cores": [1, 3], "mask": "a"}, 219),
    "container": (PLAIN | {"skipped": ["isolated cores 1", "swap", "memory cap of 256 MB"]}, 252),
}


@dataclass(frozen=True)
class Played:
    output: str
    folder: Path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """One run for all: hosts that are refused, one of Windows that asks for nothing, the files as they are made."""
    folder = tmp_path_factory.mktemp("kernel_tuning")
    hosts = {name: wish for name, (wish, _words) in REFUSED.items()} | {"idle": {"family": "Windows"}}
    texts = [
        {
            "src": str(ROOT / f"roles/kernel_tuning/templates/{template}.j2"),
            "dest": str(folder / f"{name}-{template}"),
            "plan": plan,
            "systemd": systemd,
        }
        for name, (plan, systemd) in RENDERED.items()
        for template in ("nano-banana-run", "nano-banana.slice", "irqbalance.conf")
    ]
    plays = [
        {
            "hosts": "wishes",
            "gather_facts": False,
            "tasks": [
                {"set_fact": {"os_family": "{{ family | default('Debian') }}", "python": {}, "cacheable": True}},
                {"import_role": {"name": "nanobanana.testbed.kernel_tuning"}},
            ],
        },
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {
                    "copy": {
                        "dest": "{{ item.dest }}",
                        "content": "{{ lookup('template', item.src) }}",
                        "mode": "0755",
                    },
                    "vars": {
                        "__kernel_tuning_plan": "{{ item.plan }}",
                        "__kernel_tuning_found": {"systemd": "{{ item.systemd }}"},
                        "__kernel_tuning_slice": "nano-banana.slice",
                    },
                    "loop": texts,
                }
            ],
        },
    ]
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"wishes": {"hosts": hosts, "vars": local}}))
    (folder / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    quiet = {"ANSIBLE_CACHE_PLUGIN": "memory", "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.timer"}
    playbook = shutil.which("ansible-playbook", path=str(ROOT / ".venv/bin")) or "ansible-playbook"
    done = subprocess.run(
        [playbook, "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
        cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Played(done.stdout + done.stderr, folder)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_wish_ends_the_role_before_the_guest_is_asked(played: Played, name: str) -> None:
    told = re.search(rf"^fatal: \[{name}\].*?(?=^\S)", played.output, re.MULTILINE | re.DOTALL)
    assert told, played.output
    message = " ".join(told.group().split()).replace("''", "'")
    assert [word for word in [*REFUSED[name][1], "expected", "found", "Next:"] if word not in message] == [], message
    assert re.search(rf"^{name} .*ok=2 .*failed=1", played.output, re.MULTILINE), played.output


def test_windows_that_is_asked_nothing_passes(played: Played) -> None:
    assert re.search(r"^idle .*changed=0 .*failed=0", played.output, re.MULTILINE), played.output
    assert "nothing of it is asked of this host" in " ".join(played.output.split())


@pytest.mark.parametrize(
    ("name", "there", "away"),
    [
        ("plain", ["MemoryAccounting=yes"], ["MemoryMax", "MemoryLimit"]),
        ("capped", ["MemoryMax=256M", "MemorySwapMax=0"], ["MemoryLimit"]),
        ("old", ["MemoryLimit=3584M"], ["MemoryMax", "MemorySwapMax"]),
    ],
)
def test_the_slice_speaks_the_language_of_its_systemd(
    played: Played, name: str, there: list[str], away: list[str]
) -> None:
    lines = (played.folder / f"{name}-nano-banana.slice").read_text().splitlines()
    assert [line for line in there if line not in lines] == []
    assert [line for line in lines if line.partition("=")[0] in away] == []


def test_irqbalance_is_told_the_cores_by_both_names(played: Played) -> None:
    lines = (played.folder / "old-irqbalance.conf").read_text().splitlines()
    assert "Environment=IRQBALANCE_BANNED_CPULIST=1,3" in lines
    assert "Environment=IRQBALANCE_BANNED_CPUS=a" in lines


def run(played: Played, name: str, *command: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"], "MARK": "kept"}
    program = played.folder / f"{name}-nano-banana-run"
    return subprocess.run([str(program), *command], env=env, input="in\n", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["plain", "pinned", "container"])
def test_without_a_cap_the_command_takes_the_place_of_the_program(played: Played, name: str) -> None:
    done = run(played, name, "sh", "-c", 'cat; echo "$MARK $1"; echo err >&2; exit 7', "sh", "a  b")
    assert (done.returncode, done.stdout) == (7, "in\nkept a  b\n")
    assert done.stderr.splitlines()[-1] == "err"


def test_the_command_gets_the_cores_and_no_other(played: Played) -> None:
    done = run(played, "pinned", "sed", "-n", "s/^Cpus_allowed_list:\t//p", "/proc/self/status")
    assert done.stdout.strip() == "0"


def test_a_container_that_has_less_says_so_each_time(played: Played) -> None:
    said = run(played, "container", "true").stderr
    assert "isolated cores 1" in said and "memory cap of 256 MB" in said and "swap" not in said


@pytest.mark.parametrize("answer", ["echo sudo: a password is required; exit 1", "exit 0"])
def test_what_cannot_be_capped_is_not_run(played: Played, tmp_path: Path, answer: str) -> None:
    for name in ("busctl", "sudo"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    (tmp_path / "sleep").chmod(0o755)
    done = run(played, "capped", "echo", "ran", path=tmp_path)
    assert (done.returncode, done.stdout) == (125, "")
    assert "nano-banana-run: expected" in done.stderr and "Next:" in done.stderr


def test_without_a_command_nothing_is_run(played: Played) -> None:
    done = run(played, "plain")
    assert done.returncode == 125
    assert "expected a command; found none" in done.stderr


def test_both_shells_read_the_programs(played: Played) -> None:
    """dash is Debian's sh, bash is that of CentOS."""
    programs = [*played.folder.glob("*-nano-banana-run"), ROOT / "roles/kernel_tuning/files/swap_off.sh"]
    assert len(programs) == len(RENDERED) + 1
    for program in programs:
        for shell in ("sh", "bash"):
            subprocess.run([shell, "-n", str(program)], check=True)
