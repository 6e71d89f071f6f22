// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	foldersFile = "folders.json"
	unfinished  = ".unfinished-" // begins the name of a file that is being written
	settling    = 100 * time.Millisecond
)

// keeper writes the VMs that clients made to a folder, one file each, so that the next vCenter finds them again. An
// operation of the lab writes its VM before it ends; what the simulator changes by itself is written a moment later.
type keeper struct {
	lab    *lab
	folder string
	seed   maphash.Seed
	wake   chan struct{}
	stop   chan struct{}
	done   sync.WaitGroup
	ending sync.Once

	mutex   sync.Mutex
	ready   bool // what was kept has been read
	dirty   map[types.ManagedObjectReference]bool
	gone    map[types.ManagedObjectReference]bool
	files   map[types.ManagedObjectReference]string
	written map[types.ManagedObjectReference]uint64 // digest of what the file holds
}

func newKeeper(l *lab, folder string) (*keeper, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("flag -keep: %w", err)
	}
	refs := func() map[types.ManagedObjectReference]bool { return map[types.ManagedObjectReference]bool{} }
	return &keeper{
		lab: l, folder: folder, seed: maphash.MakeSeed(), wake: make(chan struct{}, 1), stop: make(chan struct{}),
		dirty: refs(), gone: refs(), files: map[types.ManagedObjectReference]string{},
		written: map[types.ManagedObjectReference]uint64{},
	}, nil
}

// start begins to write; until then the vCenter's own inventory is made and the kept VMs are read.
func (k *keeper) start() {
	k.mutex.Lock()
	k.ready = true
	k.mutex.Unlock()
	k.done.Go(func() {
		for {
			select {
			case <-k.wake:
				time.Sleep(settling)
				k.flush()
			case <-k.stop:
				k.flush()
				return
			}
		}
	})
}

func (k *keeper) close() {
	if k == nil {
		return
	}
	k.ending.Do(func() { close(k.stop) })
	k.done.Wait()
}

