# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on real guests: check mode, a killed run, the whole path, the second time, teardown, Ctrl-C.

The fixtures are the story in order; each runs one command, and the tests look at what it left.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.build import build_vcenter
from lab.paths import Paths
from tests.integration.conftest import BIN, ROOT, Lab, lab_command, wish

pytestmark = pytest.mark.lab

HOSTS = ["nb-baseline-01", "nb-compat-01", "nb-stress-01"]
# What a run without a change may take, in times of thirty pings of the same hosts right after it: seconds would judge
# the machine. It is 45 s where a ping of one host takes 0.18 s. Measured: 2.0 to 2.1, and 2.5 since hosts serve
# and the command starts by typer.
SECOND_RUN_OVER_PINGS = 2.78
PINGS = 30


@dataclass
class Run:
    """A finished ansible-playbook."""

    returncode: int
    output: str
    seconds: float
    writes: list[str]


def run(lab: Lab, *arguments: str) -> Run:
    since, began = len(lab.calls()), time.monotonic()
    done = lab.playbook(*arguments, timeout=600)
    writes = [call["method"] for call in lab.calls()[since:] if call["write"]]
    return Run(done.returncode, done.stdout + done.stderr, time.monotonic() - began, writes)


def recap(output: str) -> dict[str, dict[str, int]]:
    """The counts of the play recap by host."""
    rows = re.findall(r"^(\S+)\s+: (ok=\d+ .*)$", output, re.MULTILINE)
    return {host: {key: int(count) for key, count in re.findall(r"(\w+)=(\d+)", row)} for host, row in rows}


def guests(lab: Lab) -> list[str]:
    """What really runs on this machine for the lab."""
    command = [sys.executable, "-m", "lab", "status", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=lab.env, capture_output=True, text=True, check=True)
    return sorted(guest["name"] for guest in json.loads(done.stdout)["guests"])


def start(lab: Lab, *arguments: str) -> subprocess.Popen[bytes]:
    command = [str(BIN / "ansible-playbook"), *arguments]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=lab.env, stdout=quiet, stderr=quiet, start_new_session=True)


def wait_for_call(lab: Lab, method: str, since: int) -> None:
    for _look in range(300):
        if any(call["method"] == method for call in lab.calls()[since:]):
            return
        time.sleep(0.1)
    raise AssertionError(f"no {method} within 30 s")


@pytest.fixture(scope="module")
def real(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A fresh lab with real guests, whose clones and power-ons take long enough to be killed in the middle."""
    slow = tmp_path_factory.mktemp("slow") / "vcenter"
    program = build_vcenter(Paths.of_checkout())
    slow.write_text(f'#!/bin/sh\nexec {program} "$@" -task-delay 1s\n')
    slow.chmod(0o755)
    return start_lab("podman", NANOBANANA_LAB_VCENTER=str(slow))


@pytest.fixture(scope="module")
def checked(real: Lab) -> Run:
    return run(real, "site.yml", "--check", "--diff")


@pytest.fixture(scope="module")
def killed(real: Lab, checked: Run) -> None:
    """SIGKILL of ansible-playbook while vCenter clones; its worker and module live on."""
    since = len(real.calls())
    playbook = start(real, "playbooks/provision.yml")
    wait_for_call(real, "CloneVM_Task", since)
    os.kill(playbook.pid, signal.SIGKILL)
    playbook.wait()


@pytest.fixture(scope="module")
def first(real: Lab, killed: None) -> Run:
    return run(real, "site.yml")


@pytest.fixture(scope="module")
def second(real: Lab, first: Run) -> Run:
    return run(real, "site.yml")


@pytest.fixture(scope="module")
def pings(real: Lab, second: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The least that Ansible can do on these hosts, to measure the second run by."""
    locate = {"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/locate.yml")}
    tasks = [locate, *[{"ansible.builtin.ping": {}}] * PINGS]
    playbook = tmp_path_factory.mktemp("pings") / "pings.yml"
    playbook.write_text(json.dumps([{"hosts": ",".join(HOSTS), "gather_facts": False, "tasks": tasks}]))
    return run(real, str(playbook))


@pytest.fixture(scope="module")
def torn_down(real: Lab, second: Run) -> Iterator[Run]:
    real.fleet(wish("somebody-elses"), owner="somebody")
    yield run(real, "playbooks/teardown.yml")
    real.fleet(state="absent", all_owned=True, owner="somebody")


def test_check_mode_of_an_empty_lab_writes_nothing(real: Lab, checked: Run) -> None:
    assert checked.returncode == 0, checked.output
    assert checked.writes == []
    assert checked.output.count("not created yet (check mode)") >= len(HOSTS)


