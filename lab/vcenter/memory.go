// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"maps"
	"sync"

	"github.com/vmware/govmomi/vim25/types"
)

// memoryLedger counts the memory that running VMs reserve on each host, in MB.
type memoryLedger struct {
	mutex    sync.Mutex
	capacity map[types.ManagedObjectReference]int64
	held     map[types.ManagedObjectReference]reservation // by VM
}

type reservation struct {
	host   types.ManagedObjectReference
	memory int64
}

func (m *memoryLedger) add(host types.ManagedObjectReference, capacity int64) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.capacity == nil {
		m.capacity = map[types.ManagedObjectReference]int64{}
		m.held = map[types.ManagedObjectReference]reservation{}
	}
	m.capacity[host] = capacity
}

// reserve replaces what vm holds, or fails with the memory that is free for it on that host.
func (m *memoryLedger) reserve(vm, host types.ManagedObjectReference, memory int64) (free int64, ok bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	free = m.capacity[host]
	for other, r := range m.held {
		if r.host == host && other != vm {
			free -= r.memory
		}
	}
	if memory > free {
		return free, false
	}
	m.held[vm] = reservation{host, memory}
	return free, true
}

func (m *memoryLedger) release(vm types.ManagedObjectReference) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.held, vm)
}

func (m *memoryLedger) capacities() map[types.ManagedObjectReference]int64 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return maps.Clone(m.capacity)
}
