# SPDX-License-Identifier: GPL-3.0-or-later
"""The module: its documentation and options agree, and a whole gate against a fake host."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.host import NOT_FOUND, Completed
from ansible_collections.nanobanana.testbed.plugins.modules import preflight_guest

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n'
MEASURED = {
    "format": "PNG",
    "size": [512, 512],
    "brightness": [10, 255],
    "dominant": [248, 248, 248],
    "share": 0.6,
    "metadata": {"nano_banana.backend": "preview"},
}
PARAMS = {
    "name": "nb-stress-01",
    "os_expected": "CentOS 7.9",
    "allow_stand_in": True,
    "python_expected": "3.10.12",
    "venv": "/v",
    "picture_path": "/o/p.png",
    "picture_prompt": "a crane",
    "picture_backend": "preview",
    "picture_timeout": 60.0,
}


class FakeHost:
    """Answers by a word of the command line; a word that is missing there is a program that is missing."""

    def __init__(self, **answers: Completed) -> None:
        good = {
            "detect-virt": Completed(0, "podman\n"),
            "version": Completed(0, "Python 3.11.2\n"),
            "nano_banana": Completed(0, "0.1.0\n/v/nano_banana/__init__.py\n"),
            "generate": Completed(0, "{}"),
            "measure": Completed(0, json.dumps(MEASURED)),
        }
        self.answers = {**good, **answers}
        self.ran: list[str] = []

    def run(self, argv: Sequence[str], timeout: float) -> Completed:
        line = " ".join(argv)
        word = next(word for word in ("detect-virt", "generate", "measure", "nano_banana", "version") if word in line)
        self.ran.append(word)
        return self.answers[word]

    def read(self, path: str) -> str | None:
        return DEBIAN if path == "/etc/os-release" else None

    def remove(self, path: str) -> None:
        assert path == "/o/p.png"


def gate(host: FakeHost, check_mode: bool = False, **changed: object) -> dict:
    return preflight_guest.examine(host, preflight_guest.wish_from({**PARAMS, **changed}, check_mode))


def statuses(answer: dict) -> dict[str, str]:
    return {check["id"]: check["status"] for check in answer["checks"]}


def test_a_good_guest_passes_and_its_stand_ins_are_named() -> None:
    answer = gate(FakeHost())
    assert "msg" not in answer
    assert answer["changed"] is False
    assert statuses(answer) == {
        "guest.os": "warned",
        "guest.machine": "warned",
        "guest.python": "warned",
        "model.import": "passed",
        "model.picture": "passed",
    }
    assert answer["summary"]["verdict"] == "warned"
    assert answer["facts"] == {
        "os": "Debian GNU/Linux 12 (bookworm)",
        "stand_in": True,
        "python": "3.11.2",
        "engine": "0.1.0",
        "backend": "preview",
        "picture": "/o/p.png",
    }


def test_an_import_that_fails_blocks_the_picture_and_the_message_says_it_all() -> None:
    host = FakeHost(nano_banana=Completed(1, err="ModuleNotFoundError: No module named 'nano_banana'"))
    answer = gate(host)
    assert statuses(answer)["model.picture"] == "blocked"
    assert host.ran == ["detect-virt", "version", "nano_banana"]
    assert answer["msg"].splitlines() == [
        "Guest gate of nb-stress-01: 1 of 5 checks failed.",
        "model.import: The engine can be imported",
        "  why:      the import ended with status 1",
        "  expected: import nano_banana prints a version",
        "  found:    ModuleNotFoundError: No module named 'nano_banana'",
        "  mend:     Install it again: delete /v on the guest, then: "
        "ansible-playbook playbooks/configure.yml --limit nb-stress-01",
        "Not run because of that: model.picture.",
        "Next: ansible-playbook playbooks/preflight_guest.yml --limit nb-stress-01",
    ]


def test_a_wrong_system_shuts_the_gate_where_no_stand_in_is_allowed() -> None:
    answer = gate(FakeHost(), allow_stand_in=False)
    assert statuses(answer)["guest.os"] == "failed"
    assert statuses(answer)["model.picture"] == "passed"
    assert "expected: CentOS 7.9" in answer["msg"]


def test_check_mode_on_a_bare_guest_skips_with_reasons_and_does_not_fail() -> None:
    host = FakeHost(version=Completed(NOT_FOUND, err="/v/bin/python: No such file or directory"))
    answer = gate(host, check_mode=True)
    assert "msg" not in answer
    assert set(statuses(answer).values()) == {"warned", "skipped"}
    assert all(check["detail"] for check in answer["checks"])


def test_check_mode_on_a_configured_guest_draws_nothing() -> None:
    host = FakeHost()
    assert statuses(gate(host, check_mode=True))["model.picture"] == "skipped"
    assert host.ran == ["detect-virt", "version", "nano_banana"]


def test_an_answer_is_plain_data() -> None:
    answer = gate(FakeHost())
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize("option", sorted(preflight_guest.argument_spec()))
def test_documentation_and_options_agree(option: str) -> None:
    documented = yaml.safe_load(preflight_guest.DOCUMENTATION)["options"]
    assert set(documented) == set(preflight_guest.argument_spec())
    spec = preflight_guest.argument_spec()[option]
    for key in ("type", "default", "required"):
        assert documented[option].get(key) == spec.get(key)
