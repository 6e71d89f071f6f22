// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"log"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func (d *desk) RevertToSnapshotTask(ctx *simulator.Context, r *types.RevertToSnapshot_Task) soap.HasFault {
	snapshot, ok := d.registry.Get(r.This).(*simulator.VirtualMachineSnapshot)
	if !ok {
		return &methods.RevertToSnapshot_TaskBody{Fault_: notFound(r.This).soap()}
	}
	vm, failed := d.vm(snapshot.Vm)
	if failed != nil {
		return &methods.RevertToSnapshot_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "RevertToSnapshot_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.revert(ctx, vm, snapshot, r.SuppressPowerOn)
	})
	return &methods.RevertToSnapshot_TaskBody{Res: &types.RevertToSnapshot_TaskResponse{Returnval: task}}
}

func (d *desk) RevertToCurrentSnapshotTask(
	ctx *simulator.Context, r *types.RevertToCurrentSnapshot_Task,
) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed == nil {
		ctx.WithLock(vm, func() {
			if vm.Snapshot == nil || vm.Snapshot.CurrentSnapshot == nil {
				failed = &failure{&types.NotFound{}, "The virtual machine has no snapshot."}
			}
		})
	}
	if failed != nil {
		return &methods.RevertToCurrentSnapshot_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "RevertToCurrentSnapshot_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		var snapshot *simulator.VirtualMachineSnapshot
		ctx.WithLock(vm, func() {
			if vm.Snapshot != nil && vm.Snapshot.CurrentSnapshot != nil {
				snapshot, _ = d.registry.Get(*vm.Snapshot.CurrentSnapshot).(*simulator.VirtualMachineSnapshot)
			}
		})
		if snapshot == nil {
			return nil, &failure{&types.NotFound{}, "The virtual machine has no snapshot."}
		}
		return nil, d.revert(ctx, vm, snapshot, r.SuppressPowerOn)
	})
	return &methods.RevertToCurrentSnapshot_TaskBody{Res: &types.RevertToCurrentSnapshot_TaskResponse{Returnval: task}}
}

// wasBefore is what a revert that fails brings back.
type wasBefore struct {
	power    types.VirtualMachinePowerState
	config   *types.VirtualMachineConfigInfo
	snapshot *types.VirtualMachineSnapshotInfo
	point    point
}

// revert gives a VM the configuration that it had, and has the driver do the same with disks, memory and power state.
func (l *lab) revert(
	ctx *simulator.Context, vm *simulator.VirtualMachine, snapshot *simulator.VirtualMachineSnapshot, suppress *bool,
) *failure {
	m, release, failed := l.occupy(vm)
	if failed != nil {
		return failed
	}
	defer release()
	var was wasBefore
	var power types.VirtualMachinePowerState
	var at point
	found := false
	ctx.WithLock(vm, func() {
		was = wasBefore{power: vm.Runtime.PowerState, config: vm.Config, point: m.here("")}
		if vm.Snapshot != nil {
			info := *vm.Snapshot
			was.snapshot = &info
		}
		power = stateAt(vm.Snapshot, snapshot.Self)
		at, found = m.points[snapshot.Self]
	})
	if !found { // removed while this waited for its turn
		return notFound(snapshot.Self)
	}
	if suppress != nil && *suppress {
		power = poweredOff
	}
	failed = l.restore(ctx, vm, m, snapshot, at)
	if failed == nil && power == poweredOn {
		failed = l.takeHost(ctx, vm, nil)
	}
	if failed == nil {
		failed = l.revertGuest(ctx, vm, m, at, power)
	}
	if failed != nil {
		l.undoRevert(ctx, vm, m, was)
	}
	return failed
}

