# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every VMX key (extraConfig) that the project manages, declared once, and how values are compared.

Keys that a user passes through ``vm_tweaks.extra_config`` are written as they are; keys that ESXi rewrites by
itself (REWRITTEN) are neither compared nor removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class VmxKey:
    """One key: its type, whether a running VM takes it over, what it means and who says so."""

    key: str
    kind: Literal["bool", "int", "text"]
    takes_effect: Literal["live", "power cycle"]
    meaning: str
    source: str
    secret: bool = False


_DOCS = "VMware vSphere documentation"
TABLE: tuple[VmxKey, ...] = (
    VmxKey(
        "sched.mem.maxmemctl",
        "int",
        "power cycle",
        "most memory in MB that the balloon may reclaim; 0 switches it off (needs full reservation, else ESXi swaps)",
        f"{_DOCS}, Advanced Virtual Machine Attributes (GUID-5B45CEFA)",
    ),
    VmxKey(
        "mem.memballoon",
        "int",
        "power cycle",
        "the field report's balloon key, written beside sched.mem.maxmemctl for compatibility, never instead of it",
        "requirements A; no VMware document describes it",
    ),
    VmxKey(
        "sched.mem.pshare.enable",
        "bool",
        "power cycle",
        "page sharing inside the VM; sharing between VMs is off by ESXi's default (salting)",
        f"{_DOCS}, Advanced Virtual Machine Attributes (GUID-D98E6EC9)",
    ),
    VmxKey(
        "mks.enable3d",
        "bool",
        "power cycle",
        "3D acceleration of the console; compliance checks read this key, the video card carries the setting",
        "vSphere security configuration guide",
    ),
    VmxKey(
        "disk.EnableUUID",
        "bool",
        "power cycle",
        "shows each disk's UUID to the guest, so that /dev/disk/by-id is stable",
        f"{_DOCS}, disk.EnableUUID",
    ),
    VmxKey(
        "pciPassthru.use64bitMMIO",
        "bool",
        "power cycle",
        "maps the memory of passed-through devices above 4 GB; needs EFI",
        "VMware blog 'Using GPUs with Virtual Machines on vSphere', 2018-10",
    ),
    VmxKey(
        "pciPassthru.64bitMMIOSizeGB",
        "int",
        "power cycle",
        "size of that window in GB, a power of two of at least twice the GPUs' memory",
        "VMware blog 'Using GPUs with Virtual Machines on vSphere', 2018-10; vm-operator",
    ),
    VmxKey("guestinfo.metadata", "text", "live", "cloud-init metadata", "cloud-init, DataSourceVMware"),
    VmxKey("guestinfo.metadata.encoding", "text", "live", "its encoding", "cloud-init, DataSourceVMware"),
    VmxKey("guestinfo.userdata", "text", "live", "cloud-init user data", "cloud-init, DataSourceVMware", True),
    VmxKey("guestinfo.userdata.encoding", "text", "live", "its encoding", "cloud-init, DataSourceVMware"),
    VmxKey(
        "nanobanana.owner", "text", "live", "whose VM this is: only its owner changes or deletes it", "docs/adr/0005"
    ),
    VmxKey("nanobanana.run", "text", "live", "the run that made the VM", "docs/adr/0005"),
    VmxKey("nanobanana.expires", "text", "live", "when the VM may be reaped, UTC, ISO 8601", "docs/adr/0005"),
    VmxKey("nanobanana.template", "text", "live", "what the VM was made from", "docs/adr/0005"),
    VmxKey(
        "nanobanana.customization",
        "text",
        "live",
        "pending or done, and the customization specification that the VM's first boot carries out",
        "docs/adr/0005",
    ),
    VmxKey("nanobanana.wish", "text", "live", "digest of the wish that the VM was made from", "docs/adr/0005"),
    VmxKey("nanobanana.keys", "text", "live", "keys that fleet wrote, so that it can remove them", "docs/adr/0015"),
)
BY_KEY: Mapping[str, VmxKey] = {row.key: row for row in TABLE}
OWNER, RUN, EXPIRES, TEMPLATE, WISH = (f"nanobanana.{word}" for word in ("owner", "run", "expires", "template", "wish"))
CUSTOMIZATION = "nanobanana.customization"
# What a source's guest was told: a clone inherits it, and must not.
GUEST_DATA = tuple(
    f"guestinfo.{word}{suffix}" for word in ("metadata", "userdata", "vendordata") for suffix in ("", ".encoding")
)
KEYS = "nanobanana.keys"
METADATA = "guestinfo.metadata"
# ESXi and vCenter keep their own state in these, whatever a wish says.
REWRITTEN = (
    "migrate.",
    "monitor.phys_bits_used",
    "numa.autosize.",
    "sched.swap.",
    "softPowerOff",
    "toolsInstallManager.",
    "vmotion.",
    "vmware.tools.",
)
REDACTED = "---"  # what cloud-init leaves of a guestinfo key that its configuration tells it to redact
_ENCODINGS = {"b64": "base64", "gz+b64": "gzip+base64", "gz+base64": "gzip+base64", "gzip+b64": "gzip+base64"}


def decode(key: str, value: str) -> str:
    """The value as it counts: booleans in one case, numbers without signs of formatting; text as it is."""
    kind = BY_KEY[key].kind if key in BY_KEY else "text"
    text = value.strip()
    if key.startswith("guestinfo.") and key.endswith(".encoding"):
        return _ENCODINGS.get(text.lower(), text.lower())
    if kind == "bool" or text.lower() in ("true", "false"):
        return text.upper()
    if kind == "int":
        try:
            return str(int(text))
        except ValueError:
            return text
    return text


def same(key: str, wanted: str, actual: str | None) -> bool:
    """Whether vCenter's value means what is wanted ("true" = "TRUE"); an absent key equals an empty wish."""
    return decode(key, wanted) == decode(key, actual or "")


def rewritten(key: str) -> bool:
    """Whether ESXi writes this key itself."""
    return key.startswith(REWRITTEN)


def redacted(wanted: Mapping[str, str], actual: Mapping[str, str]) -> set[str]:
    """Keys that the guest itself has blanked after it read them.

    They match as long as the metadata does: its instance id changes with the user data, and then both are written.
    """
    if not same(METADATA, wanted.get(METADATA, ""), actual.get(METADATA)):
        return set()
    blanked = {key for key in wanted if key.startswith("guestinfo.") and actual.get(key) == REDACTED}
    return blanked | {f"{key}.encoding" for key in blanked}


def keys_mark(keys: Iterable[str]) -> str:
    """The value of the mark that remembers which keys fleet wrote."""
    return " ".join(sorted(keys))


def forgotten(wanted: Mapping[str, str], actual: Mapping[str, str]) -> list[str]:
    """Keys on the VM that fleet wrote in an earlier run and that the wish does not name any more."""
    written = actual.get(KEYS, "").split()
    return [key for key in written if key not in wanted and actual.get(key) and not rewritten(key)]


def is_secret(key: str) -> bool:
    """Whether a value may never be shown."""
    return key in BY_KEY and BY_KEY[key].secret


def needs_power_cycle(key: str) -> bool:
    """Whether a running VM keeps the old value until it is powered off and on; unknown keys are taken to."""
    return key not in BY_KEY or BY_KEY[key].takes_effect == "power cycle"
