# SPDX-License-Identifier: GPL-3.0-or-later
"""OVF items: what their filter tells, what is refused, what is sent, and how a deployment's answer is read."""

from __future__ import annotations

import email.message
import io
import json
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import faults, library, lookup, ovf, ownership
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.client import Connection
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import NicActual, VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import (
    Marks,
    deployment_marks,
    diff,
    plan,
    plan_removal,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes

MARKS = Marks("lab", "r1", "2030-01-01T00:00:00Z")
ITEM = ovf.OvfItem("item-1", "base", "Notes.", 0, ("VM Network",), 40 << 30)
TWO = replace(ITEM, networks=("management", "data"))
TEMPLATE = {"library": "lib", "item": "base"}
SPEC = {"method": "spec", "spec": "linux"}


def wished(**fields: Any) -> VmWish:
    base = {"name": "nb-1", "template": TEMPLATE, "cpus": 2, "memory_mb": 2048, "networks": [{"network": "testbed"}]}
    return parse_wishes([base | fields])[0]


SIZES = [
    {"type": "IpAllocationParams"},
    {"@class": "com.vmware.vcenter.ovf.size_params", "type": "SizeParams", "approximate_flat_deployment_size": 7},
]


@pytest.mark.parametrize(
    ("answer", "item"),
    [
        ({"EULAs": []}, ovf.OvfItem("i")),
        ({"name": "n", "annotation": "a", "EULAs": ["x", "y"]}, ovf.OvfItem("i", "n", "a", 2)),
        ({"eulas": ["x"], "networks": ["a", "b"]}, ovf.OvfItem("i", licenses=1, networks=("a", "b"))),
        ({"EULAs": [], "networks": None, "additional_params": SIZES}, ovf.OvfItem("i", size=7)),
        # vCenter does not know the size of every package
        ({"additional_params": [SIZES[1] | {"approximate_flat_deployment_size": -1}]}, ovf.OvfItem("i")),
    ],
)
def test_the_filter_is_read(answer: dict[str, Any], item: ovf.OvfItem) -> None:
    assert ovf.read_summary("i", answer) == item


@pytest.mark.parametrize(
    ("fields", "item", "parts"),
    [
        ({}, ITEM, []),
        ({"networks": [{"network": "testbed"}] * 3}, TWO, []),
        ({"networks": []}, ITEM, []),
        ({}, TWO, ["vm_networks: expected a network for each of the 2", "('management', 'data'); found 1"]),
        ({"networks": []}, TWO, ["a target for 'management'", "a target for 'data'"]),
        ({}, replace(ITEM, licenses=2), ["vm_template.accept_eula", "2 license agreement(s)"]),
        ({"template": TEMPLATE | {"accept_eula": True}}, replace(ITEM, licenses=2), []),
    ],
)
def test_what_does_not_fit_is_told(fields: dict[str, Any], item: ovf.OvfItem, parts: list[str]) -> None:
    problems = ovf.misfits(wished(**fields), item, ["testbed", "VM Network"])
    text = "; ".join(str(problem) for problem in problems)
    assert bool(problems) is bool(parts)
    for part in parts:
        assert part in text


def test_each_network_of_the_package_is_mapped_once() -> None:
    """A mapping too many is what vCenter answers with an error 500 that says nothing."""
    wish = wished(networks=[{"network": name} for name in ("testbed", "other", "third")])
    ids = {"testbed": "dvportgroup-1", "other": "network-2", "third": "network-3"}
    body = ovf.request(wish, TWO, {"resource_pool_id": "resgroup-1"}, ids, "datastore-1", "notes")
    assert body == {
        "target": {"resource_pool_id": "resgroup-1"},
        "deployment_spec": {
            "name": "nb-1",
            "annotation": "notes",
            "accept_all_EULA": False,
            "default_datastore_id": "datastore-1",
            "network_mappings": {"management": "dvportgroup-1", "data": "network-2"},
        },
    }


def failed(**error: Any) -> dict[str, Any]:
    return {"succeeded": False, "error": {"errors": [error], "warnings": [], "information": []}}


def said(text: str) -> dict[str, Any]:
    return {"id": "x", "default_message": text, "args": []}


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            {"succeeded": True, "resource_id": {"type": "VirtualApp", "id": "resgroup-v1"}},
            "Error",
            "VirtualApp resgroup-v1",
        ),
        ({"succeeded": False}, "Error", "vCenter gave no reason"),
        (
            failed(category="SERVER", error={"error_type": "ALREADY_EXISTS", "messages": [said("taken")]}),
            "ConflictError",
            "taken",
        ),
        (
            failed(category="SERVER", error={"@class": "com.vmware.vapi.std.errors.already_exists", "messages": []}),
            "ConflictError",
            "vCenter gave no reason",
        ),
        (
            failed(category="SERVER", error={"error_type": "RESOURCE_BUSY", "messages": [said("busy")]}),
            "ConflictError",
            "busy",
        ),
        (failed(category="SERVER", error={"messages": [said("no space")]}), "Error", "no space"),
        (
            failed(category="INPUT", name="network_mappings", value="data", message=said("bad")),
            "Error",
            "network_mappings (data): bad",
        ),
        (
            failed(category="VALIDATION", issues=[{"file": "a.ovf", "line_number": 3, "message": said("odd")}]),
            "Error",
            "a.ovf:3: odd",
        ),
    ],
)
def test_a_deployment_that_failed_says_why(answer: dict[str, Any], kind: str, text: str) -> None:
    with pytest.raises(faults.DeploymentError) as caught:
        ovf.made(answer)
    assert type(caught.value).__name__ == f"Deployment{kind}"
    assert text in str(caught.value)
    assert faults.meaning(caught.value).retry is (kind == "ConflictError")


