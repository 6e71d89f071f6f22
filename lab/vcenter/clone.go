// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

func (d *desk) CloneVMTask(ctx *simulator.Context, r *types.CloneVM_Task) soap.HasFault {
	source, failed := d.vm(r.This)
	if failed == nil {
		failed = d.checkClone(r)
	}
	if failed != nil {
		return &methods.CloneVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTaskFor(ctx, source, "CloneVM_Task", r.Name, func(ctx *simulator.Context) (types.AnyType, *failure) {
		clone, failed := d.clone(ctx, source, r)
		if failed != nil {
			return nil, failed
		}
		if r.Spec.PowerOn && !r.Spec.Template {
			return clone.Self, d.powerOn(ctx, clone, nil)
		}
		return clone.Self, nil
	})
	return &methods.CloneVM_TaskBody{Res: &types.CloneVM_TaskResponse{Returnval: task}}
}

// checkClone refuses at once what the simulator would end in a panic for.
func (l *lab) checkClone(r *types.CloneVM_Task) *failure {
	location := r.Spec.Location
	for _, ref := range []*types.ManagedObjectReference{
		&r.Folder, location.Pool, location.Host, location.Datastore,
	} {
		if ref != nil && l.registry.Get(*ref) == nil {
			return notFound(*ref)
		}
	}
	if _, ok := l.registry.Get(r.Folder).(*simulator.Folder); !ok {
		return invalidArgument("folder", "A specified parameter was not correct: folder")
	}
	if !l.linkable(r) {
		return invalidArgument("spec.snapshot", "A specified parameter was not correct: spec.snapshot")
	}
	return l.checkCloneProfiles(&location)
}

// clone makes the copy and applies all of the ConfigSpec before anybody can see it.
func (l *lab) clone(
	ctx *simulator.Context, source *simulator.VirtualMachine, r *types.CloneVM_Task,
) (*simulator.VirtualMachine, *failure) {
	folder := l.registry.Get(r.Folder).(*simulator.Folder)
	if taken := l.child(ctx, folder, r.Name); taken != nil {
		return nil, duplicateName(r.Name, *taken)
	}
	time.Sleep(l.delay)
	l.mishaps.pause("CloneVM_Task")
	if l.registry.Get(source.Self) == nil {
		return nil, notFound(source.Self)
	}
	var host types.ManagedObjectReference
	var copied types.VirtualMachineConfigSpec
	var template string
	var at point
	var config *types.VirtualMachineConfigInfo
	ctx.WithLock(source, func() {
		host, template = *source.Runtime.Host, l.machine(source.Self).template
		if source.Config.Template {
			template = source.Name
		}
		if config, at = l.cloned(source, r.Spec.Snapshot); config != nil {
			copied = specOf(config)
			copied.ExtraConfig = mergeExtraConfig(copied.ExtraConfig, takenBack(at.written))
		}
	})
	if config == nil {
		return nil, notFound(*r.Spec.Snapshot)
	}
	request, failed := l.bareClone(ctx, source, config, r, host)
	if failed != nil {
		return nil, failed
	}
	var m *machine
	clone, failed := l.create(ctx, func() (types.AnyType, *failure) {
		if taken := l.child(ctx, folder, r.Name); taken != nil { // by a clone that was faster
			return nil, duplicateName(r.Name, *taken)
		}
		body := folder.CreateVMTask(ctx, request)
		return l.inner(ctx, body.(*methods.CreateVM_TaskBody).Res.Returnval)
	}, func(clone *simulator.VirtualMachine) *failure {
		m = l.machine(clone.Self)
		m.busy.Lock() // before anybody sees it: it cannot start without its content
		m.template, m.origin = template, at.origin
		renewIdentity(clone)
		if isLinked(r) {
			linkDisks(clone, config)
		} else {
			unlinkDisks(clone)
		}
		for _, spec := range []types.VirtualMachineConfigSpec{copied, wishes(r)} {
			if failed := l.configure(ctx, clone, spec); failed != nil {
				return failed
			}
		}
		l.associateClone(clone.Self, &r.Spec.Location)
		if r.Spec.Customization != nil && !r.Spec.Template {
			if failed := l.customizeLater(ctx, clone, r.Spec.Customization); failed != nil {
				return failed
			}
		}
		if r.Spec.Template {
			clone.MarkAsTemplate(&types.MarkAsTemplate{This: clone.Self})
		}
		return nil
	})
	if failed != nil {
		if m != nil {
			m.busy.Unlock()
		}
		return nil, failed
	}
	defer l.release(m, clone)
	return clone, l.copyContent(ctx, source, clone, r)
}

// bareClone makes a VM with the source's hardware. The simulator's own clone does the same, and waits for it by looking
// every 10 ms while nobody else can clone.
func (l *lab) bareClone(
	ctx *simulator.Context, source *simulator.VirtualMachine, from *types.VirtualMachineConfigInfo, r *types.CloneVM_Task,
	host types.ManagedObjectReference,
) (*types.CreateVM_Task, *failure) {
	location, bare := r.Spec.Location, &types.CreateVM_Task{This: r.Folder}
	config := &bare.Config
	ctx.WithLock(source, func() {
		if location.Pool == nil && !source.Config.Template {
			location.Pool = source.ResourcePool
		}
		var path object.DatastorePath
		path.FromString(from.Files.VmPathName)
		if location.Datastore != nil {
			path.Datastore = l.registry.Get(*location.Datastore).(*simulator.Datastore).Name
		}
		path.Path = r.Name
		hardware := from.Hardware
		*config = types.VirtualMachineConfigSpec{
			Name: r.Name, Version: from.Version, GuestId: from.GuestId,
			Files:   &types.VirtualMachineFileInfo{VmPathName: path.String()},
			NumCPUs: hardware.NumCPU, MemoryMB: int64(hardware.MemoryMB), NumCoresPerSocket: hardware.NumCoresPerSocket,
			VirtualICH7MPresent: hardware.VirtualICH7MPresent, VirtualSMCPresent: hardware.VirtualSMCPresent,
			DeviceChange: copiedDevices(hardware.Device),
		}
	})
	if location.Pool == nil {
		return nil, invalidArgument("spec.location.pool", "A specified parameter was not correct: spec.location.pool")
	}
	bare.Pool, bare.Host = *location.Pool, location.Host
	if bare.Host == nil {
		chosen := l.placement(host, location.Pool)
		bare.Host = &chosen
	}
	config.Uuid, config.InstanceUuid = orNew(""), orNew("")
	if wished := r.Spec.Config; wished != nil {
		config.Uuid, config.InstanceUuid = orNew(wished.Uuid), orNew(wished.InstanceUuid)
	}
	return bare, nil
}

// copiedDevices adds what a VM has beyond that which every VM is made with; disks get files and names of their own.
func copiedDevices(devices object.VirtualDeviceList) []types.BaseVirtualDeviceConfigSpec {
	standard := object.VirtualDeviceList(esx.VirtualDevice)
	var added []types.BaseVirtualDeviceConfigSpec
	for _, device := range deepCopy(devices) {
		if standard.Find(devices.Name(device)) != nil {
			continue
		}
		change := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: device}
		if disk, ok := device.(*types.VirtualDisk); ok {
			change.FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
			if backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				backing.FileName, backing.Uuid, backing.Parent = "", "", nil
			}
		}
		added = append(added, change)
	}
	return added
}

