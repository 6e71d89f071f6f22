// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// demand is a privilege that a call needs, on the object on which the vSphere API reference says that it is checked.
type demand struct {
	privilege string
	object    types.ManagedObjectReference
}

// plainPrivileges are those of methods that need one on their own object.
var plainPrivileges = map[string]string{
	"PowerOnVM_Task": "VirtualMachine.Interact.PowerOn", "PowerOffVM_Task": "VirtualMachine.Interact.PowerOff",
	"ShutdownGuest": "VirtualMachine.Interact.PowerOff", "StandbyGuest": "VirtualMachine.Interact.Suspend",
	"SuspendVM_Task": "VirtualMachine.Interact.Suspend", "ResetVM_Task": "VirtualMachine.Interact.Reset",
	"RebootGuest": "VirtualMachine.Interact.Reset", "UnregisterVM": "VirtualMachine.Inventory.Unregister",
	"MarkAsTemplate": "VirtualMachine.Provisioning.MarkAsTemplate", "MarkAsVirtualMachine": "VirtualMachine.Provisioning.MarkAsVM",
	"CustomizeVM_Task": "VirtualMachine.Provisioning.Customize", "UpgradeVM_Task": "VirtualMachine.Config.UpgradeVirtualHardware",
	"CreateSnapshot_Task": "VirtualMachine.State.CreateSnapshot", "CreateSnapshotEx_Task": "VirtualMachine.State.CreateSnapshot",
	"RevertToSnapshot_Task":        "VirtualMachine.State.RevertToSnapshot",
	"RevertToCurrentSnapshot_Task": "VirtualMachine.State.RevertToSnapshot",
	"RemoveSnapshot_Task":          "VirtualMachine.State.RemoveSnapshot", "RemoveAllSnapshots_Task": "VirtualMachine.State.RemoveSnapshot",
	"RenameSnapshot": "VirtualMachine.State.RenameSnapshot",
	"CreateFolder":   "Folder.Create", "MoveIntoFolder_Task": "Folder.Move",
	"ReconfigureComputeResource_Task": "Host.Inventory.EditCluster", "ReconfigureCluster_Task": "Host.Inventory.EditCluster",
	"ApplyRecommendation": "Resource.ApplyRecommendation", "ApplyStorageDrsRecommendation_Task": "Resource.ApplyRecommendation",
	"SetCustomValue": "Global.SetCustomField", "SetField": "Global.SetCustomField", "AddCustomFieldDef": "Global.ManageCustomFields",
	"AddAuthorizationRole": "Authorization.ModifyRoles", "UpdateAuthorizationRole": "Authorization.ModifyRoles",
	"RemoveAuthorizationRole": "Authorization.ModifyRoles", "SetEntityPermissions": "Authorization.ModifyPermissions",
	"CreateCustomizationSpec":   "VirtualMachine.Provisioning.ModifyCustSpecs",
	"EnterMaintenanceMode_Task": "Host.Config.Maintenance", "ExitMaintenanceMode_Task": "Host.Config.Maintenance",
	"CreateResourcePool": "Resource.CreatePool", "CancelTask": "Global.CancelTask",
}

// readPrivileges are those of reads that need more than System.View and System.Read.
var readPrivileges = map[string]string{"GetCustomizationSpec": "VirtualMachine.Provisioning.ReadCustSpecs"}

// anyOther is asked for by writing methods that are not listed here: no role that is made for a purpose has it.
const anyOther = "Global.Settings"