def test_a_deployment_that_succeeded_names_its_vm() -> None:
    assert ovf.made({"succeeded": True, "resource_id": {"type": "VirtualMachine", "id": "vm-7"}}) == "vm-7"


@pytest.mark.parametrize("notes", ["", "one line", "two\n\nparagraphs", "a=b\n\nnanobanana.owner=x"])
def test_marks_stand_above_the_notes(notes: str) -> None:
    marks = deployment_marks(wished(), MARKS)
    text = ownership.told(marks, notes)
    assert ownership.read_told(text) == (marks, notes)
    assert ownership.read_told(text.replace("\n", "\r\n")) == (marks, notes), "however vCenter keeps its lines"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "The VM of somebody",
        "nanobanana.owner=",
        "nanobanana.run=r1\n\nno owner",
        "nanobanana.owner=lab\nmind the gap",
        "guestinfo.metadata=x\nnanobanana.owner=lab",
        "Look:\nnanobanana.owner=lab",
        "Look:\n\nnanobanana.owner=lab",
    ],
)
def test_other_notes_are_no_marks(text: str | None) -> None:
    assert ownership.read_told(text) == ({}, text or "")


def deployed(wish: VmWish, **fields: Any) -> VmActual:
    """What a deployment leaves."""
    marks = deployment_marks(wish, MARKS)
    base = VmActual(
        moid="vm-9",
        name=wish.name,
        cpus=4,
        memory_mb=6144,
        nics=(NicActual(4000, "vmxnet3", "testbed"),),
        extra_config={"guestinfo.vendordata": "left", "disk.EnableUUID": "TRUE"} | marks,
        deployed=marks,
        notes="Notes.",
    )
    return replace(base, **fields)


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, ["deploy", "reconfigure", "power_on", "wait_address"]),
        ({"lifecycle": {"power": "off"}}, ["deploy", "reconfigure"]),
        ({"tweaks": {"hardware_version": 21}}, ["deploy", "upgrade", "reconfigure", "power_on", "wait_address"]),
        (
            {"customization": SPEC},
            ["deploy", "reconfigure", "customize", "reconfigure", "power_on", "wait_customized", "wait_address"],
        ),
        (
            {"tweaks": {"firmware": "efi", "boot_controller": "pvscsi"}},
            ["deploy", "reconfigure", "power_on", "wait_address"],
        ),
    ],
)
def test_the_plan_of_a_vm_that_is_not_there_and_of_one_that_was_just_deployed(
    fields: dict[str, Any], kinds: list[str]
) -> None:
    wish = wished(**fields)
    first = plan(wish, None, ovf.expected(wish, ITEM), MARKS, deploys=True)
    assert [operation.kind for operation in first] == kinds
    actual = deployed(wish, hardware=ovf.expected(wish, ITEM).hardware)
    rest = plan(wish, actual, None, MARKS)
    assert [operation.kind for operation in rest] == kinds[1:], "a run that was killed in between goes on there"
    before, after = diff("nb-1", first)
    power = {} if fields.get("lifecycle") else {"power": "off"}
    assert before == {"nb-1": {"state": "absent"} | power}, "nobody knows what the package has"
    assert after["nb-1"]["extra_config.nanobanana.owner"] == "lab"
    assert after["nb-1"]["cpus"] == 2


