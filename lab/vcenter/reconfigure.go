// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func (d *desk) ReconfigVMTask(ctx *simulator.Context, r *types.ReconfigVM_Task) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed != nil {
		return &methods.ReconfigVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "ReconfigVM_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.reconfigure(ctx, vm, r.Spec)
	})
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{Returnval: task}}
}

func (l *lab) reconfigure(
	ctx *simulator.Context, vm *simulator.VirtualMachine, spec types.VirtualMachineConfigSpec,
) *failure {
	m, release, failed := l.occupy(vm)
	if failed != nil {
		return failed
	}
	defer release()
	l.mishaps.pause("ReconfigVM_Task")
	var taken *types.ManagedObjectReference
	if spec.Name != "" {
		taken = l.child(ctx, l.registry.Get(*vm.Parent).(*simulator.Folder), spec.Name)
	}
	var guest guestVM
	on := false
	ctx.WithLock(vm, func() {
		if failed = checkReconfigure(vm, spec, taken); failed != nil {
			return
		}
		if id := spec.InstanceUuid; id != "" && id != vm.Config.InstanceUuid && m.told.Load() != nil {
			failed = notSupported("The instance UUID is the name of the virtual machine's disks in the lab: it cannot change.")
			return
		}
		spec.ChangeVersion = ""
		if failed = l.configure(ctx, vm, spec); failed != nil {
			return
		}
		on, guest = vm.Runtime.PowerState == poweredOn, l.describe(vm)
	})
	if failed != nil || !on {
		return failed
	}
	if err := l.drive(vm, "reconfigure", guest, nil, nil); err != nil {
		return systemError(err.Error())
	}
	return nil
}

func checkReconfigure(
	vm *simulator.VirtualMachine, spec types.VirtualMachineConfigSpec, taken *types.ManagedObjectReference,
) *failure {
	hardware, on := vm.Config.Hardware, vm.Runtime.PowerState != poweredOff
	enabled := func(flag *bool) bool { return flag != nil && *flag }
	switch {
	case spec.ChangeVersion != "" && spec.ChangeVersion != vm.Config.ChangeVersion:
		return concurrentAccess()
	case taken != nil && *taken != vm.Self:
		return duplicateName(spec.Name, *taken)
	case vm.Config.Template && (len(spec.ExtraConfig) > 0 || len(spec.DeviceChange) > 0):
		return notSupported("The operation is not supported on a template.")
	case vm.Runtime.PowerState == suspended && len(spec.DeviceChange) > 0:
		return invalidPowerState(suspended, poweredOff) // the suspended guest has its devices open
	case on && spec.NumCPUs != 0 && spec.NumCPUs != hardware.NumCPU && !enabled(vm.Config.CpuHotAddEnabled):
		return &failure{&types.CpuHotPlugNotSupported{}, "CPU hot plug is not supported for this virtual machine."}
	case on && spec.MemoryMB != 0 && int32(spec.MemoryMB) != hardware.MemoryMB && !enabled(vm.Config.MemoryHotAddEnabled):
		return &failure{&types.MemoryHotPlugNotSupported{}, "Memory hot plug is not supported for this virtual machine."}
	}
	return nil
}

// configure applies a ConfigSpec. The caller holds the VM's lock with the same context.
func (l *lab) configure(ctx *simulator.Context, vm *simulator.VirtualMachine, spec types.VirtualMachineConfigSpec) *failure {
	if failed := checkGPUVersion(vm, &spec); failed != nil {
		return failed
	}
	if failed := l.checkProfiles(&spec); failed != nil {
		return failed
	}
	if failed := l.prepareDevices(vm, spec.DeviceChange); failed != nil {
		return failed
	}
	before := deviceKeys(vm)
	extra := spec.ExtraConfig
	spec.ExtraConfig = nil // the simulator would take SET.* and RUN.* keys for orders to itself
	completeAllocations(vm, &spec)
	if failed := l.reserveRunning(vm, spec); failed != nil {
		return failed
	}
	if failed := l.reserveSpace(vm, spec.DeviceChange); failed != nil {
		return failed
	}
	network := vm.Guest.Net
	body := vm.ReconfigVMTask(ctx, &types.ReconfigVM_Task{This: vm.Self, Spec: spec})
	_, failed := l.inner(ctx, body.(*methods.ReconfigVM_TaskBody).Res.Returnval)
	vm.Guest.Net = network // the simulator takes a new card for one that the guest has already configured
	if failed != nil {
		_ = l.reserveSpace(vm, nil) // what it takes is what it took
		return failed
	}
	l.showSpace(ctx)
	ctx.Update(vm, []types.PropertyChange{
		{Name: "config.extraConfig", Val: mergeExtraConfig(vm.Config.ExtraConfig, extra)},
	})
	m := l.machine(vm.Self)
	m.noteDevices(spec.DeviceChange)
	for _, option := range extra {
		delete(m.written, option.GetOptionValue().Key) // now the client's
	}
	tidyDevices(vm)
	l.associate(vm, &spec, before)
	describeGuest(vm)
	return nil
}