def test_check_mode_shows_what_would_be_made_and_no_user_data(real: Lab, checked: Run) -> None:
    for part in (*HOSTS, "cpus: 4", "memory_mb: 16384", "extra_config.nanobanana.owner: lab", "size_gb: 20"):
        assert part in checked.output
    key = (real.state / "ssh/id_ed25519.pub").read_text().split()[1]
    assert "(not shown, sha256 " in checked.output
    assert key not in checked.output
    assert "#cloud-config" not in checked.output
    assert base64.b64encode(b"#cloud-config\n").decode()[:16] not in checked.output


def test_a_killed_run_is_finished_by_the_next(real: Lab, first: Run) -> None:
    assert first.returncode == 0, first.output
    found = real.fleet(*({"name": name} for name in HOSTS), state="gathered", owner="lab").vms
    assert all(vm["exists"] and vm["owner"] == "lab" and vm["power"] == "poweredOn" for vm in found.values())
    assert guests(real) == HOSTS


def test_every_host_passes_its_checks_and_suite(real: Lab, first: Run) -> None:
    counts = recap(first.output)
    assert {host: (count["failed"], count["unreachable"]) for host, count in counts.items()} == dict.fromkeys(
        HOSTS, (0, 0)
    )
    for host in HOSTS:
        assert re.search(rf"^{host} .*tests passed", first.output, re.MULTILINE), first.output


def test_the_report_names_the_stand_ins_first(real: Lab, first: Run) -> None:
    found = re.search(r"Passed with stand-ins\. Report: (\S+)", first.output)
    assert found, first.output
    report = (ROOT / found[1]).read_text()
    top = report[: report.index("nb-baseline-01</h")] if "nb-baseline-01</h" in report else report
    for wished in ("Ubuntu 22.04", "Windows Server 2019", "CentOS 7.9", "preview", "simulat"):
        assert wished in top
    folder = (ROOT / found[1]).parent
    for stage in ("platform", "provision", "guest", "verify", "run"):
        assert json.loads((folder / f"{stage}.json").read_text())
    for host in HOSTS:
        assert (folder / f"{host}.png").read_bytes().startswith(b"\x89PNG")


def test_the_second_run_changes_nothing(second: Run) -> None:
    assert second.returncode == 0, second.output
    assert {host: count["changed"] for host, count in recap(second.output).items()} == dict.fromkeys(HOSTS, 0)
    assert second.writes == []


def test_the_second_run_is_quick(second: Run, pings: Run) -> None:
    assert pings.returncode == 0, pings.output
    assert recap(pings.output)[HOSTS[0]]["ok"] >= PINGS
    assert second.seconds <= SECOND_RUN_OVER_PINGS * pings.seconds


def test_no_secret_appears_anywhere_at_the_highest_verbosity(real: Lab, second: Run) -> None:
    loud = run(real, "site.yml", "-vvv")
    assert loud.returncode == 0, loud.output
    assert "task path" in loud.output, "that was not verbose at all"
    private = (real.state / "ssh/id_ed25519").read_text().splitlines()[2]
    public = (real.state / "ssh/id_ed25519.pub").read_text().split()[1]
    artifacts = Path(real.env["NANOBANANA_ARTIFACTS"])
    written = [file for file in artifacts.rglob("*") if file.is_file() and file.suffix != ".png"]
    assert len(written) > 5
    texts = {"output": loud.output, "log of calls": (real.state / "logs/calls.jsonl").read_text()}
    for where, text in {**texts, **{str(file): file.read_text() for file in written}}.items():
        assert real.password not in text, where
        assert private not in text, where
        assert public not in text, f"user data in {where}"


def test_teardown_removes_what_the_inventory_owns_and_nothing_else(real: Lab, torn_down: Run) -> None:
    assert torn_down.returncode == 0, torn_down.output
    assert guests(real) == ["somebody-elses"]
    names = [*HOSTS, "somebody-elses"]
    found = real.fleet(*({"name": name} for name in names), state="gathered").vms
    assert [name for name in names if found[name]["exists"]] == ["somebody-elses"]


def test_everything_was_done_with_the_role_s_login(real: Lab, torn_down: Run) -> None:
    writers = {call["user"] for call in real.calls() if call["write"]}
    assert writers == {real.vcenter["username"]}


def test_after_ctrl_c_and_a_new_lab_everything_works(real: Lab, torn_down: Run) -> None:
    since = len(real.calls())
    playbook = start(real, "site.yml")
    wait_for_call(real, "PowerOnVM_Task", since)
    os.killpg(playbook.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the whole process group
    assert playbook.wait(timeout=60) != 0
    lab_command(real.env, "down")
    assert not Path(real.state).exists()
    lab_command(real.env, "up", "--guests", "podman")
    done = run(real, "site.yml")
    assert done.returncode == 0, done.output
    assert guests(real) == HOSTS
