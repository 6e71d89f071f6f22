# SPDX-License-Identifier: GPL-3.0-or-later
"""What a verified host is expected to be, how its user's commands are run, and how a failure is told."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from textwrap import shorten
from typing import Any

import pytest

# Where Ansible keeps its own.
CONTROL_PATHS = Path.home() / ".ansible" / "cp"


@dataclass(frozen=True)
class Expected:
    """The wish for one host: ``vm`` as fleet returned it, and for each role what it promises: ``__ROLE_expect``."""

    hostname: str
    user: str = "tester"
    vm: dict[str, Any] = field(default_factory=dict)
    guest_base: dict[str, Any] = field(default_factory=dict)
    kernel_tuning: dict[str, Any] = field(default_factory=dict)
    data_disk: dict[str, Any] = field(default_factory=dict)
    nvidia_driver: dict[str, Any] = field(default_factory=dict)
    cuda_toolkit: dict[str, Any] = field(default_factory=dict)
    pyenv: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> str:
        """The user's home folder."""
        return f"/home/{self.user}"

    def of(self, role: str) -> dict[str, Any]:
        """What the role promises; skips the test where nothing was said of it."""
        wish: dict[str, Any] = getattr(self, role)
        return wish or pytest.skip(f"nothing was asked of {role} on this host")


def expected_from(text: str) -> Expected:
    """The wish from JSON; a key that is unknown or missing is an error, not silence. Raises pytest.UsageError."""
    known = {each.name for each in fields(Expected)}
    try:
        given: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise pytest.UsageError(f"--expect: expected a JSON object; found {error}") from error
    unknown = set(given) - known
    if unknown or "hostname" not in given:
        raise pytest.UsageError(f"--expect: expected keys of {sorted(known)}, hostname at least; found {sorted(given)}")
    return Expected(**given)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The wish comes from a file, or inline from the environment."""
    parser.addoption(
        "--expect", metavar="FILE", help="JSON file with the wish; default: TESTBED_EXPECT holds the JSON itself"
    )


@pytest.fixture(scope="module")
def host(_testinfra_host: Any, pytestconfig: pytest.Config) -> Any:
    """The host, reached once before its tests: what cannot be reached fails them all with one reason."""
    backend = _testinfra_host.backend
    if backend.NAME == "ssh":
        # testinfra 10.2.2 knows the option --ssh-extra-args, but does not pass it on.
        backend.ssh_extra_args = pytestconfig.getoption("ssh_extra_args")
        # One connection for all tests: without a path testinfra logs in anew for each command.
        CONTROL_PATHS.mkdir(mode=0o700, parents=True, exist_ok=True)
        backend.controlpath, backend.controlpersist = f"{CONTROL_PATHS}/verify-%%C", 15
    try:
        _testinfra_host.run("true")
    except RuntimeError as error:
        words = error.args[0].stderr.strip() if hasattr(error.args[0], "stderr") else str(error)
        pytest.fail(f"{backend.get_hostname()}: expected an SSH login; found: {words}", pytrace=False)
    return _testinfra_host


@pytest.fixture(scope="module")
def expected(host: Any, pytestconfig: pytest.Config) -> Expected:
    """The wish for the host; without one the inventory's name and the defaults."""
    path = pytestconfig.getoption("--expect")
    text = Path(path).read_text(encoding="utf-8") if path else os.environ.get("TESTBED_EXPECT", "")
    return expected_from(text) if text else Expected(hostname=host.backend.get_hostname())


@pytest.fixture(scope="module")
def whole_machine(host: Any) -> None:
    """For tests of what a container shares with the machine below it: kernel, disks, swap, memory."""
    found = host.run("systemd-detect-virt --container").stdout.strip()
    if found not in ("", "none"):
        pytest.skip(f"a {found} container has no kernel, disk, or memory of its own to show this")


@pytest.fixture(scope="module")
def as_user(host: Any, expected: Expected) -> Any:
    """Run a command as the model's user; fails the test with the command's own words when it fails."""

    def run(command: str, *arguments: str) -> str:
        with host.sudo(expected.user):
            done = host.run(command, *arguments)
        words = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        assert done.rc == 0, f"expected success of '{shorten(command, 60)}'; found exit status {done.rc}: {words}"
        return str(done.stdout)

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each reason, with its tests: an operator reads these, the JUnit file has the rest."""
    reasons: dict[str, list[str]] = {}
    for report in [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]:
        crash = getattr(report.longrepr, "reprcrash", None)
        words = crash.message if crash else str(report.longrepr).strip()
        reason = words.splitlines()[0].replace("AssertionError: ", "")
        reasons.setdefault(reason, []).append(report.nodeid.rpartition("::")[2].partition("[")[0])
    for reason, names in reasons.items():
        others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        terminalreporter.write_line(f"{names[0]}{others}: {reason}")