func (l *lab) demands(method *simulator.Method) []demand {
	this := method.This
	switch body := method.Body.(type) {
	case *types.CloneVM_Task:
		return l.cloneDemands(body)
	case *types.CreateVM_Task:
		return append([]demand{{"VirtualMachine.Inventory.Create", this}, {"Resource.AssignVMToPool", body.Pool}},
			l.configDemands(this, &body.Config)...)
	case *types.ReconfigVM_Task:
		return l.configDemands(this, &body.Spec)
	case *types.RelocateVM_Task:
		return l.relocateDemands(this, &body.Spec)
	case *types.Destroy_Task:
		return l.destroyDemands(this)
	case *types.Rename_Task:
		if this.Type == "VirtualMachine" {
			return []demand{{"VirtualMachine.Config.Rename", this}}
		}
		return []demand{{this.Type + ".Rename", this}}
	}
	if snapshot, ok := l.registry.Get(this).(*simulator.VirtualMachineSnapshot); ok {
		this = snapshot.Vm // has no permissions of its own
	}
	if privilege := plainPrivileges[method.Name] + readPrivileges[method.Name]; privilege != "" {
		return []demand{{privilege, this}}
	}
	return []demand{{anyOther, this}}
}

func (l *lab) destroyDemands(this types.ManagedObjectReference) []demand {
	if vm, ok := l.registry.Get(this).(*simulator.VirtualMachine); ok {
		demands := []demand{{"VirtualMachine.Inventory.Delete", this}}
		if vm.Parent != nil {
			demands = append(demands, demand{"VirtualMachine.Inventory.Delete", *vm.Parent})
		}
		return demands
	}
	if this.Type == "ResourcePool" {
		return []demand{{"Resource.DeletePool", this}}
	}
	return []demand{{this.Type + ".Delete", this}}
}

func (l *lab) relocateDemands(this types.ManagedObjectReference, spec *types.VirtualMachineRelocateSpec) []demand {
	migrate := "Resource.ColdMigrate"
	if vm, ok := l.registry.Get(this).(*simulator.VirtualMachine); ok {
		fork(l.service.Context).WithLock(vm, func() {
			if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
				migrate = "Resource.HotMigrate"
			}
		})
	}
	demands := []demand{{migrate, this}}
	if spec.Pool != nil {
		demands = append(demands, demand{"Resource.AssignVMToPool", *spec.Pool})
	}
	if spec.Datastore != nil {
		demands = append(demands, demand{"Datastore.AllocateSpace", *spec.Datastore})
	}
	return demands
}

func (l *lab) cloneDemands(r *types.CloneVM_Task) []demand {
	source, ok := l.registry.Get(r.This).(*simulator.VirtualMachine)
	if !ok {
		return nil
	}
	provisioning := map[[2]bool]string{
		{true, false}: "DeployTemplate", {true, true}: "CloneTemplate", {false, false}: "Clone", {false, true}: "CreateTemplateFromVM",
	}[[2]bool{source.Config.Template, r.Spec.Template}]
	demands := []demand{
		{"VirtualMachine.Provisioning." + provisioning, r.This}, {"VirtualMachine.Inventory.CreateFromExisting", r.Folder},
	}
	if r.Spec.Location.Pool != nil && !r.Spec.Template {
		demands = append(demands, demand{"Resource.AssignVMToPool", *r.Spec.Location.Pool})
	}
	store := l.places.datastore
	if r.Spec.Location.Datastore != nil {
		store = *r.Spec.Location.Datastore
	}
	demands = append(demands, demand{"Datastore.AllocateSpace", store})
	if r.Spec.Customization != nil {
		demands = append(demands, demand{"VirtualMachine.Provisioning.Customize", r.This})
	}
	if r.Spec.PowerOn {
		demands = append(demands, demand{"VirtualMachine.Interact.PowerOn", r.Folder})
	}
	// A clone's hardware is checked on the folder, because there is no VM yet.
	spec := wishes(r)
	return append(demands, l.configDemands(r.Folder, &spec)...)
}

// importDemands are those of a deployment of an OVF item.
func (l *lab) importDemands(wanted ovfDeployment) []demand {
	demands := []demand{
		{"VApp.Import", wanted.folder.Self}, {"VApp.Import", wanted.pool}, {"Datastore.AllocateSpace", wanted.store.Self},
	}
	for _, id := range wanted.networks {
		ref, _ := l.network(id)
		demands = append(demands, demand{"Network.Assign", ref})
	}
	return demands
}

