# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.os: does the guest run the operating system that the wish names?"""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from typing import Dict, Optional, Tuple

from .host import shown
from .result import FAILED, NOT_APPLICABLE, PASSED, WARNED, Outcome

OS_RELEASE = "/etc/os-release"
REDHAT_RELEASE = "/etc/redhat-release"
# Characters; a file that is longer tells nothing more.
LARGEST = 64 << 10


def parse_os_release(text: str) -> Dict[str, str]:
    """os-release(5) as a dictionary; lines that are no assignment are passed over, as the format asks."""
    found: Dict[str, str] = {}
    for line in text[:LARGEST].splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and re.match(r"^[A-Z][A-Z0-9_]*$", key):
            with suppress(ValueError):  # a quotation without its end
                found[key] = (shlex.split(value) or [""])[0]
    return found


def split_wish(wish: str) -> Tuple[str, str]:
    """'Windows Server 2019' -> ('windows server', '2019'); a wish without a version has an empty one."""
    words = wish.split()
    if words and words[-1][0].isdigit():
        return " ".join(words[:-1]).lower(), words[-1]
    return " ".join(words).lower(), ""


def _version_fits(wanted: str, found: str) -> bool:
    return not wanted or found == wanted or found.startswith(wanted + ".")


def judge(wish: str, os_release: Optional[str], redhat_release: Optional[str], allow_stand_in: bool) -> Outcome:
    """Compare the wish ('Ubuntu 22.04') with the guest's own files.

    CentOS 7 writes only VERSION_ID="7" into os-release; its minor version stands in redhat-release.
    """
    if not wish:
        return Outcome(NOT_APPLICABLE, detail="no operating system is wished for this host")
    if os_release is None:
        return Outcome(FAILED, wish, f"no {OS_RELEASE}", "the guest does not say which system it is")
    found = parse_os_release(os_release)
    name, version = found.get("NAME", ""), found.get("VERSION_ID", "")
    pretty = shown(found.get("PRETTY_NAME") or f"{name} {version}")
    minor = re.search(r"release (\d{1,9}(?:\.\d{1,9}){0,4})", (redhat_release or "")[:LARGEST])
    if minor:
        version = minor.group(1)
        pretty = shown(redhat_release or "")
    evidence = {"os": pretty, "wished": wish, "stand_in": False}
    wanted_name, wanted_version = split_wish(wish)
    if name.lower().startswith(wanted_name) and _version_fits(wanted_version, version):
        return Outcome(PASSED, wish, pretty, evidence=evidence)
    if allow_stand_in:
        evidence["stand_in"] = True
        return Outcome(WARNED, wish, pretty, f"{pretty} stands in for {wish}", evidence)
    return Outcome(FAILED, wish, pretty, "the guest runs another operating system than the wish names", evidence)
