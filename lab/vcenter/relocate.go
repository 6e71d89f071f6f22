// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func (d *desk) RelocateVMTask(ctx *simulator.Context, r *types.RelocateVM_Task) soap.HasFault {
	vm, failed := d.vm(r.This)
	for _, ref := range []*types.ManagedObjectReference{r.Spec.Host, r.Spec.Pool, r.Spec.Datastore, r.Spec.Folder} {
		if failed == nil && ref != nil && d.registry.Get(*ref) == nil {
			failed = notFound(*ref)
		}
	}
	if failed != nil {
		return &methods.RelocateVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "RelocateVM_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		_, release, failed := d.occupy(vm)
		if failed != nil {
			return nil, failed
		}
		defer release()
		var before types.ManagedObjectReference
		ctx.WithLock(vm, func() { before = *vm.Runtime.Host })
		body := vm.RelocateVMTask(ctx, r)
		result, failed := d.inner(ctx, body.(*methods.RelocateVM_TaskBody).Res.Returnval)
		if failed == nil && r.Spec.Host != nil {
			d.rehome(ctx, vm.Self, before, *r.Spec.Host)
		}
		return result, failed
	})
	return &methods.RelocateVM_TaskBody{Res: &types.RelocateVM_TaskResponse{Returnval: task}}
}

// rehome keeps the hosts' lists of VMs right: the simulator leaves a moved VM in its old host's list, for ever.
func (l *lab) rehome(ctx *simulator.Context, vm, from, to types.ManagedObjectReference) {
	change := func(ref types.ManagedObjectReference, edit func([]types.ManagedObjectReference) []types.ManagedObjectReference) {
		if host, ok := l.registry.Get(ref).(*simulator.HostSystem); ok {
			ctx.WithLock(host, func() {
				ctx.Update(host, []types.PropertyChange{{Name: "vm", Val: edit(slices.Clone(host.Vm))}})
			})
		}
	}
	without := func(vms []types.ManagedObjectReference) []types.ManagedObjectReference {
		return slices.DeleteFunc(vms, func(other types.ManagedObjectReference) bool { return other == vm })
	}
	change(from, without)
	change(to, func(vms []types.ManagedObjectReference) []types.ManagedObjectReference {
		return append(without(vms), vm)
	})
}
