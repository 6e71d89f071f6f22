// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/vcenter"
	"github.com/vmware/govmomi/vim25/types"
)

// fillLibrary makes the Content Library with one item for each template and each OVF descriptor. The items are the
// simulator's, the way from an item to its VM is ours: the simulator's own would make a copy of the template for each item.
func (l *lab) fillLibrary() error {
	ctx := context.Background()
	client, err := l.restClient(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Logout(ctx) }()
	manager := library.NewManager(client)
	id, err := manager.CreateLibrary(ctx, library.Library{
		Name: l.inventory.Library, Type: "LOCAL", Description: types.New("Templates of the lab"),
		Storage: []library.StorageBacking{{DatastoreID: l.places.datastore.Value, Type: "DATASTORE"}},
	})
	if err != nil {
		return err
	}
	l.items = map[string]types.ManagedObjectReference{}
	for _, t := range l.inventory.Templates {
		item, err := manager.CreateLibraryItem(ctx, library.Item{
			LibraryID: id, Name: t.Name, Type: library.ItemTypeVMTX, Description: types.New(t.GuestID),
		})
		if err != nil {
			return err
		}
		l.items[item] = l.templates[t.Name]
	}
	l.ovfItems = map[string]*ovfItem{}
	for at := range l.inventory.OVFItems {
		item := &l.inventory.OVFItems[at]
		made, err := manager.CreateLibraryItem(ctx, library.Item{LibraryID: id, Name: item.Name, Type: library.ItemTypeOVF})
		if err != nil {
			return err
		}
		l.ovfItems[made] = item
	}
	return nil
}

func (l *lab) restClient(ctx context.Context) (*rest.Client, error) {
	address := *l.service.Listen
	client, err := govmomi.NewClient(ctx, &url.URL{Scheme: address.Scheme, Host: address.Host, Path: address.Path}, true)
	if err != nil {
		return nil, err
	}
	restClient := rest.NewClient(client.Client)
	return restClient, restClient.Login(ctx, url.UserPassword(l.user, l.password))
}

// serveItem answers for VM template items: what they are (GET), and deploy. Deploying is a clone of the item's VM, so that
// it makes a VM; the simulator's own would make another template.
func (d *restDoor) serveItem(answer restAnswer, r *http.Request, path string) {
	if !d.loggedIn(r) {
		answer.unauthenticated()
		return
	}
	ref, found := d.lab.items[path]
	vm, alive := d.lab.registry.Get(ref).(*simulator.VirtualMachine)
	query := r.URL.Query()
	switch {
	case !found || !alive:
		answer.fail(http.StatusNotFound, "NOT_FOUND", "There is no VM template item "+path)
	case r.Method == http.MethodGet:
		info := d.lab.templateInfo(vm)
		if answer.wrapped {
			answer.ok(http.StatusOK, info)
			return
		}
		answer.ok(http.StatusOK, asAPI(info))
	case r.Method == http.MethodPost && (query.Get("action") == "deploy" || query.Get("~action") == "deploy"):
		d.deploy(answer, r, ref)
	default:
		answer.fail(http.StatusBadRequest, "UNSUPPORTED", "The lab offers GET and deploy for VM template items")
	}
}

// apiTemplateInfo is the same with maps in place of lists of pairs, as /api has them.
type apiTemplateInfo struct {
	vcenter.TemplateInfo
	Disks map[string]*vcenter.DiskInfo   `json:"disks"`
	NICs  map[string]*vcenter.NicDetails `json:"nics"`
}

func asAPI(info vcenter.TemplateInfo) apiTemplateInfo {
	api := apiTemplateInfo{info, map[string]*vcenter.DiskInfo{}, map[string]*vcenter.NicDetails{}}
	for _, disk := range info.Disks {
		api.Disks[disk.Key] = disk.Value
	}
	for _, nic := range info.Nics {
		api.NICs[nic.Key] = nic.Value
	}
	return api
}

