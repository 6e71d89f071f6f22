# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""guest.os: does the guest run the operating system that the wish names?"""

from __future__ import annotations

import re
import shlex
from typing import Dict, Optional, Tuple

from .host import Host
from .result import FAILED, NOT_APPLICABLE, PASSED, WARNED, Outcome

OS_RELEASE = "/etc/os-release"
REDHAT_RELEASE = "/etc/redhat-release"


def parse_os_release(text: str) -> Dict[str, str]:
    """os-release(5) as a dictionary; lines that are no assignment are passed over, as the format asks."""
    found = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and re.match(r"^[A-Z][A-Z0-9_]*$", key):
            words = shlex.split(value)
            found[key] = words[0] if words else ""
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
    pretty = found.get("PRETTY_NAME") or f"{name} {version}".strip()
    minor = re.search(r"release (\d+(?:\.\d+)*)", redhat_release or "")
    if minor:
        version = minor.group(1)
        pretty = (redhat_release or "").strip()
    evidence = {"os": pretty, "wished": wish, "stand_in": False}
    wanted_name, wanted_version = split_wish(wish)
    if name.lower().startswith(wanted_name) and _version_fits(wanted_version, version):
        return Outcome(PASSED, wish, pretty, evidence=evidence)
    if allow_stand_in:
        evidence["stand_in"] = True
        return Outcome(WARNED, wish, pretty, f"{pretty} stands in for {wish}", evidence)
    return Outcome(FAILED, wish, pretty, "the guest runs another operating system than the wish names", evidence)


def probe(host: Host, wish: str, allow_stand_in: bool) -> Outcome:
    """Read the guest's files and judge them."""
    return judge(wish, host.read(OS_RELEASE), host.read(REDHAT_RELEASE), allow_stand_in)
