// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func (d *desk) CreateSnapshotTask(ctx *simulator.Context, r *types.CreateSnapshot_Task) soap.HasFault {
	task, failed := d.startSnapshot(ctx, &types.CreateSnapshotEx_Task{
		This: r.This, Name: r.Name, Description: r.Description, Memory: r.Memory,
	}, "CreateSnapshot_Task")
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
	_, release, failed := l.occupy(vm)
	if failed != nil {
		return nil, failed
	}
	defer release()
	ctx.WithLock(vm, func() { failed = l.checkSnapshot(vm, r.Memory) })
	if failed != nil {
		return nil, failed
	}
	body := vm.CreateSnapshotExTask(ctx, r)
	return l.inner(ctx, body.(*methods.CreateSnapshotEx_TaskBody).Res.Returnval)
}
