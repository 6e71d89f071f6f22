# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of the platform gate that concern the vCenter itself; each judges what was read and asks nothing."""

from __future__ import annotations

import re
from functools import partial
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError

from .data import vsphere as data
from .result import FAILED, NOT_APPLICABLE, PASSED, SKIPPED, WARNED, Fix, Outcome, Probe
from .vsphere_facts import HostFacts, Server

SHOWN = 5  # of a list in one line; the evidence has all of it


def parse(version: str) -> Tuple[int, ...]:
    """8.0.3 as (8, 0, 3); raises ValueError for what is no version."""
    if not re.match(r"^[0-9]{1,6}(\.[0-9]{1,9})*$", version):
        raise ValueError(f"'{version[:40]}' is no version")
    return tuple(int(part) for part in version.split("."))


def listed(words: Sequence[str]) -> str:
    """The first words of a list, and how many more there are."""
    more = len(words) - SHOWN
    return ", ".join(words[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def way_out(problem: Problem) -> Optional[Fix]:
    """What an error says to do next, as a sentence of its own."""
    text = problem.next
    return Fix(text[:1].upper() + text[1:] + ("" if text.endswith("?") else ".")) if text else None


def refused(problems: Sequence[Problem], status: str = FAILED) -> Outcome:
    """What fleet would refuse, as an outcome; the first problem's way out is the fix."""
    first = problems[0]
    return Outcome(
        status,
        first.expected,
        first.found,
        listed([problem.what for problem in problems]) + " cannot be met as it stands",
        {"problems": [str(problem) for problem in problems]},
        fix=way_out(first),
    )


def login(error: Optional[TestbedError], where: str) -> Outcome:
    """``error`` is why there is no session, None where there is one."""
    if error is None:
        return Outcome(PASSED, "a session", f"a session with {where}")
    problem = error.problems[0]
    why = f"there is no session with {where}"
    if problem.what != where:
        why = f"{why}, because of {problem.what}"
    evidence = {"error_code": error.error_code}
    return Outcome(FAILED, problem.expected, problem.found, why, evidence, fix=way_out(problem))


def version(server: Server) -> Outcome:
    """At least 7.0 U3, which the API calls 7.0.3."""
    expected = f"vCenter {data.OLDEST_VCENTER} or newer"
    try:
        old = parse(server.version) < parse(data.OLDEST_VCENTER)
    except ValueError as error:
        return Outcome(FAILED, expected, server.version or "no version", f"vCenter does not say what it is: {error}")
    evidence = {"version": server.version, "full_name": server.full_name}
    if old:
        return Outcome(FAILED, expected, server.full_name, "this version is too old for the testbed", evidence)
    return Outcome(PASSED, expected, server.full_name, evidence=evidence)


def build(server: Server) -> Outcome:
    """The build of a release; one that the table does not know is no fault of the vCenter's."""
    same = [row for row in data.RELEASES if row.version == server.version]
    expected = f"build {same[0].build} or newer of {server.version}" if same else "a build number"
    if not re.match(r"^[0-9]{1,12}$", server.build):
        return Outcome(WARNED, expected, server.build or "none", "this is no build number, so no release can be named")
    number = int(server.build)
    name = next((row.name for row in same if row.build == number), "")
    evidence = {"build": number, "release": name}
    if same and number < same[0].build:
        detail = f"this build is older than {same[0].name} of {same[0].date}, the first release of its version"
        return Outcome(FAILED, expected, str(number), detail, evidence)
    found = f"build {number}" + (f", vCenter {name}" if name else "")
    newest = data.RELEASES[-1]
    detail = "" if name else f"the table of releases, which ends with {newest.name} of {newest.date}, does not name it"
    return Outcome(PASSED, expected, found, detail, evidence)


def clock(server: Server) -> Outcome:
    """Both clocks, the time that the question took being allowed for."""
    expected, off = f"at most {data.CLOCK_WARNS} s apart", abs(server.clock)
    found = f"{off:.0f} s {'ahead of' if server.clock > 0 else 'behind'} the control node"
    evidence = {"seconds": round(server.clock, 1)}
    if off <= data.CLOCK_WARNS:
        return Outcome(PASSED, expected, f"{off:.0f} s apart", evidence=evidence)
    detail = "certificates, sessions and the expiry of VMs go by these clocks"
    return Outcome(FAILED if off > data.CLOCK_FAILS else WARNED, expected, found, detail, evidence)


def privileges(server: Server) -> Outcome:
    """What the login lacks of the project's role, for what is wished."""
    if server.no_grants:
        return Outcome(SKIPPED, "the privileges of the project's role", detail=server.no_grants)
    expected = f"{len(server.grants)} privileges on {len({grant.name for grant in server.grants})} objects"
    missing = [grant for grant in server.grants if not grant.held]
    if not missing:
        return Outcome(PASSED, expected, "all of them")
    hard = [grant for grant in missing if not grant.soft]
    rows = [f"{grant.privilege} on {grant.place} '{grant.name}' ({grant.why})" for grant in hard or missing]
    detail = "fleet would be refused" if hard else "fleet would do without, and say so"
    evidence = {"missing": [f"{grant.privilege} on {grant.place} '{grant.name}'" for grant in missing]}
    return Outcome(FAILED if hard else WARNED, expected, f"none of: {listed(rows)}", detail, evidence)


def hosts(server: Server) -> Outcome:
    """Each host that a wish may use: it is there, and its ESXi is one that the testbed knows."""
    expected = f"ESXi {data.OLDEST_ESXI} or newer, connected and not in maintenance mode"
    if not server.hosts:
        return Outcome(NOT_APPLICABLE, expected, detail="no wish says on which hosts its VM may run")
    evidence = {host.name: host.unusable or host.version for host in server.hosts}
    away = [f"{host.name} ({host.unusable})" for host in server.hosts if host.unusable]
    there = [host for host in server.hosts if not host.unusable]
    old, older = _below(there, data.RECOMMENDED_ESXI), _below(there, data.OLDEST_ESXI)
    if older:
        return Outcome(FAILED, expected, listed(older), "too old for the testbed's VMs and GPUs", evidence)
    if not there:
        return Outcome(FAILED, expected, listed(away), "there is no host to put a VM on", evidence)
    if away:
        return Outcome(WARNED, expected, listed(away), "no VM can be put there now", evidence)
    if old:
        detail = f"hardware version {data.RECOMMENDED_HARDWARE[-1]} needs ESXi {data.RECOMMENDED_ESXI}"
        return Outcome(WARNED, expected, listed(old), detail, evidence)
    versions = ", ".join(sorted({host.version for host in there}, key=parse))
    return Outcome(PASSED, expected, f"{len(there)} hosts with ESXi {versions}", evidence=evidence)


def _below(found: Sequence[HostFacts], least: str) -> List[str]:
    """Hosts with an older ESXi, and those that do not say what they run."""
    bad = []
    for host in found:
        try:
            fits = parse(host.version) >= parse(least)
        except ValueError:
            fits = False
        if not fits:
            bad.append(f"{host.name} (ESXi {host.version or 'unknown'})")
    return bad


def room(server: Server, kind: str) -> Outcome:
    """``kind`` is datastores or clusters: what the plan takes there beside what is free."""
    needed, free = {
        "datastores": ("needed_gb", "free_gb"),
        "clusters": ("needed_memory_mb", "free_memory_mb"),
    }[kind]
    unit = needed[-2:].upper()
    rows = server.rooms.get(kind, {})
    full = [problem for problem in server.full if problem.what.startswith("datastore ") == (kind == "datastores")]
    evidence = {name: dict(row) for name, row in rows.items()}
    if full:
        outcome = refused(full)
        return Outcome(FAILED, outcome.expected, outcome.actual, "the plan does not fit", evidence, fix=outcome.fix)
    if not rows:
        return Outcome(NOT_APPLICABLE, detail="nothing that is still to be made takes any there")
    wanted = listed([f"{row[needed]} {unit} on {name}" for name, row in sorted(rows.items())])
    there = listed([f"{row[free]} {unit} free on {name}" for name, row in sorted(rows.items())])
    return Outcome(PASSED, wanted, there, evidence=evidence)


def probes(server: Optional[Server], error: Optional[TestbedError], where: str) -> Mapping[str, Probe]:
    """The probe of each check of the vCenter; ``server`` is None where there is no session."""
    found: Dict[str, Probe] = {"vcenter.login": partial(login, error, where)}
    if server is None:
        return dict.fromkeys(("vcenter.login", *_ASKED), found["vcenter.login"])
    asked: Dict[str, Probe] = {name: partial(probe, server) for name, probe in _ASKED.items()}
    return {**found, **asked}


_ASKED: Mapping[str, Callable[[Server], Outcome]] = {
    "vcenter.version": version,
    "vcenter.build": build,
    "vcenter.clock": clock,
    "vcenter.privileges": privileges,
    "host.version": hosts,
    "datastore.space": partial(room, kind="datastores"),
    "cluster.memory": partial(room, kind="clusters"),
}
