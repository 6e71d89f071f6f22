// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// desk is the managed object that takes the calls which the lab answers in place of the simulator. The simulator finds a
// method by its receiver's reference and cannot have its own objects replaced, so route points such a call here; its body
// still names the object that was meant.
type desk struct {
	mo.ServiceManager // the simulator looks for a managed object at this place of each object it holds
	*lab
}

var deskRef = types.ManagedObjectReference{Type: "LabDesk", Value: "lab-desk"}

func newDesk(l *lab) *desk { return &desk{mo.ServiceManager{Self: deskRef}, l} }

// Lock keeps the simulator from running one call at a time here.
func (d *desk) Lock() {}

// Unlock is Lock's other half.
func (d *desk) Unlock() {}

var answered = map[string]map[string]bool{
	"VirtualMachine": set("PowerOnVM_Task", "PowerOffVM_Task", "SuspendVM_Task", "ResetVM_Task", "ShutdownGuest",
		"RebootGuest", "ReconfigVM_Task", "CloneVM_Task", "Destroy_Task", "CreateSnapshot_Task", "CreateSnapshotEx_Task",
		"CustomizeVM_Task", "RevertToCurrentSnapshot_Task", "RelocateVM_Task", "RemoveAllSnapshots_Task", "UnregisterVM",
		"MarkAsTemplate", "MarkAsVirtualMachine"),
	"VirtualMachineSnapshot": set("RevertToSnapshot_Task", "RemoveSnapshot_Task"),
	"Folder":                 set("CreateVM_Task", "Destroy_Task"),
	"ClusterComputeResource": set("ReconfigureComputeResource_Task"),
	"Datastore":              set("RefreshDatastore"),
	"EnvironmentBrowser":     set("QueryConfigTarget"),
	"AuthorizationManager": set("HasPrivilegeOnEntities", "HasPrivilegeOnEntity", "HasUserPrivilegeOnEntities",
		"FetchUserPrivilegeOnEntities", "SetEntityPermissions"),
}

// refused are the calls of the simulator that would make or start VMs past the lab and its guests.
var refused = set("PowerOnMultiVM_Task", "InstantClone_Task", "RegisterVM_Task", "StandbyGuest", "CreateChildVM_Task",
	"RegisterChildVM_Task", "ImportVApp", "PowerOnVApp_Task", "PowerOffVApp_Task", "SuspendVApp_Task", "CloneVApp_Task")

// route sees every call before the simulator looks for who answers it.
func (l *lab) route(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	this := method.This
	if method.Name == "Fetch" {
		this, _ = fetched(method.Body) // the simulator has put the property collector into method.This
	}
	if fault := gate(ctx.Session != nil, this, method.Name); fault != nil {
		return nil, fault
	}
	if ctx.Session == nil {
		return nil, nil
	}
	if method.Name == "Fetch" {
		method.This = deskRef
		return nil, nil
	}
	if fault := l.forbidden(ctx.Session.UserName, method); fault != nil {
		return nil, fault
	}
	l.listen(ctx, method)
	if refused[method.Name] {
		return nil, &types.NotSupported{}
	}
	if answered[method.This.Type][method.Name] && ctx.Map.Get(method.This) != nil {
		method.This = deskRef
	}
	return nil, nil
}
