# SPDX-License-Identifier: GPL-3.0-or-later
"""Isolated cores, no swap, and the slice that caps the memory of the model and its tests."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Expected

NAMES = ("isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity")
# Prints where the kernel really holds the limit of the slice that this process is in; empty in no slice.
LIMIT = r"""
slice=$(sed -n 's|^[0-9]*:memory:\(.*/SLICE\).*|memory\1/memory.limit_in_bytes|p' /proc/self/cgroup)
[ -n "$slice" ] || slice=$(sed -n 's|^0::/\(.*SLICE\).*|\1/memory.max|p' /proc/self/cgroup)
[ -z "$slice" ] || cat "/sys/fs/cgroup/$slice"
"""


def cpus(text: str) -> set[int]:
    """'0-2,5' as a set; what the kernel writes for none is an empty one."""
    found: set[int] = set()
    for first, _, last in (part.partition("-") for part in text.strip().split(",")):
        if first.isdecimal():
            found |= set(range(int(first), int(last or first) + 1))
    return found


@pytest.fixture(scope="module")
def wish(expected: Expected) -> dict[str, Any]:
    return expected.of("kernel_tuning")


@pytest.fixture(scope="module")
def isolated(wish: dict[str, Any], whole_machine: None) -> set[int]:
    return set(wish["isolated_cores"]) or pytest.skip("no isolated core is wished for this host")


@pytest.fixture(scope="module")
def run(host: Any, wish: dict[str, Any]) -> str:
    return str(wish["run"])


@pytest.fixture(scope="module")
def cap_mb(wish: dict[str, Any], host: Any) -> int:
    if not wish["memory_cap_mb"]:
        pytest.skip("no memory cap is wished for this host")
    in_container = host.run("systemd-detect-virt --container").stdout.strip() not in ("", "none")
    if in_container and "memory" not in host.run("cat /sys/fs/cgroup/cgroup.controllers").stdout.split():
        pytest.skip("a container without control groups of version 2 has no memory limit to give")
    return int(wish["memory_cap_mb"])


def test_the_kernel_runs_with_the_arguments_for_these_cores(host: Any, isolated: set[int]) -> None:
    words = host.check_output("cat /proc/cmdline").split()
    ours = dict(word.split("=", 1) for word in words if word.partition("=")[0] in NAMES)
    cores = ",".join(map(str, sorted(isolated)))
    everyone = cpus(host.check_output("cat /sys/devices/system/cpu/present"))
    assert {name: ours.get(name) for name in NAMES[:3]} == dict.fromkeys(NAMES[:3], cores), f"/proc/cmdline: {ours}"
    assert cpus(ours.get("irqaffinity", "")) == everyone - isolated, f"/proc/cmdline: {ours}"


@pytest.mark.parametrize("name", ["isolated", "nohz_full"])
def test_the_kernel_isolates_these_cores(host: Any, isolated: set[int], name: str) -> None:
    done = host.run("cat /sys/devices/system/cpu/%s", name)
    if done.rc:
        pytest.skip(f"this kernel has no file {name} in /sys/devices/system/cpu")
    assert cpus(done.stdout) == isolated, f"{name}: expected {sorted(isolated)}; found '{done.stdout.strip()}'"


def test_no_kernel_argument_is_left_where_no_core_is_wished(
    host: Any, wish: dict[str, Any], whole_machine: None
) -> None:
    if wish["isolated_cores"]:
        pytest.skip("isolated cores are wished for this host")
    found = host.check_output("cat /sys/devices/system/cpu/isolated")
    assert not cpus(found), f"isolated: expected none; found {found}"


def test_interrupts_stay_off_the_isolated_cores(host: Any, isolated: set[int]) -> None:
    # Written back as it is, an affinity tells whether it may be changed: the kernel itself spreads the interrupts of
    # queues that each core has, and refuses.
    with host.sudo():
        rows = host.check_output(
            "cd /proc/irq && for irq in [0-9]*; do now=$(cat $irq/smp_affinity_list) && "
            "{ echo $now > $irq/smp_affinity_list; } 2>/dev/null && echo $irq $now; done; true"
        ).splitlines()
    wrong = [row for row in rows if cpus(row.split()[1]) & isolated]
    assert rows
    assert not wrong, f"interrupts: expected none on {sorted(isolated)}; found IRQ and cores {', '.join(wrong)}"


def test_swap_is_off_and_nothing_brings_it_back(host: Any, wish: dict[str, Any], whole_machine: None) -> None:
    if not wish["swap_off"]:
        pytest.skip("swap is left as it is on this host")
    found = host.check_output("sed 1d /proc/swaps; awk '$1 !~ /^#/ && $3 == \"swap\"' /etc/fstab")
    units = host.check_output("systemctl list-unit-files --no-legend --no-pager '*.swap' | awk '$2 != \"masked\"'")
    assert not found, f"swap: expected none in use and none in fstab; found {found}"
    assert not units, f"units of swap: expected each of them masked; found {units}"


def test_the_model_runs_on_the_isolated_cores_alone(isolated: set[int], as_user: Any, run: str) -> None:
    found = as_user(f"{run} sed -n 's/^Cpus_allowed_list://p' /proc/self/status")
    assert cpus(found) == isolated, f"affinity: expected {sorted(isolated)}; found {found.strip()}"


def test_the_slice_holds_the_cap(wish: dict[str, Any], as_user: Any, run: str, cap_mb: int) -> None:
    limit = LIMIT.replace("SLICE", wish["slice"])
    found = as_user(f"{run} sh <<'END'\n{limit}\nEND\n").strip()
    assert found == str(cap_mb << 20), f"{wish['slice']}: expected a limit of {cap_mb} MB; found {found or 'no slice'}"


def test_what_wants_more_than_the_cap_is_killed(as_user: Any, run: str, cap_mb: int) -> None:
    # It offers itself, so that nothing else in the slice is chosen.
    program = f'open("/proc/self/oom_score_adj", "w").write("1000"); b"x" * ({cap_mb} << 20); print("alive")'
    found = as_user(f"{run} python3 -c '{program}'; echo status $?").split()
    assert found == ["status", "137"], (
        f"expected death by signal 9 (status 137) at {cap_mb} MB; found {' '.join(found)}"
    )


def test_a_command_runs_as_if_it_were_called_plainly(expected: Expected, as_user: Any, run: str) -> None:
    found = as_user(
        f"cd /tmp; export MARK='a b' LD_LIBRARY_PATH=/nowhere; echo in | {run} sh -c "
        "'id -un; echo $MARK $LD_LIBRARY_PATH $1; pwd; cat; exit 7' sh 'c  d'; echo $?"
    ).splitlines()
    assert found == [expected.user, "a b /nowhere c d", "/tmp", "in", "7"]
