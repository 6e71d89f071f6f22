# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VM gets which GPU: tables of hosts, holders and wishes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu import (
    Choice,
    Gpu,
    GpuHost,
    Holder,
    Inventory,
    Need,
    Pick,
    Slot,
    assign,
    contested,
    is_model,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.gpu_wish import GpuWish
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import GpuActual

A10, T4 = (0x10DE, 0x2236, "NVIDIA A10", 24576), (0x10DE, 0x1EB8, "NVIDIA T4", 16384)


def gpu(host: str, address: str, kind: tuple[int, int, str, int] = A10, **fields: object) -> Gpu:
    return replace(Gpu(host, f"0000:{address}:00.0", *kind), **fields)  # type: ignore[arg-type]


def vgpu_board(host: str, address: str, **fields: object) -> Gpu:
    return gpu(host, address, enabled=False, active=False, graphics="sharedDirect", **fields)


H1 = GpuHost("h1", "esx-01", gpus=(gpu("h1", "3b"), gpu("h1", "86")))
H2 = GpuHost(
    "h2", "esx-02", gpus=(gpu("h2", "3b", label="render"), gpu("h2", "5e", T4), gpu("h2", "af", T4, active=False))
)
H3 = GpuHost(
    "h3",
    "esx-03",
    gpus=(vgpu_board("h3", "3b"), gpu("h3", "5e", T4, enabled=False, active=False, graphics="shared")),
    profiles=("nvidia_a10-8c", "nvidia_a10-24c"),
)
H4 = GpuHost("h4", "esx-04")
LAB = Inventory((H1, H2, H3, H4))

ANY_A10 = GpuWish("static", model="A10")
ANY_T4 = GpuWish("static", model="T4")
DYNAMIC_A10 = GpuWish("dynamic", vendor_id=0x10DE, device_id=0x2236)
VGPU_8 = GpuWish("vgpu", profile="nvidia_a10-8c")


def at(address: str) -> GpuWish:
    return GpuWish("static", address=f"0000:{address}:00.0")


def need(name: str, *gpus: GpuWish, hosts: str = "h1 h2 h3 h4") -> Need:
    return Need(name, gpus, frozenset(hosts.split()), "a host of cluster 'gpu'")


def existing(name: str, host: str, gpus: tuple[GpuWish, ...], *has: GpuActual) -> Need:
    return replace(need(name, *gpus), vm=f"vm-{name}", host=host, has=has)


def static(key: int, address: str) -> GpuActual:
    return GpuActual(key, "static", f"0000:{address}:00.0", vendor_id=0x10DE, device_id=0x2236)


def holder(name: str, host: str, *gpus: GpuActual, on: bool = True) -> Holder:
    return Holder(f"vm-{name}", name, host, on, gpus)


def given(chosen: dict[str, Choice]) -> dict[str, list[str]]:
    """host/bus of each device, a vGPU as host/profile."""
    return {
        name: [f"{choice.host}/{pick.gpu.address[5:7] if pick.gpu else pick.wish.profile}" for pick in choice.picks]
        for name, choice in chosen.items()
    }


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        pytest.param([need("a", at("86"))], {"a": ["h1/86"]}, id="an address is on one host"),
        pytest.param(
            [need("a", at("3b")), need("b", at("3b"))], {"a": ["h1/3b"], "b": ["h2/3b"]}, id="an address on two hosts"
        ),
        pytest.param([need("a", at("3b"), hosts="h2")], {"a": ["h2/3b"]}, id="the named host only"),
        pytest.param(
            [need("a", ANY_A10), need("b", ANY_A10), need("c", ANY_A10)],
            {"a": ["h1/3b"], "b": ["h2/3b"], "c": ["h1/86"]},
            id="a model is spread over hosts",
        ),
        pytest.param(
            [need("a", ANY_A10), need("b", at("3b"), hosts="h1")],
            {"a": ["h2/3b"], "b": ["h1/3b"]},
            id="who names an address comes first",
        ),
        pytest.param(
            [need("a", ANY_A10), need("b", ANY_A10, ANY_A10)],
            {"a": ["h2/3b"], "b": ["h1/3b", "h1/86"]},
            id="who needs most comes first, on one host",
        ),
        pytest.param(
            [need("a", ANY_A10), need("b", ANY_A10, hosts="h1"), need("c", ANY_A10, hosts="h1")],
            {"a": ["h2/3b"], "b": ["h1/3b"], "c": ["h1/86"]},
            id="who may live on few hosts comes first",
        ),
        pytest.param([need("a", ANY_A10, ANY_T4)], {"a": ["h2/3b", "h2/5e"]}, id="two models on one host"),
        pytest.param([need("a", ANY_A10, at("3b"), hosts="h1")], {"a": ["h1/86", "h1/3b"]}, id="in the wish's order"),
        pytest.param(
            [need("a", replace(DYNAMIC_A10, label="render"))], {"a": ["h2/3b"]}, id="a dynamic one by its label"
        ),
        pytest.param(
            [need(name, DYNAMIC_A10) for name in "abc"],
            {"a": ["h1/3b"], "b": ["h2/3b"], "c": ["h1/86"]},
            id="dynamic ones are counted too",
        ),
        pytest.param(
            [need(name, VGPU_8) for name in "abc"],
            {name: ["h3/nvidia_a10-8c"] for name in "abc"},
            id="a board carries as many vGPUs as its memory holds",
        ),
    ],
)
def test_devices_are_given_out(needs: list[Need], expected: dict[str, list[str]]) -> None:
    chosen, problems = assign(needs, LAB)
    assert not problems
    assert given(chosen) == expected


