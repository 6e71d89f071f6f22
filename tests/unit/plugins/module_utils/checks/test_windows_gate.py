# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows guest's answers, judged on the control node: a healthy one, each thing that breaks, and nonsense.

Answers are typed after public outputs: caption, version, manufacturer and model as systeminfo and Win32_OperatingSystem
print them, 'N MB' of VMwareToolboxCmd.exe as vmware-toolbox-cmd(1) has it, DistributionName of the registry key Lxss.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import (
    guest_answer,
    recorded,
    windows_gate,
    windows_judges,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.guest_wish import Wish
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import NOT_FOUND, TIMED_OUT, Completed
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.recorded import Program, RecordedHost
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import STATUSES
from hypothesis import given, settings
from hypothesis import strategies as st

SYSTEM = {
    "caption": "Microsoft Windows Server 2019 Standard",
    "version": "10.0.17763",
    "manufacturer": "VMware, Inc.",
    "model": "VMware Virtual Platform",
}
VOLUMES = [
    {"drive": "C:", "free": 21474836480, "size": 64424509440},
    {"drive": "N:", "free": 10737418240, "size": 21474836480},
]
MEASURED = {
    "format": "PNG",
    "size": [512, 512],
    "brightness": [10, 255],
    "dominant": [248, 248, 248],
    "share": 0.6,
    "metadata": {"nano_banana.backend": "preview"},
}
PARAMS: dict[str, Any] = {
    **{name: option.get("default") for name, option in windows_gate.options().items()},
    "name": "nb-compatibility-01",
    "environment": "compatibility",
    "os_expected": "Windows Server 2019",
    "python_expected": "3.10.12",
    "modules": ["PIL"],
    "pillow": "simd",
    "disk_path": "N:\\",
    "share_path": r"\\nas\results",
    "picture_prompt": "a crane",
}


def answer(out: Any = "", rc: int = 0, err: str = "", seconds: float = 0.2) -> dict[str, Any]:
    text = out if isinstance(out, str) else json.dumps(out)
    return {"rc": rc, "out": text, "err": err, "seconds": seconds}


PACKAGES = {"missing": [], "broken": {}, "torch": None, "torch_cuda": None, "pillow": "9.5.0.post1"}
HEALTHY = {
    "system": answer(SYSTEM),
    "volumes": answer(VOLUMES),
    "distributions": answer(""),
    "share": answer(r"\\nas\results"),
    "balloon": answer("0 MB\r\n"),
    "swapped": answer("0 MB\r\n"),
    "pythons": answer("C:\\Users\\tester\\miniforge3\\python.exe\r\n"),
    "python": answer("Python 3.10.12\r\n"),
    "pillow": answer("9.5.0.post1\r\n"),
    "import": answer(
        "0.1.0\r\nC:\\Users\\tester\\miniforge3\\envs\\nano-env\\Lib\\site-packages\\nano_banana\\__init__.py\r\n"
    ),
    "packages": answer(PACKAGES),
    "picture": answer("{}", seconds=2.5),
    "measured": answer(MEASURED),
}


def wish(check_mode: bool = False, **changed: Any) -> Wish:
    return windows_gate.wish_from({**PARAMS, **changed}, check_mode)


def examine(outputs: dict[str, Any], fail_on: str = "failed") -> dict[str, Any]:
    return guest_answer.answer(windows_gate.judged(outputs, wish()), wish().name, fail_on)


def statuses(outputs: dict[str, Any], the_wish: Wish | None = None) -> dict[str, str]:
    return {result.id: result.status for result in windows_gate.judged(outputs, the_wish or wish())}


def test_rows_and_probes_agree() -> None:
    ids = {row.id for row in windows_gate.rows()}
    assert set(windows_gate.probes(windows_gate.Gate(RecordedHost([], {}), wish()))) == ids
    assert set(windows_gate.FIXES) <= ids


def test_no_fix_is_a_command_that_windows_does_not_know() -> None:
    for row in windows_gate.rows():
        if not row.id.startswith("gpu."):
            known = row.fix.run.startswith(("Get-ChildItem", "Remove-Item", "Restart-Computer"))
            assert row.fix.where == "control" or known, row.id
            assert "ansible.builtin" not in row.fix.run
            assert "model_reinstall" not in row.fix.run


def test_a_healthy_guest_raises_no_alarm() -> None:
    found = examine(HEALTHY)
    of_gpu = {check["id"]: check["status"] for check in found["checks"] if check["id"].startswith("gpu.")}
    assert set(of_gpu.values()) == {"not_applicable", "skipped"}
    assert {check["status"] for check in found["checks"] if check["id"] not in of_gpu} == {"passed"}
    assert found["summary"]["verdict"] == "passed"
    assert "failed" not in found
    assert found["facts"] == {
        "os": "Microsoft Windows Server 2019 Standard (10.0.17763)",
        "stand_in": False,
        "python": "3.10.12",
        "engine": "0.1.0",
        "backend": "preview",
        "picture": r"C:\Users\tester\nano-banana\output\preflight.png",
        "gpu": "",
        "driver": "",
        "kernel": "",
    }


BLACK = answer({**MEASURED, "brightness": [0, 3], "dominant": [0, 0, 0], "share": 1.0})
NO_ENGINE = answer(rc=1, err="Traceback\r\nModuleNotFoundError: No module named 'nano_banana'\r\n")
BROKEN: list[tuple[str, str, dict[str, Any], str]] = [
    # check, output, answer, cause
    ("guest.os", "system", answer({**SYSTEM, "caption": "Microsoft Windows Server 2022 Datacenter"}), ""),
    (
        "guest.machine",
        "system",
        answer({**SYSTEM, "manufacturer": "QEMU", "model": "Standard PC (Q35 + ICH9, 2009)"}),
        "",
    ),
    ("guest.balloon", "balloon", answer("512 MB\r\n"), ""),
    ("guest.swapped", "swapped", answer("7 MB\r\n"), ""),
    ("guest.data_disk", "volumes", answer(VOLUMES[:1]), ""),
    ("guest.data_disk", "volumes", answer([{**VOLUMES[1], "free": 1048576}]), ""),
    ("guest.share", "share", answer(rc=1, err=r"\\nas\results is not there, or not for this user"), ""),
    ("guest.share", "share", answer(rc=TIMED_OUT, err="no answer within 5 s"), ""),
    ("windows.wsl", "distributions", answer("Ubuntu-20.04"), ""),
    ("windows.wsl", "pythons", answer("\\\\wsl$\\Ubuntu\\usr\\bin\\python\r\n"), ""),
    ("guest.python", "python", answer(rc=NOT_FOUND, err="python.exe: The system cannot find the file specified"), ""),
    ("windows.pillow_simd", "pillow", answer("10.3.0\r\n"), ""),
    ("model.import", "import", NO_ENGINE, "engine-missing"),
    ("guest.packages", "packages", answer({**PACKAGES, "missing": ["PIL"]}), "package-missing"),
    ("model.picture", "measured", BLACK, "pil-beside-wsl"),
    ("model.picture", "picture", answer(rc=1, err="OSError: [Errno 28] No space left on device"), "disk-full"),
    ("model.picture", "picture", answer(rc=TIMED_OUT, seconds=60.0), ""),
    ("model.first_inference", "picture", answer("{}", seconds=31.0), "page-sharing"),
]


@pytest.mark.parametrize(("check", "output", "changed", "cause"), BROKEN)
def test_what_breaks_is_found_by_its_check(check: str, output: str, changed: dict[str, Any], cause: str) -> None:
    results = {result.id: result for result in windows_gate.judged({**HEALTHY, output: changed}, wish())}
    assert results[check].status == "failed"
    assert results[check].fix
    assert "{" not in results[check].fix.replace("{ wsl.exe", "")
    if cause:
        assert results[check].cause == cause
    others = {result.id for result in results.values() if result.status == "failed"} - {check}
    assert others <= {"model.first_inference"}, "no other check fails, but a picture that never came is slow, too"


def test_a_failure_blocks_what_builds_on_it_and_the_message_says_how_to_mend_it() -> None:
    found = examine({**HEALTHY, "import": NO_ENGINE})
    assert found["failed"] is True
    assert {check["id"] for check in found["checks"] if check["status"] == "blocked"} == {
        "model.picture",
        "model.first_inference",
    }
    assert "Remove-Item -Recurse -Force 'C:\\Users\\tester" in found["msg"]
    assert "ansible-playbook playbooks/configure.yml --limit nb-compatibility-01" in found["msg"]


def test_a_gate_that_judges_later_is_only_told() -> None:
    found = examine({**HEALTHY, "import": NO_ENGINE}, "never")
    assert "failed" not in found
    assert found["summary"]["verdict"] == "failed"


@pytest.mark.parametrize(
    ("check", "changed"),
    [
        ("guest.os", {"os_expected": ""}),
        ("guest.data_disk", {"disk_path": ""}),
        ("guest.share", {"share_path": ""}),
        ("windows.pillow_simd", {"pillow": "plain"}),
        ("guest.packages", {"modules": []}),
    ],
)
def test_what_is_not_wished_is_not_asked(check: str, changed: dict[str, Any]) -> None:
    assert statuses(HEALTHY, wish(**changed))[check] == "not_applicable"


@pytest.mark.parametrize(
    ("check", "output"),
    [
        ("guest.balloon", "balloon"),
        ("guest.swapped", "swapped"),
        ("guest.machine", "system"),
        ("guest.data_disk", "volumes"),
    ],
)
def test_what_the_guest_cannot_tell_is_skipped_with_its_reason(check: str, output: str) -> None:
    outputs = {**HEALTHY, output: answer(rc=NOT_FOUND, err="not there")}
    found = next(result for result in windows_gate.judged(outputs, wish()) if result.id == check)
    assert found.status == "skipped"
    assert found.detail


def test_a_stand_in_is_a_warning() -> None:
    outputs = {**HEALTHY, "system": answer({**SYSTEM, "manufacturer": "Xen", "model": "HVM domU"})}
    assert statuses(outputs, wish(allow_stand_in=True))["guest.machine"] == "warned"


def test_check_mode_draws_nothing() -> None:
    found = statuses(HEALTHY, wish(check_mode=True))
    assert found["model.picture"] == "skipped"
    assert found["model.first_inference"] == "skipped"


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("Microsoft Windows Server 2019 Standard Evaluation", "NAME='Windows Server'\nVERSION_ID=2019\n"),
        ("Майкрософт Windows Server 2019 Standard", "NAME='Windows Server'\nVERSION_ID=2019\n"),
        ("Microsoft Windows 10 Pro", "NAME=Windows\nVERSION_ID=10\n"),
    ],
)
def test_a_caption_becomes_an_os_release(caption: str, text: str) -> None:
    made = windows_judges.os_release(Completed(0, json.dumps({**SYSTEM, "caption": caption})))
    assert made is not None
    assert made.startswith(text)