// configDemands are those of a ConfigSpec, whatever method carries it.
func (l *lab) configDemands(on types.ManagedObjectReference, spec *types.VirtualMachineConfigSpec) []demand {
	var demands []demand
	need := func(wanted bool, privilege string) {
		demand := demand{"VirtualMachine.Config." + privilege, on}
		if wanted && !slices.Contains(demands, demand) {
			demands = append(demands, demand)
		}
	}
	need(spec.Name != "" && on.Type == "VirtualMachine", "Rename")
	need(spec.Annotation != "", "Annotation")
	need(spec.NumCPUs != 0 || spec.NumCoresPerSocket != nil, "CPUCount")
	need(spec.MemoryMB != 0, "Memory")
	need(spec.CpuAllocation != nil || spec.MemoryAllocation != nil || spec.MemoryReservationLockedToMax != nil, "Resource")
	need(len(spec.ExtraConfig) > 0 || spec.LatencySensitivity != nil, "AdvancedConfig")
	need(spec.Flags != nil || spec.BootOptions != nil || spec.Firmware != "" || spec.GuestId != "" || spec.Tools != nil ||
		spec.CpuHotAddEnabled != nil || spec.MemoryHotAddEnabled != nil, "Settings")
	need(spec.ManagedBy != nil, "ManagedBy")
	need(spec.ChangeTrackingEnabled != nil, "ChangeTracking")
	need(spec.Version != "" && on.Type == "VirtualMachine", "UpgradeVirtualHardware")
	var others []demand
	for _, change := range spec.DeviceChange {
		wish := change.GetVirtualDeviceConfigSpec()
		need(true, l.devicePrivilege(on, wish))
		if disk, ok := wish.Device.(*types.VirtualDisk); ok && wish.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate {
			others = append(others, demand{"Datastore.AllocateSpace", l.storeOf(disk)})
		}
		if card, ok := wish.Device.(types.BaseVirtualEthernetCard); ok && wish.Operation != types.VirtualDeviceConfigSpecOperationRemove {
			if network := networkRef(card); network != nil {
				others = append(others, demand{"Network.Assign", *network})
			}
		}
	}
	return append(demands, others...)
}

func (l *lab) devicePrivilege(on types.ManagedObjectReference, wish *types.VirtualDeviceConfigSpec) string {
	disk, isDisk := wish.Device.(*types.VirtualDisk)
	switch {
	case isDisk && wish.Operation == types.VirtualDeviceConfigSpecOperationRemove:
		return "RemoveDisk"
	case isDisk && wish.Operation == types.VirtualDeviceConfigSpecOperationAdd:
		if wish.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate {
			return "AddNewDisk"
		}
		return "AddExistingDisk"
	case isDisk && l.grows(on, disk):
		return "DiskExtend"
	case wish.Operation == types.VirtualDeviceConfigSpecOperationEdit:
		return "EditDevice"
	}
	return "AddRemoveDevice"
}

// grows is true for a disk of a clone as well: what it is compared with is the template's.
func (l *lab) grows(on types.ManagedObjectReference, disk *types.VirtualDisk) bool {
	vm, ok := l.registry.Get(on).(*simulator.VirtualMachine)
	if !ok {
		return true
	}
	grown := false
	fork(l.service.Context).WithLock(vm, func() {
		known, ok := object.VirtualDeviceList(vm.Config.Hardware.Device).FindByKey(disk.Key).(*types.VirtualDisk)
		grown = ok && max(disk.CapacityInKB, disk.CapacityInBytes>>10) > known.CapacityInKB
	})
	return grown
}

func (l *lab) storeOf(disk *types.VirtualDisk) types.ManagedObjectReference {
	if backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && backing.Datastore != nil {
		return *backing.Datastore
	}
	return l.places.datastore
}

func networkRef(card types.BaseVirtualEthernetCard) *types.ManagedObjectReference {
	switch backing := card.GetVirtualEthernetCard().Backing.(type) {
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		return &types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: backing.Port.PortgroupKey}
	case *types.VirtualEthernetCardNetworkBackingInfo:
		return backing.Network
	}
	return nil
}
