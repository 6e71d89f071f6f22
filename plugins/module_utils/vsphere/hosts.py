# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a cluster can run, asked of vCenter only when a wish depends on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware import Hardware, HostLimits
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.hardware_spec import version_number
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.lookup import retrieve, unquote
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.passthrough import SharedGpu, capabilities
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.placement import Place
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim


def needs_hosts(hardware: Hardware) -> bool:
    """Whether the hosts decide if this wish can be."""
    return hardware.hardware_version is not None or hardware.latency_sensitivity == "high"


def shared_gpus(instance: Any, hosts: Iterable[str]) -> dict[str, dict[str, SharedGpu]]:
    """What the vGPU profiles of these hosts, named by their ids, can do."""
    # pyVmomi offers no public way from an id to an object
    references = [vim.HostSystem(host, instance._stub) for host in sorted(set(hosts)) if host]
    properties = "config.sharedGpuCapabilities"
    return {
        reference._moId: capabilities(values.get(properties))
        for reference, values in retrieve(instance.content, vim.HostSystem, references, [properties])
    }


class HostBook:
    """Limits of hosts, read once for each cluster."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self._clusters: dict[str, dict[str, HostLimits]] = {}

    def candidates(self, place: Place) -> list[HostLimits]:
        """The hosts on which a VM of this placement may run: the named one, else all of the cluster."""
        pool = next(retrieve(self._content, vim.ResourcePool, [place.pool], ["owner"]), None)
        if pool is None:
            return []
        return self.of_cluster(pool[1]["owner"], place)

    def of_cluster(self, cluster: Any, place: Place) -> list[HostLimits]:
        """The same where the pool's cluster is known."""
        if cluster._moId not in self._clusters:
            self._clusters[cluster._moId] = self._read(cluster)
        hosts = self._clusters[cluster._moId]
        if place.host is not None:
            return [limits for key, limits in hosts.items() if key == place.host._moId]
        return list(hosts.values())

    def _read(self, cluster: Any) -> dict[str, HostLimits]:
        """By the id of the host; the cluster's environment browser knows which versions each host runs."""
        versions: dict[str, int] = {}
        for option in cluster.environmentBrowser.QueryConfigOptionDescriptor() or ():
            for host in option.host or ():
                versions[host._moId] = max(versions.get(host._moId, 0), version_number(option.key))
        properties = ["name", "summary.hardware.cpuMhz"]
        return {
            reference._moId: HostLimits(
                unquote(values["name"]), versions.get(reference._moId, 0), values.get("summary.hardware.cpuMhz") or 0
            )
            for reference, values in retrieve(self._content, vim.HostSystem, cluster.host, properties)
        }
