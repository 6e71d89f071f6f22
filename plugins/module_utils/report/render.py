# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML page that loads nothing. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping

from .events import Check, TaskFailed
from .markup import Html, duration, el, join
from .model import BROKEN_OFF, FAILED, NO_RUN, PREVIEW, UNFINISHED, WARNED, Host, Report, Stage, StandIn, TaskTime
from .render_host import STAGE_NAMES, chip, common_card, glyph, host_card
from .style import CSS
from .verdict import many

# The browser itself then refuses whatever the page would load from elsewhere.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data: file:"
STAND_INS_MEAN = "These took the place of what the wish names. What the run shows, it shows of them."


def page(report: Report) -> str:
    """The whole page."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("link", rel="icon", href="data:,"),
        el("title", f"{report.headline} - run {report.info.run_id}"),
        el("style", Html(CSS)),
    )
    main = el(
        "main",
        _verdict(report),
        _failures(report.failures),
        _facts(report),
        _path(report.stages),
        _stand_ins(report),
        _overview(report.hosts),
        _common(report.common),
        _hosts(report.hosts),
        _slowest(report.slowest),
        _footer(report),
    )
    return join(Html("<!DOCTYPE html>\n"), el("html", head, el("body", main), lang="en"), Html("\n"))


def clock(at: float) -> str:
    """'2026-11-21 06:45:12 UTC'."""
    return datetime.datetime.fromtimestamp(at, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _verdict(report: Report) -> Html:
    tone = NO_RUN if report.state == UNFINISHED and report.status != FAILED else report.status
    notices = [el("p", text, class_="notice") for text in _notices(report)]
    words = el("div", el("h1", report.headline), el("p", _summary(report)))
    return el(
        "header",
        el("p", "nanobanana.testbed, report of a run", class_="overline"),
        el("div", el("span", glyph(tone), class_="seal", aria_hidden="true"), words, class_=f"verdict {tone}"),
        *notices,
    )


def _summary(report: Report) -> str:
    """'1 of 3 hosts failed, 2 passed with warnings; 1 min 12 s'."""
    total = len(report.hosts)
    words = {"warned": "passed with warnings", "no_run": "did not run", "not_applicable": "not applicable"}
    parts = []
    for status in (FAILED, "blocked", "passed", WARNED, "skipped", NO_RUN):
        count = sum(host.status == status for host in report.hosts)
        if count:
            parts.append(f"{count} {words.get(status, status)}")
    hosts = f"{many(total, 'host')}: {', '.join(parts)}" if total else "no hosts"
    return f"{hosts}. Took {duration(report.seconds)}."


def _notices(report: Report) -> list[str]:
    notices = []
    if report.info.check_mode:
        notices.append("Check mode: nothing was changed. What fleet would do is listed as planned.")
    if report.state == BROKEN_OFF:
        notices.append("The run was broken off before its end. The report shows what was known then.")
    if report.state == UNFINISHED:
        notices.append("Written while the run was under way. If the run is over, it was killed before its end.")
    return notices


def _facts(report: Report) -> Html:
    vcenter: list[str] = [report.vcenter.full_name or "none answered"]
    if report.vcenter.simulated:
        vcenter.append(el("div", "vCenter simulator, not a real vCenter", class_="note"))
    inventory = ", ".join(report.info.inventory) + (f", limited to {report.info.limit}" if report.info.limit else "")
    rows: list[tuple[str, Html]] = [
        ("Run", el("dd", report.info.run_id, class_="mono")),
        ("Started", el("dd", clock(report.info.started))),
        ("vCenter", el("dd", *vcenter)),
        ("Inventory", el("dd", inventory or "none")),
    ]
    return el("dl", *(el("div", el("dt", name), value) for name, value in rows), class_="facts")


def _path(stages: Iterable[Stage]) -> Html:
    return el("ol", *map(_stage, stages), class_="path", aria_label="Stages")


def _stage(stage: Stage) -> Html:
    took = el("span", duration(stage.seconds)) if stage.seconds else ""
    words = f"{glyph(stage.status)} {stage.note or stage.status.replace('_', ' ')}"
    return el("li", el("b", STAGE_NAMES[stage.name], took), el("small", words), class_=stage.status)


def _failures(failures: Iterable[TaskFailed]) -> Html:
    """What failed in the same words on many hosts is said once."""
    alike: dict[tuple[str, str, bool, bool], list[str]] = {}
    for failure in failures:
        key = (failure.task, failure.message, failure.unreachable, failure.for_all)
        alike.setdefault(key, []).append(failure.host)
    cards = [_failure(*key, hosts) for key, hosts in alike.items()]
    return el("section", el("h2", "What failed"), *cards) if cards else Html()


def _failure(task: str, message: str, unreachable: bool, for_all: bool, hosts: list[str]) -> Html:
    links = [el("a", host, href=f"#host-{host}", class_="name") for host in hosts]
    whom = "every host" if for_all else join(*_listed(links))
    header = el("header", el("b", whom, ": unreachable" if unreachable else ""), el("span", task, class_="soft"))
    return el("article", header, el("pre", message), class_="failure")


def _table(kind: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Html:
    names = list(heads)
    head = el("thead", el("tr", *(el("th", name, scope="col") for name in names)))
    body = [
        el("tr", *(el("td", el("div", cell), data_label=name) for name, cell in zip(names, row, strict=True)))
        for row in rows
    ]
    return el("table", head, el("tbody", *body), class_=f"stack {kind}")


def _stand_ins(report: Report) -> Html:
    if not report.stand_ins:
        looked = any(host.checks for host in report.hosts)
        return el("p", "No stand-ins were found in this run.", class_="notice none") if looked else Html()
    rows = [_stand_in(each, len(report.hosts)) for each in report.stand_ins]
    table = _table("", ("What", "Wished", "In this run", "Hosts"), rows)
    return el("section", el("h2", "Stand-ins in this run"), el("p", STAND_INS_MEAN), table, class_="stand-ins")


def _stand_in(each: StandIn, total: int) -> tuple[str, str, str, str]:
    everywhere = not each.hosts or (len(each.hosts) == total and total > 1)
    names = [el("span", name, class_="name") for name in each.hosts]
    return el("b", each.what, class_="name"), each.wished, each.found, "all" if everywhere else join(*_listed(names))


def _listed(pieces: Iterable[Html]) -> Iterator[str]:
    for number, piece in enumerate(pieces):
        yield ", " if number else ""
        yield piece


def _overview(hosts: Iterable[Host]) -> Html:
    rows = [
        (
            el("a", host.name, href=f"#host-{host.name}"),
            chip(host.status),
            host.environment or "none",
            host.wished_os or "not named",
            el("span", host.found_os, class_="differs" if host.os_differs else "") if host.found_os else "not seen",
            host.reason,
        )
        for host in hosts
    ]
    if not rows:
        return Html()
    heads = ("Host", "Verdict", "Environment", "Wished OS", "Found OS", "In short")
    return el("section", el("h2", "Hosts"), el("div", _table("hosts", heads, rows), class_="panel"))


def _common(common: Mapping[str, Mapping[str, tuple[Check, ...]]]) -> Html:
    """What is asked once for all hosts."""
    cards = [common_card(name, gates) for name, gates in common.items()]
    return el("section", el("h2", "For all hosts"), *cards) if cards else Html()


def _hosts(hosts: Iterable[Host]) -> Html:
    cards = [host_card(host) for host in hosts if host.checks or host.tests or host.vm]
    return el("section", el("h2", "Host by host"), *cards) if cards else Html()


def _slowest(tasks: tuple[TaskTime, ...]) -> Html:
    if not tasks:
        return Html()
    longest = max(task.seconds for task in tasks) or 1.0
    rows = [
        el(
            "li",
            el("span", task.name),
            el("div", el("i", style=f"width: {100 * task.seconds / longest:.1f}%")),
            el("span", duration(task.seconds)),
        )
        for task in tasks
    ]
    return el("section", el("h2", "Slowest tasks"), el("ol", *rows, class_="panel bars"))


def _footer(report: Report) -> Html:
    files = "The same as data: platform.json, provision.json, machine.json, guest.json, verify.json and run.json."
    drawn = any(host.facts.get("backend") == PREVIEW for host in report.hosts)
    pictures = " Pictures of the preview backend are layout drawings, not diffusion images." if drawn else ""
    return el("footer", files + pictures)
