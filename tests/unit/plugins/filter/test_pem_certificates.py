# SPDX-License-Identifier: GPL-3.0-or-later
"""pem_certificates: certificates and nothing else leave the control node."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nanobanana.testbed.plugins.filter.pem_certificates import pem_certificates


def block(content: bytes, width: int = 64, end: str = "\n") -> str:
    body = base64.b64encode(content).decode()
    lines = [body[start : start + width] for start in range(0, len(body), width)]
    return end.join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


def test_a_bundle_gives_each_certificate_once_and_in_order() -> None:
    found = pem_certificates([block(b"one") + block(b"two"), block(b"two") + block(b"three")])
    assert [each["pem"] for each in found] == [block(b"one"), block(b"two"), block(b"three")]
    assert found[0]["sha256"] == hashlib.sha256(b"one").hexdigest()


def test_private_keys_and_comments_stay_behind() -> None:
    found = pem_certificates([f"# issued by us\n{KEY}{block(b'one')}text\n"])
    assert [each["pem"] for each in found] == [block(b"one")]


@pytest.mark.parametrize(
    "text", [block(b"x" * 100, width=76), block(b"x" * 100, end="\r\n"), block(b"x" * 100).rstrip()]
)
def test_however_it_is_wrapped_it_is_the_same_certificate(text: str) -> None:
    assert pem_certificates([text]) == pem_certificates([block(b"x" * 100)])


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "number 2: expected at least one"), (KEY, "number 2: expected at least one"), (block(b"x")[:40], "number 2")],
)
def test_a_file_without_a_certificate_is_an_error(text: str, words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        pem_certificates([block(b"one"), text])


def test_base64_that_is_none_is_an_error() -> None:
    with pytest.raises(AnsibleFilterError, match="not base64"):
        pem_certificates(["-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"])


def test_openssl_sees_the_same_certificate(tmp_path: Path) -> None:
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=test",
        "-keyout",
        "k",
        "-out",
        "c",
    ]
    subprocess.run(request, cwd=tmp_path, check=True, capture_output=True)
    found = pem_certificates([(tmp_path / "c").read_text() + (tmp_path / "k").read_text()])
    asked = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
        input=found[0]["pem"].encode(),
        capture_output=True,
        check=True,
    )
    assert asked.stdout.decode().strip().rpartition("=")[2].replace(":", "").lower() == found[0]["sha256"]
