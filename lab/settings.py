# SPDX-License-Identifier: GPL-3.0-or-later
"""lab/inventory.yml, and the two JSON files made from it: for the vCenter program and for whoever uses the lab."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError
from lab.guests.mixed import Choice
from lab.guests.qemu_network import PORTS
from lab.paths import CHECKOUT, Paths

FILE = CHECKOUT / "lab" / "inventory.yml"
ROLE = CHECKOUT / "playbooks" / "files" / "vcenter_role.yml"
PASSED_ON = (
    "datacenter",
    "cluster",
    "hosts",
    "datastore",
    "portgroup",
    "dvswitch",
    "folder",
    "library",
    "ovf_items",
    "vcenter",
    "storage_policies",
)
TEMPLATE_FIELDS = ("name", "guest_id", "firmware", "cpus", "memory_mb", "disk_gb", "hardware_version")
PORTS_VARIABLE = "NANOBANANA_LAB_PORTS"
MEMORY_VARIABLE = "NANOBANANA_LAB_GUEST_MEMORY_MB"


def load() -> dict[str, Any]:
    """Raises LabError that names the file when it is no YAML mapping or lacks a key."""
    try:
        data = yaml.safe_load(FILE.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"{FILE}: {error}") from error
    missing = [
        key for key in (*PASSED_ON, "templates", "username", "admin_username", "guest_user") if key not in (data or {})
    ]
    if missing:
        raise LabError(f"{FILE}: missing {', '.join(missing)}")
    return dict(data)


def for_vcenter(settings: dict[str, Any]) -> dict[str, Any]:
    templates = [{field: template[field] for field in TEMPLATE_FIELDS} for template in settings["templates"]]
    return {**{key: settings[key] for key in PASSED_ON}, "templates": templates}


def for_roles(settings: dict[str, Any], paths: Paths) -> dict[str, Any]:
    """The login that everybody uses, its roles and where it holds them: what playbooks/vcenter_role.yml would grant for
    this inventory. Raises LabError that names the file when it is not such data."""
    try:
        data = yaml.safe_load(ROLE.read_text())
        roles = {
            f"{data['name']}-{kind}": [str(row["id"]) for row in data["privileges"] if kind in row["where"]]
            for kind, place in data["places"].items()
            if "role" not in place
        }
        grants = [
            {
                "type": place["type"],
                "name": name,
                "role": place.get("role", f"{data['name']}-{kind}"),
                "propagate": place["propagate"],
            }
            for kind, place in data["places"].items()
            if "by_hand" not in place
            for name in _named(settings)[kind]
        ]
        (by_hand,) = [f"{data['name']}-{kind}" for kind, place in data["places"].items() if "by_hand" in place]
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        expected = "name, places, and privileges with id and where"
        raise LabError(f"{ROLE}: expected {expected}: {error!r}") from error
    return {
        "user": settings["username"],
        "password_file": str(paths.password),
        "roles": roles,
        "grants": grants,
        "global": by_hand,
    }


def _named(settings: dict[str, Any]) -> dict[str, list[str]]:
    """The objects of each kind of place."""
    return {
        "root": ["rootFolder"],
        "datacenter": [settings["datacenter"]],
        "folder": [settings["folder"]],
        "compute": [settings["cluster"]],
        "datastore": [settings["datastore"]["name"]],
        "network": [settings["portgroup"]],
        "template": [template["name"] for template in settings["templates"]],
    }


def for_users(
    settings: dict[str, Any],
    paths: Paths,
    port: int,
    choice: Choice,
    reachable: dict[str, Any],
    given: dict[str, str],
) -> dict[str, Any]:
    """lab.json. `reachable` says how guests are reached; `given`, by driver, what runs in place of the operating
    systems that the templates stand for."""
    vcenter = {
        "hostname": "127.0.0.1",
        "port": port,
        "username": settings["username"],
        "password_file": str(paths.password),
        "admin_username": settings["admin_username"],
        "admin_password_file": str(paths.admin_password),
        "ca_file": str(paths.ca),
        **{key: settings[key] for key in ("datacenter", "cluster", "folder", "library", "portgroup")},
        "datastore": settings["datastore"]["name"],
    }
    return {
        "id": paths.lab_id,
        "vcenter": vcenter,
        "guests": str(choice),
        "guest_user": settings["guest_user"],
        **reachable,
        "ssh_private_key_file": str(paths.ssh_key),
        "ssh_public_key_file": str(paths.ssh_key.with_suffix(".pub")),
        "calls_file": str(paths.logs / "calls.jsonl"),
        "stand_ins": [
            {"template": template["name"], "asked": template["asked"], "given": given[choice.of(template["name"])]}
            for template in settings["templates"]
        ],
    }


def guest_ports() -> tuple[int, ...]:
    """Ports of QEMU guests that are forwarded to their addresses on this machine: SSH, the engine, metrics."""
    text = os.environ.get(PORTS_VARIABLE, "")
    wanted = text.replace(",", " ").split() if text else [str(port) for port in PORTS]
    if not all(port.isdigit() and 0 < int(port) < 65536 for port in wanted):
        raise LabError(f"{PORTS_VARIABLE} is {text!r}, expected port numbers with commas between them, such as 22,8000")
    return tuple(dict.fromkeys((PORTS[0], *map(int, wanted))))


def guest_memory_cap_mb() -> int:
    """The most memory that one guest may use of this machine: half of it, or what the variable says. The templates ask
    for 26 GB together, and a guest that runs away must not take the machine down."""
    override = os.environ.get(MEMORY_VARIABLE, "")
    if override:
        if not override.isdigit() or int(override) < 256:
            raise LabError(f"{MEMORY_VARIABLE} is {override!r}, expected a whole number of MB, 256 or more")
        return int(override)
    total_kb = next(
        int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:")
    )
    return total_kb // 1024 // 2
