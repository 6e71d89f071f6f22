# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a wish for a guest's kernel, and what has to be done to meet it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kernel_tuning
short_description: Check and plan isolated cores, swap and memory cap of a guest
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Compares the wish of the role C(kernel_tuning) with the VM and, where it was asked already, with the guest. Changes nothing.
positional: guest
options:
  _input:
    description: >-
      The wish: C(host), C(os_family), C(cores), C(memory_cap_mb), C(swap_off), and of the VM C(cpus) and C(memory_mb), which
      may be empty.
    type: dict
    required: true
  guest:
    description: What the role's probe answered; without it only the wish is checked.
    type: dict
"""

EXAMPLES = r"""
- name: Refuse core 0
  ansible.builtin.assert:
    that: plan.problems | length == 0
    fail_msg: "{{ plan.problems | join(' ') }}"
  vars:
    plan: "{{ {'host': 'nb-01', 'os_family': 'Debian', 'cores': [0], 'memory_cap_mb': 0, 'swap_off': false, 'cpus': 4,
      'memory_mb': 6144} | nanobanana.testbed.kernel_tuning }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    problems:
      description: Messages; empty where the wish can be met.
      type: list
      elements: str
    cores:
      description: The cores to isolate on this guest, in order.
      type: list
      elements: int
    arguments:
      description: The kernel arguments for these cores; empty without cores.
      type: list
      elements: str
    mask:
      description: The cores as a hexadecimal mask.
      type: str
    cap_mb:
      description: The memory cap that this guest can have.
      type: int
    swap_off:
      description: Whether swap goes on this guest.
      type: bool
    skipped:
      description: What of the wish a container cannot have, in words.
      type: list
      elements: str
    write:
      description: Whether the boot settings differ from the wish.
      type: bool
    apply:
      description: Whether the boot menu has to be made anew.
      type: bool
    reboot:
      description: Whether the running kernel differs from the boot menu.
      type: bool
    swap:
      description: Whether there is swap to be taken away.
      type: bool
    unproven:
      description: What the running kernel does not show of the wish; empty when it shows all.
      type: list
      elements: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

FAMILIES = ("Debian", "RedHat", "Windows")
# Below this not even a Python starts, and a wish in gigabytes is found out.
LEAST_CAP_MB = 64
CORES = "kernel_tuning_isolated_cores"
CAP = "kernel_tuning_memory_cap_mb"
SWAP = "kernel_tuning_swap_off"


