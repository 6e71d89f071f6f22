# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the VMs of an owner to hosts, variables and groups. Pure; used by the inventory plugin ``owned``."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere import vmx
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.model import VmActual, routable
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.ownership import expiry

# Not vm_*: those are the wish, and fleet refuses the ones that it does not know.
PREFIX = "testbed_"
_POWER = {"poweredOn": "power_on", "poweredOff": "power_off", "suspended": "power_suspended"}


def host_variables(actual: VmActual, now: datetime.datetime, networks: Iterable[str] = ()) -> dict[str, Any]:
    """What the inventory tells of one VM; ``ansible_host`` only where the VM has a routable address."""
    address = routable(actual.addresses, networks)
    marks = actual.extra_config
    told = {
        "address": address,
        "moid": actual.moid,
        "instance_uuid": actual.instance_uuid,
        "power": actual.power,
        "owner": actual.owner,
        "run": marks.get(vmx.RUN, ""),
        "template": marks.get(vmx.TEMPLATE, ""),
        "wish": marks.get(vmx.WISH, ""),
        "expires": marks.get(vmx.EXPIRES, ""),
        "expired": expiry(actual, now).expired,
    }
    variables = {PREFIX + name: value for name, value in told.items()}
    return variables | ({"ansible_host": address} if address else {})


def group_names(variables: Mapping[str, Any], environments: Mapping[str, str]) -> list[str]:
    """The groups of a host: environments made from its template, template, run, power state, and ``expired``."""
    template, run = variables["testbed_template"], variables["testbed_run"]
    names = [name for name, item in environments.items() if item == template]
    if template:
        names.append("template_" + template.split("/", 1)[-1])
    if run:
        names.append(f"run_{run}")
    names.append(_POWER.get(variables["testbed_power"], "power_unknown"))
    return names + (["expired"] if variables["testbed_expired"] else [])
