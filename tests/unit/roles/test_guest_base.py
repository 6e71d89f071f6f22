# SPDX-License-Identifier: GPL-3.0-or-later
"""guest_base: what it writes, and what it refuses before it changes anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).parents[3]
ROLE = ROOT / "roles/guest_base"


def rendered(name: str, **variables: Any) -> str:
    text = (ROLE / "templates" / name).read_text(encoding="utf-8")
    settings = {"ansible_managed": "Ansible managed", "guest_base_proxy_url": "", "guest_base_pip_index_url": ""}
    return str(Templar(loader=DataLoader(), variables=settings | variables).template(trust_as_template(text)))


def values(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith(("#", "/*", " *", "//"))]


@pytest.mark.parametrize(
    ("template", "variables", "lines"),
    [
        (
            "timesyncd.conf.j2",
            {"guest_base_ntp_servers": ["a.example.com", "::1"]},
            ["[Time]", "NTP=a.example.com ::1"],
        ),
        (
            "chrony.conf.j2",
            {"guest_base_ntp_servers": ["a", "b"]},
            [
                "server a iburst",
                "server b iburst",
                "driftfile /var/lib/chrony/drift",
                "makestep 1.0 3",
                "rtcsync",
                "logdir /var/log/chrony",
            ],
        ),
        (
            "apt_proxy.conf.j2",
            {"guest_base_proxy_url": "http://p:1"},
            ['Acquire::http::Proxy "http://p:1";', 'Acquire::https::Proxy "http://p:1";'],
        ),
        (
            "apt_periodic.conf.j2",
            {"guest_base_unattended_upgrades": False},
            [f'APT::Periodic::{name} "0";' for name in ("Enable", "Update-Package-Lists", "Unattended-Upgrade")],
        ),
        (
            "apt_periodic.conf.j2",
            {"guest_base_unattended_upgrades": True},
            [f'APT::Periodic::{name} "1";' for name in ("Enable", "Update-Package-Lists", "Unattended-Upgrade")],
        ),
        ("pip.conf.j2", {"__guest_base_ca_bundle": "/ca"}, ["[global]", "cert = /ca"]),
        (
            "pip.conf.j2",
            {
                "__guest_base_ca_bundle": "/ca",
                "guest_base_pip_index_url": "https://i",
                "guest_base_proxy_url": "http://p",
            },
            ["[global]", "cert = /ca", "index-url = https://i", "proxy = http://p"],
        ),
    ],
)
def test_a_file_holds_the_wish(template: str, variables: dict[str, Any], lines: list[str]) -> None:
    assert values(rendered(template, **variables)) == lines


def test_a_shell_reads_the_proxy_as_it_was_wished(tmp_path: Path) -> None:
    proxy = "http://tester:Sesam%40%23!&oeffne@proxy.example.com:3128"
    file = tmp_path / ".config/nano-banana/proxy.env"
    file.parent.mkdir(parents=True)
    file.write_text(rendered("proxy.env.j2", guest_base_proxy_url=proxy, guest_base_no_proxy=["localhost", ".a.com"]))
    script = rendered("proxy.sh.j2") + "\nenv"
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {found[name] for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")} == {proxy}
    assert found["no_proxy"] == found["NO_PROXY"] == "localhost,.a.com"


def test_the_profile_is_silent_where_the_user_has_no_proxy(tmp_path: Path) -> None:
    script = rendered("proxy.sh.j2")
    done = subprocess.run(["/bin/sh", "-ec", script], env={"HOME": str(tmp_path)}, capture_output=True, check=True)
    assert done.stdout + done.stderr == b""


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "user": ({"guest_base_user": "Tester; rm"}, "guest_base_user: expected a name"),
    "root": ({"guest_base_user": "root"}, "guest_base_user: expected a name"),
    "folder": ({"guest_base_folders": ["input", "../etc"]}, "guest_base_folders: expected plain names"),
    "absolute": ({"guest_base_folders": ["/etc"]}, "guest_base_folders: expected plain names"),
    "zone": ({"guest_base_timezone": "../../etc/passwd"}, "guest_base_timezone: expected a name"),
    "server": ({"guest_base_ntp_servers": ["a b"]}, "guest_base_ntp_servers: expected host names"),
    "ca": ({"guest_base_ca_files": ["/nowhere.pem"]}, "guest_base_ca_files: expected PEM files"),
    "proxy": ({"guest_base_proxy_url": "http://u:se'cret@p"}, "guest_base_proxy_url: expected http://HOST:PORT"),
    "socks": ({"guest_base_proxy_url": "socks5://secret"}, "guest_base_proxy_url: expected http://HOST:PORT"),
    "no proxy": ({"guest_base_no_proxy": ["a b"]}, "guest_base_no_proxy: expected hosts"),
    "sources": ({"guest_base_apt_sources": ["http://a"]}, "guest_base_apt_sources: expected lines"),
    "unsigned": ({"guest_base_apt_sources": ["deb [trusted=yes] http://a b c"]}, "whose signatures are checked"),
    "mirror": ({"guest_base_centos_mirror": "vault"}, "guest_base_centos_mirror: expected an address"),
    "index": ({"guest_base_pip_index_url": "pypi"}, "guest_base_pip_index_url: expected an address"),
    "password": (
        {"ansible_connection": "ssh", "ansible_password": "secret"},
        "guest_base_ssh_hardening: expected a login by",
    ),
    "type": ({"guest_base_ntp_servers": {"a": 1}}, "guest_base_ntp_servers"),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One run for all: what it said of each host, one bad value a host."""
    folder = tmp_path_factory.mktemp("guest_base")
    local = {"ansible_connection": "local", "family": "Debian", "major": "12"}
    hosts: dict[str, Any] = {name.replace(" ", "_"): local | bad for name, (bad, _words) in BAD.items()}
    hosts["family"] = local | {"family": "Suse"}
    hosts["upgrades"] = local | {"family": "RedHat", "major": "7", "guest_base_unattended_upgrades": True}
    hosts["several"] = local | BAD["zone"][0] | BAD["folder"][0]
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    facts = {"os_family": "{{ family }}", "distribution_major_version": "{{ major }}", "cacheable": True}
    play = {"hosts": "all", "gather_facts": False, "pre_tasks": [{"ansible.builtin.set_fact": facts}]}
    (folder / "play.yml").write_text(yaml.safe_dump([play | {"roles": ["nanobanana.testbed.guest_base"]}]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CACHE_PLUGIN": "memory", "ANSIBLE_NOCOLOR": "1", "COLUMNS": "10000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "changed: [" not in done.stdout
    # A message is folded at some column.
    parts = " ".join(done.stdout.split()).split("fatal: [")
    return {"": done.stdout} | {part.partition("]")[0]: part for part in parts[1:]}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_value_is_refused(refusals: dict[str, str], name: str) -> None:
    text = refusals[name.replace(" ", "_")]
    assert BAD[name][1] in text
    assert name == "type" or f"--limit {name.replace(' ', '_')}" in text


def test_a_strange_system_is_refused(refusals: dict[str, str]) -> None:
    assert "expected a system of the Debian, RedHat or Windows family; found Suse" in refusals["family"]


def test_centos_7_has_no_upgrades(refusals: dict[str, str]) -> None:
    assert "guest_base_unattended_upgrades: expected false on CentOS 7" in refusals["upgrades"]


def test_all_bad_values_are_named_at_once(refusals: dict[str, str]) -> None:
    assert "guest_base_folders: " in refusals["several"]
    assert "guest_base_timezone: " in refusals["several"]


def test_no_refusal_repeats_a_secret(refusals: dict[str, str]) -> None:
    assert "se'cret" not in refusals[""]
    assert "secret" not in refusals[""]


def test_every_host_was_refused_and_nothing_was_tried(refusals: dict[str, str]) -> None:
    assert len(refusals) == len(BAD) + 4
    assert "See what the guest has" not in refusals[""]


FAMILIES = {"debian": ("Debian", "12"), "centos7": ("RedHat", "7"), "el9": ("RedHat", "9")}


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the role would ask a guest of each family."""
    folder = tmp_path_factory.mktemp("probes")
    (folder / "templates").symlink_to(ROLE / "templates")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: local | {"family": family, "major": major} for name, (family, major) in FAMILIES.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    facts = {"os_family": "{{ family }}", "distribution_major_version": "{{ major }}", "cacheable": True}
    tasks = [
        {"ansible.builtin.set_fact": facts},
        {"ansible.builtin.set_fact": {"__guest_base_harden": True}},  # as by SSH
        {"ansible.builtin.import_role": {"name": "nanobanana.testbed.guest_base", "tasks_from": "expect"}},
        {"ansible.builtin.include_vars": f"{ROLE}/vars/{{{{ family }}}}.yml"},
        {
            "ansible.builtin.copy": {
                "content": "{{ lookup('ansible.builtin.template', 'probe.sh.j2') }}",
                "dest": f"{folder}/{{{{ inventory_hostname }}}}.sh",
                "mode": "0644",
            }
        },
    ]
    wish = {"guest_base_proxy_url": "http://proxy.example.com:3128", "guest_base_ntp_servers": ["a"]}
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks, "vars": wish}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CACHE_PLUGIN": "memory"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return folder


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (
            "debian",
            ["dpkg-query", "95nano-banana-proxy", "timesyncd.conf.d", "systemd-timesyncd.service", "apt-daily.timer"],
        ),
        ("centos7", ["rpm --query", "/etc/yum.conf", "/etc/chrony.conf", "chronyd.service", "yum-cron.service"]),
        ("el9", ["rpm --query", "/etc/dnf/dnf.conf", "/etc/chrony.conf", "chronyd.service", "dnf-automatic.timer"]),
    ],
)
def test_each_family_is_asked_for_its_own(probes: Path, family: str, words: list[str]) -> None:
    text = (probes / f"{family}.sh").read_text()
    assert [word for word in words if word not in text] == []
    subprocess.run(["/bin/sh", "-n", str(probes / f"{family}.sh")], check=True)
    assert "sshd -T -C user=tester," in text
