# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest itself: its name, its user, the user's folders, whom it trusts."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from conftest import Expected

BUNDLES = "/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt"


def test_the_guest_bears_its_name_in_the_inventory(host: Any, expected: Expected) -> None:
    found = host.check_output("cat /proc/sys/kernel/hostname")
    assert found.partition(".")[0] == expected.hostname, f"host name: expected {expected.hostname}; found {found}"


def test_the_user_is_there_and_owns_a_home(host: Any, expected: Expected) -> None:
    done = host.run("stat -c '%%U %%F' %s", expected.home)
    found = done.stdout.strip() or done.stderr.strip()
    assert found == f"{expected.user} directory", (
        f"{expected.home}: expected a folder of {expected.user}; found {found}"
    )


def test_the_user_may_use_sudo_without_a_password(as_user: Any) -> None:
    assert as_user("sudo -n id -u").strip() == "0"


def test_the_folders_are_the_users_and_writable(expected: Expected, as_user: Any) -> None:
    paths = [f"{expected.home}/nano-banana/{folder}" for folder in expected.of("guest_base")["folders"]]
    tests = "; ".join(f"test -d {path} -a -w {path} -a -O {path} || echo {path}" for path in paths)
    wrong = as_user(tests + "; true").split()
    assert not wrong, f"expected writable folders of {expected.user}; found otherwise: {', '.join(wrong)}"


def test_the_extra_authorities_are_trusted(host: Any, expected: Expected) -> None:
    wished = set(expected.of("guest_base")["ca_sha256"])
    if not wished:
        pytest.skip("no extra authority is wished for this host")
    bundle = host.run(f"cat {BUNDLES} 2>/dev/null").stdout
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----(.+?)-----END", bundle, re.DOTALL)
    trusted = {hashlib.sha256(base64.b64decode(block)).hexdigest() for block in blocks}
    missing = wished - trusted
    assert not missing, f"expected {len(wished)} extra authorities; found {len(missing)} of them missing"
