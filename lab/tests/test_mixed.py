# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver a VM's guest gets."""

from __future__ import annotations

import pytest

from lab.guests.base import Vm
from lab.guests.fake import FakeDriver
from lab.guests.mixed import Choice, Router

TEMPLATE = "nano-banana-stress-template"


@pytest.mark.parametrize(
    ("rules", "name", "template", "driver"),
    [
        ([], "nb-stress-01", TEMPLATE, "podman"),
        (["nb-stress-*=qemu"], "nb-stress-01", TEMPLATE, "qemu"),
        (["nb-stress-*=qemu"], "nb-baseline-01", TEMPLATE, "podman"),
        (["nano-banana-stress-template=qemu"], "anything", TEMPLATE, "qemu"),
        (["nano-banana-stress-template=qemu"], "anything", "", "podman"),
        (["*-01=fake", "nb-*=qemu"], "nb-stress-01", "", "fake"),  # the first that fits
        (["a=b=qemu"], "a=b", "", "qemu"),  # names may hold the sign
        (["NB-*=qemu"], "nb-1", "", "podman"),  # vCenter's names know case
    ],
)
def test_the_first_rule_that_fits_counts(rules: list[str], name: str, template: str, driver: str) -> None:
    assert Choice.parse("podman", rules).of(name, template) == driver


@pytest.mark.parametrize("text", ["", "qemu", "=qemu", "nb-*=", "nb-*=vmware"])
def test_what_is_no_rule_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="expected PATTERN=DRIVER"):
        Choice.parse("podman", [text])


def test_a_choice_tells_what_it_needs_and_reads_as_one_line() -> None:
    choice = Choice.parse("fake", ["nb-*=qemu", "x=fake"])
    assert choice.drivers == {"fake", "qemu"}
    assert str(choice) == "fake, nb-*: qemu, x: fake"


def test_a_vm_keeps_its_driver_when_it_is_renamed() -> None:
    drivers = {name: FakeDriver(lambda _moid, _state: None) for name in ("podman", "qemu")}
    router = Router(Choice.parse("podman", ["nb-*=qemu"]), drivers)
    assert router(Vm("vm-1", "nb-1")) is drivers["qemu"]
    assert router(Vm("vm-1", "renamed")) is drivers["qemu"]
    assert router(Vm("vm-2", "renamed")) is drivers["podman"]
