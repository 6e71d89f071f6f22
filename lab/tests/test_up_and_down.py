# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab command as an operator uses it, with real processes: a daemon with fake guests and the fake vCenter."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import ssl
import stat
import subprocess
import time
from pathlib import Path

import pytest

from lab import pki, processes, state
from lab.errors import LabError
from lab.paths import CHECKOUT, Paths
from lab.tests.conftest import LabUnderTest
from lab.tests.helpers import Client, vm


def vcenter_pid(lab: LabUnderTest) -> int:
    return int(json.loads(lab.paths.ready.read_text())["pid"])


def port(lab: LabUnderTest) -> int:
    return int(json.loads(lab.paths.lab_json.read_text())["vcenter"]["port"])


def is_alive(pid: int) -> bool:
    return bool(processes._command_line(pid)[:1] not in ([], [""]))


def eventually(condition: object, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


def test_up_status_ssh_logs_and_down(fake_lab: LabUnderTest) -> None:
    assert fake_lab("status").returncode == 4
    fake_lab.up()
    daemon, vcenter = state.daemon_pid(fake_lab.paths), vcenter_pid(fake_lab)
    assert daemon and is_alive(daemon) and is_alive(vcenter)
    client = Client(json.loads(fake_lab.paths.ready.read_text())["control"])
    assert client.do("power_on", vm(1))["ok"]
    client.close()

    known = json.loads(fake_lab("status", "--json").stdout)
    assert known["running"] and known["daemon"] == daemon
    assert known["lab"]["guests"] == "fake"
    assert all("nothing" in stand_in["given"] for stand_in in known["lab"]["stand_ins"])
    assert "power_on vm-61 nb-test-01" in fake_lab("logs").stdout
    assert "no guest named 'nope'" in fake_lab("ssh", "nope").stderr

    assert fake_lab("down").returncode == 0
    assert not fake_lab.paths.state.exists()
    eventually(lambda: not is_alive(daemon) and not is_alive(vcenter))
    assert "nothing to do" in fake_lab("down").stdout
    assert list(fake_lab.paths.state.parent.iterdir()) == []


def test_a_second_up_does_nothing_in_less_than_a_second(fake_lab: LabUnderTest) -> None:
    fake_lab.up()
    before = {path: path.stat().st_mtime_ns for path in fake_lab.paths.state.rglob("*.json")}
    began = time.monotonic()
    assert "nothing to do" in fake_lab.up()
    assert time.monotonic() - began < 1
    assert {path: path.stat().st_mtime_ns for path in fake_lab.paths.state.rglob("*.json")} == before


def test_up_says_what_changed_since_the_lab_was_started(fake_lab: LabUnderTest, tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text("{}")
    assert fake_lab("up", "--guests", "fake").returncode == 0
    assert "changed since" not in fake_lab.up()
    known = json.loads(fake_lab.paths.roles.read_text())
    fake_lab.paths.roles.write_text(json.dumps(known | {"global": "another"}))
    done = fake_lab("up", "--guests", "fake", NANOBANANA_LAB_FAULTS=str(faults))
    assert done.returncode == 0
    assert "changed since: playbooks/files/vcenter_role.yml, NANOBANANA_LAB_FAULTS; " in done.stdout
    assert "to use that: lab/lab down, then up" in done.stdout


@pytest.mark.parametrize("victim", ["daemon", "vcenter"])
def test_up_repairs_what_was_killed_and_keeps_port_authority_and_password(fake_lab: LabUnderTest, victim: str) -> None:
    fake_lab.up()
    pids = {"daemon": state.daemon_pid(fake_lab.paths) or 0, "vcenter": vcenter_pid(fake_lab)}
    kept = [file.read_bytes() for file in (fake_lab.paths.ca, fake_lab.paths.password, fake_lab.paths.ssh_key)]
    before = port(fake_lab)
    os.kill(pids[victim], signal.SIGKILL)
    eventually(lambda: not any(is_alive(pid) for pid in pids.values()))  # neither outlives the other
    assert "broken" in fake_lab("status").stdout
    fake_lab.up()
    assert port(fake_lab) == before
    assert kept == [file.read_bytes() for file in (fake_lab.paths.ca, fake_lab.paths.password, fake_lab.paths.ssh_key)]
    assert fake_lab("status").returncode == 0


def test_up_takes_another_port_when_somebody_has_taken_the_one_of_before(fake_lab: LabUnderTest) -> None:
    fake_lab.up()
    before = port(fake_lab)
    os.kill(state.daemon_pid(fake_lab.paths) or 0, signal.SIGKILL)
    eventually(lambda: processes.is_free(before))
    import socket

    with socket.create_server(("127.0.0.1", before)):
        fake_lab.up()
        assert port(fake_lab) != before


def test_two_ups_at_once_make_one_lab(fake_lab: LabUnderTest) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        said = sorted(future.result() for future in [pool.submit(fake_lab.up) for _ in range(2)])
    assert sum("the lab is up; nothing to do" in text for text in said) == 1
    assert fake_lab("status").returncode == 0


def test_a_left_over_pid_file_of_a_living_stranger_harms_nobody(fake_lab: LabUnderTest) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        fake_lab.paths.state.mkdir()
        fake_lab.paths.pid.write_text(f"{stranger.pid}\n")
        fake_lab.paths.ready.write_text(json.dumps({"address": "127.0.0.1:1", "pid": stranger.pid}))
        fake_lab.up()
        assert fake_lab("down").returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_vcenter_that_does_not_come_up_is_reported_with_its_last_words(fake_lab: LabUnderTest) -> None:
    done = fake_lab("up", "--guests", "fake", FAKE_VCENTER_FAILS="1")
    assert done.returncode == 1
    assert "vcenter.log: fake vCenter: told to fail" in done.stderr
    assert "Traceback" not in done.stderr
    fake_lab.up()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["ssh", "a"], {}, 4, "the lab does not run; run: lab/lab up"),
        (["logs"], {}, 4, "run: lab/lab up"),
        (["logs", "a"], {}, 4, "run: lab/lab up"),
        (["up", "--guests", "fake"], {"NANOBANANA_LAB_GUEST_MEMORY_MB": "6 GB of"}, 1, "expected a whole number of MB"),
        (["up", "--guests", "fake"], {"NANOBANANA_LAB_FAULTS": "/no/such"}, 1, "expected a JSON file"),
        (["up", "--guests", "martian"], {}, 2, "invalid choice: 'martian'"),
        ([], {}, 2, "the following arguments are required: VERB"),
    ],
)
def test_a_mistake_ends_with_one_message_and_its_code(
    fake_lab: LabUnderTest, arguments: list[str], environment: dict[str, str], code: int, message: str
) -> None:
    done = fake_lab(*arguments, **environment)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_up_with_other_guests_than_those_that_run_is_refused(fake_lab: LabUnderTest) -> None:
    fake_lab.up()
    done = fake_lab("up", "--guests", "podman")
    assert done.returncode == 1 and "the lab runs with fake guests" in done.stderr