// note has an object written soon. Its lock may be held.
func (k *keeper) note(ref types.ManagedObjectReference) {
	if k == nil || ref.Type != "VirtualMachine" && ref.Type != "Folder" {
		return
	}
	k.mutex.Lock()
	k.dirty[ref] = true
	ready := k.ready
	k.mutex.Unlock()
	if !ready {
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// noteChange is note for a change of what is kept. The list of devices alone changes with the power state: which of them are
// connected.
func (k *keeper) noteChange(ref types.ManagedObjectReference, changes []types.PropertyChange) {
	if k == nil {
		return
	}
	if slices.ContainsFunc(changes, func(change types.PropertyChange) bool {
		name, _, _ := strings.Cut(change.Name, ".")
		switch name {
		case "config":
			return change.Name != "config.hardware.device"
		case "name", "resourcePool", "snapshot":
			return true
		}
		return change.Name == "runtime.host"
	}) {
		k.note(ref)
	}
}

func (k *keeper) flush() {
	k.mutex.Lock()
	refs := k.dirty
	k.dirty = map[types.ManagedObjectReference]bool{}
	k.mutex.Unlock()
	folders := false
	for ref := range refs {
		folders = folders || ref.Type == "Folder"
		k.saveBelow(ref)
	}
	if folders {
		k.saveFolders()
	}
}

// saveBelow writes a VM, or those of a folder, whose way there may have another name now.
func (k *keeper) saveBelow(ref types.ManagedObjectReference) {
	switch object := k.lab.registry.Get(ref).(type) {
	case *simulator.VirtualMachine:
		k.save(object)
	case *simulator.Folder:
		var children []types.ManagedObjectReference
		fork(k.lab.service.Context).WithLock(object, func() { children = append(children, object.ChildEntity...) })
		for _, child := range children {
			k.saveBelow(child)
		}
	}
}

// save writes a VM as it is now. Nobody may hold its lock who waits for this.
func (k *keeper) save(vm *simulator.VirtualMachine) {
	if k == nil || k.lab.builtIn(vm.Self) {
		return
	}
	k.mutex.Lock()
	ready := k.ready
	k.mutex.Unlock()
	if !ready {
		return
	}
	if k.lab.registry.Get(vm.Self) == nil {
		return
	}
	m := k.lab.machine(vm.Self)
	m.keeping.Lock() // so that nothing older replaces what is newer
	defer m.keeping.Unlock()
	if m.importing.Load() {
		return
	}
	k.mutex.Lock()
	delete(k.dirty, vm.Self) // what changes from here on is noted again
	k.mutex.Unlock()
	name, content, err := k.lab.record(fork(k.lab.service.Context), vm)
	if err == nil {
		err = k.write(vm.Self, name, content)
	}
	if err != nil {
		log.Printf("keep %s: %v", vm.Self.Value, err)
	}
}

// saveChanged is save for a VM that may be written already as it is.
func (k *keeper) saveChanged(vm *simulator.VirtualMachine) {
	if k == nil {
		return
	}
	k.mutex.Lock()
	current := k.files[vm.Self] != "" && !k.dirty[vm.Self]
	k.mutex.Unlock()
	if !current {
		k.save(vm)
	}
}

func (k *keeper) write(ref types.ManagedObjectReference, name string, content []byte) error {
	digest := maphash.Bytes(k.seed, content)
	file := filepath.Join(k.folder, name)
	k.mutex.Lock()
	defer k.mutex.Unlock()
	old := k.files[ref]
	if k.gone[ref] || old == file && k.written[ref] == digest {
		return nil
	}
	if err := replaceFile(file, content); err != nil {
		return err
	}
	if old != "" && old != file {
		_ = os.Remove(old)
	}
	k.files[ref], k.written[ref] = file, digest
	return nil
}

// forget removes a VM that is gone. Its lock may be held.
func (k *keeper) forget(ref types.ManagedObjectReference) {
	if k == nil {
		return
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.gone[ref] = true
	if file := k.files[ref]; file != "" {
		if err := os.Remove(file); err != nil {
			log.Printf("keep: %v", err)
		}
	}
	delete(k.files, ref)
	delete(k.written, ref)
}

func (k *keeper) saveFolders() {
	var folders [][]string
	for _, entity := range k.lab.registry.All("Folder") {
		if path, below := k.lab.folderPath(entity.Reference()); below && len(path) > 0 {
			folders = append(folders, path)
		}
	}
	slices.SortFunc(folders, slices.Compare)
	text, err := json.Marshal(folders)
	if err == nil {
		err = replaceFile(filepath.Join(k.folder, foldersFile), text)
	}
	if err != nil {
		log.Printf("keep: %v", err)
	}
}

// replaceFile leaves the old content or the new one, whenever the lab is killed.
func replaceFile(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), unfinished)
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(content); err != nil {
		_ = temporary.Close()
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// builtIn is true for the templates that the inventory file names.
func (l *lab) builtIn(ref types.ManagedObjectReference) bool {
	for _, template := range l.templates {
		if template == ref {
			return true
		}
	}
	return false
}

// folderPath are the names from the datacenter's folder of VMs down to a folder; below is false for any other folder.
func (l *lab) folderPath(ref types.ManagedObjectReference) (path []string, below bool) {
	top := l.registry.Get(l.places.datacenter).(*simulator.Datacenter).VmFolder
	return l.pathBelow(top, ref)
}

func (l *lab) pathBelow(top, ref types.ManagedObjectReference) (path []string, below bool) {
	ctx := fork(l.service.Context)
	for ref != top {
		entity, ok := l.registry.Get(ref).(mo.Entity)
		if !ok {
			return nil, false
		}
		var parent *types.ManagedObjectReference
		ctx.WithLock(entity, func() {
			path, parent = append(path, entity.Entity().Name), entity.Entity().Parent
		})
		if parent == nil {
			return nil, false
		}
		ref = *parent
	}
	slices.Reverse(path)
	return path, true
}
