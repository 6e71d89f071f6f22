# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the page about one host. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .events import Check, Vm
from .junit import Test
from .markup import Html, duration, el
from .model import BLOCKED, FAILED, NO_RUN, NOT_APPLICABLE, PASSED, PREVIEW, SKIPPED, WARNED, Host
from .verdict import of_checks

_GLYPHS = {
    PASSED: "\u2713",
    WARNED: "!",
    FAILED: "\u00d7",
    BLOCKED: "\u2298",
    SKIPPED: "\u2013",
    NOT_APPLICABLE: "\u2013",
    NO_RUN: "\u25cb",
}

STAGE_NAMES = {
    "platform": "Platform gate",
    "provision": "Provision",
    "machine": "Machine gate",
    "configure": "Configure",
    "guest": "Guest gate",
    "verify": "Verify",
    "teardown": "Teardown",
}
# Two failures and their consequences come before what is only good to know.
ORDER = {FAILED: 0, BLOCKED: 1, WARNED: 2}


def glyph(status: str) -> str:
    """One sign for a status; it always stands beside the word, never for it."""
    return _GLYPHS.get(status, "?")


def chip(status: str) -> Html:
    """A status as a coloured label."""
    return el("span", el("i", glyph(status), aria_hidden="true"), status.replace("_", " "), class_=f"chip {status}")


def host_card(host: Host) -> Html:
    """Checks, tests, what fleet did and the picture of one host."""
    parts = [*_gates(host.gates), _tests(host.tests), _vm(host.vm, planned=host.planned) if host.vm else Html()]
    figure = _picture(host)
    columns = el("div", el("div", *parts), figure, class_="columns" if figure else "columns plain")
    header = el("header", el("h2", host.name), chip(host.status), el("p", host.environment))
    return el("article", header, el("p", host.reason, class_="why"), columns, class_="host", id=f"host-{host.name}")


def common_card(name: str, gates: Mapping[str, Sequence[Check]]) -> Html:
    """The checks of what is no host, such as the vCenter."""
    status = of_checks(gates)
    return el("article", el("header", el("h2", name), chip(status)), *_gates(gates), class_="host")


def _picture(host: Host) -> Html:
    if not host.picture:
        return Html()
    backend = host.facts.get("backend", "")
    words = f"Drawn by the {backend} backend" if backend else "Drawn by a backend that the picture does not name"
    if backend == PREVIEW:
        words = "Drawn by the preview layout backend, not by the diffusion model"
    image = el("img", src=host.picture, alt=f"The picture that {host.name} drew")
    return el("figure", image, el("figcaption", words))


def _gates(gates: Mapping[str, Sequence[Check]]) -> list[Html]:
    return [_checks(stage, checks) for stage, checks in gates.items() if checks]


def _checks(stage: str, checks: Sequence[Check]) -> Html:
    """What needs somebody is shown; the rest is a count that opens, in the order in which it was asked."""
    title = f"Checks of the {STAGE_NAMES.get(stage, stage).lower()}"
    needing = sorted((check for check in checks if check.status in ORDER), key=lambda check: ORDER[check.status])
    rest = [check for check in checks if check.status not in ORDER]
    parts = [el("ol", *map(_check, needing), class_="checks")] if needing else []
    if rest:
        counts = Counter(check.status for check in rest)
        words = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in counts.most_common())
        parts.append(el("details", el("summary", words), el("ol", *map(_check, rest), class_="checks")))
    return el("div", el("h3", title), *parts)


def _check(check: Check) -> Html:
    pairs = [("Expected", check.expected), ("Found", check.actual)]
    if check.status != PASSED:
        pairs.append(("Why", check.detail))
    if check.status == FAILED or check.waived:
        pairs.append(("Mend", check.fix))
    rows = [el("div", el("dt", name), el("dd", text), style="display: contents") for name, text in pairs if text]
    title = el("div", el("b", check.title), el("code", check.id, class_="id"))
    return el("li", chip(check.status), el("div", title, el("dl", *rows, class_="pairs")))


def _tests(tests: Sequence[Test]) -> Html:
    if not tests:
        return Html()
    counts = Counter(test.status for test in tests)
    words = ", ".join(f"{counts[status]} {status}" for status in (FAILED, SKIPPED, PASSED) if counts[status])
    rows = [
        el(
            "li",
            el("i", glyph(test.status)),
            test.name,
            *([el("p", test.message)] if test.message else []),
            class_=test.status,
        )
        for test in sorted(tests, key=lambda test: test.status != FAILED)
    ]
    took = duration(sum(test.seconds for test in tests))
    return el("div", el("h3", f"Tests on the host: {words}, {took}"), el("ul", *rows, class_="tests"))


def _vm(vm: Vm, *, planned: bool) -> Html:
    memory = f"{vm.memory_mb / 1024:g} GB" if vm.memory_mb else ""
    words = [
        vm.power if vm.exists else "",
        vm.address,
        f"{vm.cpus} CPUs" if vm.cpus else "",
        memory,
        vm.moid,
        f"template {vm.template}" if vm.template else "",
        f"owner {vm.owner}" if vm.owner else "",
        f"expires {vm.expires}" if vm.expires else "",
    ]
    known = ", ".join(word for word in words if word) or "There is no VM of that name in vCenter."
    if vm.operations:
        did = el("ol", *(el("li", each) for each in vm.operations))
    else:
        did = el(
            "p",
            "Nothing would be done: it is as wished." if planned else "Nothing was done: it is as wished.",
            class_="soft",
        )
    title = "The VM, and what fleet would do" if planned else "The VM, and what fleet did"
    return el("div", el("h3", title), el("p", known), did, *([el("p", vm.error)] if vm.error else []), class_="vm")