// deepCopy goes by way of XML, as a client's copy does.
func deepCopy(devices object.VirtualDeviceList) object.VirtualDeviceList {
	var text bytes.Buffer
	var copied types.ArrayOfVirtualDevice
	if err := xml.NewEncoder(&text).Encode(types.ArrayOfVirtualDevice{VirtualDevice: devices}); err != nil {
		panic(err) // a device that vCenter holds can be written
	}
	decoder := xml.NewDecoder(&text)
	decoder.TypeFunc = types.TypeFunc()
	if err := decoder.Decode(&copied); err != nil {
		panic(err)
	}
	return copied.VirtualDevice
}

// wishes is the rest of the request, to be applied by reconfiguring.
func wishes(r *types.CloneVM_Task) types.VirtualMachineConfigSpec {
	var spec types.VirtualMachineConfigSpec
	if r.Spec.Config != nil {
		spec = *r.Spec.Config
	}
	spec.Uuid, spec.InstanceUuid, spec.Name, spec.Files, spec.ChangeVersion = "", "", "", nil, ""
	spec.DeviceChange = slices.Concat(r.Spec.Location.DeviceChange, spec.DeviceChange)
	return spec
}

// create runs the simulator's making of a VM and then complete, while the VM is locked for everybody else: no reader sees
// a VM without the marks that its ConfigSpec carries. A VM that cannot be completed is removed.
func (l *lab) create(
	ctx *simulator.Context, make func() (types.AnyType, *failure), complete func(*simulator.VirtualMachine) *failure,
) (*simulator.VirtualMachine, *failure) {
	l.creating.Lock()
	defer l.creating.Unlock()
	l.newborn, l.unlock = ctx, nil
	defer func() {
		if l.unlock != nil {
			l.unlock()
		}
		l.newborn, l.unlock = nil, nil
	}()
	result, failed := make()
	if failed != nil {
		return nil, failed
	}
	vm := l.registry.Get(result.(types.ManagedObjectReference)).(*simulator.VirtualMachine)
	if failed := complete(vm); failed != nil {
		l.discard(ctx, vm)
		return nil, failed
	}
	return vm, nil
}

