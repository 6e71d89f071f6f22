# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of an inventory before vCenter is asked anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.connection import connection_args
from ansible_collections.nanobanana.testbed.plugins.plugin_utils.inventory import (
    nobody,
    targets,
    unfilled,
    unsafe_windows,
)

ENVIRONMENTS = ("baseline", "stress")
GROUPS = {"all": ["a", "b", "c"], "baseline": ["a"], "stress": ["b"], "other": ["c"]}


def test_each_unfilled_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts.yml").write_text("# says FILL_IN in a comment\nbaseline:\n", encoding="utf-8")
    text = "a: 1\nvsphere_hostname: FILL_IN  # host\nlist:\n  - network: FILL_IN\n"
    (tmp_path / "group_vars/all.yml").write_text(text, encoding="utf-8")
    problems = [problem.what for problem in unfilled([str(tmp_path)])]
    assert [what.rsplit("/", 1)[-1] for what in problems] == ["all.yml:2 vsphere_hostname", "all.yml:4 network"]


def test_the_shipped_template_of_production_is_unfilled() -> None:
    root = Path(__file__).parents[4]
    names = {problem.what.split()[-1] for problem in unfilled([str(root / "inventories/production")])}
    assert {"vsphere_hostname", "vsphere_username", "testbed_owner", "cluster", "datastore", "network"} <= names
    assert unfilled([str(root / "inventories/lab")]) == []


def test_targets_keep_the_order_of_the_play() -> None:
    assert targets(GROUPS, ENVIRONMENTS, ["c", "b", "a"]) == ["b", "a"]
    assert targets({}, ENVIRONMENTS, ["localhost"]) == []


def test_an_empty_inventory_and_an_idle_limit_are_told_apart() -> None:
    assert "inventory hosts.yml: expected at least one host" in str(nobody({}, ENVIRONMENTS, ["hosts.yml"], ""))
    assert "limit 'other': " in str(nobody(GROUPS, ENVIRONMENTS, ["hosts.yml"], "other"))
    assert "use one of a, b" in str(nobody(GROUPS, ENVIRONMENTS, ["hosts.yml"], "other"))


def test_connection_comes_from_the_task_then_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VMWARE_HOST", "VMWARE_USER", "VMWARE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    variables = {"vsphere_hostname": "var", "vsphere_username": "u", "vsphere_password": "p", "vsphere_port": 4}
    filled = connection_args({"vsphere_hostname": "own"}, variables, lambda value: value)
    assert filled == {"vsphere_hostname": "own", "vsphere_username": "u", "vsphere_password": "p", "vsphere_port": 4}


def test_every_missing_connection_value_is_named_with_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMWARE_HOST", "vc.example.com")
    for name in ("VMWARE_USER", "VMWARE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TestbedError) as caught:
        connection_args({}, {"testbed_connection_hint": "start it", "vsphere_username": ""}, lambda value: value)
    assert [problem.what for problem in caught.value.problems] == ["vsphere_username", "vsphere_password"]
    assert "Next: start it, or set VMWARE_USER" in str(caught.value)


PSRP = {"testbed_os": "Windows Server 2019", "ansible_connection": "psrp", "ansible_port": 5986}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"testbed_os": "Ubuntu 22.04"}, []),
        ({"testbed_os": "Windows Server 2019", "preflight_allow_stand_in": True}, []),
        (PSRP, []),
        (PSRP | {"ansible_psrp_protocol": "https", "ansible_psrp_cert_validation": "validate"}, []),
        ({"testbed_os": "Windows Server 2019"}, ["ansible_connection of a"]),
        (
            {"testbed_os": "Windows Server 2019", "ansible_connection": "ansible.builtin.ssh"},
            ["ansible_connection of a"],
        ),
        (PSRP | {"ansible_psrp_protocol": "http"}, ["ansible_psrp_protocol of a"]),
        (PSRP | {"ansible_psrp_ca_cert": ""}, ["ansible_psrp_ca_cert of a"]),
        (PSRP | {"ansible_port": 5985}, ["ansible_psrp_protocol of a"]),
        (PSRP | {"ansible_psrp_cert_validation": "ignore"}, ["ansible_psrp_cert_validation of a"]),
        (
            {
                "ansible_connection": "winrm",
                "ansible_winrm_server_cert_validation": "ignore",
                "ansible_winrm_scheme": "http",
            },
            ["ansible_winrm_scheme of a", "ansible_winrm_server_cert_validation of a"],
        ),
    ],
)
def test_windows_is_reached_by_a_checked_certificate_alone(variables: dict[str, object], expected: list[str]) -> None:
    assert [problem.what for problem in unsafe_windows(["a"], {"a": variables})] == expected


def test_ssh_to_windows_is_refused_with_what_to_write_instead() -> None:
    (problem,) = unsafe_windows(["a"], {"a": {"testbed_os": "Windows Server 2019"}})
    assert problem.expected.startswith("psrp")
    assert problem.found == "ssh"
    assert "ansible_connection: psrp" in problem.next