func (l *lab) templateInfo(vm *simulator.VirtualMachine) vcenter.TemplateInfo {
	var info vcenter.TemplateInfo
	storage := vcenter.DiskStorage{Datastore: l.places.datastore.Value}
	fork(l.service.Context).WithLock(vm, func() {
		info.VmTemplate = vm.Self.Value
		info.GuestOS = vm.Config.GuestId
		info.CPU.Count = int(vm.Config.Hardware.NumCPU)
		info.CPU.CoresPerSocket = 1
		info.Memory.SizeMB = int(vm.Config.Hardware.MemoryMB)
		info.VMHomeStorage = storage
		for _, device := range vm.Config.Hardware.Device {
			key := strconv.Itoa(int(device.GetVirtualDevice().Key))
			switch device := device.(type) {
			case *types.VirtualDisk:
				value := &vcenter.DiskInfo{Capacity: int(device.CapacityInBytes), DiskStorage: storage}
				info.Disks = append(info.Disks, vcenter.Disks{Key: key, Value: value})
			case types.BaseVirtualEthernetCard:
				value := &vcenter.NicDetails{
					Network: l.places.portgroup.Value, BackingType: "DISTRIBUTED_PORTGROUP", MacType: "ASSIGNED",
				}
				info.Nics = append(info.Nics, vcenter.Nics{Key: key, Value: value})
			}
		}
	})
	return info
}

func (d *restDoor) deploy(answer restAnswer, r *http.Request, source types.ManagedObjectReference) {
	var spec vcenter.DeployTemplate
	var target any = &spec
	if answer.wrapped {
		target = &struct {
			Spec *vcenter.DeployTemplate `json:"spec"`
		}{&spec}
	}
	if err := json.NewDecoder(r.Body).Decode(target); err != nil || spec.Name == "" || spec.Placement == nil {
		answer.fail(http.StatusBadRequest, "INVALID_ARGUMENT", "deploy needs name and placement")
		return
	}
	clone := d.lab.cloneOf(source, spec)
	if err := d.lab.mayMake(d.lab.users.of(restToken(r)), d.lab.cloneDemands(&clone)); err != nil {
		answer.fail(http.StatusForbidden, "UNAUTHORIZED", err.Error())
		return
	}
	ref, err := d.lab.deploy(r.Context(), clone)
	if err != nil {
		kind := "ERROR"
		if strings.Contains(err.Error(), "already exists") {
			kind = "ALREADY_EXISTS"
		}
		answer.fail(http.StatusBadRequest, kind, err.Error())
		return
	}
	answer.ok(http.StatusOK, ref.Value)
}

// cloneOf is the clone that a deploy stands for.
func (l *lab) cloneOf(source types.ManagedObjectReference, deploy vcenter.DeployTemplate) types.CloneVM_Task {
	place := deploy.Placement
	clone := types.CloneVM_Task{This: source, Folder: l.places.folder, Name: deploy.Name}
	if place.Folder != "" {
		clone.Folder.Value = place.Folder
	}
	clone.Spec.PowerOn = deploy.PoweredOn
	clone.Spec.Location.Pool = &l.places.pool
	if place.ResourcePool != "" {
		clone.Spec.Location.Pool = &types.ManagedObjectReference{Type: "ResourcePool", Value: place.ResourcePool}
	}
	if place.Host != "" {
		clone.Spec.Location.Host = &types.ManagedObjectReference{Type: "HostSystem", Value: place.Host}
	}
	if deploy.Description != "" {
		clone.Spec.Config = &types.VirtualMachineConfigSpec{Annotation: deploy.Description}
	}
	return clone
}

func (l *lab) deploy(ctx context.Context, clone types.CloneVM_Task) (ref types.ManagedObjectReference, err error) {
	client, err := l.client()
	if err != nil {
		return ref, err
	}
	vm, folder := object.NewVirtualMachine(client, clone.This), object.NewFolder(client, clone.Folder)
	task, err := vm.Clone(ctx, folder, clone.Name, clone.Spec)
	if err != nil {
		return ref, err
	}
	info, err := task.WaitForResult(ctx)
	if err != nil {
		return ref, err
	}
	ref, ok := info.Result.(types.ManagedObjectReference)
	if !ok {
		return ref, fmt.Errorf("clone gave %T, expected a managed object", info.Result)
	}
	return ref, nil
}
