// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const keptFormat = 1

// keptVM is a VM as its file holds it. Other objects are named, because a vCenter that is started anew has other
// references for them.
type keptVM struct {
	Format        int                            `json:"format"`
	Folder        []string                       `json:"folder"` // below the datacenter's folder of VMs
	Pool          []string                       `json:"pool"`   // below the cluster's own pool
	Host          string                         `json:"host"`
	From          string                         `json:"from"`     // the template that it was cloned from
	Told          bool                           `json:"told"`     // the driver has something of it
	Origin        []int32                        `json:"origin"`   // disks whose content began as a template's
	Networks      []keptPair                     `json:"networks"` // names by the port group's key
	Policies      []keptPolicy                   `json:"policies"`
	Customization keptCustomization              `json:"customization"`
	Config        types.VirtualMachineConfigInfo `json:"config"`
	Snapshots     []keptSnapshot                 `json:"snapshots"`
	Current       string                         `json:"current"` // the current snapshot's id
}

// keptPair is an entry of a map: govmomi's JSON, by which vSphere's types keep their names, writes a name into maps too.
type keptPair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type keptPolicy struct {
	Device int32  `json:"device"`
	Policy string `json:"policy"`
}

type keptCustomization struct {
	Pending  bool   `json:"pending"`
	Hostname string `json:"hostname"`
	Address  string `json:"address"`
}

type keptSnapshot struct {
	ID          string                          `json:"id"` // the driver's name for it
	Number      int32                           `json:"number"`
	Name        string                          `json:"name"`
	Description string                          `json:"description"`
	Created     time.Time                       `json:"created"`
	State       types.VirtualMachinePowerState  `json:"state"`
	Quiesced    bool                            `json:"quiesced"`
	Origin      []int32                         `json:"origin"`
	Written     []keptPair                      `json:"written"`
	Config      *types.VirtualMachineConfigInfo `json:"config"`
	Children    []keptSnapshot                  `json:"children"`
}

// record is what is kept of a VM, as its file's name and content.
func (l *lab) record(ctx *simulator.Context, vm *simulator.VirtualMachine) (name string, content []byte, err error) {
	var parent, pool, host *types.ManagedObjectReference
	ctx.WithLock(vm, func() { parent, pool, host = vm.Parent, vm.ResourcePool, vm.Runtime.Host })
	kept := keptVM{Format: keptFormat}
	// Not under the VM's lock: the simulator takes a folder's lock first.
	if parent != nil {
		kept.Folder, _ = l.folderPath(*parent)
	}
	if pool != nil {
		kept.Pool, _ = l.pathBelow(l.places.pool, *pool)
	}
	if host != nil {
		if known, ok := l.registry.Get(*host).(*simulator.HostSystem); ok {
			kept.Host = known.Name
		}
	}
	policies := l.policies.of(vm.Self)
	for _, device := range slices.Sorted(maps.Keys(policies)) {
		kept.Policies = append(kept.Policies, keptPolicy{device, policies[device]})
	}
	var text bytes.Buffer
	ctx.WithLock(vm, func() {
		l.recordOwn(vm, &kept)
		err = types.NewJSONEncoder(&text).Encode(&kept) // here, because it is no copy
	})
	return kept.Config.InstanceUuid + ".json", text.Bytes(), err
}

// recordOwn is the part that the VM's lock guards.
func (l *lab) recordOwn(vm *simulator.VirtualMachine, kept *keptVM) {
	m := l.machine(vm.Self)
	kept.From, kept.Told, kept.Origin = m.template, m.told.Load() != nil, sortedKeys(m.origin)
	kept.Customization = keptCustomization{m.customization.pending, m.customization.hostname, m.customization.address}
	kept.Config = *vm.Config
	kept.Config.Name = vm.Name // the simulator renames a VM, and not its configuration
	// It will be off when it comes back.
	kept.Config.ExtraConfig = mergeExtraConfig(vm.Config.ExtraConfig, takenBack(m.written))
	networks := map[string]string{}
	l.nameNetworks(vm.Config.Hardware.Device, networks)
	if vm.Snapshot != nil {
		kept.Snapshots = l.recordSnapshots(m, vm.Snapshot.RootSnapshotList, networks)
		if current := vm.Snapshot.CurrentSnapshot; current != nil {
			kept.Current = m.points[*current].id
		}
	}
	kept.Networks = pairs(networks)
}

func (l *lab) recordSnapshots(
	m *machine, trees []types.VirtualMachineSnapshotTree, networks map[string]string,
) []keptSnapshot {
	var kept []keptSnapshot
	for _, tree := range trees {
		at := m.points[tree.Snapshot]
		one := keptSnapshot{
			ID: at.id, Number: tree.Id, Name: tree.Name, Description: tree.Description, Created: tree.CreateTime,
			State: tree.State, Quiesced: tree.Quiesced, Origin: sortedKeys(at.origin), Written: pairs(at.written),
			Config: &types.VirtualMachineConfigInfo{},
		}
		if snapshot, ok := l.registry.Get(tree.Snapshot).(*simulator.VirtualMachineSnapshot); ok {
			one.Config = &snapshot.Config
			l.nameNetworks(one.Config.Hardware.Device, networks)
		}
		one.Children = l.recordSnapshots(m, tree.ChildSnapshotList, networks)
		kept = append(kept, one)
	}
	return kept
}

func (l *lab) nameNetworks(devices object.VirtualDeviceList, networks map[string]string) {
	for _, device := range devices {
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			backing, ok := card.GetVirtualEthernetCard().Backing.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
			if ok {
				networks[backing.Port.PortgroupKey] = l.networkOf(card.GetVirtualEthernetCard())
			}
		}
	}
}

func sortedKeys(marks map[int32]bool) []int32 {
	return slices.Sorted(maps.Keys(marks))
}

func pairs(entries map[string]string) []keptPair {
	var list []keptPair
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		list = append(list, keptPair{key, entries[key]})
	}
	return list
}

func mapOf(list []keptPair) map[string]string {
	entries := map[string]string{}
	for _, pair := range list {
		entries[pair.Key] = pair.Value
	}
	return entries
}
