// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// restoreKept makes the VMs again that an earlier vCenter kept; all of them are off. A file that cannot be read, or whose VM
// cannot be made, is put aside: the others must come back.
func (l *lab) restoreKept(*vim25.Client) error {
	if l.keep == nil {
		return nil
	}
	ctx := fork(l.service.Context)
	ctx.Session = &simulator.Session{
		UserSession: types.UserSession{Key: uuid.NewString(), UserName: l.user}, Registry: simulator.NewRegistry(), Map: l.registry,
	}
	entries, err := os.ReadDir(l.keep.folder)
	if err != nil {
		return fmt.Errorf("flag -keep: %w", err)
	}
	l.restoreFolders(ctx)
	for _, entry := range entries {
		path := filepath.Join(l.keep.folder, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), unfinished):
			_ = os.Remove(path)
		case entry.Name() == foldersFile || filepath.Ext(path) != ".json" || entry.IsDir():
		default:
			if err := l.restoreFile(ctx, path); err != nil {
				log.Printf("keep: %s is put aside: %v", path, err)
				_ = os.Rename(path, path+".broken")
			}
		}
	}
	l.keep.start()
	return nil
}

func (l *lab) restoreFolders(ctx *simulator.Context) {
	var folders [][]string
	text, err := os.ReadFile(filepath.Join(l.keep.folder, foldersFile))
	if err == nil {
		err = json.Unmarshal(text, &folders)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Printf("keep: %s: %v", foldersFile, err) // the VMs bring those that they are in
	}
	for _, path := range folders {
		if _, err := l.makeFolders(ctx, path); err != nil {
			log.Printf("keep: folder %s: %v", strings.Join(path, "/"), err)
		}
	}
}

func readKept(path string) (kept keptVM, err error) {
	file, err := os.Open(path)
	if err != nil {
		return kept, err
	}
	defer file.Close()
	err = types.NewJSONDecoder(file).Decode(&kept)
	return kept, err
}

// makeFolders gives the folder at a path below the datacenter's folder of VMs, and makes what is missing.
func (l *lab) makeFolders(ctx *simulator.Context, path []string) (*simulator.Folder, error) {
	top := l.registry.Get(l.places.datacenter).(*simulator.Datacenter).VmFolder
	folder := l.registry.Get(top).(*simulator.Folder)
	for _, name := range path {
		next := l.child(ctx, folder, name)
		if next == nil {
			var fault error
			ctx.WithLock(folder, func() {
				switch body := folder.CreateFolder(ctx, &types.CreateFolder{This: folder.Self, Name: name}); {
				case body.Fault() != nil:
					fault = errors.New(body.Fault().String)
				default:
					next = &body.(*methods.CreateFolderBody).Res.Returnval
				}
			})
			if fault != nil {
				return nil, fault
			}
		}
		var ok bool
		if folder, ok = l.registry.Get(*next).(*simulator.Folder); !ok {
			return nil, fmt.Errorf("%s is no folder", name)
		}
	}
	return folder, nil
}

func (l *lab) restoreFile(ctx *simulator.Context, path string) error {
	kept, err := readKept(path)
	if err != nil {
		return err
	}
	if kept.Format != keptFormat {
		return fmt.Errorf("its format is %d, expected %d", kept.Format, keptFormat)
	}
	if kept.Config.InstanceUuid == "" || kept.Config.Name == "" || kept.Config.CpuAllocation == nil ||
		kept.Config.MemoryAllocation == nil {
		return errors.New("it holds no VM")
	}
	if name := kept.Config.InstanceUuid + ".json"; name != filepath.Base(path) {
		return fmt.Errorf("its VM belongs in %s", name)
	}
	folder, err := l.makeFolders(ctx, kept.Folder)
	if err != nil {
		return err
	}
	result, failed := guarded("restore", func() (types.AnyType, *failure) {
		vm, failed := l.revive(ctx, folder, &kept)
		if failed != nil {
			return nil, failed
		}
		return vm.Self, nil
	})
	if failed != nil {
		return errors.New(failed.message)
	}
	l.keep.restored(result.(types.ManagedObjectReference), path)
	return nil
}

// restored notes whose file that is, so that it goes with its VM.
func (k *keeper) restored(ref types.ManagedObjectReference, path string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.files[ref] = path
}

