// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"

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

// revert gives a VM the configuration and the power state that it had. What is inside the guest stays.
func (l *lab) revert(
	ctx *simulator.Context, vm *simulator.VirtualMachine, snapshot *simulator.VirtualMachineSnapshot, suppress *bool,
) *failure {
	var now, then types.VirtualMachinePowerState
	ctx.WithLock(vm, func() {
		now = vm.Runtime.PowerState
		then = stateAt(vm.Snapshot, snapshot.Self)
	})
	wantsOn := then != poweredOff && (suppress == nil || !*suppress)
	if now != poweredOff && !(now == poweredOn && wantsOn) {
		if failed := l.powerOff(ctx, vm); failed != nil {
			return failed
		}
		now = poweredOff
	}
	if failed := l.restore(ctx, vm, snapshot); failed != nil {
		return failed
	}
	if wantsOn && now == poweredOff {
		if failed := l.powerOn(ctx, vm, nil); failed != nil {
			return failed
		}
	}
	if wantsOn && then == suspended {
		return l.whileOn(ctx, vm, "suspend", suspended, func() { l.setPower(ctx, vm, suspended) })
	}
	return nil
}

func (l *lab) restore(
	ctx *simulator.Context, vm *simulator.VirtualMachine, snapshot *simulator.VirtualMachineSnapshot,
) *failure {
	_, release, failed := l.occupy(vm)
	if failed != nil {
		return failed
	}
	defer release()
	body := snapshot.RevertToSnapshotTask(ctx, &types.RevertToSnapshot_Task{This: snapshot.Self})
	if _, failed := l.inner(ctx, body.(*methods.RevertToSnapshot_TaskBody).Res.Returnval); failed != nil {
		return failed
	}
	var config types.VirtualMachineConfigInfo
	if err := copyConfig(snapshot.Config, &config); err != nil {
		return systemError(fmt.Sprintf("the snapshot's configuration cannot be copied: %v", err))
	}
	ctx.WithLock(vm, func() {
		config.Name, config.Template = vm.Config.Name, vm.Config.Template
		vm.Summary.Config.NumCpu, vm.Summary.Config.MemorySizeMB = config.Hardware.NumCPU, config.Hardware.MemoryMB
		vm.Summary.Config.HwVersion, vm.Summary.Config.Annotation = config.Version, config.Annotation
		ctx.Update(vm, []types.PropertyChange{{Name: "config", Val: &config}})
		failed = l.configure(ctx, vm, types.VirtualMachineConfigSpec{}) // the rest follows the configuration
		chainDisks(vm)
	})
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