// revertGuest ends the guest's run, if there is one, and leaves it as it was at the snapshot.
func (l *lab) revertGuest(
	ctx *simulator.Context, vm *simulator.VirtualMachine, m *machine, at point, power types.VirtualMachinePowerState,
) *failure {
	var guest guestVM
	var facts guestFacts
	ctx.WithLock(vm, func() {
		m.reverting, m.ended = true, false
		guest, facts = l.describe(vm), factsOf(vm)
		l.clearFacts(ctx, vm) // those of the run that ends; the next one's come while the driver works
	})
	with := arguments{"snapshot": at.id, "power": string(power)}
	err := l.drive(vm, "revert", guest, with, func() {
		var now types.VirtualMachinePowerState
		ctx.WithLock(vm, func() { m.reverting, now = false, vm.Runtime.PowerState })
		if now == power {
			l.showPower(ctx, vm, power) // no news, but its devices are connected as they were at the snapshot
		} else {
			l.setPower(ctx, vm, power)
		}
	})
	if err == nil {
		return nil
	}
	ended := false
	ctx.WithLock(vm, func() {
		m.reverting, ended = false, m.ended
		if vm.Runtime.PowerState == poweredOn && !ended {
			l.setFacts(ctx, vm, facts) // it runs on
		}
	})
	if ended {
		l.setPower(ctx, vm, poweredOff)
	}
	return systemError(err.Error())
}

func (l *lab) undoRevert(ctx *simulator.Context, vm *simulator.VirtualMachine, m *machine, was wasBefore) {
	var now types.VirtualMachinePowerState
	ctx.WithLock(vm, func() {
		now = vm.Runtime.PowerState
		m.backTo(was.point)
		ctx.Update(vm, []types.PropertyChange{{Name: "snapshot", Val: was.snapshot}})
		_ = l.putConfig(ctx, vm, was.config)
		if now == poweredOff {
			l.forgetWritten(ctx, vm, m)
		}
	})
	if now != poweredOn {
		l.releaseHost(ctx, vm)
	} else if failed := l.takeHost(ctx, vm, nil); failed != nil {
		log.Printf("revert %s: its host has no room for what it had: %s", vm.Self.Value, failed.message)
	}
}

// restore gives a VM the configuration of a snapshot.
func (l *lab) restore(
	ctx *simulator.Context, vm *simulator.VirtualMachine, m *machine, snapshot *simulator.VirtualMachineSnapshot, at point,
) *failure {
	body := snapshot.RevertToSnapshotTask(ctx, &types.RevertToSnapshot_Task{This: snapshot.Self})
	if _, failed := l.inner(ctx, body.(*methods.RevertToSnapshot_TaskBody).Res.Returnval); failed != nil {
		return failed
	}
	var config types.VirtualMachineConfigInfo
	if err := copyConfig(snapshot.Config, &config); err != nil {
		return systemError(fmt.Sprintf("the snapshot's configuration cannot be copied: %v", err))
	}
	var failed *failure
	ctx.WithLock(vm, func() {
		config.Name, config.Template = vm.Config.Name, vm.Config.Template
		m.backTo(at)
		failed = l.putConfig(ctx, vm, &config)
	})
	return failed
}

// putConfig replaces a VM's configuration, and what follows from it. The caller holds the VM's lock.
func (l *lab) putConfig(
	ctx *simulator.Context, vm *simulator.VirtualMachine, config *types.VirtualMachineConfigInfo,
) *failure {
	vm.Summary.Config.NumCpu, vm.Summary.Config.MemorySizeMB = config.Hardware.NumCPU, config.Hardware.MemoryMB
	vm.Summary.Config.HwVersion, vm.Summary.Config.Annotation = config.Version, config.Annotation
	ctx.Update(vm, []types.PropertyChange{{Name: "config", Val: config}})
	failed := l.configure(ctx, vm, types.VirtualMachineConfigSpec{}) // the rest follows the configuration
	chainDisks(vm)
	return failed
}

// copyConfig is a deep copy: what is edited in the VM must not change in its snapshot.
func copyConfig(from types.VirtualMachineConfigInfo, to *types.VirtualMachineConfigInfo) error {
	var text bytes.Buffer
	if err := types.NewJSONEncoder(&text).Encode(&from); err != nil {
		return err
	}
	return types.NewJSONDecoder(&text).Decode(to)
}

// stateAt is the power state to which a snapshot leads; off for one without memory.
func stateAt(info *types.VirtualMachineSnapshotInfo, ref types.ManagedObjectReference) types.VirtualMachinePowerState {
	if info == nil {
		return poweredOff
	}
	trees := info.RootSnapshotList
	for len(trees) > 0 {
		tree := trees[0]
		if tree.Snapshot == ref {
			return tree.State
		}
		trees = append(trees[1:len(trees):len(trees)], tree.ChildSnapshotList...)
	}
	return poweredOff
}
