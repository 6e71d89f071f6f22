// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// completeNewborn sets what the simulator leaves empty and what typed clients cannot read when it is empty.
func completeNewborn(vm *simulator.VirtualMachine) {
	no, yes := false, true
	vm.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateNotConfigured
	vm.Runtime.RecordReplayState = types.VirtualMachineRecordReplayStateInactive
	vm.Runtime.CleanPowerOff = &yes
	vm.Summary.Runtime = vm.Runtime
	vm.AlarmActionsEnabled = &yes
	vm.GuestHeartbeatStatus = types.ManagedEntityStatusGray
	vm.Config.ExtraConfig = nil
	vm.Config.MemoryReservationLockedToMax = &no
	vm.Config.CpuHotAddEnabled, vm.Config.CpuHotRemoveEnabled, vm.Config.MemoryHotAddEnabled = &no, &no, &no
}

// renewIdentity gives a clone's cards and disks addresses and identifiers of their own.
func renewIdentity(vm *simulator.VirtualMachine) {
	vm.Guest.Net = nil // the simulator has put the source's cards there
	for _, device := range vm.Config.Hardware.Device {
		switch device := device.(type) {
		case types.BaseVirtualEthernetCard:
			assignMAC(device.GetVirtualEthernetCard())
		case *types.VirtualDisk:
			if backing, ok := device.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				backing.Uuid = newDiskUUID()
			}
		case *types.VirtualPCIPassthrough:
			if backing, ok := device.Backing.(*types.VirtualPCIPassthroughDynamicBackingInfo); ok {
				backing.AssignedId = ""
			}
		}
	}
}

// assignMAC takes an address of the range from which a vCenter assigns.
func assignMAC(card *types.VirtualEthernetCard) {
	n := rand.Uint32()
	card.MacAddress = fmt.Sprintf("00:50:56:%02x:%02x:%02x", 0x80|n>>16&0x3f, n>>8&0xff, n&0xff)
	card.AddressType = string(types.VirtualEthernetCardMacTypeAssigned)
}

func newDiskUUID() string {
	id := uuid.NewString()
	return "6000C29" + id[7:]
}

// prepareDevices checks device changes and completes them as a vCenter would: keys, MAC addresses, disk identifiers.
func (l *lab) prepareDevices(vm *simulator.VirtualMachine, changes []types.BaseVirtualDeviceConfigSpec) *failure {
	devices := object.VirtualDeviceList(slices.Clone(vm.Config.Hardware.Device))
	renamed := map[int32]int32{}
	for index, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		if spec.Device == nil {
			return invalidDevice(index, "device")
		}
		device := spec.Device.GetVirtualDevice()
		if key, ok := renamed[device.ControllerKey]; ok {
			device.ControllerKey = key
		}
		var failed *failure
		switch spec.Operation {
		case types.VirtualDeviceConfigSpecOperationAdd:
			key := device.Key
			if failed = l.prepareAdded(vm, devices, spec, index); failed == nil && key < 0 {
				renamed[key] = device.Key
			}
			devices = append(devices, spec.Device)
		default:
			failed = l.prepareKnown(vm, devices, spec, index)
			if spec.Operation == types.VirtualDeviceConfigSpecOperationRemove {
				devices = without(devices, device.Key) // what is added after it may take its place
			}
		}
		if failed != nil {
			return failed
		}
	}
	return checkControllers(vm, devices, changes)
}

func (l *lab) prepareAdded(
	vm *simulator.VirtualMachine, devices object.VirtualDeviceList, spec *types.VirtualDeviceConfigSpec, index int,
) *failure {
	switch device := spec.Device.(type) {
	case types.BaseVirtualSCSIController:
		controller := device.GetVirtualSCSIController()
		controller.Key, controller.ControllerKey = 1000+controller.BusNumber, 100
		if controller.SharedBus == "" {
			controller.SharedBus = types.VirtualSCSISharingNoSharing
		}
		if devices.FindByKey(controller.Key) != nil {
			return invalidDevice(index, "device.busNumber")
		}
	case *types.VirtualDisk:
		return prepareDisk(devices, device, index)
	case *types.VirtualPCIPassthrough:
		if failed := l.prepareGPU(vm, devices, device, index); failed != nil {
			return failed
		}
		placeGPU(devices, device)
	case types.BaseVirtualEthernetCard:
		card := device.GetVirtualEthernetCard()
		card.Key = freeKey(devices, 4000)
		if card.MacAddress == "" || card.AddressType != string(types.VirtualEthernetCardMacTypeManual) {
			assignMAC(card)
		}
		return l.checkBacking(vm, card, index)
	}
	return nil
}

