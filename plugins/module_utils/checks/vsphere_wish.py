# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of the platform gate that concern one wished VM, before it is made."""

from __future__ import annotations

from functools import partial
from typing import Dict, Mapping, Optional, Sequence

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import Problem
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import (
    HostLimits,
    check_hosts,
    release,
)

from .data import vsphere as data
from .result import FAILED, NOT_APPLICABLE, PASSED, WARNED, Fix, Outcome, Probe
from .vsphere_facts import Site
from .vsphere_server import listed, refused


def recommended(hosts: Sequence[HostLimits]) -> int:
    """The hardware version for a VM on any of these hosts where nobody wishes for one; 0 where they are too old."""
    least = min((host.hardware_version for host in hosts), default=0)
    return next((version for version in data.RECOMMENDED_HARDWARE if version <= least), 0)


def placement(site: Site) -> Outcome:
    """Datacenter, folder, cluster, host, resource pool and datastore."""
    if site.placement:
        return refused(site.placement)
    wished = site.wish.placement
    words = [wished.datacenter, wished.folder, wished.cluster or wished.host, wished.datastore]
    return Outcome(PASSED, "an existing place", " / ".join(word for word in words if word) or "the only one there is")


def port_groups(site: Site) -> Outcome:
    """Every network of the wish."""
    names = [network.network for network in site.wish.networks]
    if not names:
        return Outcome(NOT_APPLICABLE, detail="vm_networks is empty: the template's cards stay as they are")
    return refused(site.networks) if site.networks else Outcome(PASSED, listed(names), "all of them")


def library_item(site: Site) -> Outcome:
    """The source of the VM; one that exists needs it no more, so that only a warning is due."""
    source = str(site.wish.template)
    if not site.template:
        return Outcome(PASSED, source, "there")
    if site.exists:
        outcome = refused(site.template, WARNED)
        detail = f"the VM exists, but could not be made again from {source}"
        return Outcome(WARNED, outcome.expected, outcome.actual, detail, outcome.evidence, fix=outcome.fix)
    return refused(site.template)


def library_current(site: Site) -> Outcome:
    """Whether a subscribed library holds what its publisher has; a local library's item is always its own newest."""
    item = site.item
    if item is None:
        return Outcome(NOT_APPLICABLE, detail=f"{site.wish.template} is no item of a Content Library")
    what = f"item '{item.name}' of library '{item.library}'"
    evidence = {"library": item.library, "item": item.name, "type": item.kind}
    if not item.subscribed:
        return Outcome(PASSED, f"the present {what}", "a local library, which is its own source", evidence=evidence)
    if not item.synced:
        return Outcome(FAILED, f"{what} in step with its source", "never synchronized", "it may be empty", evidence)
    if not item.cached:
        detail = "the first clone has to fetch it from the publisher"
        return Outcome(WARNED, f"the content of {what}", "its description only", detail, evidence)
    if not item.automatic:
        detail = "the library is not synchronized automatically, so nobody sees a newer item"
        return Outcome(WARNED, f"{what} in step with its source", "synchronized by hand", detail, evidence)
    return Outcome(PASSED, f"{what} in step with its source", "synchronized automatically", evidence=evidence)


def hardware_version(site: Site) -> Outcome:
    """Whether every host that may run the VM knows the wished version."""
    wished = site.wish.tweaks.hardware.hardware_version
    if wished is None:
        return Outcome(NOT_APPLICABLE, detail="no vm_tweaks.hardware_version is wished; the template's is taken")
    bad = _of(site, "vm_tweaks.hardware_version")
    if bad:
        return refused(bad)
    newest = max((host.hardware_version for host in site.hosts), default=0)
    return Outcome(PASSED, f"{wished} ({release(wished)})", f"hosts that run up to {newest}")


def latency(site: Site) -> Outcome:
    """The reservation that a high latency sensitivity demands on each host that may run the VM."""
    if site.wish.tweaks.hardware.latency_sensitivity != "high":
        return Outcome(NOT_APPLICABLE, detail="no high latency_sensitivity is wished")
    bad = _of(site, "vm_tweaks.cpu_reservation_mhz")
    reserved = f"{site.wish.tweaks.hardware.cpu_reservation_mhz} MHz reserved"
    return refused(bad) if bad else Outcome(PASSED, "all of its CPUs' MHz reserved", reserved)


def _of(site: Site, option: str) -> Sequence[Problem]:
    found = check_hosts(site.wish.name, site.wish.tweaks.hardware, site.wish.cpus, site.hosts)
    return [problem for problem in found if problem.what.endswith(option)]


def gpu_host(site: Site) -> Outcome:
    """Whether a host has the devices and is ready for the mode, whoever holds them now."""
    return _gpus(site, site.gpu_host, "on a host that is ready for the mode")


def gpu(site: Site) -> Outcome:
    """Whether the devices are free for this VM when all VMs of the list get theirs."""
    return _gpus(site, site.gpu, "free, or this VM's already")


def _gpus(site: Site, problems: Sequence[Problem], found: str) -> Outcome:
    if not site.wish.gpu:
        return Outcome(NOT_APPLICABLE, detail="no GPU is wished (vm_gpu)")
    return refused(problems) if problems else Outcome(PASSED, listed([str(wish) for wish in site.wish.gpu]), found)


def probes(site: Optional[Site]) -> Mapping[str, Probe]:
    """The probe of each check; ``site`` is None where there is no session, and then all of them are blocked."""
    if site is None:
        return dict.fromkeys(_ASKED, _never)
    found: Dict[str, Probe] = {name: partial(probe, site) for name, probe in _ASKED.items()}
    return found


def _never() -> Outcome:
    return Outcome(FAILED, detail="it was asked without a session", fix=Fix("Report this."))


_ASKED = {
    "wish.placement": placement,
    "network.port_group": port_groups,
    "library.item": library_item,
    "library.current": library_current,
    "wish.hardware_version": hardware_version,
    "wish.latency": latency,
    "wish.gpu_host": gpu_host,
    "wish.gpu": gpu,
}