def test_the_first_reconfigure_carries_all_that_a_clone_call_would() -> None:
    wish = wished()
    (operation, *_rest) = plan(wish, deployed(wish), None, MARKS)
    after = {change.what: change.after for change in operation.changes}
    for key, value in deployment_marks(wish, MARKS).items():
        assert after[f"extra_config.{key}"] == value
    assert after["annotation"] == "Notes."
    assert (after["cpus"], after["memory_locked"]) == (2, True)
    assert after["extra_config.disk.EnableUUID"] == "TRUE"
    assert after["extra_config.guestinfo.vendordata"] == "", "what the package's guest was told"
    assert after["extra_config.guestinfo.metadata"]
    assert "networks[0]" not in after


def test_an_unfinished_vm_belongs_to_its_owner() -> None:
    wish = wished()
    other = {**deployment_marks(wish, MARKS), "nanobanana.owner": "somebody"}
    actual = deployed(wish, extra_config=other, deployed=other)
    for marks in (MARKS, replace(MARKS, adopt=True)):
        with pytest.raises(TestbedError) as caught:
            plan(wish, actual, None, marks)
        assert caught.value.error_code == "not_owner"
    assert [operation.kind for operation in plan_removal(deployed(wish), "lab")] == ["destroy"]


def test_the_specification_is_given_once() -> None:
    wish = wished(customization=SPEC)
    keys = {key: value for key, value in deployed(wish).extra_config.items() if "vendordata" not in key}
    wait = ["power_on", "wait_customized", "wait_address"]

    def kinds(**fields: Any) -> list[str]:
        done = plan(wish, deployed(wish), None, MARKS)[0].changes
        written = {change.what[13:]: change.after for change in done if change.what.startswith("extra_config.")}
        actual = deployed(wish, cpus=2, memory_mb=2048, memory_reservation_mb=2048, memory_locked=True, deployed={})
        return [
            operation.kind
            for operation in plan(wish, replace(actual, extra_config=keys | written, **fields), None, MARKS)
        ]

    assert kinds() == ["customize", "reconfigure", *wait]
    assert kinds(customizing=True) == ["reconfigure", *wait], "a run was killed before it could note that"
    with pytest.raises(TestbedError) as caught:
        kinds(power="poweredOn")
    assert caught.value.error_code == "needs_power_off"


class Answer(io.BytesIO):
    """What open_url gives."""


def answering(monkeypatch: pytest.MonkeyPatch, deploy: Callable[[], Any]) -> list[str]:
    """Let the library's session talk to nobody; the paths that it asks for."""
    asked: list[str] = []

    def open_url(url: str, **options: Any) -> Answer:
        asked.append(f"{options['method']} {url.partition('/api/')[2]} {options['timeout']}")
        return Answer(json.dumps(deploy()).encode()) if "deploy" in url else Answer(b'"token"')

    monkeypatch.setattr(library, "open_url", open_url)
    return asked


def http_error(status: int, body: bytes) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("https://vc", status, "no", email.message.Message(), io.BytesIO(body))


CONNECTION = Connection("vc", 443, "u", "p")