func prepareDisk(devices object.VirtualDeviceList, disk *types.VirtualDisk, index int) *failure {
	controller, ok := devices.FindByKey(disk.ControllerKey).(types.BaseVirtualController)
	if !ok {
		return invalidDevice(index, "device.controllerKey")
	}
	if disk.UnitNumber == nil || *disk.UnitNumber < 0 {
		disk.UnitNumber = freeUnit(devices, disk.ControllerKey)
	}
	disk.Key = freeKey(devices, 2000+16*controller.GetVirtualController().BusNumber+*disk.UnitNumber)
	if disk.CapacityInKB <= 0 && disk.CapacityInBytes <= 0 {
		return invalidDevice(index, "device.capacityInKB")
	}
	backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok {
		return invalidDevice(index, "device.backing")
	}
	if backing.Uuid == "" {
		backing.Uuid = newDiskUUID()
	}
	return nil
}

// prepareKnown completes an edit from the device as it is: what a client leaves out stays.
func (l *lab) prepareKnown(
	vm *simulator.VirtualMachine, devices object.VirtualDeviceList, spec *types.VirtualDeviceConfigSpec, index int,
) *failure {
	found := devices.FindByKey(spec.Device.GetVirtualDevice().Key)
	if found == nil {
		return invalidDevice(index, "device.key")
	}
	if spec.Operation == types.VirtualDeviceConfigSpecOperationRemove {
		spec.Device = found
		if _, gpu := found.(*types.VirtualPCIPassthrough); gpu && vm.Runtime.PowerState != poweredOff {
			return invalidPowerState(vm.Runtime.PowerState, poweredOff)
		}
		return nil
	}
	if reflect.TypeOf(found) != reflect.TypeOf(spec.Device) {
		return invalidDevice(index, "device") // its type is what it is; another one takes its place as another device
	}
	old, wish := found.GetVirtualDevice(), spec.Device.GetVirtualDevice()
	if wish.Backing == nil {
		wish.Backing = old.Backing
	}
	if wish.ControllerKey == 0 {
		wish.ControllerKey = old.ControllerKey
	}
	if wish.UnitNumber == nil {
		wish.UnitNumber = old.UnitNumber
	}
	switch device := spec.Device.(type) {
	case *types.VirtualDisk:
		completeDisk(device, found)
		if known, ok := found.(*types.VirtualDisk); ok {
			return checkSize(device, known, index)
		}
	case *types.VirtualPCIPassthrough:
		return l.prepareGPU(vm, devices, device, index)
	case types.BaseVirtualEthernetCard:
		card := device.GetVirtualEthernetCard()
		manual := card.AddressType == string(types.VirtualEthernetCardMacTypeManual) && card.MacAddress != ""
		if known, ok := found.(types.BaseVirtualEthernetCard); ok && !manual {
			card.MacAddress = known.GetVirtualEthernetCard().MacAddress
			card.AddressType = known.GetVirtualEthernetCard().AddressType
		}
		return l.checkBacking(vm, card, index)
	}
	return nil
}

func completeDisk(wish *types.VirtualDisk, found types.BaseVirtualDevice) {
	known, ok := found.(*types.VirtualDisk)
	if !ok {
		return
	}
	backing, isFlat := wish.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if had, ok := known.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && isFlat {
		// A client that changes a clone's disk in the clone's ConfigSpec sends the template's file and identifier.
		backing.FileName, backing.Uuid, backing.Datastore, backing.Parent = had.FileName, had.Uuid, had.Datastore, had.Parent
	}
	if wish.CapacityInKB == 0 && wish.CapacityInBytes == 0 {
		wish.CapacityInKB, wish.CapacityInBytes = known.CapacityInKB, known.CapacityInBytes
	}
}

