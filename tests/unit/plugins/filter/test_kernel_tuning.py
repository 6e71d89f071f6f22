# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel_tuning: bad wishes are refused in words, good ones become a plan that ends where nothing is left to do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.filter.kernel_tuning import cpu_list, kernel_tuning

WISH: dict[str, Any] = {
    "host": "nb-01",
    "os_family": "Debian",
    "cores": [1, 2, 3],
    "memory_cap_mb": 3584,
    "swap_off": True,
    "cpus": 4,
    "memory_mb": 4096,
}
ARGUMENTS = ["isolcpus=1,2,3", "nohz_full=1,2,3", "rcu_nocbs=1,2,3", "irqaffinity=0"]
NOTHING: dict[str, Any] = {"cores": [], "memory_cap_mb": 0, "swap_off": False}
FRESH: dict[str, Any] = {
    "container": "",
    "systemd": 249,
    "cores": 4,
    "memory_mb": 3790,
    "capping": True,
    "running": [],
    "isolated": [],
    "menu": [[], []],
    "boot_arguments": None,
    "swaps": [],
    "fstab_swaps": [],
    "swap_units": [],
}
DONE = FRESH | {
    "running": ARGUMENTS,
    "isolated": [1, 2, 3],
    "menu": [ARGUMENTS, ARGUMENTS],
    "boot_arguments": " ".join(ARGUMENTS),
}


def plan(wish: dict[str, Any] | None = None, guest: dict[str, Any] | None = None) -> dict[str, Any]:
    return kernel_tuning(WISH | (wish or {}), guest)


@pytest.mark.parametrize(
    ("cores", "text"),
    [([], ""), ([1], "1"), ([3, 1, 2], "1-3"), ([0, 2, 3, 7], "0,2-3,7")],
)
def test_cores_are_written_as_the_kernel_writes_them(cores: list[int], text: str) -> None:
    assert cpu_list(cores) == text


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"cores": "1-3"}, ["such as [1, 2, 3]", "found '1-3'"]),
        ({"cores": 1}, ["such as [1, 2, 3]", "found 1"]),
        ({"cores": [1, "x"]}, ["such as [1, 2, 3]", "found 'x'"]),
        ({"cores": [1, -1]}, ["found -1"]),
        ({"cores": [True]}, ["found True"]),
        ({"cores": [1.5]}, ["found 1.5"]),
        ({"cores": [1, 2, 2, "1"]}, ["each core once", "found 1-2 more than once"]),
        ({"cores": [0, 1]}, ["core 0 left over", "take 0 off"]),
        ({"cores": [2, 3, 4, 5]}, ["cores below 4, as the VM has 4", "found 4-5", "raise vm_cpus"]),
        ({"memory_cap_mb": -1}, ["found -1"]),
        ({"memory_cap_mb": 3.5}, ["at least 64", "found 3.5"]),
        ({"memory_cap_mb": 3}, ["at least 64", "found 3"]),
        ({"memory_cap_mb": "3.5G"}, ["found '3.5G'"]),
        ({"memory_cap_mb": 4097}, ["at most the VM's memory, 4096 MB", "found 4097 MB", "raise vm_memory_mb"]),
        ({"os_family": "Windows", **NOTHING, "cores": [1]}, ["kernel_tuning_isolated_cores", "Windows", "found [1]"]),
        ({"os_family": "Windows", **NOTHING, "memory_cap_mb": 512}, ["kernel_tuning_memory_cap_mb", "found 512"]),
        ({"os_family": "Windows", **NOTHING, "swap_off": True}, ["kernel_tuning_swap_off", "Windows"]),
        ({"os_family": "Suse"}, ["Debian, RedHat or Windows", "found Suse"]),
        ({"os_family": "no facts"}, ["found no facts", "gather the facts"]),
    ],
)
def test_a_bad_wish_is_refused_before_the_guest_is_asked(wish: dict[str, Any], words: list[str]) -> None:
    problems = plan(wish)["problems"]
    assert len(problems) == 1, problems
    assert [word for word in [*words, "nb-01", "expected", "Next:"] if word not in problems[0]] == []


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(plan({"cores": [0, 1, 1], "memory_cap_mb": 1})["problems"]) == 3


@pytest.mark.parametrize(
    "wish",
    [
        {},
        NOTHING,
        {"cores": ["1", "2"], "memory_cap_mb": "3584"},
        {"cpus": None, "memory_mb": None},
        {"os_family": "Windows", **NOTHING},
        {"memory_cap_mb": 4096},
    ],
)
def test_a_good_wish_passes(wish: dict[str, Any]) -> None:
    assert plan(wish)["problems"] == []


@pytest.mark.parametrize(
    ("wish", "guest", "words"),
    [
        ({"cpus": None}, {"cores": 2}, ["cores below 2, as the guest shows 2", "found 2-3"]),
        ({"memory_cap_mb": 3900}, {}, ["3790 MB", "found 3900 MB"]),
        ({}, {"capping": False}, ["control groups", "cgroup_disable=memory"]),
        ({}, {"menu": []}, ["boot menu of GRUB", "no entry"]),
    ],
)
def test_what_the_guest_cannot_have_is_refused(wish: dict[str, Any], guest: dict[str, Any], words: list[str]) -> None:
    problems = plan(wish, FRESH | guest)["problems"]
    assert len(problems) == 1, problems
    assert [word for word in [*words, "nb-01", "Next:"] if word not in problems[0]] == []


