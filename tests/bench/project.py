# SPDX-License-Identifier: GPL-3.0-or-later
"""The same wish written for both: an inventory and a playbook for fleet, and for community.vmware.vmware_guest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import compare, vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import parse_wishes

OWNER = "bench"
LIBRARY, TEMPLATE, TEMPLATE_DISK_GB = "nano-banana", "nano-banana-baseline-template", 40
PLACEMENT = {"datacenter": "DC0", "folder": "nano-banana", "cluster": "gpu-cluster", "datastore": "vmfs-01"}
CPUS, MEMORY_MB, DATA_DISK_GB = 2, 512, 1
USERDATA = "#cloud-config\nmanage_etc_hosts: true\n"


def names(count: int) -> list[str]:
    """Host names, which are the VMs' names."""
    return [f"bench-{number:04}" for number in range(1, count + 1)]


def fields(note: str) -> dict[str, Any]:
    """The wish without its name; ``note`` is what the changed wish changes, in one VMX key (guestinfo.metadata)."""
    return {
        "template": {"library": LIBRARY, "item": TEMPLATE},
        "cpus": CPUS,
        "memory_mb": MEMORY_MB,
        "disks": [{"name": "data", "size_gb": DATA_DISK_GB}],
        "placement": PLACEMENT,
        "customization": {"userdata": USERDATA, "metadata": {"note": note}},
        "lifecycle": {"wait_seconds": 0},
    }


def wishes(count: int, note: str = "first") -> list[dict[str, Any]]:
    """The wishes as fleet's option ``vms`` takes them."""
    return [{"name": name} | fields(note) for name in names(count)]


def settings(count: int, note: str) -> dict[str, dict[str, str]]:
    """Every VMX key that fleet writes into each VM, the owner's marks included, for the other module."""
    marks = {
        vmx.OWNER: OWNER,
        vmx.RUN: "manual",
        vmx.EXPIRES: "2099-01-01T00:00:00Z",
        vmx.TEMPLATE: f"{LIBRARY}/{TEMPLATE}",
    }
    return {wish.name: compare.extra_config(wish) | marks for wish in parse_wishes(wishes(count, note))}


FLEET_PLAY = [
    {
        "name": "Make vCenter match the wish",
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {
                "name": "fleet",
                "nanobanana.testbed.fleet": {
                    "owner": OWNER,
                    "state": "{{ bench_state | default('present') }}",
                    "all_owned": "{{ bench_state | default('present') == 'absent' }}",
                    "vms": "{{ groups.bench | nanobanana.testbed.wishes(hostvars) }}",
                },
            }
        ],
    }
]


def _peer_disk(size_gb: int, kind: str, controller: int) -> dict[str, Any]:
    return {
        "size_gb": size_gb,
        "type": kind,
        "datastore": PLACEMENT["datastore"],
        "controller_type": "paravirtual",
        "controller_number": controller,
        "unit_number": 0,
    }


PEER_PLAY = [
    {
        "name": "Make vCenter match the wish",
        "hosts": "bench",
        "gather_facts": False,
        "strategy": "free",
        "tasks": [
            {
                "name": "vmware_guest",
                "community.vmware.vmware_guest": {
                    "name": "{{ inventory_hostname }}",
                    "state": "{{ peer_state }}",
                    "template": TEMPLATE,
                    "datacenter": PLACEMENT["datacenter"],
                    "folder": f"/{PLACEMENT['datacenter']}/vm/{PLACEMENT['folder']}",
                    "cluster": PLACEMENT["cluster"],
                    "datastore": PLACEMENT["datastore"],
                    "hardware": {
                        "num_cpus": CPUS,
                        "memory_mb": MEMORY_MB,
                        "memory_reservation_lock": True,
                    },
                    "disk": [_peer_disk(TEMPLATE_DISK_GB, "thin", 0), _peer_disk(DATA_DISK_GB, "thick", 1)],
                    "advanced_settings": "{{ peer_settings }}",
                    "wait_for_ip_address": False,
                },
            }
        ],
    }
]
NOTHING_PLAY = [
    {"name": "Nothing", "hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]}
]


@dataclass(frozen=True)
class Project:
    """A folder with everything that the measured commands read."""

    folder: Path
    shared: dict[str, Any]

    @classmethod
    def write(cls, folder: Path, vcenter: dict[str, Any], password: str, python: str) -> Project:
        """Write the playbooks; ``vcenter`` is the part of lab.json."""
        shared = {
            "ansible_connection": "local",
            "ansible_python_interpreter": python,
            "vsphere_hostname": vcenter["hostname"],
            "vsphere_port": vcenter["port"],
            "vsphere_username": vcenter["username"],
            "vsphere_password": password,
            "vsphere_ca_file": vcenter["ca_file"],
        }
        project = cls(folder, shared)
        for name, play in (("fleet", FLEET_PLAY), ("peer", PEER_PLAY), ("nothing", NOTHING_PLAY)):
            project.playbook(name).write_text(yaml.safe_dump(play, sort_keys=False))
        return project

    def playbook(self, name: str) -> Path:
        """One of ``fleet``, ``peer`` and ``nothing``."""
        return self.folder / f"{name}.yml"

    def inventory(self, kind: str, count: int, note: str = "first") -> Path:
        """An inventory of its own for each number of VMs and each wish, so that nobody reads more than his part."""
        folder = self.folder / f"{kind}-{count}-{note}"
        (folder / "group_vars").mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(f"[bench]\nbench-[0001:{count:04}]\n" if count else "[bench]\n")
        (folder / "group_vars/all.json").write_text(json.dumps(self.shared))
        if kind == "fleet":
            wish = {f"vm_{field}": value for field, value in fields(note).items()}
            (folder / "group_vars/bench.json").write_text(json.dumps(wish))
            return folder
        (folder / "host_vars").mkdir(exist_ok=True)
        for name, keys in settings(count, note).items():
            rows = [{"key": key, "value": value} for key, value in keys.items()]
            (folder / "host_vars" / f"{name}.json").write_text(json.dumps({"peer_settings": rows}))
        return folder
