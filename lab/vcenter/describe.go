// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// describe is the VM as the guest driver needs to know it. The caller holds the VM's lock.
func (l *lab) describe(vm *simulator.VirtualMachine) guestVM {
	m, config := l.machine(vm.Self), vm.Config
	guest := guestVM{
		Moid: vm.Self.Value, Name: vm.Name, UUID: config.Uuid, InstanceUUID: config.InstanceUuid,
		Template: m.template, GuestID: config.GuestId, CPUs: config.Hardware.NumCPU, CoresPerSocket: 1,
		MemoryMB: config.Hardware.MemoryMB, Firmware: config.Firmware, BootOrder: bootOrder(config.BootOptions),
		GuestInfo: map[string]string{}, Disks: []guestDisk{}, NICs: []guestNIC{},
	}
	if cores := config.Hardware.NumCoresPerSocket; cores != nil && *cores > 0 {
		guest.CoresPerSocket = *cores
	}
	for _, option := range config.ExtraConfig {
		key, value := option.GetOptionValue().Key, fmt.Sprint(option.GetOptionValue().Value)
		if strings.HasPrefix(key, guestInfoPrefix) {
			guest.GuestInfo[key] = value
		}
		guest.EnableUUID = guest.EnableUUID || strings.EqualFold(key, "disk.EnableUUID") && strings.EqualFold(value, "TRUE")
	}
	devices := object.VirtualDeviceList(config.Hardware.Device)
	for _, known := range devices {
		switch device := known.(type) {
		case *types.VirtualDisk:
			guest.Disks = append(guest.Disks, describeDisk(devices, device, m.origin[device.Key]))
		case types.BaseVirtualEthernetCard:
			card := device.GetVirtualEthernetCard()
			kind := strings.ToLower(strings.TrimPrefix(devices.TypeName(known), "Virtual"))
			guest.NICs = append(guest.NICs, guestNIC{
				Key: card.Key, MAC: card.MacAddress, Network: l.networkOf(card), Type: kind,
			})
		}
	}
	return guest
}

func describeDisk(devices object.VirtualDeviceList, device *types.VirtualDisk, origin bool) guestDisk {
	disk := guestDisk{Key: device.Key, SizeKB: device.CapacityInKB, ControllerKey: device.ControllerKey, Origin: origin}
	if device.UnitNumber != nil {
		disk.Unit = *device.UnitNumber
	}
	if found := devices.FindByKey(device.ControllerKey); found != nil {
		disk.Controller = devices.Type(found)
		if controller, ok := found.(types.BaseVirtualController); ok {
			disk.Bus = controller.GetVirtualController().BusNumber
		}
	}
	if backing, ok := device.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
		disk.UUID = backing.Uuid
	}
	return disk
}

func bootOrder(options *types.VirtualMachineBootOptions) []string {
	order := []string{}
	if options == nil {
		return order
	}
	for _, device := range options.BootOrder {
		switch device := device.(type) {
		case *types.VirtualMachineBootOptionsBootableDiskDevice:
			order = append(order, fmt.Sprintf("disk:%d", device.DeviceKey))
		case *types.VirtualMachineBootOptionsBootableEthernetDevice:
			order = append(order, fmt.Sprintf("ethernet:%d", device.DeviceKey))
		case *types.VirtualMachineBootOptionsBootableCdromDevice:
			order = append(order, "cdrom")
		}
	}
	return order
}

// diskKeys are those of a VM's disks, in ascending order.
func diskKeys(vm *simulator.VirtualMachine) []int32 {
	var keys []int32
	for _, device := range vm.Config.Hardware.Device {
		if disk, ok := device.(*types.VirtualDisk); ok {
			keys = append(keys, disk.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (l *lab) networkOf(card *types.VirtualEthernetCard) string {
	switch backing := card.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		return backing.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		ref := types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: backing.Port.PortgroupKey}
		if portgroup, ok := l.registry.Get(ref).(*simulator.DistributedVirtualPortgroup); ok {
			return portgroup.Name
		}
	}
	return ""
}
