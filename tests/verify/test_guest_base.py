# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest itself: its name, its user and folders, whom it trusts, its clock, its sources of packages, its SSH."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from conftest import Expected

BUNDLES = "/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt"
UPGRADE_UNITS = (
    "apt-daily.timer apt-daily-upgrade.timer yum-cron.service dnf-automatic.timer dnf-automatic-install.timer"
)
DISTRIBUTION_SOURCES = (
    "/etc/apt/sources.list /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources"
)
REFUSED = {"permitrootlogin", "passwordauthentication", "kbdinteractiveauthentication", "permitemptypasswords"}


@pytest.fixture(scope="module")
def wish(expected: Expected) -> dict[str, Any]:
    return expected.of("guest_base")


def as_root(host: Any, command: str) -> str:
    with host.sudo():
        return str(host.run(command).stdout)


def test_the_guest_bears_its_name_in_the_inventory(host: Any, expected: Expected) -> None:
    found = host.check_output("cat /proc/sys/kernel/hostname")
    assert found.partition(".")[0] == expected.hostname, f"host name: expected {expected.hostname}; found {found}"


def test_the_user_is_there_and_owns_a_home(host: Any, expected: Expected) -> None:
    done = host.run("stat -c '%%U %%F' %s", expected.home)
    found = done.stdout.strip() or done.stderr.strip()
    assert found == f"{expected.user} directory", (
        f"{expected.home}: expected a folder of {expected.user}; found {found}"
    )


def test_the_user_has_no_password(host: Any, expected: Expected) -> None:
    field = as_root(host, f"getent shadow {expected.user}").split(":")[1]
    assert field[:1] in ("!", "*"), f"{expected.user}: expected no password; found one"


def test_the_user_may_use_sudo_without_a_password(as_user: Any) -> None:
    assert as_user("sudo -n id -u").strip() == "0"


def test_the_folders_are_the_users_and_writable(expected: Expected, wish: dict[str, Any], as_user: Any) -> None:
    paths = [f"{expected.home}/nano-banana/{folder}" for folder in wish["folders"]]
    tests = "; ".join(f"test -d {path} -a -w {path} -a -O {path} || echo {path}" for path in paths)
    wrong = as_user(tests + "; true").split()
    assert not wrong, f"expected writable folders of {expected.user}; found otherwise: {', '.join(wrong)}"


def test_the_extra_authorities_are_trusted(host: Any, wish: dict[str, Any]) -> None:
    wished = set(wish["ca_sha256"])
    if not wished:
        pytest.skip("no extra authority is wished for this host")
    bundle = host.run(f"cat {BUNDLES} 2>/dev/null").stdout
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----(.+?)-----END", bundle, re.DOTALL)
    trusted = {hashlib.sha256(base64.b64decode(block)).hexdigest() for block in blocks}
    missing = wished - trusted
    assert not missing, f"expected {len(wished)} extra authorities; found {len(missing)} of them missing"


def test_the_clock_shows_the_wished_zone(host: Any, wish: dict[str, Any]) -> None:
    found = host.run("readlink -f /etc/localtime").stdout.strip()
    wished = host.run(f"readlink -f /usr/share/zoneinfo/{wish['timezone']}").stdout.strip()
    assert found == wished, f"time zone: expected {wish['timezone']}; found {found}"


def test_the_clock_is_kept_by_the_network(host: Any, wish: dict[str, Any], whole_machine: None) -> None:
    if not wish["ntp"]:
        pytest.skip("the clock is left to the template")
    units = host.run("systemctl is-active systemd-timesyncd.service chronyd.service").stdout.split()
    assert "active" in units, f"systemd-timesyncd or chronyd: expected active; found {', '.join(units)}"


def test_upgrades_come_as_wished(host: Any, wish: dict[str, Any]) -> None:
    active = host.run(f"systemctl is-active {UPGRADE_UNITS}").stdout.split()
    found = "active" in active
    assert found == wish["upgrades"], f"unattended upgrades: expected {wish['upgrades']}; found {found}"
    settings = host.run("apt-config dump APT::Periodic::Enable").stdout
    if settings:
        assert ('"1"' in settings) == wish["upgrades"], f"APT::Periodic::Enable: found {settings.strip()}"


def test_ssh_refuses_root_and_passwords(host: Any, expected: Expected, wish: dict[str, Any]) -> None:
    if not wish["ssh_hardening"]:
        pytest.skip("guest_base_ssh_hardening is off for this host")
    lines = as_root(host, f"/usr/sbin/sshd -T -C user={expected.user},host=localhost,addr=127.0.0.1").splitlines()
    found = dict(line.split(" ", 1) for line in lines if line.split(" ")[0] in REFUSED)
    assert found == dict.fromkeys(REFUSED, "no"), f"sshd: expected four times no; found {found}"
    undo = host.run("systemctl is-active nano-banana-ssh-undo.timer").stdout.strip()
    assert undo != "active", "nano-banana-ssh-undo.timer: expected none; found one that would take it back"


def test_the_proxy_is_in_the_users_shells_and_hidden_from_others(
    host: Any, expected: Expected, wish: dict[str, Any], as_user: Any
) -> None:
    file = f"{expected.home}/.config/nano-banana/proxy.env"
    if not wish["proxy"]:
        assert host.run(f"sudo -n test -e {file}").rc == 1, f"{file}: expected none; found one"
        pytest.skip("no proxy is wished for this host")
    names = as_user("bash -lc 'env' | sed -n 's/_proxy=.*//p' | sort").split()
    assert {"http", "https", "no"} <= set(names), f"environment: expected a proxy; found {', '.join(names) or 'none'}"
    found = as_root(host, f"stat -c '%a %U' {file}").strip()
    assert found == f"600 {expected.user}", f"{file}: expected 600 {expected.user}; found {found}"


def test_apt_takes_packages_from_the_wished_sources(host: Any, wish: dict[str, Any]) -> None:
    if not wish["apt_sources"]:
        pytest.skip("the distribution's own sources are wished for this host")
    own = "/etc/apt/sources.list.d/nano-banana.list"
    lines = as_root(host, f"grep -c '^deb' {own}").strip()
    assert lines == str(wish["apt_sources"]), f"{own}: expected {wish['apt_sources']} sources; found {lines or 'none'}"
    found = as_root(host, f"ls {DISTRIBUTION_SOURCES} 2>/dev/null").split()
    assert not found, f"apt: expected the wished sources alone; found {', '.join(found)}"
