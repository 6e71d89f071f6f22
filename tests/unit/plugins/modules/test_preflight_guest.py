# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: its documentation and options agree, and a whole gate against a fake host."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.doc_fragments import guest_checks
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import (
    catalogue_guest,
    guest,
    guest_answer,
    guest_gate,
    guest_wish,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import NOT_FOUND, Completed
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import STATUSES
from ansible_collections.nanobanana.testbed.plugins.modules import preflight_guest

from tests.unit.plugins.module_utils.checks.fake_host import PACKAGES, PROGRAMS, FakeHost, wish

ABSENT = Completed(NOT_FOUND, err="No such file or directory")


def gate(host: FakeHost, check_mode: bool = False, fail_on: str = "failed", **changed: Any) -> dict[str, Any]:
    asked = wish(check_mode, **changed)
    return guest_answer.answer(guest.examine(host, asked), asked.name, fail_on)


def statuses(answer: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in answer["checks"]}


def found(answer: dict[str, Any], status: str) -> set[str]:
    return {name for name, each in statuses(answer).items() if each == status}


def test_every_row_has_a_probe_and_every_probe_a_row() -> None:
    rows = [row.id for row in catalogue_guest.on("linux")]
    assert sorted(guest.probes(guest_gate.Gate(FakeHost(), wish()))) == sorted(rows)


@pytest.mark.parametrize("platform", ["linux", "windows"])
def test_a_platforms_rows_need_rows_of_that_platform(platform: str) -> None:
    rows = catalogue_guest.on(platform)
    names = [row.id for row in rows]
    assert len(set(names)) == len(names)
    for row in rows:
        assert set(row.needs) <= set(names[: names.index(row.id)])
        assert set(row.after) <= {each.id for each in catalogue_guest.GUEST}
        assert row.title and row.fix.text


def test_only_swap_is_mended_unasked() -> None:
    assert [row.id for row in catalogue_guest.GUEST if row.fix.automatic] == ["guest.swap"]


def test_a_healthy_guest_raises_no_false_alarm() -> None:
    answer = gate(FakeHost())
    assert "msg" not in answer
    assert answer["changed"] is False
    assert found(answer, "passed") | {"gpu.licence"} == set(statuses(answer))
    assert statuses(answer)["gpu.licence"] == "not_applicable"
    assert answer["facts"] == {
        "os": "Ubuntu 22.04.4 LTS",
        "stand_in": False,
        "python": "3.10.12",
        "engine": "0.1.0",
        "backend": "preview",
        "picture": "/o/p.png",
        "gpu": "NVIDIA GeForce RTX 3090",
        "driver": "525.147.05",
        "kernel": "5.15.0-101-generic",
    }


def test_nvidia_smi_is_asked_once_for_each_report_and_probe_files_go() -> None:
    host = FakeHost()
    gate(host)
    assert (host.ran.count("nvidia-smi -q -x"), host.ran.count("nvidia-smi -q -d")) == (1, 1)
    assert sorted(host.removed) == ["/o/p.png", "/srv/nano-banana/tmp/.preflight-speed"]
    assert host.ran[-2:] == ["generate", "def measure"], "the picture comes last and alone"


NO_GPU = {"/sys/bus/pci/devices/0000:06:10.0/vendor": None, "/sys/module/nvidia/version": None}
PROCESS = (
    "<processes><process_info><pid>5762</pid><process_name>python</process_name>"
    "<used_memory>1005 MiB</used_memory></process_info>"
)


def smi(old: str, new: str) -> Completed:
    """nvidia-smi's report with one thing changed."""
    return Completed(0, PROGRAMS["nvidia-smi -q -x"].out.replace(old, new))


# What is broken, and all that fails because of it.
BROKEN = [
    ({"balloon": Completed(0, "700 MB\n")}, {}, {"guest.balloon"}),
    ({}, {"/proc/swaps": "Filename Type\n/swap.img file\n"}, {"guest.swap"}),
    ({}, {"/boot/vmlinuz-5.15.0-113-generic": ""}, set()),
    ({}, {"/sys/devices/system/cpu/isolated": "\n"}, {"guest.isolation"}),
    ({}, {"/proc/self/mountinfo": ""}, {"guest.share"}),
    ({"df -P": Completed(0, "a\n/dev/sdb 9 1 1024 99% /srv/nano-banana\n")}, {}, {"guest.data_disk"}),
    ({"exit 2": Completed(1)}, {}, {"guest.data_disk"}),
    ({"nvidia-smi -q -x": ABSENT, "nvidia-smi -q -d": ABSENT}, NO_GPU, {"gpu.present"}),
    ({"nvidia-smi -q -x": ABSENT, "nvidia-smi -q -d": ABSENT}, {}, {"gpu.driver"}),
    ({"nvidia-smi -q -x": Completed(18, "Driver/library version mismatch")}, {}, {"gpu.driver"}),
    ({"nvidia-smi -q -x": smi("NVIDIA GeForce RTX 3090", "GRID A10-24C")}, {}, {"gpu.driver_kind", "gpu.licence"}),
    ({"nvidia-smi -q -x": smi("<processes>", PROCESS)}, {}, {"gpu.processes"}),
    ({"dmesg": Completed(0, "NVRM: Xid (PCI:0000:44:00): 79, GPU has fallen off the bus")}, {}, {"gpu.errors"}),
    ({"def missing": Completed(0, json.dumps({**PACKAGES, "torch_cuda": "12.1"}))}, {}, {"gpu.torch"}),
    ({}, {"/sys/module/nvidia/version": "525.60.13\n"}, {"gpu.driver"}),
    ({"def missing": Completed(0, '{"missing": ["torch"], "broken": {}}')}, {}, {"guest.packages"}),
    ({"import nano_banana": Completed(1, err="ImportError: x")}, {}, {"model.import"}),
    ({"def measure": Completed(0, '{"fault": "empty"}')}, {}, {"model.picture"}),
    ({"--version": ABSENT}, {}, {"guest.python"}),
]


@pytest.mark.parametrize(("programs", "files", "failed"), BROKEN)
def test_what_is_broken_is_found_and_nothing_else_fails(
    programs: dict[str, Completed], files: dict[str, str | None], failed: set[str]
) -> None:
    answer = gate(FakeHost(programs, files))
    assert found(answer, "failed") == failed
    assert all(check["fix"] for check in answer["checks"] if check["status"] in ("failed", "warned"))
    assert all(check["detail"] for check in answer["checks"] if check["status"] != "passed")


@pytest.mark.parametrize(
    ("programs", "files", "blocked"),
    [
        ({"def missing": Completed(0, '{"missing": ["torch"], "broken": {}}')}, {}, {"gpu.torch", "model.import"}),
        ({}, {"/proc/self/mountinfo": ""}, {"model.picture", "model.first_inference"}),
    ],
)
def test_what_depends_on_it_is_blocked(
    programs: dict[str, Completed], files: dict[str, str | None], blocked: set[str]
) -> None:
    assert blocked <= found(gate(FakeHost(programs, files)), "blocked")


def test_a_guest_without_a_gpu_that_may_do_without_passes() -> None:
    host = FakeHost({"nvidia-smi -q -x": ABSENT}, NO_GPU)
    answer = gate(host, gpu="optional", modules=["PIL"])
    assert "msg" not in answer
    assert statuses(answer)["gpu.present"] == "not_applicable"
    assert {each for name, each in statuses(answer).items() if name.startswith("gpu.") and name != "gpu.present"} == {
        "skipped"
    }


def test_a_container_is_not_asked_for_what_it_shares_with_the_machine_below() -> None:
    answer = gate(FakeHost({"systemd-detect-virt": Completed(0, "podman\n")}), allow_stand_in=True)
    assert {"guest.kernel", "guest.isolation", "guest.swap", "gpu.errors", "gpu.secure_boot"} <= found(
        answer, "skipped"
    )
    assert "msg" not in answer


def test_the_message_says_it_all() -> None:
    answer = gate(FakeHost({"import nano_banana": Completed(1, err="ValueError: a broken package")}))
    assert answer["msg"].splitlines() == [
        f"Guest gate of nb-baseline-01: 1 of {len(answer['checks'])} checks failed.",
        "model.import: The engine can be imported",
        "  why:      the import ended with status 1",
        "  expected: import nano_banana prints a version",
        "  found:    ValueError: a broken package",
        "  mend:     Install the model's packages again. Type: "
        "ansible-playbook playbooks/configure.yml --limit nb-baseline-01 --tags model -e model_reinstall=true",
        "Not run because of that: model.picture, model.first_inference.",
        "Next: ansible-playbook playbooks/preflight_guest.yml --limit nb-baseline-01",
    ]


def test_whoever_judges_himself_gets_no_failure() -> None:
    answer = gate(FakeHost({"--version": ABSENT}), fail_on="never")
    assert "msg" not in answer
    assert answer["summary"]["verdict"] == "failed"


def test_a_wrong_system_shuts_the_gate_unless_a_stand_in_is_allowed() -> None:
    assert found(gate(FakeHost(), os_expected="CentOS 7.9"), "failed") == {"guest.os"}
    assert found(gate(FakeHost(), os_expected="CentOS 7.9", allow_stand_in=True), "warned") == {"guest.os"}


def test_a_branch_that_is_not_wished_is_named() -> None:
    assert found(gate(FakeHost(), driver_branch="535"), "failed") == {"gpu.driver_wish"}


def test_the_policy_decides_between_failure_and_warning() -> None:
    assert found(gate(FakeHost(), cuda="12.2"), "failed") == {"gpu.cuda"}
    assert found(gate(FakeHost(), cuda="12.2", cuda_policy="minor_version"), "warned") == {"gpu.cuda"}


def test_check_mode_on_a_bare_guest_skips_with_reasons_and_does_not_fail() -> None:
    bare = {"--version": ABSENT, "nvidia-smi -q -x": ABSENT, "exit 2": Completed(2)}
    answer = gate(FakeHost(bare, {"/proc/self/mountinfo": "", "/proc/swaps": "a\n/swap b\n"}), check_mode=True)
    assert "msg" not in answer
    assert {"guest.swap", "guest.data_disk", "guest.share", "gpu.driver"} <= found(answer, "skipped")
    assert {"guest.python", "guest.packages", "model.import", "model.picture"} <= found(answer, "skipped")


def test_check_mode_on_a_configured_guest_writes_nothing() -> None:
    host = FakeHost()
    answer = gate(host, check_mode=True)
    assert {"model.picture", "guest.data_disk_speed"} <= found(answer, "skipped")
    assert host.removed == []
    assert {"generate", "dd if="}.isdisjoint(host.ran)


def test_an_answer_is_plain_data_in_known_words() -> None:
    answer = gate(FakeHost())
    assert json.loads(json.dumps(answer)) == answer
    assert set(statuses(answer).values()) <= set(STATUSES)


class SlowHost(FakeHost):
    """Each program takes its time, as on a machine."""

    def run(self, argv: Any, timeout: float) -> Completed:
        time.sleep(0.1)
        return super().run(argv, timeout)


def test_checks_that_wait_for_programs_wait_together() -> None:
    host = SlowHost()
    started = time.monotonic()
    gate(host)
    assert time.monotonic() - started < 0.1 * len(host.ran) * 0.75


@pytest.mark.parametrize("option", sorted(guest_wish.options()))
def test_documentation_and_options_agree(option: str) -> None:
    documented = yaml.safe_load(preflight_guest.DOCUMENTATION)["options"]
    documented |= yaml.safe_load(guest_checks.ModuleDocFragment.DOCUMENTATION)["options"]
    assert set(documented) == set(guest_wish.options())
    spec = guest_wish.options()[option]
    for key in ("type", "default", "required", "choices", "elements"):
        assert documented[option].get(key) == spec.get(key), key
