# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a guest answers, every check ends in a status with a reason, soon, and never in an exception."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks import (
    gpu_driver,
    gpu_errors,
    gpu_fit,
    gpu_memory,
    gpu_report,
    guest,
    guest_disk,
    guest_kernel,
    guest_machine,
    guest_memory,
    guest_os,
    guest_packages,
    guest_python,
    guest_share,
    model_import,
    model_picture,
    windows,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gpu_report import Report, UnreadableReportError
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import Completed
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.result import PASSED, STATUSES, Outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.checks.fake_host import FILES, FIXTURES, PROGRAMS, FakeHost, wish

SETTINGS = settings(max_examples=25, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
SEEDS = [path.read_text(encoding="utf-8") for path in sorted(FIXTURES.iterdir()) if path.suffix != ".md"]
SEEDS += [each.out + each.err for each in PROGRAMS.values()] + [text for text in FILES.values() if text]
# The same messages by systems in other languages, and what else is no format at all.
WORDS = [
    "Fehler: Gerät oder Ressource belegt",
    "dd: 書き込みエラー: デバイスに空き領域がありません",
    "ошибка: нет такого файла или каталога",
    "٣٤٥ MB",
    "²",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.",
    "NaN",
    "-1 MB",
    "Python 99999999999999999999.1",
    "a" * 5000,
    '{"missing": {}, "broken": []}',
    '{"missing": [[]], "broken": {"x": 1}, "torch_cuda": 12.1, "torch": {}}',
    "[" * 3000,
    "1" * 5000,
]


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """A real output, cut, doubled, with a piece taken out, or with something else put in."""
    seed = draw(st.sampled_from(SEEDS))
    first, second = sorted((draw(st.integers(0, len(seed))), draw(st.integers(0, len(seed)))))
    inside = draw(st.sampled_from(["", *WORDS]) | st.text(max_size=30))
    return draw(st.sampled_from([seed[:first], seed[first:], seed[:first] + inside + seed[second:], seed + seed]))


def raw(data: bytes) -> str:
    """Bytes as the host reads them."""
    return data.decode("utf-8", errors="replace")


TEXTS = mangled() | st.binary(max_size=400).map(raw) | st.sampled_from(WORDS) | st.text(max_size=200)
ANSWERS = st.builds(Completed, st.sampled_from([0, 0, 0, 1, 2, 9, 18, 124, 127, -9, -11]), TEXTS, TEXTS)
SHARE = guest_share.Share("nfs", "files:/results", "/srv/share", "/srv/share/x")
ORDER = wish().picture
FACTS: dict[str, Any] = {"driver": "515.1", "cuda": "12.2"}

# Every judge, fed by one text and two answers.
JUDGES: dict[str, Callable[[str, Completed, Completed], Outcome]] = {
    "guest.os": lambda text, _a, b: guest_os.judge("Ubuntu 22.04", text, b.out, False),
    "guest.machine": lambda _text, a, _b: guest_machine.judge(a, False),
    "guest.kernel": lambda text, a, _b: guest_kernel.judge_kernel(text, a.out.split("\n"), ""),
    "guest.isolation": lambda text, a, _b: guest_kernel.judge_isolation([1, 2], text, a.out, ""),
    "guest.balloon": lambda _text, a, _b: guest_memory.judge_balloon(a),
    "guest.swap": lambda text, _a, _b: guest_memory.judge_swap(True, text, ""),
    "guest.data_disk": lambda text, a, b: guest_disk.judge(
        "/srv/x", 1000, a, b, Completed(0, text), guest_disk.read_only(text, "/srv/x"), ""
    ),
    "guest.data_disk_speed": lambda _text, a, _b: guest_disk.judge_speed(a, 50),
    "guest.share": lambda text, a, _b: guest_share.judge(SHARE, text, a, FACTS),
    "guest.python": lambda _text, a, _b: guest_python.judge("3.10.12", "/v/python", a, False),
    "guest.packages": lambda _text, a, _b: guest_packages.judge(["PIL"], a, False, FACTS),
    "gpu.secure_boot": lambda text, _a, _b: gpu_driver.judge_secure_boot(text, "", ""),
    "gpu.driver": lambda text, a, b: gpu_driver.judge(a, text, b.out, "", FACTS),
    "gpu.errors": lambda _text, a, _b: gpu_errors.judge(a, "", FACTS),
    "model.import": lambda _text, a, _b: model_import.judge(a, True, False, FACTS),
    "model.picture": lambda _text, a, b: model_picture.judge(ORDER, model_picture.Drawing(a, 1.0, b), FACTS),
    "windows.wsl": lambda _text, a, b: windows.judge_wsl(a, b),
    "windows.pillow_simd": lambda _text, a, _b: windows.judge_pillow("simd", a),
}
OF_REPORT: dict[str, Callable[[Report, Completed], Outcome]] = {
    "gpu.driver_wish": lambda report, _a: gpu_fit.judge_wish(report, "535", ""),
    "gpu.driver_kind": lambda report, _a: gpu_fit.judge_kind(report, "vgpu"),
    "gpu.licence": lambda report, _a: gpu_fit.judge_licence(report),
    "gpu.cuda": lambda report, _a: gpu_fit.judge_cuda(report, "12.2", "strict"),
    "gpu.torch": lambda report, a: gpu_fit.judge_torch(report, a.out, a.err, "strict"),
    "gpu.memory": lambda report, a: gpu_memory.judge(report, a, 4000, 200),
    "gpu.processes": lambda report, a: gpu_memory.judge_processes(report, lambda _pid: a.out),
}


def sound(outcome: Outcome) -> None:
    """A status with a reason, in lines that fit a screen and hold no control character."""
    assert outcome.status in STATUSES
    assert outcome.detail or outcome.status == PASSED
    assert len(outcome.actual) < 3000
    assert len(outcome.detail) < 3000
    assert not [each for each in outcome.actual + outcome.detail if ord(each) < 32]


@pytest.mark.parametrize("name", JUDGES)
@SETTINGS
@given(text=TEXTS, first=ANSWERS, second=ANSWERS)
def test_every_judge_ends_in_a_status_with_a_reason(name: str, text: str, first: Completed, second: Completed) -> None:
    sound(JUDGES[name](text, first, second))


@pytest.mark.parametrize("name", OF_REPORT)
@SETTINGS
@given(text=mangled(), answer=ANSWERS)
def test_every_judge_of_the_gpu_copes_with_a_mangled_report(name: str, text: str, answer: Completed) -> None:
    try:
        report = gpu_report.parse(text)
    except UnreadableReportError as error:
        assert str(error)
        return
    if report.gpus:
        sound(OF_REPORT[name](report, answer))


@settings(max_examples=20, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(sorted(PROGRAMS)), ANSWERS), st.dictionaries(st.sampled_from(sorted(FILES)), TEXTS)
)
def test_a_whole_gate_never_breaks(programs: dict[str, Completed], files: dict[str, str | None]) -> None:
    results = guest.examine(FakeHost(programs, files), wish())
    assert [each.id for each in results if "the check itself broke" in each.detail] == []
    assert all(each.detail for each in results if each.status != PASSED)


HUGE = {
    "x": "x" * 600_000,
    "blanks": " " * 600_000,
    "lines": "\n" * 600_000,
    "digits": "1" * 600_000,
    "bytes copied": "1 bytes " * 80_000,
    "xid": "NVRM: Xid (" * 60_000,
    "mounts": "1 2 3:4 / /srv/x rw - ext4 /dev/sdb rw\n" * 16_000,
    "tags": "<nvidia_smi_log>" + "<gpu>" * 120_000,
    "assignments": "A=" + "'" * 600_000,
    "braces": '{"missing": [' * 50_000,
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("name", JUDGES)
def test_huge_answers_are_judged_soon(name: str, text: str) -> None:
    answer = Completed(0, text, text)
    started = time.process_time()
    sound(JUDGES[name](text, answer, answer))
    # A tenth of it on a quiet machine; a pattern that backtracks takes minutes.
    assert time.process_time() - started < 3
