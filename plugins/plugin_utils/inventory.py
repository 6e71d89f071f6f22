# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the inventory one that a run can start from? Pure questions, asked by the action plugin preflight_inventory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem

PLACEHOLDER = "FILL_IN"
# By connection: which variable says whether it is encrypted, and which whether the certificate is checked.
_WINDOWS = {
    "psrp": ("ansible_psrp_protocol", "ansible_psrp_cert_validation"),
    "winrm": ("ansible_winrm_scheme", "ansible_winrm_server_cert_validation"),
}
_CA = {"psrp": "ca_cert", "winrm": "ca_trust_path"}
_MARK = re.compile(rf"^\s*(?:-\s+)?(?:(?P<name>[\w.-]+)\s*:)?[^#]*\b{PLACEHOLDER}\b")


def unfilled(sources: Iterable[str]) -> list[Problem]:
    """Every line of an inventory that still holds the template's placeholder."""
    problems = []
    for source in sources:
        path = Path(source)
        files = sorted(path.rglob("*.yml")) if path.is_dir() else [path] if path.is_file() else []
        for file in files:
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                found = _MARK.match(line)
                if found:
                    problems.append(_problem(file, number, found["name"] or "(list item)"))
    return problems


def _problem(file: Path, number: int, name: str) -> Problem:
    here = Path.cwd()
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    return Problem(f"{shown}:{number} {name}", "your own value", f"the template's {PLACEHOLDER}", "fill it in")


def targets(groups: Mapping[str, Iterable[str]], environments: Iterable[str], play_hosts: Iterable[str]) -> list[str]:
    """The hosts of the environments that this run is limited to, in the order of the play."""
    wanted = {host for name in environments for host in groups.get(name, ())}
    return [host for host in play_hosts if host in wanted]


def nobody(
    groups: Mapping[str, Iterable[str]], environments: Iterable[str], sources: Iterable[str], limit: str
) -> Problem:
    """Why there is nothing to do: a limit that hits no host, or an inventory without any."""
    names = list(environments)
    known = sorted({host for name in names for host in groups.get(name, ())})
    where = ", ".join(sources) or "(none)"
    expected = f"at least one host in the groups {', '.join(names)}"
    if known:
        return Problem(f"limit '{limit}'", expected, "no host of them", f"use one of {', '.join(known)}")
    return Problem(f"inventory {where}", expected, "none", "add hosts there, or name another inventory with -i")


def unsafe_windows(hosts: Iterable[str], variables: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Windows hosts that are not reached by PSRP or WinRM over HTTPS with a certificate that is checked.

    Ansible knows SSH to Windows from OpenSSH 7.9 on, which Server 2019 does not have. A host that is allowed another
    system in place of Windows is reached as that system is.
    """
    return [problem for host in hosts for problem in _unsafe(host, variables[host])]


def _unsafe(host: str, variables: Mapping[str, Any]) -> list[Problem]:
    connection = str(variables.get("ansible_connection") or "ssh").rpartition(".")[2]
    if connection not in _WINDOWS:
        windows = str(variables.get("testbed_os") or "").lower().startswith("windows")
        if not windows or variables.get("preflight_allow_stand_in"):
            return []
        fix = "set ansible_connection: psrp, as in inventories/production/group_vars/compatibility.yml"
        return [
            Problem(f"ansible_connection of {host}", "psrp, for SSH to this Windows is not supported", connection, fix)
        ]
    protocol, certificates = _WINDOWS[connection]
    plain = variables.get(protocol, "http" if str(variables.get("ansible_port")) == "5985" else "https") != "https"
    problems = []
    if plain:
        problems.append(
            Problem(f"{protocol} of {host}", "https", "http", f"set {protocol}: https and ansible_port: 5986")
        )
    if variables.get(certificates, "validate") != "validate":
        fix = f"set {certificates}: validate, and ansible_{connection}_{_CA[connection]} to the authority's file"
        problems.append(Problem(f"{certificates} of {host}", "validate", str(variables[certificates]), fix))
    authority = f"ansible_{connection}_{_CA[connection]}"
    # requests takes an empty name for "do not check".
    if authority in variables and not variables[authority]:
        problems.append(
            Problem(
                f"{authority} of {host}",
                "a PEM file",
                "nothing, which switches the check off",
                f"name the file in {authority}",
            )
        )
    return problems
