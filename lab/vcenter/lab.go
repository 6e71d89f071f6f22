// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// lab is the simulator's service with what the simulator itself does not know.
type lab struct {
	service   *simulator.Service
	registry  *simulator.Registry
	inventory inventory
	places    places
	driver    driver
	user      string
	password  string
	delay     time.Duration
	mishaps   *mishaps
	limited   *limitedUser // nil where the administrator is the only one
	users     sessionUsers
	work      string
	memory    memoryLedger
	placed    placedVMs
	gpus      gpuLedger
	space     spaceLedger
	policies  policyLedger
	tasks     taskNumbers
	endings   endings
	rest      *restDoor
	templates map[string]types.ManagedObjectReference // by name
	items     map[string]types.ManagedObjectReference // the template VM of each library item
	ovfItems  map[string]*ovfItem                     // by id of the library item
	tokens    ovfTokens

	keep *keeper // nil where nothing is kept

	overriding sync.Mutex // held while the settings of single VMs in the cluster change

	creating sync.Mutex         // held while a VM is made: one at a time, never during a driver call
	newborn  *simulator.Context // who makes it; guarded by creating
	unlock   func()             // releases the new VM to readers; guarded by creating

	listeners sync.Map // by collector: who answers its waits

	mutex    sync.Mutex
	machines map[types.ManagedObjectReference]*machine
}

// machine is what the lab knows of a VM besides its managed object.
type machine struct {
	busy      sync.RWMutex            // one operation at a time, in order of arrival; clones of it share it
	keeping   sync.Mutex              // held while its record is written
	template  string                  // what it was cloned from
	importing atomic.Bool             // its disks are still copied
	told      atomic.Pointer[guestVM] // what the driver heard of it last; nil: nothing, and it need not hear when it goes

	// The rest is guarded by the VM's lock.
	customization customization
	starting      bool              // a power-on is under way
	reverting     bool              // the driver ends its run and starts another one: its events do not turn the VM off
	ended         bool              // they would have, while it was reverting
	origin        map[int32]bool    // by device key: the disks whose content began as a template's system disk
	written       map[string]string // guestinfo keys that the guest wrote, with what they were before ("" for none)
	points        map[types.ManagedObjectReference]point
}

// point is what the lab knows of a snapshot besides its managed object.
type point struct {
	id      string // the driver's name for it
	origin  map[int32]bool
	written map[string]string
}

func newLab(o options) (*lab, error) {
	var l lab
	var err error
	if l.inventory, err = readInventory(o.inventory); err != nil {
		return nil, err
	}
	password, err := os.ReadFile(o.passwordFile)
	if err != nil {
		return nil, fmt.Errorf("flag -password-file: %w", err)
	}
	l.user, l.password = o.user, strings.TrimRight(string(password), "\r\n")
	if l.password == "" {
		return nil, fmt.Errorf("%s is empty, expected the password of %s", o.passwordFile, o.user)
	}
	l.delay = o.taskDelay
	settings, err := readMishaps(o.faults)
	if err != nil {
		return nil, err
	}
	l.mishaps = newMishaps(settings)
	if l.limited, err = readRoles(o.roles); err != nil {
		return nil, err
	}
	l.machines = map[types.ManagedObjectReference]*machine{}
	if err := os.MkdirAll(o.work, 0o700); err != nil {
		return nil, fmt.Errorf("flag -work: %w", err)
	}
	if l.work, err = os.MkdirTemp(o.work, "datastore-"); err != nil {
		return nil, fmt.Errorf("flag -work: %w", err)
	}
	if o.keep != "" {
		if l.keep, err = newKeeper(&l, o.keep); err != nil {
			return nil, err
		}
	}
	if err := l.build(); err != nil {
		_ = os.RemoveAll(l.work)
		return nil, err
	}
	return &l, nil
}

// close removes the datastore's files, and writes what is kept.
func (l *lab) close() {
	l.keep.close()
	_ = os.RemoveAll(l.work)
}

func (l *lab) machine(ref types.ManagedObjectReference) *machine {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	m, found := l.machines[ref]
	if !found {
		m = &machine{}
		l.machines[ref] = m
	}
	return m
}

// fork gives work that outlives the call, or runs beside it, an identity of its own: the simulator's locks belong to a
// context and let it in again.
func fork(ctx *simulator.Context) *simulator.Context {
	own := *ctx
	return &own
}

// registryHook sees every managed object come and go.
type registryHook struct{ lab *lab }

var hookRef = types.ManagedObjectReference{Type: "LabHook", Value: "lab-hook"}

func (h registryHook) Reference() types.ManagedObjectReference { return hookRef }

// PutObject completes a VM that is being made and keeps it from readers until all of its ConfigSpec is applied.
func (h registryHook) PutObject(_ *simulator.Context, object mo.Reference) {
	vm, ok := object.(*simulator.VirtualMachine)
	// A VM without a host is one that CreateVM is making right now; others come here when they change folders.
	if !ok || vm.Runtime.Host != nil || h.lab.newborn == nil {
		h.lab.keep.note(object.Reference())
		return
	}
	h.lab.unlock = h.lab.registry.AcquireLock(h.lab.newborn, vm)
	completeNewborn(vm)
}

func (h registryHook) UpdateObject(_ *simulator.Context, object mo.Reference, changes []types.PropertyChange) {
	h.lab.placed.touch(object.Reference())
	h.lab.endings.noteUpdate(object.Reference())
	h.lab.keep.noteChange(object.Reference(), changes)
	h.lab.noteChange(object.Reference())
}

// RemoveObject tells the driver about VMs that go without Destroy_Task, such as a clone that could not be completed.
func (h registryHook) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	h.lab.noteChange(ref)
	if ref.Type == "Folder" {
		h.lab.keep.note(ref)
	}
	if ref.Type == "VirtualMachine" {
		h.lab.placed.touch(ref)
		h.lab.forget(ref)
	}
}
