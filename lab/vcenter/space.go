// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"maps"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// thinShare is the part of a thin disk that counts as written: its first tenth.
const thinShare = 10

// usage is what disks take, in bytes by datastore name. committed is taken now, promised is what thin disks may yet take.
type usage struct{ committed, promised map[string]int64 }

// spaceLedger counts what the disks of all VMs take.
type spaceLedger struct {
	mutex    sync.Mutex
	capacity map[string]int64 // by datastore name
	stores   map[string]types.ManagedObjectReference
	held     map[types.ManagedObjectReference]usage // by VM
	total    usage
}

func newUsage() usage { return usage{map[string]int64{}, map[string]int64{}} }

func (l *spaceLedger) add(name string, ref types.ManagedObjectReference, capacity int64) {
	if l.capacity == nil {
		l.capacity, l.stores = map[string]int64{}, map[string]types.ManagedObjectReference{}
		l.held, l.total = map[types.ManagedObjectReference]usage{}, newUsage()
	}
	l.capacity[name], l.stores[name] = capacity, ref
}

// reserve replaces what vm takes, or gives the datastore that has no room for what it would take more.
func (l *spaceLedger) reserve(vm types.ManagedObjectReference, wanted usage) (full string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	had := l.held[vm]
	for store, bytes := range wanted.committed {
		more := bytes - had.committed[store]
		if more > 0 && more > l.capacity[store]-l.total.committed[store] {
			return store
		}
	}
	l.replace(vm, wanted)
	return ""
}

func (l *spaceLedger) release(vm types.ManagedObjectReference) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.replace(vm, newUsage())
	delete(l.held, vm)
}

func (l *spaceLedger) replace(vm types.ManagedObjectReference, wanted usage) {
	had := l.held[vm]
	count := func(total, had, wanted map[string]int64) {
		for store, bytes := range had {
			total[store] -= bytes
		}
		for store, bytes := range wanted {
			total[store] += bytes
		}
	}
	count(l.total.committed, had.committed, wanted.committed)
	count(l.total.promised, had.promised, wanted.promised)
	l.held[vm] = wanted
}

// state is a copy for readers: capacity and free bytes and promised bytes by datastore.
func (l *spaceLedger) state() (free, promised map[string]int64) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	free = maps.Clone(l.capacity)
	for store, bytes := range l.total.committed {
		free[store] = max(0, free[store]-bytes)
	}
	return free, maps.Clone(l.total.promised)
}

// usageOf is what a VM's disks take once the changes are made. The caller holds the VM's lock.
func usageOf(vm *simulator.VirtualMachine, changes []types.BaseVirtualDeviceConfigSpec) usage {
	disks := map[int32]*types.VirtualDisk{}
	note := func(device types.BaseVirtualDevice) {
		if disk, ok := device.(*types.VirtualDisk); ok {
			disks[disk.Key] = disk
		}
	}
	for _, device := range vm.Config.Hardware.Device {
		note(device)
	}
	for _, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		if spec.Operation == types.VirtualDeviceConfigSpecOperationRemove {
			delete(disks, spec.Device.GetVirtualDevice().Key)
			continue
		}
		note(spec.Device)
	}
	var home object.DatastorePath
	home.FromString(vm.Config.Files.VmPathName)
	taken := newUsage()
	for _, disk := range disks {
		store, thin := home.Datastore, false
		if backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			var path object.DatastorePath
			if path.FromString(backing.FileName) && path.Datastore != "" {
				store = path.Datastore
			}
			thin = backing.ThinProvisioned != nil && *backing.ThinProvisioned
		}
		size := diskBytes(disk)
		switch {
		case isChild(disk): // a child disk is empty at first
			taken.promised[store] += size
			size = 0
		case thin:
			taken.promised[store] += size - size/thinShare
			size /= thinShare
		}
		taken.committed[store] += size
	}
	return taken
}

// reserveSpace takes what the VM's disks will need, or fails as the datastore would. The caller holds the VM's lock.
func (l *lab) reserveSpace(vm *simulator.VirtualMachine, changes []types.BaseVirtualDeviceConfigSpec) *failure {
	if full := l.space.reserve(vm.Self, usageOf(vm, changes)); full != "" {
		return noDiskSpace(full, vm.Name)
	}
	return nil
}

func noDiskSpace(store, name string) *failure {
	fault := &types.NoDiskSpace{Datastore: store}
	fault.File = fmt.Sprintf("[%s] %s", store, name)
	return &failure{fault, fmt.Sprintf("Insufficient disk space on datastore '%s'.", store)}
}

// showSpace writes to the datastores what is free. The simulator counts on its own, and thin disks as thick.
func (l *lab) showSpace(ctx *simulator.Context) {
	free, promised := l.space.state()
	for name, ref := range l.space.stores {
		datastore, ok := l.registry.Get(ref).(*simulator.Datastore)
		if !ok {
			continue
		}
		ctx.WithLock(datastore, func() {
			info := datastore.Info.GetDatastoreInfo()
			info.FreeSpace = free[name]
			ctx.Update(datastore, []types.PropertyChange{
				{Name: "summary.freeSpace", Val: free[name]},
				{Name: "summary.uncommitted", Val: promised[name]},
			})
		})
	}
}
