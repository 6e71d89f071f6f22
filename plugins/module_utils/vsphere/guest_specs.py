# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vCenter's customization specifications: found by name, fitted to one VM, and the events in which they end."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.nanobanana.testbed.plugins.module_utils.errors import (
    Problem,
    TestbedError,
    nearest,
    one_problem,
)
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.customization import Address, computer_name
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.faults import describe, meaning
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.sdk import vim, vmodl
from ansible_collections.nanobanana.testbed.plugins.module_utils.vsphere.wish import VmWish

# vCenter compares names of event types exactly, so each kind of failure is named.
ENDINGS = (
    "CustomizationSucceeded",
    "CustomizationFailed",
    "CustomizationLinuxIdentityFailed",
    "CustomizationNetworkSetupFailed",
    "CustomizationSysprepFailed",
    "CustomizationUnknownFailure",
)
LOGS = r"/var/log/vmware-imc/toolsDeployPkg.log (Linux) or C:\Windows\Temp\vmware-imc\guestcust.log (Windows)"


class GuestSpecs:
    """The specifications of one vCenter, each read once."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self._items: dict[str, Any] = {}
        self._computers: dict[str, str] = {}  # Windows computer name -> VM

    def fitted(self, wish: VmWish, cards: int) -> Any:
        """The specification of this VM, which has so many network cards; None where it is customized otherwise.

        Raises TestbedError (``bad_customization``) with everything that does not fit.
        """
        if wish.customization.method != "spec":
            return None
        item = self._item(wish)
        spec = copy.deepcopy(item.spec)
        problems = fit(wish, spec, cards)
        if isinstance(spec.identity, vim.vm.customization.Sysprep):
            computer = computer_name(wish.hostname)
            holder = self._computers.setdefault(computer.lower(), wish.name)
            if holder != wish.name:
                what, found = f"{wish.name}: vm_customization.hostname", f"'{computer}', as for {holder}"
                problems.append(Problem(what, "a Windows computer name of its own", found, "set another host name"))
        if problems:
            raise TestbedError("bad_customization", problems)
        return spec

    def _item(self, wish: VmWish) -> Any:
        name, manager = wish.customization.spec, self._content.customizationSpecManager
        if name not in self._items:
            try:
                self._items[name] = manager.GetCustomizationSpec(name)
            except vmodl.MethodFault as fault:
                missing = isinstance(fault, vim.fault.NotFound)
                hint = nearest(name, [info.name for info in manager.info or ()]) if missing else meaning(fault).advice
                found = f"none named '{name}'" if missing else describe(fault)
                what = f"{wish.name}: vm_customization.spec"
                expected = "an existing customization specification"
                raise one_problem("bad_customization", what, expected, found, hint) from fault
        return self._items[name]


def fit(wish: VmWish, spec: Any, cards: int) -> list[Problem]:
    """Write the wish's host name, addresses and name servers into the specification; what does not fit is told."""
    kinds, custom = vim.vm.customization, wish.customization
    problems = []
    if isinstance(spec.identity, kinds.LinuxPrep):
        spec.identity.hostName = kinds.FixedName(name=wish.hostname)
    elif isinstance(spec.identity, kinds.Sysprep):
        spec.identity.userData.computerName = kinds.FixedName(name=computer_name(wish.hostname))
    else:
        found = type(spec.identity).__name__.rsplit(".", 1)[-1]
        what = f"{wish.name}: vm_customization.spec"
        problems.append(Problem(what, "a specification for Linux or with Sysprep answers", found, "name another one"))
    if custom.dns_servers:
        spec.globalIPSettings.dnsServerList = list(custom.dns_servers)
    if custom.dns_suffixes:
        spec.globalIPSettings.dnsSuffixList = list(custom.dns_suffixes)
    return problems + _fit_cards(wish, spec, cards)


def _fit_cards(wish: VmWish, spec: Any, cards: int) -> list[Problem]:
    kinds, custom = vim.vm.customization, wish.customization
    problems = []
    mappings = list(spec.nicSettingMap or ())
    mappings += [
        kinds.AdapterMapping(adapter=kinds.IPSettings(ip=kinds.DhcpIpGenerator()))
        for address in custom.addresses[len(mappings) :]
        if address.address
    ]
    if len(mappings) != cards:
        found = f"{len(mappings)} cards in specification '{custom.spec}' and vm_customization.addresses"
        hint = "make the specification with as many cards, or set vm_networks"
        problems.append(Problem(f"{wish.name}: network cards", f"{cards}, as the VM has", found, hint))
    for index, mapping in enumerate(mappings):
        _set_address(mapping.adapter, custom.addresses[index] if index < len(custom.addresses) else Address())
        if custom.dns_servers:
            mapping.adapter.dnsServerList = list(custom.dns_servers)
        if isinstance(mapping.adapter.ip, (kinds.UnknownIpGenerator, kinds.CustomIpGenerator)):
            found = f"specification '{custom.spec}' asks for one"
            what = f"{wish.name}: vm_customization.addresses[{index}]"
            problems.append(Problem(what, "an address for this card", found, "set address and netmask"))
    spec.nicSettingMap = mappings
    return problems


def _set_address(adapter: Any, wish: Address) -> None:
    if not wish.address:
        return
    adapter.ip = vim.vm.customization.FixedIp(ipAddress=wish.address)
    adapter.subnetMask = wish.netmask
    adapter.gateway = [wish.gateway] if wish.gateway else []


def has_ended(content: Any, name: str, reference: Any) -> bool:
    """Whether the guest of this VM has been customized.

    Raises TestbedError (``customization_failed``) with the event's message when that failed.
    """
    of_this = vim.event.EventFilterSpec.ByEntity(entity=reference, recursion="self")
    events = content.eventManager.QueryEvents(vim.event.EventFilterSpec(entity=of_this, eventTypeId=list(ENDINGS)))
    last = max(events or (), key=lambda event: event.key, default=None)
    if last is None:
        return False
    if isinstance(last, vim.event.CustomizationFailed):
        kind = type(last).__name__.rsplit(".", 1)[-1]
        told = f"{kind}: {last.fullFormattedMessage or getattr(last, 'reason', '') or 'no message'}"
        hint = f"read {LOGS} in the guest, mend the specification, remove the VM and run again"
        raise one_problem("customization_failed", name, "the customization to succeed", told, hint)
    return True
