# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guest learns at first boot, as ``vm_customization`` says it, read strictly. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reader import Reader

HOSTNAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", re.IGNORECASE)
METHODS = ("cloud_init", "spec", "none")
MAX_COMPUTER_NAME = 15  # NetBIOS; Windows setup stops at a longer one
_ONLY_SPEC = ("spec", "addresses", "dns_servers", "dns_suffixes")
_ONLY_CLOUD_INIT = ("userdata", "metadata")


@dataclass(frozen=True)
class Address:
    """A static IPv4 address of one card; without ``address`` the card keeps what the specification says."""

    address: str = ""
    netmask: str = ""
    gateway: str = ""


@dataclass(frozen=True)
class Customization:
    """What the guest learns about itself at first boot."""

    method: str = "cloud_init"
    hostname: str = ""
    userdata: str = field(default="", repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    spec: str = ""
    addresses: tuple[Address, ...] = ()
    dns_servers: tuple[str, ...] = ()
    dns_suffixes: tuple[str, ...] = ()
    wait_seconds: int = 1800


def computer_name(name: str) -> str:
    """A Windows computer name for a host name: itself, or its beginning and five hex digits over all of it.

    The digits make names that begin alike different, and are the same in each run. Windows takes no name of
    digits only, so such a one gets a letter.
    """
    if len(name) <= MAX_COMPUTER_NAME and not name.isdigit():
        return name
    digits = hashlib.sha256(name.lower().encode()).hexdigest()[:5]
    start = f"n{name}" if name.isdigit() else name
    return f"{start[: MAX_COMPUTER_NAME - 6].rstrip('-')}-{digits}"


def userdata_text(value: Any) -> Any:
    """User data as cloud-init takes it: a mapping is cloud-config (JSON is YAML), a text stays as it is."""
    if isinstance(value, Mapping):
        return "#cloud-config\n" + json.dumps(value, sort_keys=True)
    return value


def read_customization(reader: Reader, value: Any) -> Customization:
    """The customization of a VM; options of another method are refused, not ignored."""
    names = ("method", "hostname", *_ONLY_CLOUD_INIT, *_ONLY_SPEC, "wait_seconds")
    values = reader.mapping("customization", value, names)
    method = reader.choice("customization.method", values.get("method", "cloud_init"), METHODS)
    _check_method(reader, method, values)
    wish = Customization(
        method,
        reader.text("customization.hostname", values.get("hostname")),
        reader.text("customization.userdata", userdata_text(values.get("userdata"))),
        reader.mapping("customization.metadata", values.get("metadata"), None),
        reader.text("customization.spec", values.get("spec"), empty=method != "spec"),
        reader.listing("customization.addresses", values.get("addresses"), lambda at, item: _address(reader, at, item)),
        reader.listing("customization.dns_servers", values.get("dns_servers"), lambda at, item: _ip(reader, at, item)),
        reader.listing("customization.dns_suffixes", values.get("dns_suffixes"), reader.text),
        reader.integer("customization.wait_seconds", values.get("wait_seconds", 1800), 1, 14400, "seconds", 1800),
    )
    hostname = wish.hostname or reader.name
    if wish.method != "none" and not HOSTNAME.match(hostname):
        reader.bad(
            "customization.hostname",
            "a host name (letters, digits and '-', at most 63)",
            hostname,
            "set vm_customization.hostname, or give the VM a name that is one",
        )
    return wish


def _check_method(reader: Reader, method: str, values: dict[str, Any]) -> None:
    strange = [*(_ONLY_SPEC if method != "spec" else ()), *(_ONLY_CLOUD_INIT if method == "spec" else ())]
    for name in strange:
        if values.get(name):
            other = "spec" if name in _ONLY_SPEC else "cloud_init"
            hint = f"set vm_customization.method to {other}, or leave {name} out"
            reader.bad(f"customization.{name}", f"nothing with method {method}", "a value", hint)


def _address(reader: Reader, path: str, value: Any) -> Address:
    values = reader.mapping(path, value, ("address", "netmask", "gateway"))
    given = {name: item for name, item in values.items() if item is not None}
    if not given:
        return Address()
    for name in ("address", "netmask"):
        if name not in given:
            reader.bad(f"{path}.{name}", f"an IPv4 {name}", None, "a static address needs address and netmask")
            return Address()
    wish = Address(*(_ip(reader, f"{path}.{name}", given.get(name, "")) for name in ("address", "netmask", "gateway")))
    try:
        network = ipaddress.IPv4Network(f"{wish.address}/{wish.netmask}", strict=False)
        inside = not wish.gateway or ipaddress.IPv4Address(wish.gateway) in network
    except ValueError:
        reader.bad(f"{path}.netmask", "a netmask such as 255.255.255.0", given["netmask"])
        return Address()
    if not inside:
        reader.bad(f"{path}.gateway", f"an address in {network}", wish.gateway)
    return wish


def _ip(reader: Reader, path: str, value: Any) -> str:
    if value == "":
        return ""
    try:
        return str(ipaddress.IPv4Address(str(value)))
    except ValueError:
        reader.bad(path, "an IPv4 address", value)
        return "0.0.0.0"  # noqa: S104 - stands in for the address that was refused; nothing listens
