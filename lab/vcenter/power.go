// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"log"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	poweredOn  = types.VirtualMachinePowerStatePoweredOn
	poweredOff = types.VirtualMachinePowerStatePoweredOff
	suspended  = types.VirtualMachinePowerStateSuspended
)

func (d *desk) vm(ref types.ManagedObjectReference) (*simulator.VirtualMachine, *failure) {
	if vm, ok := d.registry.Get(ref).(*simulator.VirtualMachine); ok {
		return vm, nil
	}
	return nil, notFound(ref)
}

func (d *desk) PowerOnVMTask(ctx *simulator.Context, r *types.PowerOnVM_Task) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed == nil && d.isTemplate(ctx, vm) {
		failed = notSupported("The operation is not supported on a template.")
	}
	if failed != nil {
		return &methods.PowerOnVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "PowerOnVM_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.powerOn(ctx, vm, r.Host)
	})
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: task}}
}

func (d *desk) PowerOffVMTask(ctx *simulator.Context, r *types.PowerOffVM_Task) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed != nil {
		return &methods.PowerOffVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "PowerOffVM_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.powerOff(ctx, vm)
	})
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: task}}
}

func (d *desk) SuspendVMTask(ctx *simulator.Context, r *types.SuspendVM_Task) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed != nil {
		return &methods.SuspendVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "SuspendVM_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.whileOn(ctx, vm, "suspend", suspended, func() { d.setPower(ctx, vm, suspended) })
	})
	return &methods.SuspendVM_TaskBody{Res: &types.SuspendVM_TaskResponse{Returnval: task}}
}

func (d *desk) ResetVMTask(ctx *simulator.Context, r *types.ResetVM_Task) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed != nil {
		return &methods.ResetVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "ResetVM_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.whileOn(ctx, vm, "reset", poweredOn, nil)
	})
	return &methods.ResetVM_TaskBody{Res: &types.ResetVM_TaskResponse{Returnval: task}}
}

// ShutdownGuest has no task: the guest is asked, and what comes of it is an event.
func (d *desk) ShutdownGuest(ctx *simulator.Context, r *types.ShutdownGuest) soap.HasFault {
	if failed := d.askGuest(ctx, r.This, "shutdown", poweredOff); failed != nil {
		return &methods.ShutdownGuestBody{Fault_: failed.soap()}
	}
	return &methods.ShutdownGuestBody{Res: &types.ShutdownGuestResponse{}}
}

func (d *desk) RebootGuest(ctx *simulator.Context, r *types.RebootGuest) soap.HasFault {
	if failed := d.askGuest(ctx, r.This, "reboot", poweredOn); failed != nil {
		return &methods.RebootGuestBody{Fault_: failed.soap()}
	}
	return &methods.RebootGuestBody{Res: &types.RebootGuestResponse{}}
}

func (d *desk) askGuest(
	ctx *simulator.Context, ref types.ManagedObjectReference, operation string, wanted types.VirtualMachinePowerState,
) *failure {
	vm, failed := d.vm(ref)
	if failed != nil {
		return failed
	}
	ctx.WithLock(vm, func() {
		switch {
		case vm.Runtime.PowerState != poweredOn:
			failed = invalidPowerState(vm.Runtime.PowerState, wanted)
		case vm.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning):
			failed = toolsUnavailable()
		}
	})
	if failed != nil {
		return failed
	}
	own := fork(ctx)
	go func() {
		if failed := d.whileOn(own, vm, operation, wanted, nil); failed != nil {
			log.Printf("%s %s: %s", operation, ref.Value, failed.message)
		}
	}()
	return nil
}

func (l *lab) isTemplate(ctx *simulator.Context, vm *simulator.VirtualMachine) (template bool) {
	ctx.WithLock(vm, func() { template = vm.Config.Template })
	return template
}

// powerOn starts the guest, or resumes it where the VM was suspended. The VM is on when the driver says that it is.
// host is the one that the client asked for, if any.
func (l *lab) powerOn(ctx *simulator.Context, vm *simulator.VirtualMachine, host *types.ManagedObjectReference) *failure {
	m, release, failed := l.occupy(vm)
	if failed != nil {
		return failed
	}
	defer release()
	var before types.VirtualMachinePowerState
	ctx.WithLock(vm, func() { before = vm.Runtime.PowerState })
	if before == poweredOn {
		return invalidPowerState(before, poweredOn)
	}
	if failed := l.takeHost(ctx, vm, host); failed != nil {
		return failed
	}
	var guest guestVM
	ctx.WithLock(vm, func() {
		m.starting = true
		guest = l.describe(vm)
	})
	operation := "power_on"
	if before == suspended {
		operation = "resume"
	}
	time.Sleep(l.delay)
	l.mishaps.pause("PowerOnVM_Task")
	err := l.drive(vm, operation, guest, nil, func() { l.setPower(ctx, vm, poweredOn) })
	ctx.WithLock(vm, func() { m.starting = false })
	if err != nil {
		l.releaseHost(ctx, vm)
		ctx.WithLock(vm, func() {
			l.clearFacts(ctx, vm)
			if vm.Runtime.PowerState == poweredOff {
				l.forgetWritten(ctx, vm, m)
			}
		})
		return powerOnFailed(err.Error())
	}
	go l.customize(fork(ctx), vm)
	return nil
}

func (l *lab) powerOff(ctx *simulator.Context, vm *simulator.VirtualMachine) *failure {
	_, release, failed := l.occupy(vm)
	if failed != nil {
		return failed
	}
	defer release()
	var before types.VirtualMachinePowerState
	var guest guestVM
	ctx.WithLock(vm, func() { before, guest = vm.Runtime.PowerState, l.describe(vm) })
	if before == poweredOff {
		return invalidPowerState(before, poweredOff)
	}
	if err := l.drive(vm, "power_off", guest, nil, func() { l.setPower(ctx, vm, poweredOff) }); err != nil {
		return systemError(err.Error())
	}
	return nil
}

// whileOn does what only a running VM can do. state is what the client asked for, as InvalidPowerState reports it.
func (l *lab) whileOn(
	ctx *simulator.Context, vm *simulator.VirtualMachine, operation string, state types.VirtualMachinePowerState,
	applied func(),
) *failure {
	_, release, failed := l.occupy(vm)
	if failed != nil {
		return failed
	}
	defer release()
	var before types.VirtualMachinePowerState
	var guest guestVM
	ctx.WithLock(vm, func() { before, guest = vm.Runtime.PowerState, l.describe(vm) })
	if before != poweredOn {
		return invalidPowerState(before, state)
	}
	if operation == "suspend" {
		ctx.WithLock(vm, func() { failed = l.checkSuspend(vm) })
		if failed != nil {
			return failed
		}
	}
	if err := l.drive(vm, operation, guest, nil, applied); err != nil {
		return systemError(err.Error())
	}
	return nil
}

// reservedMemory in MB. A locked reservation is the memory's size, whatever the allocation says.
func reservedMemory(vm *simulator.VirtualMachine) int64 {
	if locked := vm.Config.MemoryReservationLockedToMax; locked != nil && *locked {
		return int64(vm.Config.Hardware.MemoryMB)
	}
	if allocation := vm.Config.MemoryAllocation; allocation != nil && allocation.Reservation != nil {
		return *allocation.Reservation
	}
	return 0
}
