# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator reads: failures first, each once with its fix, no wider than a terminal, commands to copy."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gate import Row, Verdict
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.gate_table import (
    WIDTH,
    command_lines,
    groups,
    table,
)

CONFIGURE = "ansible-playbook playbooks/configure.yml --limit {}"


def failed(target: str, **more: Any) -> Row:
    """A row whose fix names the target."""
    run = CONFIGURE.format(target)
    given = {
        "title": "The engine can be imported",
        "expected": "a version",
        "actual": "ImportError: libcudnn.so.8",
        "detail": f"cuDNN is not found on {target}",
        "fix": f"Install it again. Type: {run}",
        "mend": {"run": run, "where": "control", "automatic": False},
    }
    return Row(target, "model.import", status="failed", **{**given, **more})


def verdict(*rows: Row) -> Verdict:
    return Verdict("guest", rows)


def test_a_shut_gate_shows_failures_then_warnings_then_counts() -> None:
    rows = (
        Row("h1", "guest.os", status="warned", title="OS", expected="Ubuntu 22.04", actual="Debian 12", detail="other"),
        Row("h1", "guest.python"),
        failed("h1"),
        Row("h1", "model.picture", status="blocked", detail="not run: it needs model.import, which is failed"),
        Row("long-name-2", "guest.os"),
    )
    assert table(verdict(*rows)).splitlines() == [
        "Guest gate: shut. 1 of 2 targets failed; checks: 2 passed, 1 warned, 1 failed, 1 blocked.",
        "",
        "FAILED   model.import: The engine can be imported",
        "  on        h1",
        "  found     ImportError: libcudnn.so.8",
        "  expected  a version",
        "  why       cuDNN is not found on h1",
        "  fix       Install it again. Type:",
        "            ansible-playbook playbooks/configure.yml --limit h1",
        "",
        "WARNED   guest.os: OS",
        "  on        h1",
        "  found     Debian 12",
        "  expected  Ubuntu 22.04",
        "  why       other",
        "",
        "Not run because of that: model.picture (h1).",
        "",
        "h1           1 passed, 1 warned, 1 failed, 1 blocked",
        "long-name-2  1 passed",
    ]


def test_the_same_failure_of_ten_vms_is_one_row_and_one_command() -> None:
    names = [f"nb-{number:02}" for number in range(1, 11)]
    shown = table(verdict(*map(failed, names), failed("nb-11", actual="Segmentation fault")))
    assert shown.count("FAILED ") == 2
    assert "  on        nb-01, nb-02, nb-03" in shown
    assert CONFIGURE.format(",".join(names)) in " ".join(shown.replace("\\\n", "").split())
    assert "cuDNN is not found on nb-01,nb-02,nb-03" in shown


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("nb-1", "nb-11"),  # the one's name is the beginning of the other's
        ("h1.example.com", "h2.example.com"),
        ("h", "h.example.com"),
    ],
)
def test_names_are_told_from_other_words(first: str, second: str) -> None:
    (group,) = groups([failed(first), failed(second)])
    assert group.targets == (first, second)
    assert group.row.mend["run"] == CONFIGURE.format(f"{first},{second}")
    assert group.row.expected == "a version"


def test_nothing_is_wider_than_a_terminal() -> None:
    said = "a long story of words and /paths/" + "x" * 300
    names = [f"nb-{number:03}" for number in range(60)]
    rows = [failed(name, actual=said, detail=said, title=said) for name in names]
    rows += [Row(name, "model.picture", status="blocked") for name in names]
    for width in (60, WIDTH):
        lines = table(verdict(*rows), width).splitlines()
        commands = [line for line in lines if "--limit" in line or line.strip().startswith("nb-000,")]
        assert max(len(line) for line in lines if line not in commands) <= width
    assert WIDTH + 8 <= 120


@pytest.mark.parametrize(
    "command",
    [
        "swapoff -a",
        "ansible all -m fleet_snapshot -a 'name=\"before it\" state=absent' -e \"x='a b'\" --limit nb",
        r"find /var/cache/a\ folder -mindepth 1 -delete && mount /srv/nano-banana && systemctl restart nb.service",
        "kill 1",
    ],
)
@pytest.mark.parametrize("width", [20, 60, 200])
def test_a_command_is_the_same_when_it_is_copied(command: str, width: int) -> None:
    lines = command_lines(command, width)
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split(" ".join(line.removesuffix("\\") for line in lines)) == shlex.split(command)
    longest = max(len(word) for word in command.replace("' ", "'\0").replace('" ', '"\0').split("\0"))
    assert max(map(len, lines)) <= max(width, longest + 2)


def test_a_command_with_a_quote_that_does_not_end_stays_as_it_is() -> None:
    assert command_lines("echo 'it is " + "long " * 40, 40) == ["echo 'it is " + "long " * 40]


def test_an_open_gate_is_shown_shortly() -> None:
    rows = (
        Row(
            "h1",
            "guest.os",
            status="warned",
            expected="Ubuntu",
            actual="Debian",
            detail="Debian stands in",
            fix="Clone.",
        ),
        Row(
            "h2", "guest.python", waived="waived until 2026-12-31: soon", status="warned", detail="waived until ... why"
        ),
        Row("h2", "model.import", status="blocked", excused=True, detail="not run"),
    )
    assert table(verdict(*rows)).splitlines() == [
        "Guest gate: open. 2 targets; checks: 2 warned, 1 blocked.",
        "  warned    guest.os on h1: Debian stands in",
        "  warned    guest.python on h2: waived until ... why",
        "Not run because of that: model.import (h2).",
    ]
    assert table(verdict(Row("h", "a"))) == "Guest gate: open. 1 target; checks: 1 passed."
    assert table(verdict()) == "Guest gate: open. No target was asked."


def test_of_many_targets_only_those_in_trouble_have_a_line() -> None:
    rows = [Row(f"h{number}", "guest.os") for number in range(30)]
    shown = table(verdict(*rows, failed("h7"))).splitlines()
    assert shown[-2:] == ["h7  1 passed, 1 failed", "29 other targets: nothing that shuts the gate"]


def test_control_characters_of_a_program_do_not_reach_the_terminal() -> None:
    shown = table(verdict(failed("h", actual="\x1b[2Jgone\x07\r\nover", detail="a\tb")))
    assert all(character.isprintable() or character == "\n" for character in shown)
