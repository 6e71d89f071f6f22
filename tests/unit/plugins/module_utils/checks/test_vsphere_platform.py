# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform gate's probes: each outcome of each check, for the vCenter and for a wished VM."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import vsphere_server, vsphere_wish
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue_vsphere import VCENTER, WISH
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    FAILED,
    NOT_APPLICABLE,
    PASSED,
    SKIPPED,
    STATUSES,
    WARNED,
    run_checks,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import (
    Grant,
    HostFacts,
    Item,
    Server,
    Site,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import HostLimits
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.preflight_items import describe
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.template import Template
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.checks.vsphere_examples import ESXI_8, WISHED_STATIC, wish

GOOD_HOST = HostFacts("esx-01", "8.0.3")
SPACE = {"datastores": {"vmfs-01": {"needed_gb": 20.0, "free_gb": 100.0}}}
MEMORY = {"clusters": {"gpu": {"needed_memory_mb": 6144, "free_memory_mb": 9000}}}
FULL = Problem("datastore 'vmfs-01'", "20.0 GB free for this plan", "5.0 GB", "free space there")
TIGHT = Problem("cluster 'gpu'", "6144 MB of memory free", "100 MB", "power off VMs there")


def server(**fields: Any) -> Server:
    """A vCenter without a fault."""
    known: dict[str, Any] = {
        "hostname": "vc",
        "version": "8.0.3",
        "build": "24022515",
        "full_name": "vCenter 8.0.3",
        "hosts": (GOOD_HOST,),
        "rooms": SPACE | MEMORY,
        "grants": (grant("Folder.Create"),),
    }
    return Server(**(known | fields))


def grant(privilege: str, held: bool = True, soft: bool = False) -> Grant:
    return Grant("folder", "nb", privilege, "do it", held, soft)


SERVER: list[tuple[str, dict[str, Any], str, str]] = [
    ("vcenter.version", {}, PASSED, "vCenter 8.0.3"),
    ("vcenter.version", {"version": "7.0.3"}, PASSED, "7.0.3 or newer"),
    ("vcenter.version", {"version": "7.0.10"}, PASSED, "7.0.3 or newer"),
    ("vcenter.version", {"version": "7.0.2", "full_name": "vCenter 7.0.2"}, FAILED, "vCenter 7.0.2"),
    ("vcenter.version", {"version": ""}, FAILED, "no version"),
    ("vcenter.version", {"version": "eight"}, FAILED, "'eight' is no version"),
    ("vcenter.build", {}, PASSED, "vCenter 8.0 Update 3"),
    ("vcenter.build", {"build": "99999999"}, PASSED, "does not name it"),
    ("vcenter.build", {"version": "9.0.0", "build": "24755230"}, PASSED, "does not name it"),
    ("vcenter.build", {"build": "24022514"}, FAILED, "older than 8.0 Update 3"),
    ("vcenter.build", {"build": ""}, WARNED, "no build number"),
    ("vcenter.clock", {}, PASSED, "0 s apart"),
    ("vcenter.clock", {"clock": -30.0}, PASSED, "30 s apart"),
    ("vcenter.clock", {"clock": 31.0}, WARNED, "31 s ahead of"),
    ("vcenter.clock", {"clock": -300.0}, WARNED, "300 s behind"),
    ("vcenter.clock", {"clock": -301.0}, FAILED, "301 s behind"),
    ("vcenter.privileges", {}, PASSED, "all of them"),
    ("vcenter.privileges", {"grants": (), "no_grants": "it does not say"}, SKIPPED, "it does not say"),
    ("vcenter.privileges", {"grants": (grant("A.B", False),)}, FAILED, "A.B on folder 'nb' (do it)"),
    ("vcenter.privileges", {"grants": (grant("A.B", False, True),)}, WARNED, "would do without"),
    ("vcenter.privileges", {"grants": (grant("A", False, True), grant("B", False))}, FAILED, "none of: B on"),
    ("host.version", {}, PASSED, "1 hosts with ESXi 8.0.3"),
    ("host.version", {"hosts": ()}, NOT_APPLICABLE, "no wish says"),
    ("host.version", {"hosts": (HostFacts("h", "6.7.0"), GOOD_HOST)}, FAILED, "h (ESXi 6.7.0)"),
    ("host.version", {"hosts": (HostFacts("h", "7.0.1"), GOOD_HOST)}, WARNED, "h (ESXi 7.0.1)"),
    ("host.version", {"hosts": (HostFacts("h", "8.0.3", "disconnected"), GOOD_HOST)}, WARNED, "h (disconnected)"),
    ("host.version", {"hosts": (HostFacts("h", "8.0.3", "in maintenance mode"),)}, FAILED, "no host to put"),
    ("host.version", {"hosts": (HostFacts("h", "", "notResponding"),)}, FAILED, "notResponding"),
    ("host.version", {"hosts": (HostFacts("h", ""),)}, FAILED, "h (ESXi unknown)"),
    ("datastore.space", {}, PASSED, "100.0 GB free on vmfs-01"),
    ("datastore.space", {"rooms": {}}, NOT_APPLICABLE, "nothing that is still"),
    ("datastore.space", {"full": (TIGHT, FULL)}, FAILED, "5.0 GB"),
    ("cluster.memory", {}, PASSED, "6144 MB on gpu"),
    ("cluster.memory", {"rooms": {}}, NOT_APPLICABLE, "nothing that is still"),
    ("cluster.memory", {"full": (FULL, TIGHT)}, FAILED, "100 MB"),
]


@pytest.mark.parametrize(("check", "fields", "status", "words"), SERVER)
def test_every_outcome_of_the_vcenter(check: str, fields: dict[str, Any], status: str, words: str) -> None:
    outcome = vsphere_server.probes(server(**fields), None, "vCenter vc")[check]()
    assert outcome.status == status, outcome
    assert words in f"{outcome.expected} | {outcome.actual} | {outcome.detail}"


def test_a_login_that_fails_blocks_the_others_and_says_what_to_do() -> None:
    error = TestbedError("login_refused", [Problem("vCenter vc", "a valid login", "refused", "check the password")])
    results = run_checks(VCENTER, vsphere_server.probes(None, error, "vCenter vc"), {})
    assert [result.status for result in results] == [FAILED] + ["blocked"] * (len(VCENTER) - 1)
    assert results[0].fix == "Check the password."
    assert results[0].evidence == {"error_code": "login_refused"}


BAD = (Problem("a: vm_x", "this", "that", "type something"),)
ITEM = {"library": "l", "name": "i", "kind": "ovf"}
NEW, OLD = tuple(wish(tweaks={"hardware_version": version}) for version in (22, 19))
QUICK = {"latency_sensitivity": "high", "cpu_reservation_mhz": 10400}
SITE: list[tuple[str, VmWish, dict[str, Any], str, str]] = [
    ("wish.placement", wish(), {}, PASSED, "the only one there is"),
    ("wish.placement", wish(placement={"cluster": "gpu"}), {}, PASSED, "gpu"),
    ("wish.placement", wish(), {"placement": BAD}, FAILED, "that"),
    ("network.port_group", wish(), {}, PASSED, "testbed"),
    ("network.port_group", wish(networks=[]), {}, NOT_APPLICABLE, "empty"),
    ("network.port_group", wish(), {"networks": BAD}, FAILED, "that"),
    ("library.item", wish(), {}, PASSED, "l/i"),
    ("library.item", wish(), {"template": BAD}, FAILED, "that"),
    ("library.item", wish(), {"template": BAD, "exists": True}, WARNED, "could not be made again"),
    ("library.current", wish(), {}, NOT_APPLICABLE, "no item"),
    ("library.current", wish(), {"item": Item(**ITEM)}, PASSED, "its own source"),
    ("library.current", wish(), {"item": Item(**ITEM, subscribed=True)}, PASSED, "synchronized automatically"),
    ("library.current", wish(), {"item": Item(**ITEM, subscribed=True, automatic=False)}, WARNED, "by hand"),
    ("library.current", wish(), {"item": Item(**ITEM, subscribed=True, cached=False)}, WARNED, "has to fetch"),
    ("library.current", wish(), {"item": Item(**ITEM, subscribed=True, synced=False)}, FAILED, "never synchronized"),
    ("wish.hardware_version", wish(), {}, NOT_APPLICABLE, "the template's"),
    ("wish.hardware_version", OLD, {}, PASSED, "up to 21"),
    ("wish.hardware_version", NEW, {}, FAILED, "at most 21"),
    ("wish.latency", wish(), {}, NOT_APPLICABLE, "no high"),
    ("wish.latency", wish(tweaks=QUICK), {}, PASSED, "10400 MHz"),
    ("wish.latency", wish(tweaks=QUICK | {"cpu_reservation_mhz": 5}), {}, FAILED, "at least 10400"),
    ("wish.gpu_host", wish(), {}, NOT_APPLICABLE, "no GPU"),
    ("wish.gpu_host", wish(**WISHED_STATIC), {}, PASSED, "ready for the mode"),
    ("wish.gpu_host", wish(**WISHED_STATIC), {"gpu_host": BAD}, FAILED, "that"),
    ("wish.gpu", wish(), {}, NOT_APPLICABLE, "no GPU"),
    ("wish.gpu", wish(**WISHED_STATIC), {}, PASSED, "free"),
    ("wish.gpu", wish(**WISHED_STATIC), {"gpu": BAD}, FAILED, "that"),
]


@pytest.mark.parametrize(("check", "wished", "fields", "status", "words"), SITE)
def test_every_outcome_of_a_wish(check: str, wished: VmWish, fields: dict[str, Any], status: str, words: str) -> None:
    outcome = vsphere_wish.probes(Site(wished, hosts=ESXI_8, **fields))[check]()
    assert outcome.status == status, outcome
    assert words in f"{outcome.expected} | {outcome.actual} | {outcome.detail}"


def test_every_check_of_the_catalogue_is_in_a_table_as_passed_and_as_failed() -> None:
    statuses: dict[str, set[str]] = {"vcenter.login": {PASSED, FAILED}}
    for case in (*SERVER, *SITE):
        statuses.setdefault(case[0], set()).add(case[-2])
    for check in (*VCENTER, *WISH):
        assert {PASSED, FAILED} <= statuses[check.id], check.id


@pytest.mark.parametrize(
    ("versions", "recommended"), [((21, 20), 20), ((20,), 20), ((21, 19), 19), ((18, 21), 0), ((), 0)]
)
def test_the_recommended_hardware_version_is_one_that_every_host_runs(
    versions: tuple[int, ...], recommended: int
) -> None:
    hosts = [HostLimits("h", version, 1) for version in versions]
    assert vsphere_wish.recommended(hosts) == recommended


def test_an_items_description_may_leave_things_out() -> None:
    template = Template(library="l", item="i")
    assert describe(template, {}, {}) == Item("l", "i", automatic=False, cached=False, synced=False)
    library = {"type": "SUBSCRIBED", "subscription_info": {"automatic_sync_enabled": True}}
    item = {"type": "ovf", "cached": True, "last_sync_time": "2026-01-01T00:00:00Z"}
    assert describe(template, library, item) == Item("l", "i", "ovf", subscribed=True)


WORDS = st.text(max_size=30)


@settings(max_examples=100, deadline=None)
@given(WORDS, WORDS, st.floats(allow_nan=False, allow_infinity=False), st.lists(st.tuples(WORDS, WORDS)))
def test_whatever_a_vcenter_says_of_itself_ends_in_a_status_with_its_reason(
    version: str, build: str, clock: float, hosts: list[tuple[str, str]]
) -> None:
    found = server(version=version, build=build, clock=clock, hosts=tuple(HostFacts(*host) for host in hosts))
    for result in run_checks(VCENTER, vsphere_server.probes(found, None, "vCenter vc"), {}):
        assert result.status in STATUSES
        assert result.status == PASSED or result.detail
        assert "the check itself broke" not in result.detail