// describeGuest keeps the properties that repeat the configuration in step with it.
func describeGuest(vm *simulator.VirtualMachine) {
	vm.ResourceConfig = &types.ResourceConfigSpec{
		Entity: &vm.Self, CpuAllocation: *vm.Config.CpuAllocation, MemoryAllocation: *vm.Config.MemoryAllocation,
	}
	if name, ok := guestNames[vm.Config.GuestId]; ok {
		vm.Config.GuestFullName, vm.Summary.Config.GuestFullName = name, name
	}
	vm.Summary.Config.MemoryReservation, vm.Summary.Config.CpuReservation = 0, 0
	if reserved := vm.Config.MemoryAllocation.Reservation; reserved != nil {
		vm.Summary.Config.MemoryReservation = int32(*reserved)
	}
	if reserved := vm.Config.CpuAllocation.Reservation; reserved != nil {
		vm.Summary.Config.CpuReservation = int32(*reserved)
	}
}

var guestNames = map[string]string{
	"ubuntu64Guest":          "Ubuntu Linux (64-bit)",
	"debian12_64Guest":       "Debian GNU/Linux 12 (64-bit)",
	"centos7_64Guest":        "CentOS 7 (64-bit)",
	"windows2019srv_64Guest": "Microsoft Windows Server 2019 (64-bit)",
	"otherGuest":             "Other (32-bit)",
	"otherGuest64":           "Other (64-bit)",
	"otherLinux64Guest":      "Other Linux (64-bit)",
}

// mergeExtraConfig sets keys, and removes those whose new value is empty, as vCenter does.
func mergeExtraConfig(old, changes []types.BaseOptionValue) []types.BaseOptionValue {
	merged := slices.Clone(old)
	for _, change := range changes {
		key, value := change.GetOptionValue().Key, change.GetOptionValue().Value
		text := fmt.Sprint(value) // vCenter keeps every value as a string
		if value == nil {
			text = ""
		}
		at := slices.IndexFunc(merged, func(o types.BaseOptionValue) bool { return o.GetOptionValue().Key == key })
		option := &types.OptionValue{Key: key, Value: text}
		switch {
		case at < 0 && text == "":
		case at < 0:
			merged = append(merged, option)
		case text == "":
			merged = slices.Delete(merged, at, at+1)
		default:
			merged[at] = option
		}
	}
	return merged
}

// completeAllocations fills what a client left out of an allocation from what the VM has; the simulator would forget it.
// A locked reservation follows the memory's size.
func completeAllocations(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) {
	spec.MemoryAllocation = completeAllocation(spec.MemoryAllocation, vm.Config.MemoryAllocation)
	spec.CpuAllocation = completeAllocation(spec.CpuAllocation, vm.Config.CpuAllocation)
	locked := vm.Config.MemoryReservationLockedToMax
	if spec.MemoryReservationLockedToMax != nil {
		locked = spec.MemoryReservationLockedToMax
	}
	if locked != nil && *locked {
		memory := spec.MemoryMB
		if memory == 0 {
			memory = int64(vm.Config.Hardware.MemoryMB)
		}
		allocation := types.ResourceAllocationInfo{}
		if current := spec.MemoryAllocation; current != nil {
			allocation = *current
		} else if vm.Config.MemoryAllocation != nil {
			allocation = *vm.Config.MemoryAllocation
		}
		allocation.Reservation = &memory
		spec.MemoryAllocation = &allocation
	}
}

func completeAllocation(wish, has *types.ResourceAllocationInfo) *types.ResourceAllocationInfo {
	if wish == nil || has == nil {
		return wish
	}
	merged := *has
	if wish.Reservation != nil {
		merged.Reservation = wish.Reservation
	}
	if wish.Limit != nil {
		merged.Limit = wish.Limit
	}
	if wish.Shares != nil {
		merged.Shares = wish.Shares
	}
	if wish.ExpandableReservation != nil {
		merged.ExpandableReservation = wish.ExpandableReservation
	}
	return &merged
}

// reserveRunning takes a running VM's new reservation from its host, or fails as the host would.
func (l *lab) reserveRunning(vm *simulator.VirtualMachine, spec types.VirtualMachineConfigSpec) *failure {
	if vm.Runtime.PowerState != poweredOn || spec.MemoryAllocation == nil || spec.MemoryAllocation.Reservation == nil {
		return nil
	}
	wanted := *spec.MemoryAllocation.Reservation
	if free, ok := l.memory.reserve(vm.Self, *vm.Runtime.Host, wanted); !ok {
		return insufficientMemory(free<<20, wanted<<20)
	}
	return nil
}

// specOf is what a clone takes over from its source besides what the simulator copies.
func specOf(config *types.VirtualMachineConfigInfo) types.VirtualMachineConfigSpec {
	spec := types.VirtualMachineConfigSpec{
		Annotation: config.Annotation, Firmware: config.Firmware, AlternateGuestName: config.AlternateGuestName,
		BootOptions: config.BootOptions, LatencySensitivity: config.LatencySensitivity,
		MemoryAllocation: config.MemoryAllocation, CpuAllocation: config.CpuAllocation,
		MemoryReservationLockedToMax: config.MemoryReservationLockedToMax,
		CpuHotAddEnabled:             config.CpuHotAddEnabled, CpuHotRemoveEnabled: config.CpuHotRemoveEnabled,
		MemoryHotAddEnabled: config.MemoryHotAddEnabled, NestedHVEnabled: config.NestedHVEnabled,
		ChangeTrackingEnabled: config.ChangeTrackingEnabled,
	}
	flags := config.Flags
	spec.Flags = &flags
	spec.ExtraConfig = append(spec.ExtraConfig, config.ExtraConfig...)
	return spec
}
