# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud-init NoCloud seed from guestinfo, whose keys cloud-init's VMware datasource reads on a real vSphere."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.guests.base import GuestError, Vm


@dataclass(frozen=True)
class Seed:
    """Files by name as NoCloud wants them, the host name that the guest will have (None: unknown), and remarks."""

    files: Mapping[str, bytes]
    hostname: str | None = None
    remarks: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Makes `folder` hold these files and no others."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if old.name not in self.files:
                old.unlink()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def make_seed(vm: Vm) -> Seed:
    """Raises GuestError when a value cannot be decoded or the metadata is no mapping."""
    raw = {part: _decoded(vm.guestinfo, f"guestinfo.{part}") for part in ("metadata", "userdata", "vendordata")}
    if not any(raw.values()):
        return Seed({})
    remarks: list[str] = []
    metadata = _metadata(raw["metadata"])
    if metadata.pop("network", None) is not None:
        remarks.append("metadata.network is left out: the network of a lab guest is configured from outside")
    metadata.pop("network.encoding", None)
    if keys := metadata.pop("public-keys-data", None):
        metadata["public-keys"] = [key for key in str(keys).splitlines() if key.strip()]
    metadata.setdefault("instance-id", vm.instance_uuid or vm.moid)
    hostname = metadata.get("local-hostname") or metadata.get("hostname")
    if hostname:
        metadata["local-hostname"] = str(hostname)
    files = {
        "meta-data": (json.dumps(metadata, indent=2, sort_keys=True) + "\n").encode(),
        "user-data": raw["userdata"] or b"#cloud-config\n{}\n",
    }
    if raw["vendordata"]:
        files["vendor-data"] = raw["vendordata"]
    # cloud-init sets the short name when it is given a full one.
    return Seed(files, str(hostname).split(".")[0] if hostname else None, tuple(remarks))


def _metadata(text: bytes) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        raise GuestError(f"guestinfo.metadata is neither YAML nor JSON: {_one_line(error)}") from error
    if not isinstance(data, dict):
        raise GuestError(f"guestinfo.metadata must be a mapping, found {type(data).__name__}")
    return data


def _decoded(guestinfo: Mapping[str, str], key: str) -> bytes:
    value = guestinfo.get(key, "")
    encoding = guestinfo.get(f"{key}.encoding", "").lower()
    # "---" is how VMware's own tools write an emptied guestinfo value.
    if not value or value == "---":
        return b""
    try:
        if encoding in ("base64", "b64"):
            return _from_base64(value)
        if encoding in ("gzip+base64", "gz+b64"):
            return gzip.decompress(_from_base64(value))
    except (binascii.Error, OSError, EOFError, zlib.error) as error:
        raise GuestError(f"{key} is not {encoding}: {_one_line(error)}") from error
    if encoding:
        raise GuestError(f"{key}.encoding is {encoding!r}, expected base64, gzip+base64 or none")
    return value.encode()


def _from_base64(value: str) -> bytes:
    return base64.b64decode("".join(value.split()), validate=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