@pytest.mark.parametrize("out", ["", "[]", "null", "{", '{"caption": 7}', "[" * 100_000])
def test_a_caption_that_is_none_is_no_system(out: str) -> None:
    assert windows_judges.os_release(Completed(0, out)) is None


def test_every_program_has_a_time_limit_and_a_name_of_its_own() -> None:
    order = windows_gate.order(wish())
    names = [program["name"] for program in order["programs"]] + [folder["name"] for folder in order["folders"]]
    assert len(set(names)) == len(names)
    assert all(0 < each["seconds"] <= 60 for each in (*order["programs"], *order["folders"]))
    assert set(names) | {"system", "volumes", "distributions"} == set(HEALTHY)
    assert [program["name"] for program in order["programs"] if program["writes"]] == ["picture"]
    assert next(each for each in order["programs"] if each["name"] == "picture")["removes"].endswith("preflight.png")


def test_a_recorded_host_answers_what_it_was_asked_and_nothing_else() -> None:
    host = RecordedHost([Program("python", ("p", "--version"), 5.0)], {"python": answer("Python 3.10.12\r\n")})
    assert host.run(["p", "--version"], 1.0) == Completed(0, "Python 3.10.12\n")
    assert host.run(["p"], 1.0).rc == NOT_FOUND
    assert host.answer("other").rc == NOT_FOUND
    assert (host.read("/x"), host.glob("/*"), host.seconds("python"), host.seconds("other")) == (None, [], 0.2, 0.0)


NONSENSE = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.fixed_dictionaries(
        {},
        optional={
            "rc": st.one_of(st.integers(-9, 300), st.text(max_size=3)),
            "out": st.one_of(st.text(max_size=200), st.sampled_from([value["out"] for value in HEALTHY.values()])),
            "err": st.text(max_size=200),
            "seconds": st.one_of(st.floats(), st.text(max_size=3)),
        },
    ),
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(HEALTHY)), NONSENSE), st.booleans())
def test_whatever_a_guest_answers_every_check_ends_in_a_status_with_a_reason(
    outputs: dict[str, Any], sane: bool
) -> None:
    found = examine({**HEALTHY, **outputs} if sane else outputs, "never")
    for check in found["checks"]:
        assert check["status"] in STATUSES
        assert check["status"] == "passed" or check["detail"]
    assert json.dumps(found)


def test_the_recorded_host_is_a_host() -> None:
    from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import Host

    host: Host = recorded.RecordedHost([], {})
    host.remove("/x")
