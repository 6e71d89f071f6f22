# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the list of wanted VMs; what Ansible accepts is in module_utils/vsphere/vm_spec.py."""

from __future__ import annotations


class ModuleDocFragment:
    """The option of every module that takes wishes."""

    DOCUMENTATION = r"""
options:
  vms:
    description:
      - The wanted VMs. An inventory writes each field as a variable with the prefix C(vm_), and
        P(nanobanana.testbed.wishes#filter) collects them.
      - With O(nanobanana.testbed.fleet#module:state=absent) only O(vms[].name) counts. With
        O(nanobanana.testbed.fleet#module:state=gathered) the rest may be left out; where it is given, it names the disks and
        says which address counts.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the VM, and host name of the guest unless O(vms[].customization.hostname) is set.
        type: str
        required: true
      template:
        description:
          - What the VM is made from, in exactly one of four forms. O(vms[].template.library) and O(vms[].template.item)
            together, O(vms[].template.inventory) alone, O(vms[].template.vm) alone for a full clone, or
            O(vms[].template.vm) with O(vms[].template.snapshot) and O(vms[].template.linked) for a linked clone.
          - A VM that was made from something else is an error and never made anew.
        type: dict
        suboptions:
          library:
            description: Name of the Content Library.
            type: str
          item:
            description:
              - Name of its item, of type vm-template or ovf. A vm-template is cloned.
              - An OVF item is deployed, and the wish is written into the VM before it is powered on for the first time. The
                networks of the package get the networks of O(vms[].networks) in their order, or those of the same name
                where O(vms[].networks) is empty; its disks go to the datastore of the placement, as the package has them.
              - Missing networks and license agreements are reported before anything is deployed. OVF properties and
                deployment options are left as the package has them.
            type: str
          accept_eula:
            description: Accept all license agreements of an OVF item. Needed when it has some; counts for OVF items only.
            type: bool
          inventory:
            description:
              - A template of the inventory, by name, by its path below the datacenter's VM folder, or by its whole path
                from the datacenter on (C(DC0/vm/templates/ubuntu)).
            type: str
          vm:
            description: A VM, named like O(vms[].template.inventory). It may be running; its guest data and MACs are not taken over.
            type: str
          snapshot:
            description: Name of the VM's snapshot that a linked clone builds on.
            type: str
          linked:
            description:
              - Make a linked clone, which shares the disks of the snapshot and holds only what differs. Its disks cannot
                grow, and the snapshot has to stay for as long as the clone lives.
            type: bool
      cpus:
        description: Number of virtual CPUs.
        type: int
      memory_mb:
        description: Memory in MB, a multiple of 4.
        type: int
      disks:
        description:
          - Data disks besides the template's own, at most 15, on a SCSI controller of their own (bus 1) of the type
            O(vms[].tweaks.data_controller). A disk grows and never shrinks.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the disk in results, unique within the VM.
            type: str
          size_gb:
            description: Size in GB.
            type: int
          provisioning:
            description: How the disk takes its space from the datastore.
            type: str
            choices: [lazy_zeroed, eager_zeroed, thin]
            default: lazy_zeroed
      networks:
        description: The complete list of network cards in order. An empty list keeps the template's cards.
        type: list
        elements: dict
        default: []
        suboptions:
          network:
            description: Name of the port group or network.
            type: str
          adapter:
            description: Type of the card.
            type: str
            choices: [vmxnet3]
            default: vmxnet3
      gpu:
        description:
          - The complete list of the VM's GPU devices. A device that is not in it is removed, and an empty list removes all.
          - A VM with GPUs needs O(vms[].tweaks.reserve_memory), and gets C(pciPassthru.use64bitMMIO) and
            C(pciPassthru.64bitMMIOSizeGB) for the sum of their memory, unless O(vms[].tweaks.extra_config) names them.
            That needs a template with EFI firmware. A host with free devices is chosen and never a device that another
            VM has, powered on or off.
          - Devices change only while the VM is powered off.
        type: list
        elements: dict
        default: []
        suboptions:
          mode:
            description:
              - V(static) passes one device of one host through (DirectPath I/O).
              - V(dynamic) lets vCenter take any device with these ids at power-on (Dynamic DirectPath I/O). It needs
                ESXi 7 and raises the VM's hardware version to 17 where it is lower.
              - V(vgpu) gives the VM a share of a device by an NVIDIA vGPU profile.
            type: str
            choices: [static, dynamic, vgpu]
          address:
            description: With O(vms[].gpu[].mode=static), the PCI address of the device in quotes, such as V("0000:3b:00.0").
            type: raw
          model:
            description:
              - With O(vms[].gpu[].mode=static) and instead of O(vms[].gpu[].address), any free device whose name has
                this word, such as V(A10). New VMs are spread over the hosts.
            type: str
          vendor_id:
            description: With O(vms[].gpu[].mode=dynamic), the PCI vendor as four hexadecimal digits in quotes, such as V("10de").
            type: raw
          device_id:
            description: With O(vms[].gpu[].mode=dynamic), the PCI device as four hexadecimal digits in quotes, such as V("2236").
            type: raw
          label:
            description: With O(vms[].gpu[].mode=dynamic), only devices with this hardware label.
            type: str
          profile:
            description: With O(vms[].gpu[].mode=vgpu), the profile, such as V(nvidia_a10-4c).
            type: str
      placement:
        description: Where the VM lives. What is not named is the only one there is.
        type: dict
        suboptions:
          datacenter:
            description: Name of the datacenter.
            type: str
          folder:
            description: Path of a folder below the datacenter's VM folder.
            type: str
          create_folder:
            description:
              - Whether O(vms[].placement.folder) and the folders above it are made when they do not exist. Nobody
                removes them again.
            type: bool
            default: false
          cluster:
            description: Name of the cluster.
            type: str
          host:
            description: Name of a host of the cluster; vCenter chooses one when it is not set.
            type: str
          resource_pool:
            description: Path of a resource pool below the cluster's.
            type: str
          datastore:
            description: Name of the datastore.
            type: str
          datastore_cluster:
            description:
              - Name of a datastore cluster, in place of O(vms[].placement.datastore). Its datastore with most free
                space is planned with. Where storage DRS is on, its recommendation at the time of the clone decides.
            type: str
          storage_policy:
            description:
              - Name of a VM storage policy, for the VM's own files and all of its disks. Not set leaves what they have.
              - A datastore that does not satisfy it is refused. Of a datastore cluster one that does is planned with.
            type: str
          drs:
            description:
              - What DRS does with this VM, in place of what it does with its cluster, V(disabled), V(manual),
                V(partially_automated) or V(fully_automated). V(inherit) takes such an override back.
              - Not set means V(disabled) for a VM with a device of static DirectPath, which DRS cannot move, and leaves
                other VMs as they are. Nothing is written where DRS is off.
            type: str
          ha:
            description:
              - With which priority HA restarts this VM, in place of its cluster's, V(disabled), V(lowest), V(low), V(medium),
                V(high) or V(highest). V(inherit) takes such an override back.
              - Not set means V(disabled) for a VM with a device of static DirectPath, which HA cannot start on another host,
                and leaves other VMs as they are. Nothing is written where HA is off.
            type: str
      customization:
        description: What the guest learns about itself at first boot.
        type: dict
        suboptions:
          method:
            description:
              - V(cloud_init) writes C(guestinfo.metadata) and C(guestinfo.userdata) for cloud-init's VMware data source.
              - V(spec) lets vCenter carry out a customization specification at first boot, and ends on its event.
              - V(none) tells the guest nothing.
            type: str
            choices: [cloud_init, spec, none]
            default: cloud_init
          hostname:
            description:
              - Host name of the guest when it is not the VM's name.
              - With a Windows specification, a name of more than 15 characters is cut and gets five digits that keep it
                unique.
            type: str
          userdata:
            description: User data for cloud-init as text. Readable by every process of the guest, so put no password in it.
            type: str
          metadata:
            description:
              - More cloud-init metadata. Instance id and host name are added.
              - Its C(network) is the guest's network configuration, in cloud-init's version 1 or 2, and is passed on as it is.
            type: dict
            default: {}
          spec:
            description:
              - Name of a customization specification of vCenter, for V(spec).
              - It is carried out once. Another name on a VM that exists is an error. Other options on such a VM change nothing.
            type: str
          addresses:
            description:
              - Static addresses in the order of the network cards, in place of what the specification says. An empty
                entry leaves that card to the specification.
            type: list
            elements: dict
            default: []
            suboptions:
              address:
                description: IPv4 address.
                type: str
              netmask:
                description: Its netmask.
                type: str
              gateway:
                description: Default gateway.
                type: str
          dns_servers:
            description: Name servers, in place of the specification's.
            type: list
            elements: str
            default: []
          dns_suffixes:
            description: Domains to search, in place of the specification's.
            type: list
            elements: str
            default: []
          wait_seconds:
            description: How long the end of a specification is waited for, once the VM is on.
            type: int
            default: 1800
      tweaks:
        description: Settings that GPU inference needs.
        type: dict
        suboptions:
          balloon:
            description: Whether ESXi may take memory back by the balloon driver. Off needs O(vms[].tweaks.reserve_memory).
            type: bool
            default: false
          page_sharing:
            description: Whether ESXi may share equal pages of the VM.
            type: bool
            default: false
          accel_3d:
            description: Whether the console may use 3D acceleration.
            type: bool
            default: false
          reserve_memory:
            description: Whether all memory is reserved and locked. V(false) takes a full reservation back.
            type: bool
            default: true
          data_controller:
            description:
              - Type of the SCSI controller of O(vms[].disks). V(lsilogic_sas) is for guests without a driver for
                V(pvscsi), which Windows has of itself from Server 2022 on and before that by VMware Tools, and for
                comparisons. Whether the guest has the driver is not checked.
              - The type changes only while the VM is powered off. The disks keep their units, contents and UUIDs. It is not
                changed where other disks share the bus. The boot disk's controller stays in any case.
            type: str
            choices: [pvscsi, lsilogic, lsilogic_sas]
            default: pvscsi
          cores_per_socket:
            description: Cores of one virtual socket, a divisor of O(vms[].cpus). Not set leaves what the template has.
            type: int
          cpu_shares:
            description:
              - V(low), V(normal), V(high) or a number of shares, which count when VMs compete for CPU time. Takes effect at
                once. Not set leaves what the template has.
            type: str
          cpu_limit_mhz:
            description: V(unlimited), or the most MHz that the VM gets. Takes effect at once. Not set leaves what the template has.
            type: str
          cpu_reservation_mhz:
            description: MHz that the host keeps for the VM. Takes effect at once. Not set leaves what the template has.
            type: int
          latency_sensitivity:
            description:
              - V(high) gives the VM's CPUs cores of their own. It demands O(vms[].tweaks.reserve_memory), no CPU limit and an
                O(vms[].tweaks.cpu_reservation_mhz) of at least O(vms[].cpus) times the MHz of a core of each host where the
                VM may run.
              - V(normal) or V(high).
            type: str
          hardware_version:
            description:
              - Virtual hardware, such as V(20) for ESXi 8.0 or V(21) for ESXi 8.0 U2. A VM that is off is upgraded; an older
                version than it has, or a newer one than the hosts run, is refused. Not set leaves what the template has.
              - One of 10, 11, 13, 14, 15, 17, 18, 19, 20, 21 and 22.
            type: int
          firmware:
            description:
              - What the template has to be installed with, V(bios) or V(efi).
              - Checked and never changed, because its guest would not boot.
            type: str
          boot_controller:
            description:
              - On what the boot disk has to hang, V(pvscsi), V(lsilogic), V(lsilogic_sas), V(buslogic), V(nvme), V(sata) or
                V(ide).
              - Checked and never swapped, because the guest may lack the driver.
            type: str
          extra_config:
            description:
              - More VMX keys, written as they are. One that is taken out of the list again is removed from the VM, and so is
                one whose value is empty. Keys that ESXi rewrites by itself, such as C(numa.autosize.cookie), are not compared.
            type: dict
            default: {}
      lifecycle:
        description: How long the VM is kept and in which power state.
        type: dict
        suboptions:
          ttl_hours:
            description: Hours after which the VM may be reaped, counted from its making.
            type: int
            default: 24
          power:
            description:
              - Wanted power state. V(suspended) is refused for a VM with a DirectPath device, and for one with a vGPU whose
                host does not support it.
            type: str
            choices: ["on", "off", suspended]
            default: "on"
          power_cycle:
            description:
              - Whether a running VM may be shut down and powered on again for a change that it cannot take while it runs.
                V(never) refuses such a change before anything is changed.
            type: str
            choices: [never, allowed]
            default: never
          shutdown_seconds:
            description:
              - How long a guest with VMware Tools may take to shut down, before it is switched off. V(0) switches it off at
                once. Counts for every power-off, also with O(nanobanana.testbed.fleet#module:state=absent) and
                O(nanobanana.testbed.fleet#module:state=rebooted).
            type: int
            default: 60
          wait_seconds:
            description: How long a routable address is waited for after power-on, in seconds; 0 waits for none.
            type: int
            default: 300
          address_networks:
            description: Networks in which the address has to lie, for VMs with several cards. Any routable address when empty.
            type: list
            elements: str
            default: []
          after_case:
            description:
              - In which state C(playbooks/after_case.yml) leaves the VM after a test case. This module does nothing with it.
              - V(auto) is V(power_off) for a VM with GPUs, and V(keep) for others.
              - V(suspend) and V(revert) are refused for a VM with a DirectPath device, and for one with a vGPU whose host
                does not support it. V(revert) goes back to O(vms[].lifecycle.snapshot).
            type: str
            choices: [auto, keep, power_off, suspend, revert]
            default: auto
          snapshot:
            description: Name of the snapshot for V(revert). M(nanobanana.testbed.fleet_snapshot) takes it.
            type: str
"""
