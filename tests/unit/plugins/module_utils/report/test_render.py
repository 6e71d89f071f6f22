# SPDX-License-Identifier: GPL-3.0-or-later
"""The page shows what the report says, and nothing in a report can become markup or a request."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.report import build, markup, render
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.events import (
    Check,
    FleetRan,
    GateRan,
    PlayStarted,
    RunEnded,
    TaskFailed,
    TaskStarted,
    Vm,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.junit import Test
from ansible_collections.nanobanana.testbed.plugins.module_utils.report.model import STATUSES, Evidence, RunInfo

EVIL = "\"><script>alert('x')</script>&"


class Reader(HTMLParser):
    """Collects elements and text, and refuses a page whose elements do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("img", "link", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words += data + "\n"


def read(page: str) -> Reader:
    """The page as a browser would read it."""
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def evil(kind: type[Any], **given: Any) -> Any:
    """An event whose every text is an attack."""
    texts = {each.name: EVIL for each in fields(kind) if each.type == "str"}
    return kind(**(texts | given))


def test_whatever_a_run_says_stays_text() -> None:
    events = [
        PlayStarted(1.0, EVIL, "provision", {EVIL: (EVIL, EVIL)}),
        TaskStarted(1.0, EVIL),
        FleetRan("provision", vms=(evil(Vm, exists=True, operations=(EVIL,)),), vcenter=(EVIL, EVIL)),
        GateRan(EVIL, tuple(evil(Check, status=status) for status in STATUSES), dict.fromkeys(("os", "backend"), EVIL)),
        TaskFailed(2.0, EVIL, EVIL, EVIL, "provision"),
        RunEnded(3.0, {EVIL: {"ok": 1, "failures": 1}}),
    ]
    evidence = Evidence({EVIL: (Test(EVIL, "failed", 1.0, EVIL),)}, {EVIL: EVIL})
    info = RunInfo(EVIL, 0.0, (EVIL,), limit=EVIL)
    page = render.page(build.build(info, events, evidence, 3.0))
    reader = read(page)
    assert "script" not in [tag for tag, _attributes in reader.seen]
    assert reader.words.count("<script>alert('x')</script>&") >= 20


def test_the_page_asks_for_nothing_from_anywhere(good_run: Any) -> None:
    pictured = replace(good_run, evidence=Evidence({}, {"nb-baseline-01": "data:image/png;base64,AAAA"}))
    page = render.page(pictured.report())
    links = [
        value for _tag, attributes in read(page).seen for key, value in attributes.items() if key in ("src", "href")
    ]
    assert "data:image/png;base64,AAAA" in links
    assert all(link and re.match(r"data:|#", link) for link in links)
    assert "url(" not in page
    assert "@import" not in page


def test_the_first_words_are_verdict_failures_and_stand_ins(bad_run: Any) -> None:
    words = read(render.page(bad_run.report())).words
    order = [
        words.index(text)
        for text in (
            "3 hosts: 2 failed, 1 passed with warnings.",
            "What failed",
            "libcudnn.so.8",
            "20261121-064512-3fa2",
            "VMware vCenter Server 8.0.3 build-24022515 (simulated)",
            "vCenter simulator, not a real vCenter",
            "Stand-ins in this run",
            "Windows Server 2019",
            "not the diffusion model",
            "Slowest tasks",
        )
    ]
    assert order == sorted(order)


def test_what_failed_alike_on_many_hosts_is_said_once() -> None:
    failures = [TaskFailed(1.0, host, "Install", "no package 'acl'", "configure") for host in ("h1", "h2")]
    other = TaskFailed(1.0, "h3", "Install", "disk full", "configure")
    report = build.build(RunInfo("r", 0.0), [*failures, other, RunEnded(2.0, {})], Evidence(), 2.0)
    words = read(render.page(report)).words
    assert words.count("no package 'acl'") == 1
    assert "h1\n, \nh2\n" in words
    assert words.count("disk full") == 1


def test_a_failed_check_shows_how_to_mend_it(bad_run: Any) -> None:
    words = read(render.page(bad_run.report())).words
    card = words[words.index("Host by host") :]
    assert "Mend\nInstall it again: delete /home/tester/nano-env on the guest" in card
    assert "not run: it needs model.import, which is failed" in card


def test_checks_stand_by_stage_and_those_of_the_vcenter_once() -> None:
    login = GateRan("vc.example", (Check("vcenter.login", "The login works", "passed"),), {}, "platform")
    memory = Check(
        "vm.balloon", "No ballooning", "warned", detail="waived until ...", fix="Provision.", waived="waived"
    )
    hosts = [GateRan(name, (memory,), {}, "machine") for name in ("h1", "h2")]
    play = PlayStarted(0.0, "Gate", "machine", {"h1": ("stress", ""), "h2": ("stress", "")})
    guest = GateRan(
        "h1", (Check("guest.os", "The system", "passed"), Check("guest.swap", "Swap", "failed", detail="on"))
    )
    report = build.build(RunInfo("r", 0.0), [play, login, *hosts, guest, RunEnded(2.0, {})], Evidence(), 2.0)
    words = read(render.page(report)).words
    assert words.count("The login works") == 1
    assert words.index("For all hosts") < words.index("vc.example") < words.index("Host by host")
    assert words.count("Checks of the machine gate") == 2
    card = words[words.index("Checks of the guest gate") :]
    assert card.index("guest.swap") < card.index("guest.os"), "what failed comes first"
    assert "Mend\nProvision." in words, "a waived failure still says how it is mended"


@pytest.mark.parametrize(
    ("going", "check_mode", "words"),
    [
        (False, True, "Check mode: nothing was changed."),
        (True, False, "Written while the run was under way."),
        (False, False, "The run was broken off before its end."),
    ],
)
def test_a_run_that_is_not_a_whole_one_says_so(going: bool, check_mode: bool, words: str, good_run: Any) -> None:
    cut = replace(good_run, events=good_run.events[:-1], info=replace(good_run.info, check_mode=check_mode))
    assert words in read(render.page(cut.report(going=going))).words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (192, "3 min 12 s"),
        (3840, "1 h 4 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert markup.duration(seconds) == text


def test_what_is_as_it_should_be_is_a_count_that_opens(bad_run: Any) -> None:
    page = render.page(bad_run.report())
    open_parts = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert re.search(r"<summary>\d+ passed</summary>", page)
    assert 'class="chip passed"' in page[page.index("<details>") :]
    for status in ("failed", "blocked", "warned"):
        assert f'<li><span class="chip {status}">' in open_parts
    assert '<li><span class="chip passed">' not in open_parts