@pytest.mark.parametrize(
    ("cores", "count", "arguments"),
    [
        ([], 4, []),
        ([3, 1, 2], 4, ARGUMENTS),
        ([1], 2, ["isolcpus=1", "nohz_full=1", "rcu_nocbs=1", "irqaffinity=0"]),
        ([2, 5], 8, ["isolcpus=2,5", "nohz_full=2,5", "rcu_nocbs=2,5", "irqaffinity=0-1,3-4,6-7"]),
    ],
)
def test_interrupts_go_to_the_cores_that_are_left(cores: list[int], count: int, arguments: list[str]) -> None:
    found = plan({"cores": cores, "cpus": count}, FRESH | {"cores": count})
    assert found["arguments"] == arguments
    assert found["cores"] == sorted(cores)


def test_the_mask_has_a_bit_for_each_core() -> None:
    assert plan({}, FRESH)["mask"] == "e"


OTHERS = ["isolcpus=2", "nohz_full=2", "rcu_nocbs=2", "irqaffinity=0-1,3"]
NONE: dict[str, Any] = {"cores": []}


@pytest.mark.parametrize(
    ("wish", "guest", "due"),
    [
        ({}, FRESH, "write apply reboot"),
        ({}, DONE, ""),
        # killed after the settings, the menu, the reboot; and a menu that was made anew without the settings
        ({}, FRESH | {"boot_arguments": " ".join(ARGUMENTS)}, "apply reboot"),
        ({}, DONE | {"running": [], "isolated": []}, "reboot"),
        ({}, DONE | {"menu": [ARGUMENTS, []]}, "apply"),
        ({}, DONE | {"boot_arguments": None}, "write apply"),
        ({}, DONE | {"running": ARGUMENTS[::-1]}, ""),
        # another list of cores
        (
            {},
            DONE | {"running": OTHERS, "isolated": [2], "menu": [OTHERS], "boot_arguments": " ".join(OTHERS)},
            "write apply reboot",
        ),
        # the same argument twice: the kernel would take one of them
        ({}, DONE | {"running": ["isolcpus=2", *ARGUMENTS]}, "reboot"),
        # nothing wished: ours is taken away, also after a run that was killed; what others wrote stays
        (NONE, FRESH, ""),
        (NONE, DONE, "write apply"),
        (NONE, DONE | {"boot_arguments": ""}, "write apply"),
        (NONE, FRESH | {"running": ARGUMENTS, "isolated": [1, 2, 3]}, "reboot"),
        (NONE, FRESH | {"running": ["isolcpus=2"], "isolated": [2], "menu": [["isolcpus=2"], ["isolcpus=2"]]}, ""),
        (NONE, FRESH | {"running": ["isolcpus=2"], "menu": []}, ""),
    ],
)
def test_a_boot_is_due_only_where_the_running_kernel_differs(
    wish: dict[str, Any], guest: dict[str, Any], due: str
) -> None:
    found = plan(wish, guest)
    assert [step for step in ("write", "apply", "reboot") if found[step]] == due.split()


@pytest.mark.parametrize(
    ("wish", "guest", "words"),
    [
        ({}, DONE, []),
        ({}, DONE | {"isolated": None}, []),
        ({}, FRESH | {"isolated": None}, ["/proc/cmdline: expected isolcpus=1,2,3", "found none of them"]),
        ({}, DONE | {"isolated": [1]}, ["isolated: expected 1-3; found 1"]),
        (NONE, FRESH, []),
    ],
)
def test_the_running_kernel_proves_it(wish: dict[str, Any], guest: dict[str, Any], words: list[str]) -> None:
    text = " ".join(plan(wish, guest)["unproven"])
    assert bool(text) == bool(words)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("swap_off", "there", "due"),
    [
        (True, {}, False),
        (True, {"swaps": ["/dev/sda3"]}, True),
        (True, {"fstab_swaps": ["/swapfile"]}, True),
        (True, {"swap_units": ["zramswap.service"]}, True),
        (False, {"swaps": ["/dev/sda3"], "fstab_swaps": ["/dev/sda3"]}, False),
    ],
)
def test_swap_goes_where_it_is_wished_and_there(swap_off: bool, there: dict[str, Any], due: bool) -> None:
    assert plan({"swap_off": swap_off}, FRESH | there)["swap"] is due


@pytest.mark.parametrize(
    ("wish", "capping", "skipped", "cap"),
    [
        ({}, False, ["isolated cores 1-3", "swap", "memory cap of 3584 MB"], 0),
        ({}, True, ["isolated cores 1-3", "swap"], 3584),
        (NOTHING, False, [], 0),
    ],
)
def test_a_container_says_what_it_cannot_have_and_is_left_alone(
    wish: dict[str, Any], capping: bool, skipped: list[str], cap: int
) -> None:
    # It shows the cores, the memory, the arguments and the swap of the machine below it.
    guest = FRESH | {
        "container": "podman",
        "capping": capping,
        "cores": 2,
        "memory_mb": 900,
        "swaps": ["/dev/sda3"],
        "menu": [],
    }
    found = plan(wish, guest)
    assert found["problems"] == []
    assert found["skipped"] == skipped
    assert found["cap_mb"] == cap
    assert found["cores"] == [] and found["unproven"] == []
    assert not any(found[step] for step in ("write", "apply", "reboot", "swap"))
