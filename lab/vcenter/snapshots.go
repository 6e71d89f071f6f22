// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func (d *desk) CreateSnapshotTask(ctx *simulator.Context, r *types.CreateSnapshot_Task) soap.HasFault {
	request := &types.CreateSnapshotEx_Task{This: r.This, Name: r.Name, Description: r.Description, Memory: r.Memory}
	if r.Quiesce {
		request.QuiesceSpec = &types.VirtualMachineGuestQuiesceSpec{}
	}
	task, failed := d.startSnapshot(ctx, request, "CreateSnapshot_Task")
	if failed != nil {
		return &methods.CreateSnapshot_TaskBody{Fault_: failed.soap()}
	}
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{Returnval: task}}
}

func (d *desk) CreateSnapshotExTask(ctx *simulator.Context, r *types.CreateSnapshotEx_Task) soap.HasFault {
	task, failed := d.startSnapshot(ctx, r, "CreateSnapshotEx_Task")
	if failed != nil {
		return &methods.CreateSnapshotEx_TaskBody{Fault_: failed.soap()}
	}
	return &methods.CreateSnapshotEx_TaskBody{Res: &types.CreateSnapshotEx_TaskResponse{Returnval: task}}
}

func (d *desk) startSnapshot(
	ctx *simulator.Context, r *types.CreateSnapshotEx_Task, method string,
) (task types.ManagedObjectReference, failed *failure) {
	vm, failed := d.vm(r.This)
	if failed == nil && d.isTemplate(ctx, vm) {
		failed = notSupported("The operation is not supported on a template.")
	}
	if failed != nil {
		return task, failed
	}
	return d.startTask(ctx, vm, method, func(ctx *simulator.Context) (types.AnyType, *failure) {
		return d.snapshot(ctx, vm, r)
	}), nil
}

func (l *lab) snapshot(
	ctx *simulator.Context, vm *simulator.VirtualMachine, r *types.CreateSnapshotEx_Task,
) (types.AnyType, *failure) {
	m, release, failed := l.occupy(vm)
	if failed != nil {
		return nil, failed
	}
	defer release()
	request := *r
	var state types.VirtualMachinePowerState
	var guest guestVM
	var at point
	ctx.WithLock(vm, func() {
		state, guest, at = vm.Runtime.PowerState, l.describe(vm), m.here(uuid.NewString())
		tools := vm.Guest.ToolsRunningStatus == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
		if vm.Runtime.PowerState != poweredOn || !tools {
			request.QuiesceSpec = nil // vCenter ignores it then
		}
		request.Memory = (request.Memory || state == suspended) && state != poweredOff
		if currentLevel(vm.Snapshot) >= mostLevels {
			failed = &failure{&types.TooManySnapshotLevels{}, "The maximum number of snapshot levels has been reached."}
			return
		}
		failed = l.checkSnapshot(vm, request.Memory)
	})
	if failed != nil {
		return nil, failed
	}
	with := arguments{"snapshot": at.id, "memory": request.Memory}
	if err := l.drive(vm, "snapshot", guest, with, nil); err != nil {
		return nil, systemError(err.Error())
	}
	if !request.Memory {
		state = poweredOff
	}
	return l.recordSnapshot(ctx, vm, &request, at, state)
}

// recordSnapshot makes the managed object of a snapshot that the driver has taken. state is where a revert leads.
func (l *lab) recordSnapshot(
	ctx *simulator.Context, vm *simulator.VirtualMachine, request *types.CreateSnapshotEx_Task, at point,
	state types.VirtualMachinePowerState,
) (types.AnyType, *failure) {
	body := vm.CreateSnapshotExTask(ctx, request)
	result, failed := l.inner(ctx, body.(*methods.CreateSnapshotEx_TaskBody).Res.Returnval)
	if failed != nil {
		return nil, failed
	}
	ref := result.(types.ManagedObjectReference)
	ctx.WithLock(vm, func() {
		l.machine(vm.Self).keep(ref, at)
		// The simulator reads the power state now, and the guest may have gone off since the driver took the snapshot.
		var made *types.VirtualMachineSnapshotTree
		highest := int32(0)
		eachSnapshot(vm.Snapshot, func(tree *types.VirtualMachineSnapshotTree) {
			if tree.Snapshot == ref {
				made = tree
			} else {
				highest = max(highest, tree.Id)
			}
		})
		// It counts from 1 again for a VM that was kept from an earlier start, too.
		made.State, made.Id = state, max(made.Id, highest+1)
		chainDisks(vm)
	})
	return ref, nil
}