@pytest.mark.parametrize(
    ("needs", "unserved"),
    [
        pytest.param([need(name, ANY_A10) for name in "abcd"], ["d"], id="four VMs for three devices"),
        pytest.param([need(name, DYNAMIC_A10) for name in "abcd"], ["d"], id="dynamic ones run out as well"),
        pytest.param(
            [need("a", ANY_A10), need("b", DYNAMIC_A10), need("c", at("3b")), need("d", ANY_A10)], ["d"], id="all"
        ),
        pytest.param([need(name, VGPU_8) for name in "abcd"], ["d"], id="four vGPUs where three fit"),
        pytest.param([need("a", ANY_A10, ANY_A10, ANY_A10)], ["a"], id="more than any one host has"),
        pytest.param([need("a", VGPU_8, ANY_A10)], ["a"], id="not on one host"),
        pytest.param([need("a", at("86"), hosts="h2")], ["a"], id="not on the named host"),
        pytest.param([need("a", replace(DYNAMIC_A10, label="nobody's"))], ["a"], id="a label that no device has"),
        pytest.param([need("a", replace(VGPU_8, profile="nvidia_t4-16c"))], ["a"], id="a profile that nobody offers"),
        pytest.param([need("a", ANY_T4), need("b", ANY_T4)], ["b"], id="not active is not free"),
    ],
)
def test_what_cannot_be_is_told_for_each_vm(needs: list[Need], unserved: list[str]) -> None:
    chosen, problems = assign(needs, LAB)
    assert sorted(chosen) == sorted({item.name for item in needs} - set(unserved))
    assert [problem.what.split(":")[0] for problem in problems] == unserved


@pytest.mark.parametrize("on", [True, False])
def test_a_static_device_is_held_by_a_vm_that_is_off_too(on: bool) -> None:
    inventory = replace(LAB, holders=(holder("theirs", "h1", static(13000, "3b"), on=on),))
    assert given(assign([need("a", ANY_A10, hosts="h1")], inventory)[0]) == {"a": ["h1/86"]}


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (GpuActual(13000, "dynamic", vendor_id=0x10DE, device_id=0x2236, assigned="0000:86:00.0"), "h1/3b"),
        (GpuActual(13000, "dynamic", vendor_id=0x10DE, device_id=0x2236), "h1/86"),  # which one is not known: count one
        (GpuActual(13000, "dynamic", vendor_id=0x10DE, device_id=0x1EB8), "h1/3b"),
    ],
)
def test_a_running_dynamic_device_is_held(held: GpuActual, expected: str) -> None:
    inventory = replace(LAB, holders=(holder("theirs", "h1", held),))
    assert given(assign([need("a", ANY_A10, hosts="h1")], inventory)[0]) == {"a": [expected]}


def test_running_vgpus_take_their_room() -> None:
    running = tuple(holder(name, "h3", GpuActual(13000, "vgpu", profile="nvidia_a10-8c")) for name in ("x", "y"))
    chosen, problems = assign([need("a", VGPU_8), need("b", VGPU_8)], replace(LAB, holders=running))
    assert list(chosen) == ["a"]
    assert "room for 0 more of 'nvidia_a10-8c'" in str(problems[0])


