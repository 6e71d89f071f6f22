# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the marks of a VM mean: has it expired, may it be taken over, from which wish was it made. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

PREFIX = "nanobanana."
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Expiry:
    """Whether the time of a VM is over; ``complaint`` says why that cannot be known."""

    expired: bool
    complaint: str = ""


def expiry(actual: VmActual, now: datetime.datetime) -> Expiry:
    """Read the VM's expiry. What cannot be read has never expired: a VM too many is cheaper than one too few."""
    text = actual.extra_config.get(vmx.EXPIRES, "")
    try:
        until = datetime.datetime.strptime(text, TIME_FORMAT).replace(tzinfo=datetime.UTC)
    except ValueError:
        found = f"'{text}'" if text else "nothing"
        complaint = (
            f"VM '{actual.name}' ({actual.moid}): expected a time such as 2030-01-31T12:00:00Z in {vmx.EXPIRES}; "
            f"found {found}, so it never expires. Next: remove it by name with state=absent when it is not needed"
        )
        return Expiry(expired=False, complaint=complaint)
    return Expiry(expired=until <= now)


def told(marks: Mapping[str, str], notes: str) -> str:
    """The notes of a VM while it is deployed from an OVF item: its marks, and below them what stays (docs/adr/0018)."""
    return "\n".join([*(f"{key}={value}" for key, value in marks.items()), "", notes])


def read_told(text: str | None) -> tuple[dict[str, str], str]:
    """Marks and other notes of told(); no marks, unless the owner's is among them."""
    head, _blank, notes = (text or "").replace("\r\n", "\n").partition("\n\n")
    rows = [line.partition("=") for line in head.split("\n")]
    if not all(key in vmx.BY_KEY and key.startswith(PREFIX) and sign for key, sign, _value in rows):
        return {}, text or ""
    marks = {key: value for key, _sign, value in rows}
    return (marks, notes) if marks.get(vmx.OWNER) else ({}, text or "")


def adoptable(actual: VmActual) -> bool:
    """Whether a VM carries no mark at all, so that it may be taken over by an explicit wish."""
    marked = any(key.startswith(PREFIX) and value for key, value in actual.extra_config.items())
    return not marked and not actual.is_template


def digest(wish: VmWish) -> str:
    """Twelve hex digits over what the VM is to be; equal for VMs that differ only in name and lifecycle.

    Only what differs from the defaults counts, so that a field which a later version adds changes no digest.
    """
    told = _told(wish)
    for name in ("name", "lifecycle", "gpu_choice"):
        told.pop(name, None)
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _told(value: Any) -> Any:
    """Plain data without what is at its default."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: (field, getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {name: _told(item) for name, (field, item) in fields.items() if item != _default(field)}
    if isinstance(value, Mapping):
        return {str(key): _told(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told(item) for item in value]
    return value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
