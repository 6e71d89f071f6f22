// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"slices"
	"sync"

	"github.com/vmware/govmomi/vim25/types"
)

// gpuWant is one PCI device of a VM. Exactly one of id (with system), allowed and profile says which kind it is.
type gpuWant struct {
	key     int32
	name    string // pciPassthru0, as in the messages of a host
	id      string
	system  string
	allowed []types.VirtualPCIPassthroughAllowedDevice
	label   string
	profile string
}

func (w gpuWant) placed() bool { return w.profile != "" || w.allowed != nil }

// refusal is why a host cannot give a device.
type refusal int

const (
	granted     refusal = iota
	unavailable         // not on this host, or not active
	inUse               // by another VM that is on
	noProfile           // no device of this host offers the profile
	noRoom              // all vGPUs of the profile are taken
)

type grip struct {
	device  *gpu
	profile string
}

// gpuLedger says who uses which device. A device belongs to a VM from its power-on to its power-off.
type gpuLedger struct {
	mutex sync.Mutex
	all   []*gpu
	held  map[types.ManagedObjectReference][]grip // by VM
}

func (l *gpuLedger) add(device *gpu) { l.all = append(l.all, device) }

func (l *gpuLedger) of(hosts ...types.ManagedObjectReference) []*gpu {
	var found []*gpu
	for _, device := range l.all {
		if slices.Contains(hosts, device.host) {
			found = append(found, device)
		}
	}
	return found
}

func (l *gpuLedger) known(system, id string) *gpu {
	for _, device := range l.all {
		if device.systemID == system && device.Address == id {
			return device
		}
	}
	return nil
}

// take gives vm all its devices on that host, or none of them and the first one that it could not give.
func (l *gpuLedger) take(vm, host types.ManagedObjectReference, wants []gpuWant) (
	given []*gpu, refused gpuWant, reason refusal,
) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var grips []grip
	for _, want := range wants {
		device, reason := l.find(vm, host, want, grips)
		if reason != granted {
			return nil, want, reason
		}
		grips = append(grips, grip{device, want.profile})
		given = append(given, device)
	}
	if l.held == nil {
		l.held = map[types.ManagedObjectReference][]grip{}
	}
	l.held[vm] = grips
	return given, refused, granted
}

// find looks for a device. mine are those that the same VM has already been given.
func (l *gpuLedger) find(vm, host types.ManagedObjectReference, want gpuWant, mine []grip) (*gpu, refusal) {
	worst := unavailable
	if want.profile != "" {
		worst = noProfile
	}
	for _, device := range l.of(host) {
		if !want.matches(device) {
			continue
		}
		users := slices.Clone(mine)
		for other, grips := range l.held {
			if other != vm {
				users = append(users, grips...)
			}
		}
		users = slices.DeleteFunc(users, func(g grip) bool { return g.device != device })
		switch {
		case want.profile == "" && len(users) == 0, want.profile != "" && roomFor(device, want.profile, users):
			return device, granted
		case want.profile == "":
			worst = inUse
		default:
			worst = noRoom
		}
	}
	return nil, worst
}

func (w gpuWant) matches(device *gpu) bool {
	switch {
	case w.profile != "":
		return device.offers(w.profile)
	case !device.active():
		return false
	case w.allowed == nil:
		return device.Address == w.id && device.systemID == w.system
	case w.label != "" && w.label != device.Label:
		return false
	}
	return slices.ContainsFunc(w.allowed, func(a types.VirtualPCIPassthroughAllowedDevice) bool {
		return uint16(a.VendorId) == device.VendorID && uint16(a.DeviceId) == device.DeviceID
	})
}

// roomFor says whether a device can carry one more vGPU. All vGPUs on one device have the same profile (the mode in
// which devices are delivered), and share its memory.
func roomFor(device *gpu, profile string, users []grip) bool {
	for _, user := range users {
		if user.profile != profile {
			return false
		}
	}
	size := device.profile(profile).MemoryGB
	return int64(len(users)+1)*size<<10 <= device.MemoryMB
}

// release is true where the VM had a device.
func (l *gpuLedger) release(vm types.ManagedObjectReference) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	had := len(l.held[vm]) > 0
	delete(l.held, vm)
	return had
}

func (l *gpuLedger) users() map[gpuKey][]types.ManagedObjectReference {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	users := map[gpuKey][]types.ManagedObjectReference{}
	for vm, grips := range l.held {
		for _, grip := range grips {
			key := gpuKey{grip.device.host, grip.device.Address}
			users[key] = append(users[key], vm)
		}
	}
	for _, vms := range users {
		sortRefs(vms)
	}
	return users
}
