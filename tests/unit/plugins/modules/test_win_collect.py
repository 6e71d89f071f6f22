# SPDX-License-Identifier: GPL-3.0-or-later
"""The collector's PowerShell, as far as text can tell without a Windows: options, time limits, nothing that judges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.checks.recorded import Program
from ansible_collections.nanobanana.testbed.plugins.modules import win_collect

SCRIPT = Path(win_collect.__file__ or "").with_suffix(".ps1")
TEXT = SCRIPT.read_text()
OPTIONS = yaml.safe_load(win_collect.DOCUMENTATION)["options"]
TYPES = {"str": str, "float": float, "bool": bool, "list": list}


def block(text: str, start: str) -> str:
    """What stands between the braces after ``start``."""
    begin = text.index(start) + len(start)
    depth, end = 1, begin
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    return text[begin : end - 1]


def declared(text: str) -> dict[str, str]:
    """Each option of a spec's hash table with its text."""
    found = {}
    while match := re.search(r"^\s*(\w+) = @\{", text, re.MULTILINE):
        body = block(text[match.start() :], "@{")
        found[match.group(1)] = body
        text = text[match.start() + text[match.start() :].index(body) + len(body) :]
    return found


def check(documented: dict[str, Any], body: str) -> None:
    own = re.sub(r"options = @\{.*", "", body, flags=re.DOTALL)
    assert f"type = '{documented['type']}'" in own
    assert ("required = $true" in own) == documented.get("required", False)
    if "default" in documented:
        shown = {"[]": "@()", "False": "$false", "": "''"}.get(str(documented["default"]), str(documented["default"]))
        assert f"default = {shown}" in own
    else:
        assert "default" not in own
    assert re.findall(r"elements = '(\w+)'", own) == ([documented["elements"]] if "elements" in documented else [])


def test_the_options_are_documented_as_they_are() -> None:
    options = declared(block(block(TEXT, "$spec = @{"), "options = @{"))
    assert set(options) == set(OPTIONS)
    for name, documented in OPTIONS.items():
        check(documented, options[name])
        if "suboptions" in documented:
            suboptions = declared(block(options[name], "options = @{"))
            assert set(suboptions) == set(documented["suboptions"])
            for each, text in suboptions.items():
                check(documented["suboptions"][each], text)


def test_the_control_node_sends_what_the_collector_takes() -> None:
    assert set(Program("a", ("b",), 1.0).as_dict()) == set(OPTIONS["programs"]["suboptions"])


def test_it_supports_check_mode_and_writes_nothing_there() -> None:
    assert "supports_check_mode = $true" in TEXT
    assert "if ($program.writes -and $module.CheckMode) { continue }" in TEXT
    assert "if ($program.removes -and -not $module.CheckMode)" in TEXT


def test_every_wait_has_a_limit() -> None:
    waits = re.findall(r"\.(?:WaitForExit|Wait|WaitOne)\(([^)]*)", TEXT)
    assert len(waits) == 5
    assert all(waits), "a wait without a limit waits for ever"
    # What blocks without saying so: reading to the end, running in this very runspace, the call operator.
    assert "ReadToEnd()" not in TEXT
    assert "Invoke-Expression" not in TEXT
    assert "Start-Process" not in TEXT
    assert not re.search(r"(^|[|;{(=]\s*)&\s", TEXT, re.MULTILINE)
    assert ".Invoke()" not in TEXT


def test_questions_to_windows_are_asked_only_inside_a_limit() -> None:
    outside = TEXT[TEXT.index("$limit = ") :]
    for command in ("Get-CimInstance", "Test-Path", "Get-ChildItem", "Remove-Item"):
        assert command in TEXT
        assert command not in outside
    starts = TEXT[: TEXT.index("$system = {")]
    assert not re.search(r"Get-CimInstance|Test-Path|Get-ChildItem|Remove-Item", starts)


def test_it_judges_nothing() -> None:
    assert "FailJson" not in TEXT
    assert "Result.failed" not in TEXT


# Aliases differ between PowerShells, and ansible-test's linter refuses them.
@pytest.mark.parametrize(
    "alias", ["gci", "gwmi", "gcim", "ls", "dir", "cat", "echo", "iex", "where", "select", "sort", "rm", "del", "%"]
)
def test_no_alias_is_used(alias: str) -> None:
    code = re.sub(r"#.*|'[^']*'|\"[^\"]*\"", "", TEXT)
    assert not re.search(rf"(?:^|[|;{{(]\s*){re.escape(alias)}(?=\s)", code, re.MULTILINE)


def test_functions_have_a_verb_and_a_noun() -> None:
    names = re.findall(r"^function (\S+)", TEXT, re.MULTILINE)
    assert len(names) == 7
    verbs = {"Get", "New", "Stop", "Read", "Invoke"}
    assert all(name.split("-")[0] in verbs and "-" in name for name in names)


def test_the_text_is_plain_ascii() -> None:
    """PowerShell 5.1 takes a file without a mark for the system's code page."""
    assert TEXT.isascii()
    assert TEXT.startswith("#!powershell\n")
