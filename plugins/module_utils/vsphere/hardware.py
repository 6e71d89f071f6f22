# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU shares and limits, latency, hardware version, firmware and boot controller: wished, found and compared.

Pure. ``None`` in a wish leaves the setting as the template or VM has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem, TestbedError, one_problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.reader import Reader

UNLIMITED = -1  # as vCenter writes a missing limit
SHARE_LEVELS = ("low", "normal", "high")
BOOT_CONTROLLERS = {
    "pvscsi": "ParaVirtualSCSIController",
    "lsilogic": "VirtualLsiLogicController",
    "lsilogic_sas": "VirtualLsiLogicSASController",
    "buslogic": "VirtualBusLogicController",
    "nvme": "VirtualNVMEController",
    "sata": "VirtualAHCIController",
    "ide": "VirtualIDEController",
}
# Virtual hardware by the first ESXi that runs it; 12 and 16 belong to desktop products.
HARDWARE_VERSIONS = {
    10: "5.5",
    11: "6.0",
    13: "6.5",
    14: "6.7",
    15: "6.7 U2",
    17: "7.0",
    18: "7.0 U1",
    19: "7.0 U2",
    20: "8.0",
    21: "8.0 U2",
    22: "9.0",
}
LATENCY_VERSION = 14  # the oldest hardware version for which high latency sensitivity is kept up
FIELDS = (
    "cores_per_socket",
    "cpu_shares",
    "cpu_limit_mhz",
    "cpu_reservation_mhz",
    "latency_sensitivity",
    "hardware_version",
    "firmware",
    "boot_controller",
)


@dataclass(frozen=True)
class Hardware:
    """The wish. ``cpu_shares`` is a level or a number as text; ``cpu_limit_mhz`` is -1 for unlimited."""

    cores_per_socket: int | None = None
    cpu_shares: str | None = None
    cpu_limit_mhz: int | None = None
    cpu_reservation_mhz: int | None = None
    latency_sensitivity: str | None = None
    hardware_version: int | None = None
    firmware: str | None = None
    boot_controller: str | None = None


@dataclass(frozen=True)
class HardwareActual:
    """The same settings as a VM or template has them; ``boot_controller`` is vSphere's type name."""

    cores_per_socket: int = 1
    cpu_shares: str = "normal"
    cpu_limit_mhz: int = UNLIMITED
    cpu_reservation_mhz: int = 0
    latency_sensitivity: str = "normal"
    hardware_version: int = 0
    firmware: str = ""
    boot_controller: str = ""


@dataclass(frozen=True)
class HostLimits:
    """What one host can run: the newest hardware version and the speed of one core."""

    name: str
    hardware_version: int
    core_mhz: int


def read_hardware(reader: Reader, values: dict[str, Any]) -> Hardware:
    """The wish out of the mapping vm_tweaks."""

    def given(name: str) -> bool:
        return values.get(name) is not None

    def number(name: str, low: int, high: int, unit: str) -> int | None:
        return reader.integer(f"tweaks.{name}", values[name], low, high, unit, low) if given(name) else None

    def choice(name: str, known: Iterable[str]) -> str | None:
        return reader.choice(f"tweaks.{name}", values[name], tuple(known)) if given(name) else None

    return Hardware(
        cores_per_socket=number("cores_per_socket", 1, 768, "cores"),
        cpu_shares=_shares(reader, values["cpu_shares"]) if given("cpu_shares") else None,
        cpu_limit_mhz=_limit(reader, values["cpu_limit_mhz"]) if given("cpu_limit_mhz") else None,
        cpu_reservation_mhz=number("cpu_reservation_mhz", 0, 10_000_000, "MHz"),
        latency_sensitivity=choice("latency_sensitivity", ("normal", "high")),
        hardware_version=_version(reader, values["hardware_version"]) if given("hardware_version") else None,
        firmware=choice("firmware", ("bios", "efi")),
        boot_controller=choice("boot_controller", BOOT_CONTROLLERS),
    )


def _shares(reader: Reader, value: Any) -> str | None:
    if value in SHARE_LEVELS:
        return str(value)
    if re.fullmatch(r"[1-9][0-9]{0,6}", str(value).strip()) and int(value) <= 1_000_000:
        return str(int(value))
    reader.bad("tweaks.cpu_shares", f"one of {', '.join(SHARE_LEVELS)}, or a number of shares up to 1000000", value)
    return None


def _limit(reader: Reader, value: Any) -> int | None:
    if value in ("unlimited", UNLIMITED, str(UNLIMITED)):
        return UNLIMITED
    if re.fullmatch(r"[1-9][0-9]{0,7}", str(value).strip()):
        return int(value)
    reader.bad("tweaks.cpu_limit_mhz", "'unlimited' or a whole number of MHz", value)
    return None


def _version(reader: Reader, value: Any) -> int | None:
    text = str(value).strip().removeprefix("vmx-")
    if text.isdigit() and int(text) in HARDWARE_VERSIONS:
        return int(text)
    known = ", ".join(f"{number} (ESXi {release})" for number, release in HARDWARE_VERSIONS.items())
    reader.bad("tweaks.hardware_version", f"one of {known}", value)
    return None