@pytest.mark.parametrize(
    ("wishes", "has", "keys"),
    [
        ((ANY_A10,), (static(13000, "86"),), [13000]),
        ((at("86"), ANY_A10), (static(13000, "86"), static(13001, "3b")), [13000, 13001]),
        ((ANY_A10, at("86")), (static(13000, "86"), static(13001, "3b")), [13001, 13000]),
        ((ANY_A10, ANY_A10), (static(13000, "86"),), [13000, 0]),
        ((at("3b"),), (static(13000, "86"),), [0]),
        (
            (DYNAMIC_A10,),
            (GpuActual(13000, "dynamic", vendor_id=0x10DE, device_id=0x2236, assigned="0000:3b:00.0"),),
            [13000],
        ),
        ((DYNAMIC_A10,), (static(13000, "3b"),), [0]),
    ],
)
def test_what_the_vm_has_already_stays(
    wishes: tuple[GpuWish, ...], has: tuple[GpuActual, ...], keys: list[int]
) -> None:
    chosen, problems = assign([existing("a", "h1", wishes, *has)], LAB)
    assert not problems
    assert [pick.key for pick in chosen["a"].picks] == keys


def test_a_vm_as_wished_is_kept_on_a_host_that_takes_no_new_one() -> None:
    inventory = Inventory((replace(H1, unusable="in maintenance mode"), H2))
    chosen, problems = assign([existing("a", "h1", (ANY_A10,), static(13000, "86")), need("b", ANY_A10)], inventory)
    assert not problems
    assert given(chosen) == {"a": ["h1/86"], "b": ["h2/3b"]}


def test_a_running_vm_cannot_go_where_the_devices_are() -> None:
    chosen, problems = assign([replace(existing("a", "h4", (ANY_A10,)), on=True)], LAB)
    assert not chosen
    assert "on host esx-04, where the VM runs; found esx-04: no GPU" in str(problems[0])
    assert "power the VM off, so that the next run moves it" in str(problems[0])


@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        (existing("a", "h2", (ANY_A10,)), ["h2/3b"]),  # its own host before the emptiest one
        (existing("a", "h4", (ANY_A10,)), ["h1/3b"]),
        (existing("a", "h1", (ANY_T4,), static(13000, "3b")), ["h2/5e"]),
        (existing("a", "h1", (ANY_T4, ANY_A10), static(13000, "3b")), ["h2/5e", "h2/3b"]),
    ],
)
def test_a_vm_that_is_off_may_move(mine: Need, expected: list[str]) -> None:
    chosen, problems = assign([mine], LAB)
    assert not problems
    assert given(chosen) == {"a": expected}
    assert [pick.key for pick in chosen["a"].picks] == [0] * len(expected)


def test_a_device_lost_to_another_run_is_replaced_by_another() -> None:
    mine = existing("a", "h1", (ANY_A10,), static(13000, "3b"))
    inventory = replace(LAB, holders=(holder("winner", "h1", static(13000, "3b")),))
    lost = {"a": frozenset({("h1", "0000:3b:00.0")})}
    chosen, problems = assign([mine], inventory, avoid=lost)
    assert not problems
    assert given(chosen) == {"a": ["h1/86"]}
    assert chosen["a"].picks[0].key == 0
    named = replace(mine, gpus=(at("3b"),), hosts=frozenset({"h1"}))
    chosen, problems = assign([named], inventory, avoid=lost)
    assert not chosen
    assert "0000:3b:00.0 NVIDIA A10 [10de:2236] held by 'winner'" in str(problems[0])


X, SLOT = static(13000, "3b"), ("h1", "0000:3b:00.0")


@pytest.mark.parametrize(
    ("mine", "other", "expected"),
    [
        ("vm-99", Holder("vm-100", "b", "h1", False, (X,)), {SLOT: False}),
        ("vm-100", Holder("vm-99", "b", "h1", False, (X,)), {SLOT: True}),
        ("vm-99", Holder("vm-100", "b", "h1", True, (X,)), {SLOT: True}),
        (
            "vm-99",
            Holder("vm-100", "b", "h1", True, (replace(X, mode="dynamic", address="", assigned=X.address),)),
            {SLOT: True},
        ),
        ("vm-99", Holder("vm-100", "b", "h2", False, (X,)), {}),
        ("vm-99", Holder("vm-100", "b", "h1", False, (static(13000, "86"),)), {}),
        ("vm-99", Holder("vm-99", "a", "h1", False, (X,)), {}),
    ],
    ids=["younger", "older", "younger and on", "assigned at power-on", "other host", "other device", "itself"],
)
def test_of_two_vms_with_one_device_one_gives_way(mine: str, other: Holder, expected: dict[Slot, bool]) -> None:
    assert contested(Holder(mine, "a", "h1", False, (X,)), [other]) == expected


