// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/ovf"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/vcenter"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

//go:embed ovf/*.ovf
var descriptors embed.FS

// ovfItem is an OVF item of the Content Library: its descriptor is a file in ovf/, its guest that of a template.
type ovfItem struct {
	Name       string `json:"name"`
	Descriptor string `json:"descriptor"`
	Template   string `json:"template"`

	envelope *ovf.Envelope
}

func (i *ovfItem) read() error {
	text, err := descriptors.ReadFile("ovf/" + i.Descriptor)
	if err != nil {
		return fmt.Errorf("ovf_items: %s: %w", i.Name, err)
	}
	if i.envelope, err = ovf.Unmarshal(bytes.NewReader(text)); err != nil {
		return fmt.Errorf("ovf_items: %s: %w", i.Descriptor, err)
	}
	if i.envelope.VirtualSystem == nil || len(i.envelope.VirtualSystem.VirtualHardware) != 1 {
		return fmt.Errorf("ovf_items: %s: expected one virtual machine", i.Descriptor)
	}
	return nil
}

// ovfSummary is the answer of filter, with the names that the Automation API has for it.
type ovfSummary struct {
	Name          string           `json:"name,omitempty"`
	Annotation    string           `json:"annotation,omitempty"`
	EULAs         []string         `json:"EULAs"`
	Networks      []string         `json:"networks,omitempty"`
	StorageGroups []string         `json:"storage_groups,omitempty"`
	Params        []map[string]any `json:"additional_params,omitempty"`
}

func (i *ovfItem) summary() ovfSummary {
	system := i.envelope.VirtualSystem
	answer := ovfSummary{EULAs: []string{}}
	if system.Name != nil {
		answer.Name = *system.Name
	}
	if system.Annotation != nil {
		answer.Annotation = system.Annotation.Annotation
	}
	for _, section := range system.Eula {
		answer.EULAs = append(answer.EULAs, section.License)
	}
	answer.Networks = i.networks()
	var download, sparse, flat int64
	for _, file := range i.envelope.References {
		download += int64(file.Size)
	}
	if spec, err := i.envelope.ToConfigSpec(); err == nil {
		for _, change := range spec.DeviceChange {
			if disk, ok := change.GetVirtualDeviceConfigSpec().Device.(*types.VirtualDisk); ok {
				flat += disk.CapacityInBytes
			}
		}
	}
	if i.envelope.Disk != nil {
		for _, disk := range i.envelope.Disk.Disks {
			if disk.PopulatedSize != nil {
				sparse += int64(*disk.PopulatedSize)
			}
		}
	}
	answer.Params = []map[string]any{{
		"@class": "com.vmware.vcenter.ovf.size_params", "type": vcenter.TypeSizeParams, "variable_disk_size": false,
		"approximate_download_size": download, "approximate_sparse_deployment_size": sparse, "approximate_flat_deployment_size": flat,
	}}
	return answer
}

func (i *ovfItem) networks() []string {
	var names []string
	if i.envelope.Network != nil {
		for _, network := range i.envelope.Network.Networks {
			names = append(names, network.Name)
		}
	}
	return names
}

// connections are the OVF's networks of its cards, in the order of the cards.
func (i *ovfItem) connections() []string {
	var names []string
	for _, item := range i.envelope.VirtualSystem.VirtualHardware[0].Item {
		if item.ResourceType != nil && *item.ResourceType == ovf.EthernetAdapter && len(item.Connection) == 1 {
			names = append(names, item.Connection[0])
		}
	}
	return names
}

// ovfDeployment is one deploy with its references resolved.
type ovfDeployment struct {
	item     *ovfItem
	spec     vcenter.DeploymentSpec
	networks map[string]string // network's id by the OVF's name for it
	folder   *simulator.Folder
	pool     types.ManagedObjectReference
	host     *types.ManagedObjectReference
	store    *simulator.Datastore
}

// deployOVF makes the VM in a task, as vCenter does, and waits for it, as its REST call does.
func (l *lab) deployOVF(user string, wanted ovfDeployment) (types.ManagedObjectReference, *failure) {
	ctx := fork(l.service.Context)
	ctx.Session = &simulator.Session{
		UserSession: types.UserSession{Key: uuid.NewString(), UserName: user}, Registry: simulator.NewRegistry(), Map: l.registry,
	}
	ref := l.startTaskFor(ctx, wanted.folder, "ImportVApp", wanted.spec.Name, func(ctx *simulator.Context) (types.AnyType, *failure) {
		return l.importOVF(ctx, wanted)
	})
	info := l.ended(ref)
	if info.Error != nil {
		return types.ManagedObjectReference{}, &failure{info.Error.Fault, info.Error.LocalizedMessage}
	}
	return info.Result.(types.ManagedObjectReference), nil
}

// ended waits for one of the lab's own tasks.
func (l *lab) ended(ref types.ManagedObjectReference) types.TaskInfo {
	task := l.registry.Get(ref).(*simulator.Task)
	for ctx := fork(l.service.Context); ; time.Sleep(5 * time.Millisecond) {
		var info types.TaskInfo
		ctx.WithLock(task, func() { info = task.Info })
		if info.State == types.TaskInfoStateSuccess || info.State == types.TaskInfoStateError {
			return info
		}
	}
}