// CreateVMTask makes a VM from nothing, with the same care for its ConfigSpec as a clone.
func (d *desk) CreateVMTask(ctx *simulator.Context, r *types.CreateVM_Task) soap.HasFault {
	folder, ok := d.registry.Get(r.This).(*simulator.Folder)
	var failed *failure
	switch {
	case !ok:
		failed = notFound(r.This)
	case d.registry.Get(r.Pool) == nil:
		failed = notFound(r.Pool)
	case r.Host != nil && d.registry.Get(*r.Host) == nil:
		failed = notFound(*r.Host)
	}
	if failed != nil {
		return &methods.CreateVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTaskFor(ctx, folder, "CreateVM_Task", r.Config.Name, func(ctx *simulator.Context) (types.AnyType, *failure) {
		vm, failed := d.createVM(ctx, folder, r, nil)
		if failed != nil {
			return nil, failed
		}
		return vm.Self, nil
	})
	return &methods.CreateVM_TaskBody{Res: &types.CreateVM_TaskResponse{Returnval: task}}
}

// createVM lets note, unless it is nil, see the VM before anybody else does.
func (l *lab) createVM(
	ctx *simulator.Context, folder *simulator.Folder, r *types.CreateVM_Task, note func(*simulator.VirtualMachine),
) (*simulator.VirtualMachine, *failure) {
	if taken := l.child(ctx, folder, r.Config.Name); taken != nil {
		return nil, duplicateName(r.Config.Name, *taken)
	}
	if r.Host == nil {
		chosen := l.placement(types.ManagedObjectReference{}, &r.Pool)
		r.Host = &chosen
	}
	spec := r.Config
	bare := spec
	bare.DeviceChange, bare.ExtraConfig = nil, nil
	bare.Uuid, bare.InstanceUuid = orNew(spec.Uuid), orNew(spec.InstanceUuid)
	request := *r
	request.Config = bare
	spec.Uuid, spec.InstanceUuid, spec.Name, spec.Files = "", "", "", nil
	vm, failed := l.create(ctx, func() (types.AnyType, *failure) {
		body := folder.CreateVMTask(ctx, &request)
		return l.inner(ctx, body.(*methods.CreateVM_TaskBody).Res.Returnval)
	}, func(vm *simulator.VirtualMachine) *failure {
		if note != nil {
			note(vm)
		}
		return l.configure(ctx, vm, spec)
	})
	if failed == nil {
		l.keep.save(vm)
	}
	return vm, failed
}

func (l *lab) child(ctx *simulator.Context, folder *simulator.Folder, name string) *types.ManagedObjectReference {
	var children []types.ManagedObjectReference
	ctx.WithLock(folder, func() { children = append(children, folder.ChildEntity...) })
	entity := l.registry.FindByName(name, children)
	if entity == nil {
		return nil
	}
	ref := entity.Reference()
	return &ref
}

func orNew(id string) string {
	if id == "" {
		return uuid.NewString()
	}
	return id
}
