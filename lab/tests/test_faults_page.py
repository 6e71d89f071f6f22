# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
import yaml

from lab import faults_page


def test_the_page_is_what_the_data_says() -> None:
    written = faults_page.PAGE.read_text()
    assert written == faults_page.page(faults_page.DATA.read_text()), "stale; run: .venv/bin/python -m lab.faults_page"


def test_every_row_has_a_name_of_its_own() -> None:
    data = yaml.safe_load(faults_page.DATA.read_text())
    for kind, field in (("vcenter", "id"), ("guests", "subject")):
        names = [row[field] for row in data[kind]]
        assert len(names) == len(set(names))


def test_a_row_that_lacks_a_field_is_named() -> None:
    with pytest.raises(ValueError, match="row x lacks method, condition"):
        faults_page.page("vcenter: [{id: x, fault: f, vsphere: v, source: s}]\nguests: []\n")
