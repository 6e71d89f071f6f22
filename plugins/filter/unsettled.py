# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of settings are not as they should be, by what a guest said of them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unsettled
short_description: Find the files of settings that are not as wished
version_added: 0.1.0
author:
  - The nanobanana.testbed developers (@nanobanana-testbed)
description:
  - Compares wished files with what one probe printed of a guest, so that files which are as wished cost no task.
positional: lines
options:
  _input:
    description:
      - Wished files, each with C(path) and C(text), and where they differ from C(644) and C(root) with C(mode) and C(owner).
      - A file whose text is empty shall not exist.
    type: list
    elements: dict
    required: true
  lines:
    description: Lines of the probe; C(setting PATH SHA256 MODE OWNER) for each file that exists, others are not looked at.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Write what differs
  ansible.builtin.copy:
    content: "{{ item.text }}"
    dest: "{{ item.path }}"
  loop: "{{ wished | nanobanana.testbed.unsettled(probe.stdout_lines) }}"
"""

RETURN = r"""
_value:
  description: Those of the input that are missing, differ, or are there and should not.
  type: list
  elements: dict
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any


def unsettled(settings: Iterable[dict[str, Any]], lines: Iterable[str]) -> list[dict[str, Any]]:
    """Those of the settings that the lines do not show as wished, in their order."""
    words = [line.split() for line in lines]
    found = {parts[1]: parts[2:] for parts in words if len(parts) == 5 and parts[0] == "setting"}
    return [setting for setting in settings if found.get(setting["path"]) != _wanted(setting)]


def _wanted(setting: dict[str, Any]) -> list[str] | None:
    text = str(setting["text"])
    if not text:
        return None
    digest = hashlib.sha256(text.encode()).hexdigest()
    return [digest, str(setting.get("mode", "644")), str(setting.get("owner", "root"))]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file."""
        return {"unsettled": unsettled}
