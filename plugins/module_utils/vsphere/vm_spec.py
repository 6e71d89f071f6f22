# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible accepts as a wish; documented in doc_fragments/vms.py, read strictly by wish.py."""

from __future__ import annotations

from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import after_case, data_controller, wish


def group(**options: dict[str, Any]) -> dict[str, Any]:
    """A mapping; ``default: {}`` would be one object that Ansible fills for every VM alike."""
    return {"type": "dict", "apply_defaults": True, "options": options}


def part(**options: dict[str, Any]) -> dict[str, Any]:
    """A group within a list: Ansible would fill one and the same default for all items, and refuse its own nulls."""
    return {"type": "dict", "options": options}


def rows(**options: dict[str, Any]) -> dict[str, Any]:
    """A list of mappings."""
    return {"type": "list", "elements": "dict", "default": [], "options": options}


def text() -> dict[str, Any]:
    """A text that may stay unset."""
    return {"type": "str"}


def number(default: int | None = None) -> dict[str, Any]:
    """A whole number."""
    return {"type": "int"} if default is None else {"type": "int", "default": default}


def switch(default: bool) -> dict[str, Any]:
    """True or false."""
    return {"type": "bool", "default": default}


def choice(*choices: str) -> dict[str, Any]:
    """One of these texts, the first by default."""
    return {"type": "str", "choices": list(choices), "default": choices[0]}


# What may stay unset has no `choices` here: Ansible would hold the unset value against them. wish.py reads it strictly.
VM_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "template": {
        "type": "dict",
        "options": {name: text() for name in ("library", "item", "inventory", "vm", "snapshot")}
        | {name: {"type": "bool"} for name in ("linked", "accept_eula")},
    },
    "cpus": number(),
    "memory_mb": number(),
    "disks": rows(name=text(), size_gb=number(), provisioning=choice("lazy_zeroed", "eager_zeroed", "thin")),
    "networks": rows(network=text(), adapter=choice("vmxnet3")),
    "gpu": rows(
        # raw: a number is what YAML makes of an address or id without quotes, and the wish's reader says so
        mode={"type": "str", "choices": ["static", "dynamic", "vgpu"]},
        address={"type": "raw"},
        model=text(),
        vendor_id={"type": "raw"},
        device_id={"type": "raw"},
        label=text(),
        profile=text(),
    ),
    "placement": part(
        create_folder=switch(False),
        **{
            name: text()
            for name in (
                "datacenter",
                "folder",
                "cluster",
                "host",
                "resource_pool",
                "datastore",
                "datastore_cluster",
                "storage_policy",
                "drs",
                "ha",
            )
        },
    ),
    "customization": part(
        method=choice("cloud_init", "spec", "none"),
        hostname=text(),
        userdata={"type": "str", "no_log": True},
        metadata={"type": "dict", "default": {}},
        spec=text(),
        addresses=rows(address=text(), netmask=text(), gateway=text()),
        dns_servers={"type": "list", "elements": "str", "default": []},
        dns_suffixes={"type": "list", "elements": "str", "default": []},
        wait_seconds=number(1800),
    ),
    "tweaks": part(
        balloon=switch(False),
        page_sharing=switch(False),
        accel_3d=switch(False),
        reserve_memory=switch(True),
        data_controller=choice(*data_controller.TYPES),
        cores_per_socket=number(),
        cpu_shares=text(),
        cpu_limit_mhz=text(),
        cpu_reservation_mhz=number(),
        latency_sensitivity=text(),
        hardware_version=number(),
        firmware=text(),
        boot_controller=text(),
        extra_config={"type": "dict", "default": {}},
    ),
    "lifecycle": part(
        ttl_hours=number(24),
        power=choice("on", "off", "suspended"),
        power_cycle=choice("never", "allowed"),
        shutdown_seconds=number(wish.SHUTDOWN_SECONDS),
        wait_seconds=number(300),
        address_networks={"type": "list", "elements": "str", "default": []},
        after_case=choice(*after_case.POLICIES),
        snapshot=text(),
    ),
}