def test_who_sees_several_rivals_gives_way_to_any() -> None:
    rivals = [Holder(f"vm-{number}", "b", "h1", False, (X,)) for number in (9, 11)]
    assert contested(Holder("vm-10", "a", "h1", False, (X,)), rivals) == {SLOT: True}


def test_choices_for_other_vms_of_the_run_are_respected() -> None:
    reserved = {"b": Choice("h1", "esx-01", (Pick(ANY_A10, H1.gpus[0]),))}
    assert given(assign([need("a", ANY_A10, hosts="h1")], LAB, reserved)[0]) == {"a": ["h1/86"]}


def test_passed_through_devices_that_are_no_gpus_are_left_alone() -> None:
    inventory = Inventory((replace(H1, others=frozenset({"0000:17:00.0"})),))
    mine = existing("a", "h1", (), static(13000, "17"), static(13001, "3b"))
    assert assign([mine], inventory)[0]["a"].foreign == {13000}


@pytest.mark.parametrize(
    ("wanted", "inventory", "parts"),
    [
        (
            need("a", ANY_A10, hosts="h1 h4"),
            replace(LAB, holders=(holder("x", "h1", static(1, "3b")), holder("y", "h1", static(1, "86")))),
            [
                "a: vm_gpu[0]: expected a free device of model 'A10' on a host of cluster 'gpu'",
                "esx-01: 0000:3b:00.0 NVIDIA A10 [10de:2236] held by 'x'",
                "0000:86:00.0 NVIDIA A10 [10de:2236] held by 'y'",
                "esx-04: no GPU",
                "remove a VM that holds one",
            ],
        ),
        (
            need("a", at("af")),
            LAB,
            ["0000:af:00.0 NVIDIA T4 [10de:1eb8] passthrough enabled but not active", "reboot host esx-02"],
        ),
        (
            need("a", at("5e"), hosts="h3"),
            LAB,
            [
                "0000:5e:00.0 NVIDIA T4 [10de:1eb8] passthrough not enabled",
                "enable the passthrough of 0000:5e:00.0 on host esx-03",
            ],
        ),
        (
            need("a", replace(VGPU_8, profile="nvidia_t4-16c"), hosts="h3"),
            LAB,
            [
                "graphics type 'shared', vGPU needs 'sharedDirect'",
                "offers the profiles nvidia_a10-24c, nvidia_a10-8c",
                "set the graphics type of 0000:5e:00.0 on host esx-03 to Shared Direct",
            ],
        ),
        (
            need("a", GpuWish("static", model="H100")),
            LAB,
            ["NVIDIA A10 [10de:2236] free", "wish for a device from this list"],
        ),
        (
            need("a", ANY_A10, hosts="h1"),
            Inventory((replace(H1, unusable="in maintenance mode"),)),
            ["the host is in maintenance mode", "bring that host back"],
        ),
        (
            need("a", DYNAMIC_A10, hosts="h1"),
            Inventory((replace(H1, version="6.7.0"),)),
            ["ESXi 6.7.0, dynamic DirectPath needs 7.0"],
        ),
        (
            need("a", ANY_A10, ANY_A10, ANY_T4),
            LAB,
            ["vm_gpu[0], vm_gpu[1], vm_gpu[2]", "a free device of model 'T4' at once on a host"],
        ),
        (
            need("a", ANY_A10, GpuWish("static", model="H100")),
            LAB,
            ["a: vm_gpu[1]: expected a free device of model 'H100' on"],
        ),
    ],
)
def test_the_error_lists_hosts_devices_and_holders(wanted: Need, inventory: Inventory, parts: list[str]) -> None:
    _chosen, problems = assign([wanted], inventory)
    for part in parts:
        assert part in str(problems[0])


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("NVIDIA A10", "A10", True),
        ("NVIDIA A100", "A10", False),
        ("GA102GL [A10]", "a10", True),
        ("GA100 [A100 PCIe 40GB]", "A100", True),
        ("GA100 [A100 PCIe 40GB]", "A100 PCIe", True),
        ("NVIDIA L40S", "L40", False),
    ],
)
def test_a_model_is_a_whole_word_of_the_name(name: str, model: str, expected: bool) -> None:
    assert is_model(Gpu("h", "0000:3b:00.0", 0, 0, name), model) is expected
