// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// checkSnapshot refuses what PCI devices do not allow: nothing for DirectPath; for vGPU what the host's capabilities say,
// a powered-off VM aside, whose disks can always be kept. The caller holds the VM's lock.
func (l *lab) checkSnapshot(vm *simulator.VirtualMachine, memory bool) *failure {
	on := vm.Runtime.PowerState != poweredOff
	for _, want := range gpuWants(vm.Config.Hardware.Device) {
		profile := l.profileOf(vm, want)
		allowed := profile != nil && (!on || profile.DiskSnapshot && (!memory || profile.MemorySnapshot))
		if allowed || want.profile != "" && !on {
			continue
		}
		return snapshotIncompatible(want)
	}
	return nil
}

// checkSuspend is the same for suspending. The caller holds the VM's lock.
func (l *lab) checkSuspend(vm *simulator.VirtualMachine) *failure {
	for _, want := range gpuWants(vm.Config.Hardware.Device) {
		if profile := l.profileOf(vm, want); profile == nil || !profile.Suspend {
			return &failure{&types.DeviceNotSupported{Device: want.name, Reason: "suspend"}, fmt.Sprintf(
				"The virtual machine cannot be suspended, because its device %s (PCI passthrough) does not support it.", want.name)}
		}
	}
	return nil
}

// profileOf is nil for DirectPath, and for a profile that the VM's host does not have.
func (l *lab) profileOf(vm *simulator.VirtualMachine, want gpuWant) *inventoryProfile {
	if want.profile == "" || vm.Runtime.Host == nil {
		return nil
	}
	for _, device := range l.gpus.of(*vm.Runtime.Host) {
		if device.offers(want.profile) {
			return device.profile(want.profile)
		}
	}
	return nil
}

func snapshotIncompatible(want gpuWant) *failure {
	inner := fmt.Sprintf("Device '%s' (PCI passthrough) does not support snapshots.", want.name)
	fault := &types.SnapshotIncompatibleDeviceInVm{Fault: types.LocalizedMethodFault{
		Fault: &types.DeviceNotSupported{Device: want.name, Reason: "snapshot"}, LocalizedMessage: inner,
	}}
	return &failure{fault, "An error occurred while taking a snapshot: " + inner}
}