def kernel_tuning(wish: Mapping[str, Any], guest: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plan; where ``problems`` is not empty, the rest of it means nothing."""
    problems = _problems(wish, guest)
    if problems or guest is None:
        return {"problems": problems}
    machine = not guest["container"]
    cores = sorted(int(core) for core in wish["cores"]) if machine else []
    arguments = _arguments(cores, int(guest["cores"]))
    cap = int(wish["memory_cap_mb"])
    swap_off = bool(wish["swap_off"]) and machine
    return {
        "problems": [],
        "cores": cores,
        "arguments": arguments,
        "mask": f"{sum(1 << core for core in cores):x}",
        "cap_mb": cap if guest["capping"] else 0,
        "swap_off": swap_off,
        "skipped": [] if machine else _skipped(wish, guest),
        **_boot(arguments, guest, machine),
        "swap": swap_off and any(guest[key] for key in ("swaps", "fstab_swaps", "swap_units")),
        "unproven": _unproven(cores, arguments, guest) if machine else [],
    }


def cpu_list(cores: Iterable[int]) -> str:
    """[0, 1, 2, 5] -> '0-2,5', as the kernel writes them."""
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and core == parts[-1][-1] + 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in parts)


def _arguments(cores: list[int], count: int) -> list[str]:
    """irqaffinity is where all interrupts begin, from the first one of the boot on; what is isolated is not among them."""
    if not cores:
        return []
    isolated = ",".join(map(str, cores))
    others = cpu_list(set(range(count)) - set(cores))
    return [f"isolcpus={isolated}", f"nohz_full={isolated}", f"rcu_nocbs={isolated}", f"irqaffinity={others}"]


def _boot(arguments: list[str], guest: Mapping[str, Any], machine: bool) -> dict[str, bool]:
    """The boot settings are written first, the menu is made of them, the kernel is booted by the menu. Where no core is
    wished, arguments that somebody else wrote stay: ours are known by the boot settings, and by a kernel that runs with
    arguments that no entry of the menu has any more.
    """
    if not machine:
        return {"write": False, "apply": False, "reboot": False}
    wanted, written = " ".join(arguments), guest["boot_arguments"]
    write = written != wanted if arguments else written is not None
    menu = [sorted(entry) for entry in guest["menu"]]
    apply = write or (bool(arguments) and any(entry != sorted(arguments) for entry in menu))
    return {
        "write": write,
        "apply": apply,
        "reboot": bool(menu) and sorted(guest["running"]) not in (menu if not arguments else [sorted(arguments)]),
    }


def _unproven(cores: list[int], arguments: list[str], guest: Mapping[str, Any]) -> list[str]:
    if not arguments:
        return []
    found = []
    if sorted(guest["running"]) != sorted(arguments):
        found.append(
            f"/proc/cmdline: expected {' '.join(arguments)}; found {' '.join(guest['running']) or 'none of them'}"
        )
    # Kernels before 4.2 have no such file.
    if guest["isolated"] is not None and guest["isolated"] != cores:
        found.append(
            f"/sys/devices/system/cpu/isolated: expected {cpu_list(cores)}; found {cpu_list(guest['isolated']) or 'none'}"
        )
    return found


def _skipped(wish: Mapping[str, Any], guest: Mapping[str, Any]) -> list[str]:
    """A container has the kernel of the machine below it."""
    return [
        *([f"isolated cores {cpu_list(map(int, wish['cores']))}"] if wish["cores"] else []),
        *(["swap"] if wish["swap_off"] else []),
        *([f"memory cap of {wish['memory_cap_mb']} MB"] if int(wish["memory_cap_mb"]) and not guest["capping"] else []),
    ]


def _problems(wish: Mapping[str, Any], guest: Mapping[str, Any] | None) -> list[str]:
    if wish["os_family"] not in FAMILIES:
        return [
            f"kernel_tuning on {wish['host']}: expected a system of the Debian, RedHat or Windows family; found "
            f"{wish['os_family']}. Next: gather the facts os_family and python before this role, or take the host out of the "
            "play's groups."
        ]
    said = [(CORES, *each) for each in _wrong_cores(wish["cores"])]
    said += [(CAP, *each) for each in _wrong_cap(wish["memory_cap_mb"])]
    if not said and wish["os_family"] == "Windows":
        said = _asked_of_windows(wish)
    elif not said:
        said = _beyond_the_vm(wish)
    if not said and guest is not None and not guest["container"]:
        said = _beyond_the_guest(wish, guest)
    return [
        f"{name} of {wish['host']}: expected {expected}; found {found}. Next: {fix}."
        for name, expected, found, fix in said
    ]


def _wrong_cores(cores: Any) -> list[tuple[str, str, str]]:
    example, fix = "core numbers as a list, such as [1, 2, 3]", "correct the list in group_vars"
    if not isinstance(cores, (list, tuple)):
        return [(example, repr(cores), fix)]
    wrong = [core for core in cores if not _is_whole(core)]
    if wrong:
        return [(example, ", ".join(map(repr, wrong)), fix)]
    numbers = [int(core) for core in cores]
    twice = sorted({core for core in numbers if numbers.count(core) > 1})
    found = []
    if twice:
        found.append(("each core once", f"{cpu_list(twice)} more than once", fix))
    if 0 in numbers:
        left = "core 0 left over for the system and its interrupts"
        found.append((left, "it in the list", "take 0 off the list"))
    return found


def _wrong_cap(cap: Any) -> list[tuple[str, str, str]]:
    if not _is_whole(cap) or 0 < int(cap) < LEAST_CAP_MB:
        expected = f"megabytes, at least {LEAST_CAP_MB}, or 0 for no cap"
        return [(expected, repr(cap), "correct it in group_vars")]
    return []


def _is_whole(value: Any) -> bool:
    """Digits in a string count: so come numbers from the command line."""
    if isinstance(value, bool):
        return False
    return (isinstance(value, int) and value >= 0) or (isinstance(value, str) and value.isdecimal())


def _asked_of_windows(wish: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    asked = ((CORES, list(wish["cores"])), (CAP, int(wish["memory_cap_mb"])), (SWAP, bool(wish["swap_off"])))
    expected = "nothing, as Windows takes neither kernel arguments nor a slice for the model's memory"
    return [(name, expected, str(value), "take it out of this host's groups") for name, value in asked if value]


def _beyond_the_vm(wish: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    found = []
    if wish["cpus"] is not None:
        found += _beyond(wish["cores"], int(wish["cpus"]), "the VM has", "raise vm_cpus")
    if wish["memory_mb"] is not None and int(wish["memory_cap_mb"]) > int(wish["memory_mb"]):
        at_most = f"at most the VM's memory, {wish['memory_mb']} MB"
        found.append((CAP, at_most, f"{wish['memory_cap_mb']} MB", "lower the cap, or raise vm_memory_mb"))
    return found


def _beyond_the_guest(wish: Mapping[str, Any], guest: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    found = _beyond(wish["cores"], int(guest["cores"]), "the guest shows", "see why it has fewer than the VM")
    cap = int(wish["memory_cap_mb"])
    if cap > int(guest["memory_mb"]):
        at_most = f"at most what the guest's kernel has left for processes, {guest['memory_mb']} MB"
        found.append((CAP, at_most, f"{cap} MB", "lower the cap, or raise vm_memory_mb"))
    elif cap and not guest["capping"]:
        fix = "take cgroup_disable=memory off the kernel's arguments, or set the cap to 0"
        found.append((CAP, "a kernel that accounts memory by control groups", "none of them with memory", fix))
    if wish["cores"] and not guest["menu"]:
        fix = "boot the template by GRUB, or empty the list"
        found.append((CORES, "a boot menu of GRUB to write kernel arguments into", "no entry in one", fix))
    return found


def _beyond(cores: Iterable[Any], count: int, who: str, fix: str) -> list[tuple[str, str, str, str]]:
    beyond = [int(core) for core in cores if int(core) >= count]
    if not beyond:
        return []
    return [(CORES, f"cores below {count}, as {who} {count}", cpu_list(beyond), f"take them off the list, or {fix}")]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Name to function."""
        return {"kernel_tuning": kernel_tuning}