def test_the_wrapper_finds_its_checkout_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lab").symlink_to(CHECKOUT / "lab" / "lab")
    done = subprocess.run([tmp_path / "lab", "--help"], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Exit codes" in done.stdout


def test_the_wrapper_says_how_to_get_the_environment(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "lab").write_bytes((CHECKOUT / "lab" / "lab").read_bytes())
    done = subprocess.run(["sh", tmp_path / "lab" / "lab", "up"], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "run: make setup" in done.stderr


def test_identity_is_made_once_and_is_private(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path, "0123abcd")
    everything = ["TLS authority", "server certificate", "password", "administrator's password", "SSH key"]
    assert pki.ensure(paths) == everything
    assert pki.ensure(paths) == []
    for secret in (
        paths.password,
        paths.admin_password,
        paths.ssh_key,
        paths.tls / "ca.key",
        paths.tls / "server.key",
    ):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    context = ssl.create_default_context(cafile=str(paths.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", "127.0.0.1", "-verify_hostname",
         "localhost", "-CAfile", paths.ca, paths.tls / "server.pem"],
        check=True,
    )  # fmt: skip
    subprocess.run(["ssh-keygen", "-y", "-f", paths.ssh_key], check=True, capture_output=True)
    paths.ca.unlink()
    assert pki.ensure(paths) == ["TLS authority", "server certificate"]


def test_only_one_daemon_can_hold_the_pid_file(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path, "0123abcd")
    assert state.daemon_pid(paths) is None
    held = state.hold_pid_file(paths)
    assert state.daemon_pid(paths) == os.getpid()
    with pytest.raises(LabError, match="another daemon"):
        state.hold_pid_file(paths)
    os.close(held)
    assert state.daemon_pid(paths) is None
