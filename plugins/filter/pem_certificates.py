# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates in PEM texts, and nothing else that such files hold."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence

from ansible.errors import AnsibleFilterError

BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")


def pem_certificates(texts: Sequence[str]) -> list[dict[str, str]]:
    """Every certificate once, in the order of its first appearance, as ``sha256`` of its DER and ``pem``.

    Comments, private keys and repetitions are left out. Raises AnsibleFilterError for a text without any
    certificate: a trust store that silently stays as it was is found out much later.
    """
    found: dict[str, str] = {}
    for number, text in enumerate(texts, start=1):
        blocks = BLOCK.findall(text)
        if not blocks:
            raise AnsibleFilterError(
                f"CA file number {number}: expected at least one PEM certificate; found none in its "
                f"{len(text)} characters. Next: convert it with openssl x509 -inform der -in FILE"
            )
        for block in blocks:
            try:
                der = base64.b64decode("".join(block.split()), validate=True)
            except binascii.Error as error:
                raise AnsibleFilterError(f"CA file number {number}: a certificate is not base64: {error}") from error
            body = base64.b64encode(der).decode()
            lines = [body[start : start + 64] for start in range(0, len(body), 64)]
            pem = "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
            found.setdefault(hashlib.sha256(der).hexdigest(), pem)
    return [{"sha256": digest, "pem": pem} for digest, pem in found.items()]


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, str]]]]:
        """Name to function."""
        return {"pem_certificates": pem_certificates}
