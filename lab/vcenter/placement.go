// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// placedVMs counts the memory of the VMs on each host, running or not. Only VMs that were touched since the last look
// are read again: to read all of them for each clone takes longer than the clone when there are a thousand.
type placedVMs struct {
	mutex   sync.Mutex
	touched map[types.ManagedObjectReference]bool
	counted map[types.ManagedObjectReference]reservation // by VM
	onHost  map[types.ManagedObjectReference]int64       // MB
}

// touch notes that a VM may be somewhere else, of another size, or gone. The caller may hold its lock.
func (p *placedVMs) touch(ref types.ManagedObjectReference) {
	if ref.Type != "VirtualMachine" {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.touched == nil {
		p.touched = map[types.ManagedObjectReference]bool{}
	}
	p.touched[ref] = true
}

func (p *placedVMs) takeTouched() map[types.ManagedObjectReference]bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	taken := p.touched
	p.touched = nil
	return taken
}

// count replaces what is known of a VM; the zero reservation is that of one which takes no host's room.
func (p *placedVMs) count(vm types.ManagedObjectReference, now reservation) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.counted == nil {
		p.counted = map[types.ManagedObjectReference]reservation{}
		p.onHost = map[types.ManagedObjectReference]int64{}
	}
	before := p.counted[vm]
	p.onHost[before.host] -= before.memory
	p.onHost[now.host] += now.memory
	if now == (reservation{}) {
		delete(p.counted, vm)
	} else {
		p.counted[vm] = now
	}
}

// roomiest is the host, of those given, on which the placed VMs leave most memory.
func (p *placedVMs) roomiest(
	hosts []types.ManagedObjectReference, capacity map[types.ManagedObjectReference]int64,
) types.ManagedObjectReference {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	var best types.ManagedObjectReference
	for _, host := range hosts {
		if best.Value == "" || capacity[host]-p.onHost[host] > capacity[best]-p.onHost[best] {
			best = host
		}
	}
	return best
}

// placement does what DRS does for a clone whose spec names a pool and no host: it takes the host with most room.
func (l *lab) placement(
	source types.ManagedObjectReference, pool *types.ManagedObjectReference,
) types.ManagedObjectReference {
	if pool == nil && source.Value != "" {
		return source
	}
	ctx := fork(l.service.Context)
	for ref := range l.placed.takeTouched() {
		var now reservation
		if vm, ok := l.registry.Get(ref).(*simulator.VirtualMachine); ok {
			ctx.WithLock(vm, func() {
				if vm.Runtime.Host != nil && !vm.Config.Template {
					now = reservation{*vm.Runtime.Host, int64(vm.Config.Hardware.MemoryMB)}
				}
			})
		}
		l.placed.count(ref, now)
	}
	return l.placed.roomiest(l.places.hosts, l.memory.capacities())
}