func (l *lab) importOVF(ctx *simulator.Context, wanted ovfDeployment) (types.AnyType, *failure) {
	config, err := wanted.item.envelope.ToConfigSpec()
	if err != nil {
		return nil, systemError(err.Error())
	}
	config.Name = wanted.spec.Name
	config.Annotation = wanted.spec.Annotation
	if config.Annotation == "" {
		config.Annotation = wanted.item.summary().Annotation
	}
	config.Files = &types.VirtualMachineFileInfo{VmPathName: fmt.Sprintf("[%s]", wanted.store.Name)}
	config.VAppConfig = nil
	l.connect(&config, wanted)
	request := &types.CreateVM_Task{This: wanted.folder.Self, Config: config, Pool: wanted.pool, Host: wanted.host}
	vm, failed := l.createVM(ctx, wanted.folder, request, func(vm *simulator.VirtualMachine) {
		m := l.machine(vm.Self)
		m.template = wanted.item.Template
		m.importing.Store(true)
		vm.DisabledMethod = importBlocks
	})
	if failed != nil {
		return nil, failed
	}
	time.Sleep(l.delay)
	l.mishaps.pause("ImportVApp")
	ctx.WithLock(vm, func() {
		// The guest that stands for the item's disks is the template's: on the first one, as on the template's.
		if disks := diskKeys(vm); len(disks) > 0 {
			l.machine(vm.Self).isOrigin(disks[0])
		}
		ctx.Update(vm, []types.PropertyChange{{Name: "disabledMethod", Val: []string(nil)}})
	})
	l.machine(vm.Self).importing.Store(false)
	l.keep.save(vm)
	return vm.Self, nil
}

// importBlocks are what a VM refuses under a lease for its disks.
var importBlocks = []string{
	"PowerOnVM_Task", "ReconfigVM_Task", "Destroy_Task", "CustomizeVM_Task", "CloneVM_Task", "RelocateVM_Task",
	"CreateSnapshot_Task", "MarkAsTemplate", "UnregisterVM", "UpgradeVM_Task",
}

// connect gives the descriptor's cards and disks the networks and the datastore that the deployment names.
func (l *lab) connect(config *types.VirtualMachineConfigSpec, wanted ovfDeployment) {
	connections := wanted.item.connections()
	thin := wanted.spec.StorageProvisioning == "thin"
	eager := wanted.spec.StorageProvisioning == "eagerZeroedThick"
	for _, change := range config.DeviceChange {
		spec := change.GetVirtualDeviceConfigSpec()
		switch device := spec.Device.(type) {
		case types.BaseVirtualEthernetCard:
			device.GetVirtualEthernetCard().Backing = l.cardBacking(wanted.networks[connections[0]])
			connections = connections[1:]
		case *types.VirtualDisk:
			spec.FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
			device.CapacityInKB = device.CapacityInBytes >> 10
			store := wanted.store.Self
			device.Backing = &types.VirtualDiskFlatVer2BackingInfo{
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{Datastore: &store},
				DiskMode:                     string(types.VirtualDiskModePersistent), ThinProvisioned: &thin, EagerlyScrub: &eager,
			}
		}
	}
}

func (l *lab) cardBacking(network string) types.BaseVirtualDeviceBackingInfo {
	ref := types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: network}
	if group, ok := l.registry.Get(ref).(*simulator.DistributedVirtualPortgroup); ok {
		dvs := l.registry.Get(*group.Config.DistributedVirtualSwitch).(*simulator.DistributedVirtualSwitch)
		return &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
			Port: types.DistributedVirtualSwitchPortConnection{PortgroupKey: group.Key, SwitchUuid: dvs.Uuid},
		}
	}
	ref.Type = "Network"
	name := ""
	if known, ok := l.registry.Get(ref).(*mo.Network); ok {
		name = known.Name
	}
	return &types.VirtualEthernetCardNetworkBackingInfo{
		VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: name}, Network: &ref,
	}
}

func (l *lab) network(id string) (ref types.ManagedObjectReference, found bool) {
	for _, kind := range []string{"DistributedVirtualPortgroup", "Network"} {
		ref = types.ManagedObjectReference{Type: kind, Value: id}
		if l.registry.Get(ref) != nil {
			return ref, true
		}
	}
	return ref, false
}

// missingTarget is the first object of a deployment that is not there, "" when all are.
func (l *lab) missingTarget(target vcenter.Target) string {
	for kind, id := range map[string]string{
		"ResourcePool": target.ResourcePoolID, "HostSystem": target.HostID, "Folder": target.FolderID,
	} {
		if id != "" && l.registry.Get(types.ManagedObjectReference{Type: kind, Value: id}) == nil {
			return kind + ":" + id
		}
	}
	return ""
}

// unmapped are the OVF's networks that have no target.
func (i *ovfItem) unmapped(networks map[string]string) string {
	var names []string
	for _, name := range i.networks() {
		if networks[name] == "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