// eachSnapshot visits the nodes of a VM's tree of snapshots, parents first.
func eachSnapshot(info *types.VirtualMachineSnapshotInfo, visit func(*types.VirtualMachineSnapshotTree)) {
	var walk func([]types.VirtualMachineSnapshotTree)
	walk = func(trees []types.VirtualMachineSnapshotTree) {
		for at := range trees {
			visit(&trees[at])
			walk(trees[at].ChildSnapshotList)
		}
	}
	if info != nil {
		walk(info.RootSnapshotList)
	}
}

func (d *desk) RemoveSnapshotTask(ctx *simulator.Context, r *types.RemoveSnapshot_Task) soap.HasFault {
	snapshot, ok := d.registry.Get(r.This).(*simulator.VirtualMachineSnapshot)
	if !ok {
		return &methods.RemoveSnapshot_TaskBody{Fault_: notFound(r.This).soap()}
	}
	vm, failed := d.vm(snapshot.Vm)
	if failed != nil {
		return &methods.RemoveSnapshot_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "RemoveSnapshot_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.removeSnapshots(ctx, vm, func(tree types.VirtualMachineSnapshotTree, below bool) bool {
			return tree.Snapshot == r.This || below && r.RemoveChildren
		})
	})
	return &methods.RemoveSnapshot_TaskBody{Res: &types.RemoveSnapshot_TaskResponse{Returnval: task}}
}

func (d *desk) RemoveAllSnapshotsTask(ctx *simulator.Context, r *types.RemoveAllSnapshots_Task) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed != nil {
		return &methods.RemoveAllSnapshots_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "RemoveAllSnapshots_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.removeSnapshots(ctx, vm, func(types.VirtualMachineSnapshotTree, bool) bool { return true })
	})
	return &methods.RemoveAllSnapshots_TaskBody{Res: &types.RemoveAllSnapshots_TaskResponse{Returnval: task}}
}

// removeSnapshots removes those that are chosen, children first: the simulator forgets the children of one that it removes
// with them, and that the current one may be among them. below says that one above was chosen.
func (l *lab) removeSnapshots(
	ctx *simulator.Context, vm *simulator.VirtualMachine, chosen func(tree types.VirtualMachineSnapshotTree, below bool) bool,
) *failure {
	m, release, failed := l.occupy(vm)
	if failed != nil {
		return failed
	}
	defer release()
	var gone []types.ManagedObjectReference
	var walk func(trees []types.VirtualMachineSnapshotTree, below bool)
	walk = func(trees []types.VirtualMachineSnapshotTree, below bool) {
		for _, tree := range trees {
			taken := chosen(tree, below)
			walk(tree.ChildSnapshotList, taken)
			if taken {
				gone = append(gone, tree.Snapshot)
			}
		}
	}
	ctx.WithLock(vm, func() {
		if vm.Snapshot != nil {
			walk(vm.Snapshot.RootSnapshotList, false)
		}
	})
	for _, ref := range gone {
		if failed = l.removeSnapshot(ctx, vm, m, ref); failed != nil {
			break // those before it are gone
		}
	}
	ctx.WithLock(vm, func() { chainDisks(vm) })
	return failed
}

func (l *lab) removeSnapshot(
	ctx *simulator.Context, vm *simulator.VirtualMachine, m *machine, ref types.ManagedObjectReference,
) *failure {
	snapshot, ok := l.registry.Get(ref).(*simulator.VirtualMachineSnapshot)
	if !ok {
		return notFound(ref)
	}
	var guest guestVM
	var at point
	ctx.WithLock(vm, func() { guest, at = l.describe(vm), m.points[ref] })
	if err := l.drive(vm, "remove_snapshot", guest, arguments{"snapshot": at.id}, nil); err != nil {
		return systemError(err.Error())
	}
	body := snapshot.RemoveSnapshotTask(ctx, &types.RemoveSnapshot_Task{This: ref})
	_, failed := l.inner(ctx, body.(*methods.RemoveSnapshot_TaskBody).Res.Returnval)
	if failed == nil {
		ctx.WithLock(vm, func() { delete(m.points, ref) })
	}
	return failed
}
