// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"maps"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// drive has the driver do something to a VM. From then on the driver has something of the VM's, and must hear when it goes.
// A VM is kept before its guest can change anything, except a clone, which is kept when its content is there.
func (l *lab) drive(
	vm *simulator.VirtualMachine, operation string, guest guestVM, with arguments, applied func(),
) error {
	news := l.machine(vm.Self).told.Swap(&guest) == nil
	switch {
	case operation == "clone":
	case news:
		l.keep.save(vm)
	default:
		l.keep.saveChanged(vm)
	}
	return l.driver.call(operation, guest, with, applied)
}

// copyContent has the driver copy what the source's disks hold to a clone that nobody can start yet. Of a source that the
// driver never heard of there is nothing to copy: the clone's disks are then made at its first start, as the source's
// would have been. A clone without its content is removed.
func (l *lab) copyContent(
	ctx *simulator.Context, source, clone *simulator.VirtualMachine, r *types.CloneVM_Task,
) *failure {
	from := l.machine(source.Self)
	if from.told.Load() == nil {
		return nil
	}
	from.busy.RLock() // the source must not change while it is copied, but it may be copied several times at once
	defer from.busy.RUnlock()
	failed := l.askForCopy(ctx, source, clone, r)
	if failed != nil {
		l.discard(ctx, clone)
	}
	return failed
}

func (l *lab) askForCopy(
	ctx *simulator.Context, source, clone *simulator.VirtualMachine, r *types.CloneVM_Task,
) *failure {
	if l.registry.Get(source.Self) == nil {
		return notFound(source.Self)
	}
	with := arguments{"linked": isLinked(r), "snapshot": ""}
	found := true
	ctx.WithLock(source, func() {
		with["source"] = source.Config.InstanceUuid
		if r.Spec.Snapshot != nil {
			var at point
			at, found = l.machine(source.Self).points[*r.Spec.Snapshot]
			with["snapshot"] = at.id
		}
	})
	if !found {
		return notFound(*r.Spec.Snapshot)
	}
	var guest guestVM
	ctx.WithLock(clone, func() { guest = l.describe(clone) })
	if err := l.drive(clone, "clone", guest, with, nil); err != nil {
		return systemError(err.Error())
	}
	return nil
}

// discard removes a VM that could not be completed.
func (l *lab) discard(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	body := vm.DestroyTask(ctx, &types.Destroy_Task{This: vm.Self})
	_, _ = l.inner(ctx, body.(*methods.Destroy_TaskBody).Res.Returnval)
}

// isOrigin marks disks as those whose content is a template's system. The caller holds the VM's lock.
func (m *machine) isOrigin(keys ...int32) {
	if m.origin == nil {
		m.origin = map[int32]bool{}
	}
	for _, key := range keys {
		m.origin[key] = true
	}
}

// noteDevices keeps the marks right through a change of devices: a key that is used anew is another disk. The caller holds
// the VM's lock.
func (m *machine) noteDevices(changes []types.BaseVirtualDeviceConfigSpec) {
	for _, change := range changes {
		if spec := change.GetVirtualDeviceConfigSpec(); spec.Operation != types.VirtualDeviceConfigSpecOperationEdit {
			delete(m.origin, spec.Device.GetVirtualDevice().Key)
		}
	}
}

// here is the point that a snapshot taken now stands for. The caller holds the VM's lock.
func (m *machine) here(id string) point {
	return point{id, maps.Clone(m.origin), maps.Clone(m.written)}
}

// backTo is here's other half. The caller holds the VM's lock.
func (m *machine) backTo(at point) {
	m.origin, m.written = maps.Clone(at.origin), maps.Clone(at.written)
}

func (m *machine) keep(snapshot types.ManagedObjectReference, at point) {
	if m.points == nil {
		m.points = map[types.ManagedObjectReference]point{}
	}
	m.points[snapshot] = at
}
