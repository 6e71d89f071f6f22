# SPDX-License-Identifier: GPL-3.0-or-later
"""The suite's JUnit file is read as pytest writes it."""

from __future__ import annotations

import pytest
from ansible_collections.nanobanana.testbed.plugins.module_utils.report import junit

SUITE = """<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="verify" tests="4">
<testcase classname="test_guest" name="test_the_user_owns_a_home[ssh://tester@127.0.10.2:22]" time="0.25"/>
<testcase classname="test_guest" name="test_b" time="1">
  <failure message="AssertionError: expected &lt;a&gt;; found b">trace</failure></testcase>
<testcase classname="test_guest" name="test_c" time="odd"><error message="no connection"/></testcase>
<testcase classname="test_guest" name="test_d" time="0"><skipped message="not wished"/></testcase>
<testcase classname="test_model" name="" time="0"><error>ImportError</error></testcase>
</testsuite></testsuites>"""


def test_each_case_has_a_name_a_verdict_and_a_reason() -> None:
    assert junit.parse(SUITE) == (
        junit.Test("The user owns a home", "passed", 0.25),
        junit.Test("B", "failed", 1.0, "expected <a>; found b"),
        junit.Test("C", "failed", 0.0, "no connection"),
        junit.Test("D", "skipped", 0.0, "not wished"),
        junit.Test("Model", "failed", 0.0, "ImportError"),
    )


def test_a_file_that_is_cut_off_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="expected a JUnit file; found text that is no XML"):
        junit.parse(SUITE[:200])
