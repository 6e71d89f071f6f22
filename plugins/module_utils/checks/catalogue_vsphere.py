# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of the platform gate and the machine gate, which ask vCenter; the probes are in vsphere_*.py."""

from __future__ import annotations

from typing import Tuple

from .orders import PROVISION, VM_ANEW
from .result import Check, Fix

# {cycle} is empty, or the option that allows fleet to power this VM off and on: with the whole vm_lifecycle of its
# wish, because an extra variable replaces the inventory's mapping.
CYCLE = PROVISION + "{cycle}"
# Asked as the host, whose variables hold the connection; the module runs on the control node, by the Python of Ansible.
_HERE = "-e ansible_connection=local -e 'ansible_python_interpreter={{ ansible_playbook_python }}'"
FLEET = "ansible {name} " + _HERE + " -m nanobanana.testbed."
ROLE = (
    "ansible-playbook playbooks/vcenter_role.yml -e vsphere_username=ADMINISTRATOR "
    '-e "vcenter_role_principal={principal}"'
)

LOGIN = Check(
    "vcenter.login",
    "platform",
    "vCenter answers and takes the login",
    Fix("Mend what the reason names; the connection is in group_vars/all of the inventory."),
)

# Asked once, of the vCenter.
VCENTER: Tuple[Check, ...] = (
    LOGIN,
    Check(
        "vcenter.version",
        "platform",
        "vCenter is 7.0 U3 or newer",
        Fix("Upgrade vCenter, or name another one in vsphere_hostname."),
        needs=("vcenter.login",),
    ),
    Check(
        "vcenter.build",
        "platform",
        "vCenter's build is that of a release",
        Fix("Upgrade vCenter to a released build of its version (VAMI, Update)."),
        needs=("vcenter.version",),
    ),
    Check(
        "vcenter.clock",
        "platform",
        "vCenter's clock agrees with the control node's",
        Fix("Point both to the same time server: in vCenter at VAMI, Time; here: timedatectl set-ntp true"),
        needs=("vcenter.login",),
    ),
    Check(
        "vcenter.privileges",
        "platform",
        "The login holds the privileges that the wishes need",
        Fix(f"Grant the role as an administrator: {ROLE}"),
        needs=("vcenter.login",),
    ),
    Check(
        "host.version",
        "platform",
        "The hosts are usable and run an ESXi that suits",
        Fix("Bring the host back, upgrade it, or name other hosts in vm_placement."),
        needs=("vcenter.login",),
    ),
    Check(
        "datastore.space",
        "platform",
        "The datastores have room for what is to be made",
        Fix("Free space there, make disks thin in vm_disks, or name another datastore in vm_placement."),
        needs=("vcenter.login",),
    ),
    Check(
        "cluster.memory",
        "platform",
        "The cluster can reserve the memory of what is to be made",
        Fix("Power off VMs there, ask for less vm_memory_mb, or name another cluster in vm_placement."),
        needs=("vcenter.login",),
    ),
)

# Asked for each wished VM, before anything is made.
WISH: Tuple[Check, ...] = (
    Check(
        "wish.placement",
        "platform",
        "What vm_placement names is there",
        Fix("Correct vm_placement."),
        needs=("vcenter.login",),
    ),
    Check(
        "network.port_group",
        "platform",
        "The port groups of vm_networks are there",
        Fix("Correct vm_networks, or make the port group."),
        needs=("wish.placement",),
    ),
    Check(
        "library.item",
        "platform",
        "The template of the VM is there",
        Fix("Correct vm_template, or put the template there."),
        needs=("wish.placement",),
    ),
    Check(
        "library.current",
        "platform",
        "The library holds the item's present content",
        Fix(
            "Synchronize the item in the vSphere Client (Content Libraries), or the whole library with automatic sync."
        ),
        needs=("library.item",),
    ),
    Check(
        "wish.hardware_version",
        "platform",
        "The hosts can run the wished hardware version",
        Fix("Lower vm_tweaks.hardware_version, or name a newer host in vm_placement.host."),
        needs=("wish.placement",),
    ),
    Check(
        "wish.latency",
        "platform",
        "The reserved CPU suffices for the wished latency sensitivity",
        Fix("Raise vm_tweaks.cpu_reservation_mhz, or set latency_sensitivity to normal."),
        needs=("wish.placement",),
    ),
    Check(
        "wish.gpu_host",
        "platform",
        "A host has the wished GPUs, ready for their mode",
        Fix("Make the host ready for the mode of vm_gpu, or wish for what there is."),
        needs=("wish.placement",),
    ),
    Check(
        "wish.gpu",
        "platform",
        "The wished GPUs are free",
        Fix("Remove a VM that holds one, or wish for fewer in vm_gpu."),
        needs=("wish.gpu_host",),
    ),
)