func (l *lab) revive(ctx *simulator.Context, folder *simulator.Folder, kept *keptVM) (*simulator.VirtualMachine, *failure) {
	config := &kept.Config
	if taken := l.child(ctx, folder, config.Name); taken != nil {
		return nil, duplicateName(config.Name, *taken)
	}
	l.adapt(config, mapOf(kept.Networks))
	request, failed := l.remake(folder, kept)
	if failed != nil {
		return nil, failed
	}
	return l.create(ctx, func() (types.AnyType, *failure) {
		body := folder.CreateVMTask(ctx, request)
		return l.inner(ctx, body.(*methods.CreateVM_TaskBody).Res.Returnval)
	}, func(vm *simulator.VirtualMachine) *failure {
		m := l.machine(vm.Self)
		m.template = kept.From
		m.isOrigin(kept.Origin...)
		c := kept.Customization
		m.customization = customization{pending: c.Pending, hostname: c.Hostname, address: c.Address}
		for _, had := range kept.Policies {
			l.policies.set(vm.Self, had.Device, had.Policy)
		}
		l.reviveSnapshots(ctx, vm, kept)
		template := config.Template
		config.Template = false // the simulator changes nothing of a template
		if failed := l.putConfig(ctx, vm, config); failed != nil {
			return failed
		}
		vm.Summary.Config.ManagedBy, vm.Summary.Config.Name = config.ManagedBy, config.Name
		if template {
			vm.MarkAsTemplate(&types.MarkAsTemplate{This: vm.Self})
		}
		if kept.Told {
			guest := l.describe(vm)
			m.told.Store(&guest)
		}
		return nil
	})
}

// remake is the request for a VM with the files and devices that it had.
func (l *lab) remake(folder *simulator.Folder, kept *keptVM) (*types.CreateVM_Task, *failure) {
	config := &kept.Config
	var home object.DatastorePath
	if !home.FromString(config.Files.VmPathName) || home.Datastore != l.inventory.Datastore.Name {
		return nil, systemError("its datastore is not in the inventory: " + config.Files.VmPathName)
	}
	request := &types.CreateVM_Task{This: folder.Self, Pool: l.poolAt(kept), Host: l.hostNamed(kept.Host)}
	request.Config = types.VirtualMachineConfigSpec{
		Name: config.Name, Version: config.Version, GuestId: config.GuestId, Uuid: config.Uuid, InstanceUuid: config.InstanceUuid,
		Files:   &types.VirtualMachineFileInfo{VmPathName: config.Files.VmPathName},
		NumCPUs: config.Hardware.NumCPU, MemoryMB: int64(config.Hardware.MemoryMB),
		NumCoresPerSocket: config.Hardware.NumCoresPerSocket, DeviceChange: copiedDevices(config.Hardware.Device),
	}
	devices := object.VirtualDeviceList(config.Hardware.Device)
	for _, change := range request.Config.DeviceChange {
		spec := change.GetVirtualDeviceConfigSpec()
		disk, ok := spec.Device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		backing, isFlat := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		known, found := devices.FindByKey(disk.Key).(*types.VirtualDisk)
		if !isFlat || !found {
			continue
		}
		*backing = *known.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		backing.Parent = nil
		if failed := l.makeRoom(spec, backing.FileName); failed != nil {
			return nil, failed
		}
	}
	return request, nil
}

// makeRoom prepares the folder of a disk's file on the datastore. A file that is there already is another VM's disk too.
func (l *lab) makeRoom(spec *types.VirtualDeviceConfigSpec, name string) *failure {
	var path object.DatastorePath
	if !path.FromString(name) || !filepath.IsLocal(path.Path) {
		return systemError("no file of the datastore: " + name)
	}
	file := filepath.Join(l.work, path.Path)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return systemError(err.Error())
	}
	if _, err := os.Stat(file); err == nil {
		spec.FileOperation = ""
	}
	return nil
}

// poolAt is the pool where the VM was, or the cluster's own.
func (l *lab) poolAt(kept *keptVM) types.ManagedObjectReference {
	pool := l.places.pool
	for _, name := range kept.Pool {
		parent, ok := l.registry.Get(pool).(*simulator.ResourcePool)
		if !ok {
			return l.places.pool
		}
		next := l.registry.FindByName(name, parent.ResourcePool.ResourcePool)
		if next == nil {
			log.Printf("keep: %s: pool %s is gone, its VM is in the cluster's", kept.Config.Name, strings.Join(kept.Pool, "/"))
			return l.places.pool
		}
		pool = next.Reference()
	}
	return pool
}