def check_wish(reader: Reader, hardware: Hardware, cpus: int, *, reserve_memory: bool) -> None:
    """Refuse wishes that contradict themselves; problems go to the reader."""
    cores = hardware.cores_per_socket
    if cores and cpus % cores:
        reader.bad("tweaks.cores_per_socket", f"a number that divides vm_cpus ({cpus})", cores)
    limit, reservation = hardware.cpu_limit_mhz, hardware.cpu_reservation_mhz
    if limit is not None and reservation is not None and limit not in (UNLIMITED,) and reservation > limit:
        reader.bad("tweaks.cpu_reservation_mhz", f"at most cpu_limit_mhz ({limit})", reservation)
    if hardware.latency_sensitivity != "high":
        return
    if not reserve_memory:
        reader.bad("tweaks.reserve_memory", "true, which latency_sensitivity high demands", False)
    if not reservation:
        text = "all CPU reserved, which latency_sensitivity high demands"
        next_step = "set it to vm_cpus x MHz of the host's cores, or latency_sensitivity to normal"
        reader.bad("tweaks.cpu_reservation_mhz", text, reservation, next_step)
    if limit not in (None, UNLIMITED):
        reader.bad("tweaks.cpu_limit_mhz", "unlimited, which latency_sensitivity high demands", limit)


def check_hosts(name: str, hardware: Hardware, cpus: int, hosts: Iterable[HostLimits]) -> Iterator[Problem]:
    """What the hosts on which the VM may run cannot give; each problem names the host and its maximum."""
    version, reservation = hardware.hardware_version, hardware.cpu_reservation_mhz
    for host in hosts:
        if version is not None and host.hardware_version < version:
            yield Problem(
                f"{name}: vm_tweaks.hardware_version",
                f"at most {host.hardware_version} ({release(host.hardware_version)}), the newest of host {host.name}",
                f"{version} ({release(version)})",
                "lower it, or name a newer host in vm_placement.host",
            )
        needed = cpus * host.core_mhz
        if hardware.latency_sensitivity == "high" and (reservation or 0) < needed:
            yield Problem(
                f"{name}: vm_tweaks.cpu_reservation_mhz",
                f"at least {needed} ({cpus} x {host.core_mhz} MHz of host {host.name}) for latency_sensitivity high",
                str(reservation),
                f"set it to {needed}",
            )


def release(version: int) -> str:
    """The first ESXi that runs this hardware version, for messages."""
    return f"ESXi {HARDWARE_VERSIONS[version]}" if version in HARDWARE_VERSIONS else "no ESXi's"


def changes(name: str, wish: Hardware, actual: HardwareActual) -> list[tuple[str, Any, Any, bool]]:
    """What differs, as (what, before, after, whether the VM has to be off for it).

    Raises TestbedError for what fleet never changes: firmware, boot controller, an older hardware version.
    """
    _check_fixed(name, wish, actual)
    cold = ("cores_per_socket", "latency_sensitivity", "hardware_version")
    rows = []
    for field in FIELDS:
        wanted, found = getattr(wish, field), getattr(actual, field)
        if wanted is not None and wanted != found and field not in ("firmware", "boot_controller"):
            rows.append((field, found, wanted, field in cold))
    return rows


def _check_fixed(name: str, wish: Hardware, actual: HardwareActual) -> None:
    if wish.firmware and wish.firmware != actual.firmware:
        raise one_problem(
            "wrong_firmware",
            f"{name}: vm_tweaks.firmware",
            f"{wish.firmware}",
            actual.firmware or "unknown",
            f"use a template installed with {wish.firmware}: a guest does not boot under another firmware",
        )
    if wish.boot_controller and BOOT_CONTROLLERS[wish.boot_controller] != actual.boot_controller:
        known = {kind: word for word, kind in BOOT_CONTROLLERS.items()}
        raise one_problem(
            "wrong_boot_controller",
            f"{name}: vm_tweaks.boot_controller",
            wish.boot_controller,
            known.get(actual.boot_controller, actual.boot_controller or "a VM without a disk"),
            "use a template with that controller: fleet never swaps the one that a guest boots from",
        )
    version = wish.hardware_version
    if version is not None and version < actual.hardware_version:
        raise one_problem(
            "hardware_downgrade",
            f"{name}: vm_tweaks.hardware_version",
            f"at least {actual.hardware_version}, which it has already",
            str(version),
            "vSphere cannot lower it: leave the option out, or use an older template",
        )
    if wish.latency_sensitivity == "high" and max(version or 0, actual.hardware_version) < LATENCY_VERSION:
        raise TestbedError(
            "old_hardware",
            [
                Problem(
                    f"{name}: vm_tweaks.latency_sensitivity high",
                    f"hardware version {LATENCY_VERSION} or newer",
                    str(actual.hardware_version),
                    f"set vm_tweaks.hardware_version to at least {LATENCY_VERSION}",
                )
            ],
        )
