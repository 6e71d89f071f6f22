// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"log"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func (d *desk) DestroyTask(ctx *simulator.Context, r *types.Destroy_Task) soap.HasFault {
	if folder, ok := d.registry.Get(r.This).(*simulator.Folder); ok {
		task := d.startTask(ctx, folder, "Destroy_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
			return nil, d.destroyFolder(ctx, folder)
		})
		return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: task}}
	}
	vm, failed := d.vm(r.This)
	if failed != nil {
		return &methods.Destroy_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "Destroy_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		return nil, d.destroy(ctx, vm)
	})
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: task}}
}

// destroyFolder takes the VMs and folders in a folder along, which the simulator leaves behind where nobody sees them.
func (l *lab) destroyFolder(ctx *simulator.Context, folder *simulator.Folder) *failure {
	var children []types.ManagedObjectReference
	ctx.WithLock(folder, func() { children = append(children, folder.ChildEntity...) })
	for _, ref := range children {
		var failed *failure
		switch child := l.registry.Get(ref).(type) {
		case *simulator.VirtualMachine:
			failed = l.destroy(ctx, child)
		case *simulator.Folder:
			failed = l.destroyFolder(ctx, child)
		}
		if failed != nil {
			return failed
		}
	}
	body := folder.DestroyTask(ctx, &types.Destroy_Task{This: folder.Self})
	_, failed := l.inner(ctx, body.(*methods.Destroy_TaskBody).Res.Returnval)
	return failed
}

// destroy removes the guest before the VM: a guest that cannot be removed keeps its VM, by which one can try again.
func (l *lab) destroy(ctx *simulator.Context, vm *simulator.VirtualMachine) *failure {
	m, release, failed := l.occupy(vm)
	if failed != nil {
		return failed
	}
	defer release()
	var state types.VirtualMachinePowerState
	var guest guestVM
	ctx.WithLock(vm, func() { state, guest = vm.Runtime.PowerState, l.describe(vm) })
	if state == poweredOn {
		return invalidPowerState(state, poweredOff)
	}
	if m.told.Load() != nil {
		if err := l.driver.call("destroy", guest, nil, nil); err != nil {
			return systemError(err.Error())
		}
		m.told.Store(nil)
	}
	body := vm.DestroyTask(ctx, &types.Destroy_Task{This: vm.Self})
	_, failed = l.inner(ctx, body.(*methods.Destroy_TaskBody).Res.Returnval)
	if failed == nil {
		l.dropOverrides(ctx, vm.Self)
		l.authorization(func(manager *simulator.AuthorizationManager) { // what was granted on it goes with it
			manager.SetEntityPermissions(&types.SetEntityPermissions{Entity: vm.Self})
		})
	}
	l.showSpace(ctx)
	return failed
}

// occupy waits for its turn with a VM. It fails when the VM went away meanwhile, and while its disks are copied.
func (l *lab) occupy(vm *simulator.VirtualMachine) (m *machine, release func(), failed *failure) {
	m = l.machine(vm.Self)
	m.busy.Lock()
	if l.registry.Get(vm.Self) == nil {
		m.busy.Unlock()
		return nil, nil, notFound(vm.Self)
	}
	if m.importing.Load() {
		m.busy.Unlock()
		return nil, nil, &failure{&types.TaskInProgress{}, "The operation is not allowed while the disks are copied."}
	}
	return m, func() { l.release(m, vm) }, nil
}

// release ends an operation on a VM: what it has changed is kept before the next one begins, and before its task ends.
func (l *lab) release(m *machine, vm *simulator.VirtualMachine) {
	l.keep.save(vm)
	m.busy.Unlock()
}

// forget drops what the lab knew of a VM that is gone, and has its guest removed where nobody did that before.
func (l *lab) forget(ref types.ManagedObjectReference) {
	l.memory.release(ref)
	l.space.release(ref)
	l.policies.release(ref)
	l.keep.forget(ref)
	go l.dropOverrides(fork(l.service.Context), ref) // not here: who removes a VM holds locks
	if l.gpus.release(ref) {
		go l.showUsers(fork(l.service.Context)) // not here: who removes a VM holds locks
	}
	l.mutex.Lock()
	m := l.machines[ref]
	delete(l.machines, ref)
	l.mutex.Unlock()
	if m == nil {
		return
	}
	if guest := m.told.Swap(nil); guest != nil {
		go func() {
			if err := l.driver.call("destroy", *guest, nil, nil); err != nil {
				log.Printf("destroy %s: %v", ref.Value, err)
			}
		}()
	}
}

// UnregisterVM takes a VM out of the inventory. Its disks stay, as the files of such a VM do on a datastore.
func (d *desk) UnregisterVM(ctx *simulator.Context, r *types.UnregisterVM) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed != nil {
		return &methods.UnregisterVMBody{Fault_: failed.soap()}
	}
	m, release, failed := d.occupy(vm)
	if failed != nil {
		return &methods.UnregisterVMBody{Fault_: failed.soap()}
	}
	defer release()
	guest := m.told.Swap(nil)
	var answer soap.HasFault
	ctx.WithLock(vm, func() { answer = vm.UnregisterVM(ctx, r) })
	if answer.Fault() != nil {
		m.told.Store(guest)
	}
	return answer
}

// RefreshDatastore keeps the size that the inventory gave; the simulator would set its own.
func (d *desk) RefreshDatastore(_ *simulator.Context, _ *types.RefreshDatastore) soap.HasFault {
	return &methods.RefreshDatastoreBody{Res: &types.RefreshDatastoreResponse{}}
}