func (l *lab) hostNamed(name string) *types.ManagedObjectReference {
	at := slices.IndexFunc(l.places.hosts, func(ref types.ManagedObjectReference) bool {
		host, ok := l.registry.Get(ref).(mo.Entity)
		return ok && host.Entity().Name == name
	})
	return &l.places.hosts[max(at, 0)]
}

// adapt puts this vCenter's references in place of the earlier one's.
func (l *lab) adapt(config *types.VirtualMachineConfigInfo, networks map[string]string) {
	for _, device := range config.Hardware.Device {
		if connectable := device.GetVirtualDevice().Connectable; connectable != nil {
			connectable.Connected = false
		}
		switch device := device.(type) {
		case *types.VirtualDisk:
			if backing, ok := device.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				for ; backing != nil; backing = backing.Parent {
					backing.Datastore = &l.places.datastore
				}
			}
		case types.BaseVirtualEthernetCard:
			card := device.GetVirtualEthernetCard()
			if backing, ok := card.Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo); ok {
				if ref := l.networkCalled(networks[backing.Port.PortgroupKey]); ref != nil {
					card.Backing = l.cardBacking(ref.Value)
				}
			}
		case *types.VirtualPCIPassthrough:
			if backing, ok := device.Backing.(*types.VirtualPCIPassthroughDynamicBackingInfo); ok {
				backing.AssignedId = ""
			}
		}
	}
	config.DatastoreUrl = nil
}

func (l *lab) networkCalled(name string) *types.ManagedObjectReference {
	for _, kind := range []string{"DistributedVirtualPortgroup", "Network"} {
		for _, entity := range l.registry.All(kind) {
			if entity.Entity().Name == name {
				ref := entity.Reference()
				return &ref
			}
		}
	}
	return nil
}

// reviveSnapshots makes the managed objects of a VM's snapshots. The caller holds the VM's lock.
func (l *lab) reviveSnapshots(ctx *simulator.Context, vm *simulator.VirtualMachine, kept *keptVM) {
	if len(kept.Snapshots) == 0 {
		return
	}
	info := &types.VirtualMachineSnapshotInfo{}
	var roots []types.ManagedObjectReference
	for _, one := range kept.Snapshots {
		tree := l.reviveSnapshot(vm, one, kept, info)
		info.RootSnapshotList, roots = append(info.RootSnapshotList, tree), append(roots, tree.Snapshot)
	}
	ctx.Update(vm, []types.PropertyChange{{Name: "snapshot", Val: info}, {Name: "rootSnapshot", Val: roots}})
}

func (l *lab) reviveSnapshot(
	vm *simulator.VirtualMachine, one keptSnapshot, kept *keptVM, info *types.VirtualMachineSnapshotInfo,
) types.VirtualMachineSnapshotTree {
	snapshot := &simulator.VirtualMachineSnapshot{}
	snapshot.Vm = vm.Self
	l.adapt(one.Config, mapOf(kept.Networks))
	snapshot.Config = *one.Config
	l.registry.Put(snapshot)
	no := false
	tree := types.VirtualMachineSnapshotTree{
		Snapshot: snapshot.Self, Vm: vm.Self, Name: one.Name, Description: one.Description, Id: one.Number,
		CreateTime: one.Created, State: one.State, Quiesced: one.Quiesced, ReplaySupported: &no,
	}
	for _, child := range one.Children {
		below := l.reviveSnapshot(vm, child, kept, info)
		tree.ChildSnapshotList = append(tree.ChildSnapshotList, below)
		snapshot.ChildSnapshot = append(snapshot.ChildSnapshot, below.Snapshot)
	}
	m := l.machine(vm.Self)
	origin := map[int32]bool{}
	for _, key := range one.Origin {
		origin[key] = true
	}
	m.keep(snapshot.Self, point{one.ID, origin, mapOf(one.Written)})
	if one.ID == kept.Current {
		info.CurrentSnapshot = &snapshot.Self
	}
	return tree
}
