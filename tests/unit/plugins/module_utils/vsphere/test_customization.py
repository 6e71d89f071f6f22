# SPDX-License-Identifier: GPL-3.0-or-later
"""vm_customization read strictly, Windows names, specifications fitted to a VM, and how a customization ends."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import TestbedError
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.compare import guestinfo
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.customization import computer_name
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.guest_specs import GuestSpecs, has_ended
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.plan import Marks, customized, plan
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish, parse_wishes
from pyVmomi import vim

kinds = vim.vm.customization
MARKS = Marks("lab", "r1", "2030-01-01T00:00:00Z")
STATIC = {"address": "10.1.2.3", "netmask": "255.255.255.0", "gateway": "10.1.2.1"}


def wished(name: str = "nb-1", **customization: Any) -> VmWish:
    template = {"library": "lib", "item": "base"}
    raw = {"name": name, "template": template, "cpus": 2, "memory_mb": 2048, "customization": customization}
    return parse_wishes([raw])[0]


def spec_wish(name: str = "nb-1", **customization: Any) -> VmWish:
    return wished(name, **{"method": "spec", "spec": "linux"} | customization)


@pytest.mark.parametrize(
    ("name", "computer"),
    [
        ("nb-01", "nb-01"),
        ("exactly-15-char", "exactly-15-char"),
        ("compatibility-windows-01", "compatibi-9e582"),
        ("compatibility-windows-02", "compatibi-91396"),
        ("Compatibility-Windows-02", "Compatibi-91396"),
        ("a-hyphen--and-more", "a-hyphen-aa183"),
        ("12345", "n12345-59944"),
        ("1234567890123456", "n12345678-7a51d"),
    ],
)
def test_a_computer_name_fits_windows_and_is_the_same_each_time(name: str, computer: str) -> None:
    assert computer_name(name) == computer
    assert len(computer) <= 15


def test_computer_names_differ_where_only_the_end_of_the_name_does() -> None:
    names = [f"compatibility-windows-{number:04}" for number in range(300)]
    assert len({computer_name(name) for name in names}) == 300


def test_the_network_configuration_reaches_cloud_init_as_it_is() -> None:
    network = {"version": 2, "ethernets": {"ens192": {"addresses": ["192.0.2.10/24"]}}}
    keys = guestinfo(wished(metadata={"network": network}))
    assert json.loads(base64.b64decode(keys["guestinfo.metadata"]))["network"] == network


@pytest.mark.parametrize(
    ("customization", "part"),
    [
        ({"method": "sysprep"}, "vm_customization.method: expected one of cloud_init, spec, none"),
        ({"method": "spec"}, "vm_customization.spec: expected a text; found nothing"),
        ({"spec": "linux"}, "vm_customization.spec: expected nothing with method cloud_init"),
        ({"method": "none", "addresses": [STATIC]}, "set vm_customization.method to spec"),
        (
            {"method": "spec", "spec": "x", "userdata": "y"},
            "vm_customization.userdata: expected nothing with method spec",
        ),
        ({"method": "spec", "spec": "x", "metadata": {"a": 1}}, "set vm_customization.method to cloud_init"),
        ({"method": "spec", "spec": "x", "addresses": "10.0.0.1"}, "vm_customization.addresses: expected a list"),
        (
            {"method": "spec", "spec": "x", "addresses": [{"address": "10.1.2.3"}]},
            "addresses[0].netmask: expected",
        ),
        ({"method": "spec", "spec": "x", "addresses": [STATIC | {"address": "10.1.2"}]}, "addresses[0].address"),
        ({"method": "spec", "spec": "x", "addresses": [STATIC | {"netmask": "255.0.255.0"}]}, "addresses[0].netmask"),
        ({"method": "spec", "spec": "x", "addresses": [STATIC | {"gateway": "10.9.9.9"}]}, "an address in 10.1.2.0/24"),
        ({"method": "spec", "spec": "x", "addresses": [STATIC | {"mask": "x"}]}, "addresses[0].mask"),
        ({"method": "spec", "spec": "x", "dns_servers": ["dns"]}, "dns_servers[0]: expected an IPv4 address"),
        ({"method": "spec", "spec": "x", "wait_seconds": 0}, "vm_customization.wait_seconds"),
        ({"method": "spec", "spec": "x", "hostname": "a_b"}, "vm_customization.hostname"),
    ],
)
def test_wrong_input_is_named(customization: dict[str, Any], part: str) -> None:
    with pytest.raises(TestbedError) as caught:
        wished(**customization)
    assert caught.value.error_code == "invalid_wish"
    assert part in str(caught.value)


def dhcp() -> Any:
    return kinds.AdapterMapping(adapter=kinds.IPSettings(ip=kinds.DhcpIpGenerator()))


def asking() -> Any:
    return kinds.AdapterMapping(adapter=kinds.IPSettings(ip=kinds.UnknownIpGenerator()))


def specification(identity: str, cards: list[Any]) -> Any:
    if identity == "linux":
        made: Any = kinds.LinuxPrep(hostName=kinds.VirtualMachineNameGenerator(), domain="lab")
    elif identity == "windows":
        made = kinds.Sysprep(userData=kinds.UserData(fullName="x", orgName="y", productId=""))
    else:
        made = kinds.SysprepText(value="[Unattended]")
    return kinds.Specification(identity=made, globalIPSettings=kinds.GlobalIPSettings(), nicSettingMap=cards)


class Vcenter:
    """A content with one specification and a list of events."""

    def __init__(self, spec: Any = None, events: tuple[Any, ...] = ()) -> None:
        self.customizationSpecManager = self.eventManager = self
        self.info = [SimpleNamespace(name="linux")]
        self._spec, self._events, self.asked = spec, events, 0

    def GetCustomizationSpec(self, name: str) -> Any:  # noqa: N802 - pyVmomi's name
        self.asked += 1
        if name != "linux":
            raise vim.fault.NotFound()
        return SimpleNamespace(spec=self._spec)

    def QueryEvents(self, filter: Any) -> list[Any]:  # noqa: N802, A002 - pyVmomi's names
        return [event for event in self._events if type(event).__name__.rsplit(".", 1)[-1] in filter.eventTypeId]


def test_a_specification_is_fitted_to_each_vm_and_read_once() -> None:
    vcenter = Vcenter(specification("linux", [dhcp(), dhcp()]))
    specs = GuestSpecs(vcenter)
    wish = spec_wish(addresses=[{}, STATIC], dns_servers=["10.1.2.53"], dns_suffixes=["example.com"], hostname="guest")
    first = specs.fitted(wish, 2)
    other = specs.fitted(spec_wish("nb-2"), 2)
    assert vcenter.asked == 1
    assert (first.identity.hostName.name, other.identity.hostName.name) == ("guest", "nb-2")
    assert isinstance(first.nicSettingMap[0].adapter.ip, kinds.DhcpIpGenerator)
    card = first.nicSettingMap[1].adapter
    assert (card.ip.ipAddress, card.subnetMask, list(card.gateway)) == ("10.1.2.3", "255.255.255.0", ["10.1.2.1"])
    assert list(first.globalIPSettings.dnsServerList) == list(card.dnsServerList) == ["10.1.2.53"]
    assert list(first.globalIPSettings.dnsSuffixList) == ["example.com"]
    assert isinstance(other.nicSettingMap[1].adapter.ip, kinds.DhcpIpGenerator), "one VM's address is not the other's"


def test_windows_gets_a_short_computer_name() -> None:
    specs = GuestSpecs(Vcenter(specification("windows", [dhcp()])))
    spec = specs.fitted(spec_wish("compatibility-windows-01"), 1)
    assert spec.identity.userData.computerName.name == computer_name("compatibility-windows-01")
    with pytest.raises(TestbedError) as caught:
        specs.fitted(spec_wish("other", hostname="Compatibility-windows-01"), 1)
    assert "a Windows computer name of its own" in str(caught.value)


def test_a_wish_without_specification_asks_nobody() -> None:
    vcenter = Vcenter()
    assert GuestSpecs(vcenter).fitted(wished(), 1) is None
    assert vcenter.asked == 0


@pytest.mark.parametrize(
    ("identity", "cards", "wish", "part"),
    [
        ("linux", [dhcp()], spec_wish(spec="linu"), "none named 'linu'. Next: did you mean 'linux'?"),
        ("linux", [dhcp(), dhcp()], spec_wish(), "network cards: expected 1, as the VM has; found 2 cards"),
        ("linux", [], spec_wish(), "network cards: expected 1"),
        ("linux", [dhcp()], spec_wish(addresses=[{}, STATIC]), "found 2 cards in specification 'linux'"),
        ("linux", [asking()], spec_wish(), "vm_customization.addresses[0]: expected an address for this card"),
        ("linux", [asking()], spec_wish(addresses=[{}]), "vm_customization.addresses[0]"),
        ("text", [dhcp()], spec_wish(), "a specification for Linux or with Sysprep answers; found SysprepText"),
    ],
)
def test_what_does_not_fit_is_told_before(identity: str, cards: list[Any], wish: VmWish, part: str) -> None:
    with pytest.raises(TestbedError) as caught:
        GuestSpecs(Vcenter(specification(identity, cards))).fitted(wish, 1)
    assert caught.value.error_code == "bad_customization"
    assert part in str(caught.value)


def test_an_address_answers_the_question_of_the_specification() -> None:
    specs = GuestSpecs(Vcenter(specification("linux", [asking()])))
    assert specs.fitted(spec_wish(addresses=[STATIC]), 1).nicSettingMap[0].adapter.ip.ipAddress == "10.1.2.3"


def event(kind: Any, key: int, text: str = "") -> Any:
    return kind(key=key, fullFormattedMessage=text)


SUCCEEDED, FAILED = vim.event.CustomizationSucceeded, vim.event.CustomizationSysprepFailed


@pytest.mark.parametrize(
    ("events", "ended"),
    [
        ((), False),
        ((event(vim.event.CustomizationStartedEvent, 1),), False),
        ((event(SUCCEEDED, 2), event(vim.event.CustomizationStartedEvent, 1)), True),
        ((event(FAILED, 2, "sysprep.exe is missing"), event(vim.event.CustomizationStartedEvent, 1)), "sysprep.exe"),
        ((event(vim.event.CustomizationNetworkSetupFailed, 2),), "CustomizationNetworkSetupFailed: no message"),
        ((event(vim.event.CustomizationLinuxIdentityFailed, 2, "no perl"),), "no perl"),
        ((event(vim.event.CustomizationUnknownFailure, 2, "who knows"),), "who knows"),
        ((event(vim.event.CustomizationFailed, 2, "deployPkg"),), "deployPkg"),
    ],
)
def test_a_customization_ends_on_its_event(events: tuple[Any, ...], ended: bool | str) -> None:
    content, machine = Vcenter(events=events), vim.VirtualMachine("vm-1")
    if isinstance(ended, bool):
        assert has_ended(content, "nb-1", machine) is ended
        return
    with pytest.raises(TestbedError) as caught:
        has_ended(content, "nb-1", machine)
    assert caught.value.error_code == "customization_failed"
    assert ended in str(caught.value)


def vm(mark: str | None, power: str = "poweredOn", **fields: Any) -> VmActual:
    """A VM that matches spec_wish() but for its customization."""
    made = plan(spec_wish(), None, VmActual("vm-0", "base", controllers={}), MARKS)[0]
    keys = {
        change.what.removeprefix("extra_config."): change.after
        for change in made.changes
        if change.what.startswith("extra_config.")
    }
    keys[vmx.CUSTOMIZATION] = mark or ""
    base = VmActual(
        "vm-1",
        "nb-1",
        power=power,
        cpus=2,
        memory_mb=2048,
        memory_reservation_mb=2048,
        memory_locked=True,
        extra_config=keys,
        addresses=("192.0.2.1",),
    )
    return replace(base, **fields)


@pytest.mark.parametrize(
    ("actual", "kinds_of_operations"),
    [
        (None, ["clone", "power_on", "wait_customized", "wait_address"]),
        (vm("pending linux", "poweredOff"), ["power_on", "wait_customized", "wait_address"]),
        (vm("pending linux"), ["wait_customized", "wait_address"]),
        (vm("done linux"), []),
        (vm("done linux", "poweredOff"), ["power_on", "wait_address"]),
    ],
)
def test_the_plan_waits_for_the_customization_until_it_is_done(
    actual: VmActual | None, kinds_of_operations: list[str]
) -> None:
    source = VmActual("vm-0", "base", is_template=True)
    assert [operation.kind for operation in plan(spec_wish(), actual, source, MARKS)] == kinds_of_operations


def test_the_mark_tells_the_next_run() -> None:
    (change,) = customized(spec_wish()).changes
    assert (change.what, change.before, change.after) == (
        "extra_config.nanobanana.customization",
        "pending linux",
        "done linux",
    )
    assert not change.cold


@pytest.mark.parametrize("mark", ["done other", "pending other", None])
def test_another_specification_on_a_vm_that_exists_is_an_error(mark: str | None) -> None:
    with pytest.raises(TestbedError) as caught:
        plan(spec_wish(), vm(mark), None, MARKS)
    assert caught.value.error_code == "other_customization"


def test_a_clone_does_not_inherit_that_its_source_was_customized() -> None:
    source = VmActual("vm-0", "base", extra_config={vmx.CUSTOMIZATION: "done other"})
    for wish, mark in ((wished(), ""), (spec_wish(), "pending linux")):
        changes = plan(wish, None, source, MARKS)[0].changes
        assert [change.after for change in changes if change.what.endswith("nanobanana.customization")] == [mark]
