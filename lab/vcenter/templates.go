// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// buildTemplates registers each template on the next host, as templates are spread on a vCenter in use: a template's host
// is what bounds how many of its clones run at once.
func (l *lab) buildTemplates(client *vim25.Client) error {
	for i, t := range l.inventory.Templates {
		if err := l.buildTemplate(client, t, l.places.hosts[i%len(l.places.hosts)]); err != nil {
			return fmt.Errorf("template %s: %w", t.Name, err)
		}
	}
	return nil
}

func (l *lab) buildTemplate(client *vim25.Client, t template, host types.ManagedObjectReference) error {
	ctx := context.Background()
	devices, err := l.templateDevices(client, t)
	if err != nil {
		return err
	}
	spec := types.VirtualMachineConfigSpec{
		Name: t.Name, GuestId: t.GuestID, Firmware: t.Firmware, Version: t.HardwareVersion,
		NumCPUs: t.CPUs, MemoryMB: t.MemoryMB, DeviceChange: devices,
		Files: &types.VirtualMachineFileInfo{VmPathName: fmt.Sprintf("[%s]", l.inventory.Datastore.Name)},
		ExtraConfig: []types.BaseOptionValue{
			&types.OptionValue{Key: "disk.EnableUUID", Value: "TRUE"},
		},
	}
	task, err := object.NewFolder(client, l.places.folder).CreateVM(
		ctx, spec, object.NewResourcePool(client, l.places.pool), object.NewHostSystem(client, host))
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		return err
	}
	ref := info.Result.(types.ManagedObjectReference)
	if l.templates == nil {
		l.templates = map[string]types.ManagedObjectReference{}
	}
	l.templates[t.Name] = ref
	vm := l.registry.Get(ref).(*simulator.VirtualMachine)
	fork(l.service.Context).WithLock(vm, func() { l.machine(ref).isOrigin(diskKeys(vm)...) })
	return object.NewVirtualMachine(client, ref).MarkAsTemplate(ctx)
}

func (l *lab) templateDevices(client *vim25.Client, t template) ([]types.BaseVirtualDeviceConfigSpec, error) {
	var devices object.VirtualDeviceList
	controller, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		return nil, err
	}
	devices = append(devices, controller)
	disk := devices.CreateDisk(controller.(types.BaseVirtualController), l.places.datastore, "")
	disk.CapacityInKB = t.DiskGB << 20
	thin := true
	disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).ThinProvisioned = &thin

	portgroup := object.NewDistributedVirtualPortgroup(client, l.places.portgroup)
	backing, err := portgroup.EthernetCardBackingInfo(context.Background())
	if err != nil {
		return nil, err
	}
	card, err := devices.CreateEthernetCard("vmxnet3", backing)
	if err != nil {
		return nil, err
	}
	changes, err := append(devices, disk, card).ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		return nil, err
	}
	for _, change := range changes {
		if _, ok := change.GetVirtualDeviceConfigSpec().Device.(*types.VirtualDisk); ok {
			change.GetVirtualDeviceConfigSpec().FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
		}
	}
	return changes, nil
}

// MarkAsTemplate leaves a VM's disks as they are, and so does MarkAsVirtualMachine.
func (d *desk) MarkAsTemplate(ctx *simulator.Context, r *types.MarkAsTemplate) soap.HasFault {
	answer, failed := d.mark(ctx, r.This, func(vm *simulator.VirtualMachine) soap.HasFault { return vm.MarkAsTemplate(r) })
	if failed != nil {
		return &methods.MarkAsTemplateBody{Fault_: failed.soap()}
	}
	return answer
}

func (d *desk) MarkAsVirtualMachine(ctx *simulator.Context, r *types.MarkAsVirtualMachine) soap.HasFault {
	answer, failed := d.mark(ctx, r.This, func(vm *simulator.VirtualMachine) soap.HasFault { return vm.MarkAsVirtualMachine(r) })
	if failed != nil {
		return &methods.MarkAsVirtualMachineBody{Fault_: failed.soap()}
	}
	return answer
}

func (d *desk) mark(
	ctx *simulator.Context, ref types.ManagedObjectReference, change func(*simulator.VirtualMachine) soap.HasFault,
) (answer soap.HasFault, failed *failure) {
	vm, failed := d.vm(ref)
	if failed != nil {
		return nil, failed
	}
	_, release, failed := d.occupy(vm)
	if failed != nil {
		return nil, failed
	}
	defer release()
	ctx.WithLock(vm, func() { answer = change(vm) })
	d.placed.touch(ref) // the simulator changes it without a word to the registry
	return answer, nil
}
