// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	firstPassthroughKey  = 13000
	firstPassthroughUnit = 18
	dynamicSince         = types.VMX17 // the first hardware version with dynamic DirectPath
)

// QueryConfigTarget adds the GPUs to the simulator's answer.
func (d *desk) QueryConfigTarget(ctx *simulator.Context, r *types.QueryConfigTarget) soap.HasFault {
	browser, ok := d.registry.Get(r.This).(*simulator.EnvironmentBrowser)
	if !ok {
		return &methods.QueryConfigTargetBody{Fault_: notFound(r.This).soap()}
	}
	hosts := d.places.hosts
	if r.Host != nil {
		if d.registry.Get(*r.Host) == nil {
			return &methods.QueryConfigTargetBody{Fault_: notFound(*r.Host).soap()}
		}
		hosts = []types.ManagedObjectReference{*r.Host}
	}
	answer := browser.QueryConfigTarget(ctx, r).(*methods.QueryConfigTargetBody)
	if answer.Res != nil && answer.Res.Returnval != nil {
		configTarget(d.gpus.of(hosts...), answer.Res.Returnval)
	}
	return answer
}

// gpuWants are the PCI devices of a VM in the order in which its host names them.
func gpuWants(devices []types.BaseVirtualDevice) []gpuWant {
	var wants []gpuWant
	for _, device := range devices {
		passthrough, ok := device.(*types.VirtualPCIPassthrough)
		if !ok {
			continue
		}
		want := gpuWant{key: passthrough.Key, name: fmt.Sprintf("pciPassthru%d", len(wants))}
		switch backing := passthrough.Backing.(type) {
		case *types.VirtualPCIPassthroughDeviceBackingInfo:
			want.id, want.system = backing.Id, backing.SystemId
		case *types.VirtualPCIPassthroughDynamicBackingInfo:
			want.allowed, want.label = append([]types.VirtualPCIPassthroughAllowedDevice{}, backing.AllowedDevice...), backing.CustomLabel
		case *types.VirtualPCIPassthroughVmiopBackingInfo:
			want.profile = backing.Vgpu
		}
		wants = append(wants, want)
	}
	return wants
}

// prepareGPU checks a PCI device that is added or edited and completes it.
func (l *lab) prepareGPU(
	vm *simulator.VirtualMachine, devices object.VirtualDeviceList, device *types.VirtualPCIPassthrough, index int,
) *failure {
	if vm.Runtime.PowerState != poweredOff && vm.Runtime.PowerState != "" {
		return invalidPowerState(vm.Runtime.PowerState, poweredOff)
	}
	switch backing := device.Backing.(type) {
	case *types.VirtualPCIPassthroughDeviceBackingInfo:
		if failed := l.prepareStatic(devices, device.Key, backing, index); failed != nil {
			return failed
		}
	case *types.VirtualPCIPassthroughDynamicBackingInfo:
		if len(backing.AllowedDevice) == 0 {
			return invalidDevice(index, "device.backing.allowedDevice")
		}
		backing.AssignedId = ""
	case *types.VirtualPCIPassthroughVmiopBackingInfo:
		if backing.Vgpu == "" {
			return invalidDevice(index, "device.backing.vgpu")
		}
	default:
		return invalidDevice(index, "device.backing")
	}
	device.ControllerKey = 100
	return nil
}

// prepareStatic refuses a backing that names no device of any host, or one of another model than it says.
func (l *lab) prepareStatic(
	devices object.VirtualDeviceList, key int32, backing *types.VirtualPCIPassthroughDeviceBackingInfo, index int,
) *failure {
	known := l.gpus.known(backing.SystemId, backing.Id)
	switch {
	case known == nil:
		return invalidDevice(index, "device.backing.id")
	case uint16(backing.VendorId) != known.VendorID:
		return invalidDevice(index, "device.backing.vendorId")
	case hexNumber(backing.DeviceId) != int64(known.DeviceID):
		return invalidDevice(index, "device.backing.deviceId")
	}
	for _, want := range gpuWants(devices) {
		if want.key != key && want.id == backing.Id && want.system == backing.SystemId {
			return invalidDevice(index, "device.backing.id")
		}
	}
	return nil
}

func hexNumber(text string) int64 {
	number, err := strconv.ParseInt(strings.TrimPrefix(strings.ToLower(text), "0x"), 16, 32)
	if err != nil {
		return -1
	}
	return number
}

func placeGPU(devices object.VirtualDeviceList, device *types.VirtualPCIPassthrough) {
	device.Key = freeKey(devices, firstPassthroughKey)
	unit := firstPassthroughUnit + device.Key - firstPassthroughKey
	device.UnitNumber = &unit
}

// checkGPUVersion refuses dynamic DirectPath on hardware that does not know it.
func checkGPUVersion(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) *failure {
	name := vm.Config.Version
	if spec.Version != "" {
		name = spec.Version
	}
	version, err := types.ParseHardwareVersion(name)
	if err != nil || version >= dynamicSince {
		return nil
	}
	for index, change := range spec.DeviceChange {
		wish := change.GetVirtualDeviceConfigSpec()
		device, ok := wish.Device.(*types.VirtualPCIPassthrough)
		if !ok || wish.Operation == types.VirtualDeviceConfigSpecOperationRemove {
			continue
		}
		if _, dynamic := device.Backing.(*types.VirtualPCIPassthroughDynamicBackingInfo); dynamic {
			fault := &types.DeviceUnsupportedForVmVersion{CurrentVersion: name, ExpectedVersion: dynamicSince.String()}
			fault.DeviceIndex, fault.Property = int32(index), "configSpec.deviceChange.device.backing"
			return &failure{fault, fmt.Sprintf(
				"Device of type VirtualPCIPassthrough is not supported for this VM version %s, which must be %s or later.",
				name, dynamicSince)}
		}
	}
	return nil
}

// assign writes which device a running VM with dynamic DirectPath has. A copy, as in connectDevices; the caller holds
// the lock of the VM.
func assign(vm *simulator.VirtualMachine, given map[int32]string) []types.BaseVirtualDevice {
	copied := slices.Clone(vm.Config.Hardware.Device)
	for i, device := range copied {
		passthrough, ok := device.(*types.VirtualPCIPassthrough)
		if !ok {
			continue
		}
		backing, ok := passthrough.Backing.(*types.VirtualPCIPassthroughDynamicBackingInfo)
		if !ok || backing.AssignedId == given[passthrough.Key] {
			continue
		}
		own, ownBacking := *passthrough, *backing
		ownBacking.AssignedId = given[passthrough.Key]
		own.Backing = &ownBacking
		copied[i] = &own
	}
	return copied
}