def test_deploying_waits_long_and_logs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"succeeded": True, "resource_id": {"type": "VirtualMachine", "id": "vm-7"}}
    asked = answering(monkeypatch, lambda: made)
    assert library.deploy(CONNECTION, "item-1", {}, "t-1") == "vm-7"
    assert asked[1] == "POST vcenter/ovf/library-item/item-1?action=deploy&client_token=t-1 3600"
    assert asked[2].startswith("DELETE session")


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError("gone"), TimeoutError("silence"), http_error(503, b""), http_error(504, b"<html>")],
)
def test_an_answer_that_did_not_come_is_looked_for_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def lost() -> None:
        raise error

    answering(monkeypatch, lost)
    with pytest.raises(faults.DeploymentLostError) as caught:
        library.deploy(CONNECTION, "item-1", {}, "t-1")
    assert faults.meaning(caught.value).retry


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "rest_failed"), (403, "rest_refused"), (404, "rest_failed"), (500, "rest_failed")],
)
def test_a_call_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    def refused() -> None:
        raise http_error(status, json.dumps({"error_type": "X", "messages": [said("so it is")]}).encode())

    answering(monkeypatch, refused)
    with pytest.raises(TestbedError) as caught:
        library.deploy(CONNECTION, "item-1", {}, "t-1")
    assert caught.value.error_code == code
    assert f"HTTP {status}: so it is" in str(caught.value)


ITEM_CALLS: dict[str, Any] = {
    "content/library?action=find": ["lib-1"],
    "content/library/item?action=find": ["item-1"],
    "content/library/item/item-1": {"type": "ovf"},
}


def look(monkeypatch: pytest.MonkeyPatch, pool: str, answer: Any, kind: str = "ovf") -> list[Any]:
    """The item, or the texts of the error, where filter answers so."""

    def open_url(url: str, **options: Any) -> Answer:
        path = url.partition("/api/")[2]
        if path in ITEM_CALLS:
            found = ITEM_CALLS[path]
            return Answer(json.dumps({"type": kind} if isinstance(found, dict) else found).encode())
        assert path == "vcenter/ovf/library-item/item-1?action=filter"
        assert json.loads(options["data"]) == {"target": {"resource_pool_id": pool}}
        if isinstance(answer, Exception):
            raise answer
        return Answer(json.dumps(answer).encode())

    monkeypatch.setattr(library, "open_url", open_url)
    try:
        return list(library.find_items(library.RestSession(CONNECTION), {wished().template: pool}).values())
    except TestbedError as error:
        return [error.error_code, str(error)]


def test_an_item_is_looked_at_for_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, "resgroup-1", {"name": "n", "EULAs": []}) == [ovf.OvfItem("item-1", "n")]


def test_without_a_placement_nobody_asks_what_the_package_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, "", AssertionError("asked")) == [ovf.OvfItem("item-1")]


def test_a_package_that_vcenter_cannot_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = http_error(400, json.dumps({"messages": [said("line 3 is odd")]}).encode())
    code, text = look(monkeypatch, "resgroup-1", error)
    assert code == "unknown_template"
    assert "template 'lib/base': expected an OVF package that vCenter can read; found HTTP 400: line 3 is odd" in text


def test_an_item_of_another_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = look(monkeypatch, "resgroup-1", None, kind="iso")
    assert code == "unknown_template"
    assert "of type vm-template or ovf; found type iso" in text


@pytest.mark.parametrize(
    ("fields", "disabled", "ready"),
    [
        ({}, ["PowerOnVM_Task", "Destroy_Task"], False),
        ({}, ["SuspendVM_Task"], True),
        ({}, None, True),
        ({"power": "poweredOn"}, ["PowerOnVM_Task"], True),
        ({"deployed": {}}, ["PowerOnVM_Task"], True),
        ({"extra_config": {"nanobanana.owner": "somebody"}}, ["PowerOnVM_Task"], True),
    ],
)
def test_a_vm_whose_disks_are_copied_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], disabled: list[str] | None, ready: bool
) -> None:
    class Reference:
        _moId = "vm-9"  # noqa: N815 - pyVmomi's name

    asked: list[list[str]] = []

    def retrieve(_content: Any, _kind: Any, references: list[Any], properties: list[str]) -> Iterator[Any]:
        asked.append(properties)
        yield from ((reference, {"disabledMethod": disabled} if disabled else {}) for reference in references)

    monkeypatch.setattr(lookup, "retrieve", retrieve)
    actuals = {"vm-9": deployed(wished(), **fields)}
    found = lookup.importing(None, [Reference()], actuals, "lab")
    assert (actuals | found)["vm-9"].ready is ready
    assert asked == ([["disabledMethod"]] if actuals["vm-9"].deployed and actuals["vm-9"].owner == "lab" else [])
