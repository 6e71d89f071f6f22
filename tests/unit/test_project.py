# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's own promises: one place for each decision, and the places that must agree do."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.nanobanana.testbed.plugins.doc_fragments import vms as vms_fragment
from ansible_collections.nanobanana.testbed.plugins.doc_fragments import vsphere as vsphere_fragment
from ansible_collections.nanobanana.testbed.plugins.module_utils.argument_spec import vsphere_spec
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import (
    fleet_call,
    snapshot_call,
    vm_spec,
    vmx,
    wish,
)
from ansible_collections.nanobanana.testbed.plugins.modules import fleet, fleet_snapshot

ROOT = Path(__file__).parents[2]


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """What of an option's documentation must equal its spec."""
    keys = ("type", "required", "default", "choices", "elements")
    return {
        name: {key: option[key] for key in keys if key in option}
        | ({"options": documented(option["suboptions"])} if "suboptions" in option else {})
        for name, option in options.items()
    }


def specified(options: dict[str, Any]) -> dict[str, Any]:
    keys = ("type", "required", "default", "choices", "elements")
    return {
        name: {key: option[key] for key in keys if key in option}
        | ({"options": specified(option["options"])} if "options" in option else {})
        for name, option in options.items()
    }


def test_the_shared_options_are_documented_as_they_are() -> None:
    fragment = yaml.safe_load(vsphere_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert documented(fragment) == specified(vsphere_spec())


def test_the_options_of_fleet_are_documented_as_they_are() -> None:
    own = {name: option for name, option in fleet_call.argument_spec().items() if name not in vsphere_spec()}
    fragment = yaml.safe_load(vms_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert documented(yaml.safe_load(fleet.DOCUMENTATION)["options"] | fragment) == specified(own)


def test_the_options_of_fleet_snapshot_are_documented_as_they_are() -> None:
    own = {name: option for name, option in snapshot_call.argument_spec().items() if name not in vsphere_spec()}
    assert documented(yaml.safe_load(fleet_snapshot.DOCUMENTATION)["options"]) == specified(own)


def test_no_two_vms_share_a_default() -> None:
    """Ansible fills a default mapping in place: shared by two VMs, the second one's options would be refused."""
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

    params = {"owner": "o", "vms": [{"name": "a"}, {"name": "b"}], "vsphere_hostname": "h", "vsphere_username": "u"}
    checked = ArgumentSpecValidator(fleet_call.argument_spec()).validate(params | {"vsphere_password": "p"})
    assert checked.error_messages == []
    first, second = checked.validated_parameters["vms"]
    for name in ("placement", "customization", "tweaks", "lifecycle"):
        assert first[name] == second[name]
        assert first[name] is None or first[name] is not second[name]


def test_the_module_takes_the_fields_that_the_wish_reads() -> None:
    assert set(vm_spec.VM_SPEC) == {"name", *wish.FIELDS}


def test_every_key_that_fleet_writes_is_in_the_vmx_table() -> None:
    from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import compare

    raw = {"name": "a", "template": {"library": "l", "item": "i"}, "cpus": 1, "memory_mb": 4}
    wished = wish.parse_wishes([raw | {"customization": {"userdata": "x"}}])[0]
    assert set(compare.extra_config(wished)) <= set(vmx.BY_KEY)


def test_requirements_yml_names_what_the_ansible_package_carries() -> None:
    import ansible_collections

    folders = [Path(path) for path in ansible_collections.__path__]
    for wanted in yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]:
        name = wanted["name"].replace(".", "/")
        manifests = [folder / name / "MANIFEST.json" for folder in folders]
        found = next(json.loads(file.read_text()) for file in manifests if file.is_file())
        assert found["collection_info"]["version"] == wanted["version"], wanted["name"]


def test_the_development_lock_holds_what_the_runtime_lock_holds() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    assert pins("runtime.txt") <= pins("dev.txt")


def test_an_edited_module_is_what_runs() -> None:
    """The link of ADR 2: Ansible's own loader reads the file of this checkout, not a copy of it."""
    answer = subprocess.run(
        [sys.executable, "-m", "ansible", "doc", "-t", "module", "--json", "nanobanana.testbed.fleet"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(answer.stdout)["nanobanana.testbed.fleet"]["doc"]["filename"]
    assert Path(found).samefile(ROOT / "plugins/modules/fleet.py")
    assert Path(importlib.import_module(fleet.__name__).__file__ or "").samefile(found)


@pytest.mark.parametrize("file", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda file: str(file.name))
def test_a_playbook_is_a_list_of_verbs(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) < 45


def test_nothing_switches_errors_off() -> None:
    for folder in ("roles", "playbooks"):
        for file in (ROOT / folder).rglob("*.yml"):
            assert "ignore_errors" not in file.read_text(), file


def test_host_vars_of_a_scenario_are_linked() -> None:
    """Molecule takes only what is linked, and drops the rest in silence."""
    for folder in (ROOT / "molecule").glob("*/inventory/host_vars"):
        links = yaml.safe_load((folder.parents[1] / "molecule.yml").read_text())["provisioner"]["inventory"]["links"]
        assert links["host_vars"] == "inventory/host_vars", folder