PLATFORM: Tuple[Check, ...] = VCENTER + WISH

_HOT = Fix("Let fleet set it again; the VM goes on running.", PROVISION, automatic=True)
_COLD = Fix("Let fleet set it again, for which the VM is shut down and started.", CYCLE)
_OWN = ("vm.owner",)

# Asked for each VM that was made, before its guest is touched.
MACHINE: Tuple[Check, ...] = (
    Check(
        "vm.exists",
        "machine",
        "The VM exists",
        Fix("Make it.", PROVISION),
    ),
    Check(
        "vm.owner",
        "machine",
        "The VM is this inventory's own",
        Fix("Rename the host in the inventory, or remove that VM by hand if it is really yours."),
        needs=("vm.exists",),
    ),
    Check("vm.power", "machine", "The VM is in the wished power state", Fix("Bring it there.", PROVISION), needs=_OWN),
    Check("vm.size", "machine", "The VM has the wished CPUs and memory", _COLD, needs=_OWN),
    Check("vm.hardware_version", "machine", "The hardware version suffices", _COLD, needs=_OWN),
    Check(
        "vm.firmware",
        "machine",
        "The firmware is the wished one, and EFI where GPUs need it",
        Fix("Use a template that was installed with it (vm_template): a guest does not boot under another firmware."),
        needs=_OWN,
    ),
    Check("vm.accel_3d", "machine", "3D acceleration is off", _COLD, needs=_OWN),
    Check("vm.balloon", "machine", "The memory balloon is off", _COLD, needs=_OWN),
    Check("vm.page_sharing", "machine", "Page sharing is off", _COLD, needs=_OWN),
    Check("vm.memory_reserved", "machine", "All memory is reserved", _HOT, needs=_OWN),
    Check(
        "vm.memory_limit",
        "machine",
        "The memory has no limit",
        Fix(
            "Set the limit to Unlimited in the vSphere Client (Edit Settings, Memory, Limit), or make the VM anew, "
            "which removes what is on it.",
            VM_ANEW,
        ),
        needs=_OWN,
    ),
    Check(
        "vm.memory_locked",
        "machine",
        "The memory is locked to its reservation",
        _HOT,
        needs=("vm.memory_reserved",),
    ),
    Check(
        "vm.memory_reclaimed",
        "machine",
        "The host has taken no memory away from the guest",
        Fix(
            "Restart the VM, which gets its memory back with all of it reserved.",
            FLEET + 'fleet -a \'{"state": "rebooted", "owner": "{owner}", "vms": [{"name": "{name}"}]}\'',
        ),
        needs=_OWN,
    ),
    Check("vm.cpu_shares", "machine", "CPU shares and limit are as wished", _HOT, needs=_OWN),
    Check(
        "vm.data_controller",
        "machine",
        "The data disks are there, on a controller of the wished type",
        _COLD,
        needs=_OWN,
    ),
    Check("vm.nic", "machine", "The network cards are the wished ones", _HOT, needs=_OWN),
    Check("vm.gpu", "machine", "The VM has the wished GPUs, and nobody else has them", _COLD, needs=_OWN),
    Check(
        "vm.gpu_host",
        "machine",
        "The GPUs are on the VM's host, and ready for their mode",
        Fix("Make the host ready for the mode of vm_gpu."),
        needs=("vm.gpu",),
    ),
    Check("vm.mmio", "machine", "The guest can map the memory of its GPUs", _COLD, needs=("vm.gpu",)),
    Check(
        "vm.snapshots",
        "machine",
        "A VM with a passed-through GPU has no snapshot",
        Fix(
            "Remove the snapshots; what they hold is merged into the disks.",
            FLEET + "fleet_snapshot -a 'state=absent all=true owner={owner} vms={name}'",
        ),
        needs=_OWN,
    ),
)
