# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine gate's probes: each outcome of each check, and that nothing a vCenter says ends in a traceback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import vsphere_machine
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.catalogue_vsphere import MACHINE
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import (
    FAILED,
    NOT_APPLICABLE,
    PASSED,
    STATUSES,
    WARNED,
    Outcome,
    run_checks,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.vsphere_facts import MachineFacts
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import gpu
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import HardwareActual, HostLimits
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import DiskActual, GpuActual, NicActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.checks.vsphere_examples import (
    A10,
    DYNAMIC,
    HOST,
    INVENTORY,
    STATIC,
    VGPU,
    VGPU_HOST,
    WISHED_DYNAMIC,
    WISHED_STATIC,
    WISHED_VGPU,
    machine,
    wish,
    without,
)


def asked(check: str, facts: MachineFacts) -> Outcome:
    return vsphere_machine.probes(facts)[check]()


def hardware(**fields: Any) -> dict[str, Any]:
    return {"hardware": replace(machine().vm.hardware, **fields)}


def tweaks(**fields: Any) -> VmWish:
    return wish(tweaks=fields)


OFF = {"power": "poweredOff"}
OLD = hardware(hardware_version=15)
LATENCY = {"latency_sensitivity": "high", "cpu_reservation_mhz": 10400}
TWO_HOLDERS = gpu.Inventory(
    INVENTORY.hosts,
    (gpu.Holder("vm-1", "a", "host-1", True, (STATIC,)), gpu.Holder("vm-2", "x", "host-1", False, (STATIC,))),
)


def board(**fields: Any) -> gpu.Inventory:
    """The host with the A10, that device being otherwise."""
    return gpu.Inventory((replace(HOST, gpus=(replace(A10, **fields),)), VGPU_HOST))


def with_gpu(*gpus: GpuActual, **fields: Any) -> dict[str, Any]:
    return {"gpus": gpus} | fields


# check, wish, what differs of the VM, what is known beside it, status, words of the row
CASES: list[tuple[str, VmWish, dict[str, Any], dict[str, Any], str, str]] = [
    ("vm.exists", wish(), {}, {}, PASSED, "vm-1"),
    ("vm.exists", wish(), {"ready": False}, {}, FAILED, "still being made"),
    ("vm.owner", wish(), {}, {}, PASSED, "'me'"),
    ("vm.owner", wish(), {"extra_config": {"nanobanana.owner": "you"}}, {}, FAILED, "'you'"),
    ("vm.owner", wish(), {"extra_config": {}}, {}, FAILED, "no mark"),
    ("vm.owner", wish(), {"is_template": True}, {}, FAILED, "a template"),
    ("vm.power", wish(), {}, {}, PASSED, "on"),
    ("vm.power", wish(), OFF, {}, FAILED, "off"),
    ("vm.power", wish(lifecycle={"power": "off"}), {}, {}, FAILED, "should not run"),
    ("vm.power", wish(lifecycle={"power": "off"}), OFF, {}, PASSED, "off"),
    ("vm.power", wish(), {"power": "unheard of"}, {}, FAILED, "unheard of"),
    ("vm.size", wish(), {}, {}, PASSED, "4 CPUs"),
    ("vm.size", wish(), {"cpus": 2}, {}, FAILED, "2 CPUs"),
    ("vm.size", wish(), {"memory_mb": 4096}, {}, FAILED, "4096 MB"),
    ("vm.hardware_version", wish(), {}, {}, PASSED, "at least 20"),
    ("vm.hardware_version", wish(), OLD, {}, PASSED, "costs this VM nothing"),
    ("vm.hardware_version", wish(), OLD, {"hosts": ()}, PASSED, "any"),
    ("vm.hardware_version", wish(), hardware(hardware_version=19), {"hosts": (HostLimits("h", 19, 1),)}, PASSED, "19"),
    ("vm.hardware_version", tweaks(hardware_version=21), {}, {}, FAILED, "at least 21"),
    ("vm.hardware_version", tweaks(hardware_version=17), OLD, {}, FAILED, "at least 17"),
    ("vm.hardware_version", tweaks(hardware_version=17), hardware(hardware_version=17), {}, PASSED, "17"),
    ("vm.hardware_version", wish(**WISHED_DYNAMIC), OLD, {}, FAILED, "mode dynamic"),
    ("vm.hardware_version", wish(**WISHED_STATIC), OLD, {}, WARNED, "a GPU"),
    ("vm.hardware_version", tweaks(**LATENCY), hardware(hardware_version=18), {}, WARNED, "latency"),
    ("vm.firmware", wish(), {}, {}, NOT_APPLICABLE, "no firmware is wished"),
    ("vm.firmware", tweaks(firmware="efi"), {}, {}, PASSED, "efi"),
    ("vm.firmware", tweaks(firmware="bios"), {}, {}, FAILED, "another one"),
    ("vm.firmware", wish(**WISHED_STATIC), {}, {}, PASSED, "efi"),
    ("vm.firmware", wish(**WISHED_STATIC), hardware(firmware="bios"), {}, FAILED, "BIOS"),
    ("vm.accel_3d", wish(), {}, {}, PASSED, "mks.enable3d = FALSE"),
    ("vm.accel_3d", wish(), {"video_3d": True}, {}, FAILED, "video card"),
    ("vm.accel_3d", wish(), without("mks.enable3d"), {}, FAILED, "no mks.enable3d"),
    ("vm.accel_3d", tweaks(accel_3d=True), {"video_3d": True}, {}, NOT_APPLICABLE, "leaves it"),
    ("vm.balloon", wish(), {}, {}, PASSED, "sched.mem.maxmemctl = 0"),
    ("vm.balloon", wish(), without("sched.mem.maxmemctl"), {}, FAILED, "no sched.mem.maxmemctl"),
    ("vm.balloon", wish(), without("mem.memballoon"), {}, WARNED, "no mem.memballoon"),
    ("vm.balloon", tweaks(balloon=True), without("sched.mem.maxmemctl"), {}, NOT_APPLICABLE, "leaves it"),
    ("vm.page_sharing", wish(), {}, {}, PASSED, "= FALSE"),
    ("vm.page_sharing", wish(), {"extra_config": {"sched.mem.pshare.enable": "false"}}, {}, PASSED, "= false"),
    ("vm.page_sharing", wish(), {"extra_config": {"sched.mem.pshare.enable": "TRUE"}}, {}, FAILED, "= TRUE"),
    ("vm.page_sharing", tweaks(page_sharing=True), {"extra_config": {}}, {}, NOT_APPLICABLE, "leaves it"),
    ("vm.memory_reserved", wish(), {}, {}, PASSED, "6144 MB"),
    ("vm.memory_reserved", wish(), {"memory_reservation_mb": 6140}, {}, FAILED, "6140 MB"),
    ("vm.memory_reserved", tweaks(balloon=True, reserve_memory=False), {}, {}, NOT_APPLICABLE, "false"),
    ("vm.memory_limit", wish(), {}, {}, PASSED, "unlimited"),
    ("vm.memory_limit", wish(), {}, {"limit_mb": -1}, PASSED, "unlimited"),
    ("vm.memory_limit", wish(), {}, {"limit_mb": 3584}, FAILED, "3584 MB"),
    ("vm.memory_limit", tweaks(balloon=True, reserve_memory=False), {}, {"limit_mb": 1}, NOT_APPLICABLE, "false"),
    ("vm.memory_locked", wish(), {}, {}, PASSED, "locked"),
    ("vm.memory_locked", wish(), {"memory_locked": False}, {}, FAILED, "not locked"),
    ("vm.memory_locked", tweaks(balloon=True, reserve_memory=False), {}, {}, NOT_APPLICABLE, "false"),
    ("vm.memory_reclaimed", wish(), {}, {}, PASSED, "0 MB ballooned"),
    ("vm.memory_reclaimed", wish(), {}, {"balloon_mb": 512}, FAILED, "512 MB ballooned"),
    ("vm.memory_reclaimed", wish(), {}, {"swapped_mb": 1}, FAILED, "1 MB swapped"),
    ("vm.memory_reclaimed", tweaks(balloon=True, reserve_memory=False), {}, {"balloon_mb": 9}, WARNED, "9 MB"),
    ("vm.memory_reclaimed", wish(), OFF, {"balloon_mb": 9}, NOT_APPLICABLE, "does not run"),
    ("vm.cpu_shares", wish(), {}, {}, PASSED, "shares high, limit in MHz unlimited"),
    ("vm.cpu_shares", wish(), hardware(cpu_shares="low"), {}, FAILED, "shares low"),
    ("vm.cpu_shares", wish(), hardware(cpu_limit_mhz=1000), {}, FAILED, "limit in MHz 1000"),
    ("vm.cpu_shares", tweaks(), hardware(cpu_shares="low"), {}, NOT_APPLICABLE, "neither"),
    ("vm.data_controller", wish(), {}, {}, PASSED, "pvscsi"),
    ("vm.data_controller", wish(), {"controllers": {1: "VirtualLsiLogicController"}}, {}, FAILED, "lsilogic"),
    ("vm.data_controller", wish(), {"controllers": {}}, {}, FAILED, "no controller"),
    ("vm.data_controller", wish(), {"disks": ()}, {}, FAILED, "no disk 'data'"),
    ("vm.data_controller", wish(), {"disks": (DiskActual(1, 1, 0, 10 << 20),)}, {}, FAILED, "of 10 GB instead of 20"),
    ("vm.data_controller", wish(disks=[]), {"controllers": {}}, {}, NOT_APPLICABLE, "empty"),
    ("vm.nic", wish(), {}, {}, PASSED, "vmxnet3 in 'testbed'"),
    ("vm.nic", wish(), {"nics": ()}, {}, FAILED, "no card"),
    ("vm.nic", wish(), {"nics": (NicActual(1, "vmxnet3", "other"),)}, {}, FAILED, "'other'"),
    ("vm.nic", wish(), {"nics": (NicActual(1, "e1000", "testbed"),)}, {}, FAILED, "e1000"),
    ("vm.nic", wish(networks=[]), {"nics": ()}, {}, NOT_APPLICABLE, "empty"),
    ("vm.gpu", wish(), {}, {}, NOT_APPLICABLE, "no GPU is wished"),
    ("vm.gpu", wish(), with_gpu(replace(STATIC, address="0000:10:00.0")), {}, NOT_APPLICABLE, "no GPU is wished"),
    ("vm.gpu", wish(**WISHED_STATIC), with_gpu(STATIC), {}, PASSED, A10.address),
    ("vm.gpu", wish(**WISHED_STATIC), {}, {}, FAILED, "lacks device of model 'A10'"),
    ("vm.gpu", wish(**WISHED_STATIC), with_gpu(VGPU), {}, FAILED, "lacks"),
    ("vm.gpu", wish(), with_gpu(STATIC), {}, FAILED, "nobody wished"),
    ("vm.gpu", wish(**WISHED_STATIC), with_gpu(STATIC), {"inventory": TWO_HOLDERS}, FAILED, "held by 'x'"),
    ("vm.gpu", wish(**WISHED_STATIC), with_gpu(STATIC), {"inventory": board(name="NVIDIA A100")}, FAILED, "lacks"),
    ("vm.gpu", wish(gpu=[{"mode": "static", "address": A10.address}]), with_gpu(STATIC), {}, PASSED, A10.address),
    ("vm.gpu", wish(gpu=[{"mode": "static", "address": "0000:86:00.0"}]), with_gpu(STATIC), {}, FAILED, "0000:86:00.0"),
    ("vm.gpu", wish(**WISHED_DYNAMIC), with_gpu(DYNAMIC), {}, PASSED, A10.address),
    ("vm.gpu", wish(**WISHED_DYNAMIC), with_gpu(replace(DYNAMIC, label="render")), {}, FAILED, "lacks"),
    ("vm.gpu", wish(**WISHED_VGPU), with_gpu(VGPU, host="host-2"), {}, PASSED, "nvidia_a10-4c"),
    ("vm.gpu", wish(**WISHED_VGPU), with_gpu(replace(VGPU, profile="nvidia_a10-8c")), {}, FAILED, "lacks"),
    ("vm.gpu_host", wish(), {}, {}, NOT_APPLICABLE, "no GPU is wished"),
    ("vm.gpu_host", wish(**WISHED_STATIC), with_gpu(STATIC), {}, PASSED, "ready on esx-01"),
    ("vm.gpu_host", wish(**WISHED_STATIC), with_gpu(STATIC, host="host-2"), {}, FAILED, "serves vGPUs"),
    ("vm.gpu_host", wish(**WISHED_STATIC), with_gpu(STATIC, host="host-9"), {}, FAILED, "no host that can be read"),
    ("vm.gpu_host", wish(**WISHED_STATIC), with_gpu(replace(STATIC, address="0000:99:00.0")), {}, FAILED, "no device"),
    (
        "vm.gpu_host",
        wish(**WISHED_STATIC),
        with_gpu(STATIC),
        {"inventory": board(active=False)},
        FAILED,
        "enabled but not active",
    ),
    (
        "vm.gpu_host",
        wish(**WISHED_STATIC, placement={"host": "esx-02"}),
        with_gpu(STATIC),
        {},
        FAILED,
        "vm_placement.host wishes for esx-02",
    ),
    ("vm.gpu_host", wish(**WISHED_DYNAMIC), with_gpu(DYNAMIC), {}, PASSED, "ready"),
    (
        "vm.gpu_host",
        wish(**WISHED_DYNAMIC),
        with_gpu(DYNAMIC),
        {"inventory": board(enabled=False, active=False)},
        FAILED,
        "not enabled",
    ),
    ("vm.gpu_host", wish(**WISHED_VGPU), with_gpu(VGPU, host="host-2"), {}, PASSED, "ready on esx-02"),
    ("vm.gpu_host", wish(**WISHED_VGPU), with_gpu(VGPU), {}, FAILED, "no host offers nvidia_a10-4c"),
    (
        "vm.gpu_host",
        wish(**WISHED_VGPU),
        with_gpu(VGPU, power="poweredOff"),
        {"candidates": frozenset({"host-2"})},
        PASSED,
        "ready",
    ),
    (
        "vm.gpu_host",
        wish(**WISHED_VGPU),
        with_gpu(VGPU),
        {"inventory": board(enabled=False, graphics="shared")},
        FAILED,
        "vGPU needs 'sharedDirect'",
    ),
    ("vm.mmio", wish(), {}, {}, NOT_APPLICABLE, "no device is wished"),
    ("vm.mmio", wish(**WISHED_STATIC), with_gpu(STATIC), {}, PASSED, "at least 64"),
    ("vm.mmio", wish(**WISHED_STATIC), with_gpu(STATIC) | {"extra_config": {}}, {}, FAILED, "not set"),
    (
        "vm.mmio",
        wish(**WISHED_STATIC),
        with_gpu(STATIC),
        {"inventory": board(memory_mb=81920)},
        FAILED,
        "at least 256",
    ),
    (
        "vm.mmio",
        wish(**WISHED_STATIC, tweaks={"extra_config": {"pciPassthru.use64bitMMIO": "FALSE"}}),
        with_gpu(STATIC),
        {},
        NOT_APPLICABLE,
        "no device is wished",
    ),
    ("vm.snapshots", wish(), {}, {"snapshots": ("x",)}, NOT_APPLICABLE, "no passed-through GPU"),
    ("vm.snapshots", wish(**WISHED_VGPU), with_gpu(VGPU), {"snapshots": ("x",)}, NOT_APPLICABLE, "no passed-through"),
    ("vm.snapshots", wish(**WISHED_STATIC), with_gpu(STATIC), {}, PASSED, "none"),
    ("vm.snapshots", wish(**WISHED_STATIC), with_gpu(STATIC), {"snapshots": ("x", "y")}, FAILED, "'x', 'y'"),
    ("vm.snapshots", wish(), with_gpu(DYNAMIC), {"snapshots": ("x",)}, FAILED, "'x'"),
]


@pytest.mark.parametrize(("check", "wished", "actual", "known", "status", "words"), CASES)
def test_every_outcome(
    check: str, wished: VmWish, actual: dict[str, Any], known: dict[str, Any], status: str, words: str
) -> None:
    outcome = asked(check, machine(wished, actual, **known))
    assert outcome.status == status, outcome
    assert words in f"{outcome.expected} | {outcome.actual} | {outcome.detail}"


def test_every_check_of_the_catalogue_is_in_the_table_as_passed_and_as_failed() -> None:
    for check in MACHINE:
        statuses = {case[4] for case in CASES if case[0] == check.id}
        assert {PASSED, FAILED} <= statuses, check.id


def test_a_vm_that_is_not_there_blocks_everything_else() -> None:
    facts = MachineFacts(wish(), "me")
    results = run_checks(MACHINE, vsphere_machine.probes(facts), {"name": "a", "cycle": ""})
    assert [result.status for result in results] == [FAILED] + ["blocked"] * (len(MACHINE) - 1)
    assert results[0].mend["run"] == "ansible-playbook playbooks/provision.yml --limit a"


@pytest.mark.parametrize(
    ("fields", "actual"),
    [
        ({}, {}),
        (WISHED_STATIC, with_gpu(STATIC)),
        (WISHED_DYNAMIC, with_gpu(DYNAMIC)),
        (WISHED_VGPU, {"host": "host-2"}),
    ],
)
def test_a_vm_as_wished_raises_no_alarm(fields: dict[str, Any], actual: dict[str, Any]) -> None:
    facts = machine(wish(**fields), ({"gpus": (VGPU,)} if "host" in actual else {}) | actual)
    results = run_checks(MACHINE, vsphere_machine.probes(facts), {"name": "a", "cycle": ""})
    assert [result.id for result in results if result.status in (FAILED, WARNED, "blocked")] == []


def test_only_what_is_changed_while_the_vm_runs_is_mended_unasked() -> None:
    automatic = {check.id for check in MACHINE if check.fix.automatic}
    assert automatic == {"vm.memory_reserved", "vm.memory_locked", "vm.cpu_shares", "vm.nic"}
    e1000 = machine(actual={"nics": (NicActual(1, "e1000", "testbed"),)})
    fix = asked("vm.nic", e1000).fix
    assert fix is not None
    assert not fix.automatic
    assert "teardown" in fix.run


WORDS = st.text(max_size=20)
NUMBERS = st.integers(min_value=-(2**31), max_value=2**31)
GPUS = st.builds(
    GpuActual,
    key=st.integers(0, 9),
    mode=st.sampled_from(["static", "dynamic", "vgpu", "other"]),
    address=st.sampled_from(["", A10.address, "?"]),
    vendor_id=st.sampled_from([0, 0x10DE]),
    device_id=st.sampled_from([0, 0x2236]),
    label=WORDS,
    profile=st.one_of(WORDS, st.just("nvidia_a10-4c")),
    assigned=st.sampled_from(["", A10.address]),
)
ANY_VM = st.fixed_dictionaries(
    {},
    optional={
        "ready": st.booleans(),
        "is_template": st.booleans(),
        "power": st.one_of(st.sampled_from(["poweredOn", "poweredOff", "suspended"]), WORDS),
        "cpus": NUMBERS,
        "memory_mb": NUMBERS,
        "memory_reservation_mb": NUMBERS,
        "extra_config": st.dictionaries(
            st.sampled_from([*machine(wish(**WISHED_STATIC)).vm.extra_config, "x"]), WORDS, max_size=8
        ),
        "controllers": st.dictionaries(st.integers(-1, 3), WORDS, max_size=3),
        "disks": st.lists(st.builds(DiskActual, NUMBERS, st.integers(-1, 2), st.integers(-1, 16), NUMBERS)).map(tuple),
        "nics": st.lists(st.builds(NicActual, NUMBERS, WORDS, WORDS), max_size=3).map(tuple),
        "gpus": st.lists(GPUS, max_size=3).map(tuple),
        "host": st.sampled_from(["", "host-1", "host-2", "host-9"]),
        "hardware": st.builds(HardwareActual, cpu_shares=WORDS, hardware_version=NUMBERS, firmware=WORDS),
    },
)
ANY_WISH = st.sampled_from([{}, WISHED_STATIC, WISHED_DYNAMIC, WISHED_VGPU, {"tweaks": {"hardware_version": 21}}])
KNOWN = st.fixed_dictionaries(
    {"limit_mb": st.none() | NUMBERS, "balloon_mb": NUMBERS, "snapshots": st.lists(WORDS, max_size=2).map(tuple)}
)


@settings(max_examples=60, deadline=None)
@given(ANY_WISH, ANY_VM, KNOWN)
def test_whatever_a_vcenter_says_ends_in_a_status_with_its_reason(
    fields: dict[str, Any], actual: dict[str, Any], known: dict[str, Any]
) -> None:
    """run_checks would hide a broken probe, so each is called for itself."""
    for check, probe in vsphere_machine.probes(machine(wish(**fields), actual, **known)).items():
        outcome = probe()
        assert outcome.status in STATUSES, check
        assert outcome.status == PASSED or outcome.detail, check