// checkBacking refuses networks that are not there; the simulator would end for some of them.
func (l *lab) checkBacking(vm *simulator.VirtualMachine, card *types.VirtualEthernetCard, index int) *failure {
	switch backing := card.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		if l.networkNamed(backing.DeviceName) {
			return nil
		}
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		ref := types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: backing.Port.PortgroupKey}
		if l.registry.Get(ref) != nil {
			return nil
		}
	}
	return invalidDevice(index, "device.backing")
}

func (l *lab) networkNamed(name string) bool {
	for _, entity := range l.registry.All("Network") {
		if entity.Entity().Name == name {
			return true
		}
	}
	return false
}

func freeKey(devices object.VirtualDeviceList, key int32) int32 {
	for devices.FindByKey(key) != nil {
		key++
	}
	return key
}

func freeUnit(devices object.VirtualDeviceList, controller int32) *int32 {
	used := map[int32]bool{7: true} // the controller's own place on a SCSI bus
	for _, device := range devices {
		base := device.GetVirtualDevice()
		if base.ControllerKey == controller && base.UnitNumber != nil {
			used[*base.UnitNumber] = true
		}
	}
	var unit int32
	for used[unit] {
		unit++
	}
	return &unit
}

func invalidDevice(index int, property string) *failure {
	fault := &types.InvalidDeviceSpec{DeviceIndex: int32(index)}
	fault.Property = "configSpec.deviceChange." + property
	return &failure{fault, fmt.Sprintf("Invalid configuration for device '%d' (%s).", index, property)}
}

// tidyDevices brings back what the simulator does not keep: which devices hang on a controller, and names as people know
// them from the vSphere Client.
func tidyDevices(vm *simulator.VirtualMachine) {
	slices.SortStableFunc(vm.Config.Hardware.Device, func(a, b types.BaseVirtualDevice) int {
		return cmp.Compare(a.GetVirtualDevice().Key, b.GetVirtualDevice().Key)
	})
	children := map[int32][]int32{}
	numbers := map[string]int{}
	for _, device := range vm.Config.Hardware.Device {
		base := device.GetVirtualDevice()
		if base.ControllerKey != 0 {
			children[base.ControllerKey] = append(children[base.ControllerKey], base.Key)
		}
		label := ""
		switch device := device.(type) {
		case types.BaseVirtualSCSIController:
			label = fmt.Sprintf("SCSI controller %d", device.GetVirtualSCSIController().BusNumber)
		case *types.VirtualDisk:
			label = numbered(numbers, "Hard disk")
		case types.BaseVirtualEthernetCard:
			label = numbered(numbers, "Network adapter")
		case *types.VirtualPCIPassthrough:
			label = fmt.Sprintf("PCI device %d", base.Key-firstPassthroughKey)
		}
		if description, ok := base.DeviceInfo.(*types.Description); ok && label != "" {
			description.Label = label
		}
	}
	for _, device := range vm.Config.Hardware.Device {
		if controller, ok := device.(types.BaseVirtualController); ok {
			controller.GetVirtualController().Device = children[device.GetVirtualDevice().Key]
		}
	}
}

func numbered(numbers map[string]int, name string) string {
	numbers[name]++
	return fmt.Sprintf("%s %d", name, numbers[name])
}

// connectDevices is a copy of the VM's devices, connected as they are while it runs or does not. A copy, because readers
// of the old list may still be encoding it.
func connectDevices(vm *simulator.VirtualMachine, on bool) []types.BaseVirtualDevice {
	copied := slices.Clone(vm.Config.Hardware.Device)
	for i, device := range copied {
		connectable := device.GetVirtualDevice().Connectable
		if connectable == nil {
			continue
		}
		changed := *connectable
		changed.Connected = on && changed.StartConnected
		switch device := device.(type) {
		case *types.VirtualVmxnet3:
			own := *device
			own.Connectable = &changed
			copied[i] = &own
		default:
			device.GetVirtualDevice().Connectable = &changed
		}
	}
	return copied
}
