// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"maps"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

func isLinked(r *types.CloneVM_Task) bool {
	move := types.VirtualMachineRelocateDiskMoveOptions(r.Spec.Location.DiskMoveType)
	return move == types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking ||
		move == types.VirtualMachineRelocateDiskMoveOptions("createNewDeltaDiskBacking")
}

// linkable says whether the snapshot that a clone names is its source's, and is there where one is needed.
func (l *lab) linkable(r *types.CloneVM_Task) bool {
	if r.Spec.Snapshot == nil {
		return !isLinked(r)
	}
	snapshot, ok := l.registry.Get(*r.Spec.Snapshot).(*simulator.VirtualMachineSnapshot)
	return ok && snapshot.Vm == r.This
}

// cloned is the configuration that a clone copies, with what the lab knows besides: that of a snapshot where the clone names
// one, nil when it has gone meanwhile. The caller holds the source's lock.
func (l *lab) cloned(
	source *simulator.VirtualMachine, snapshot *types.ManagedObjectReference,
) (*types.VirtualMachineConfigInfo, point) {
	m := l.machine(source.Self)
	if snapshot == nil {
		return source.Config, m.here("")
	}
	if found, ok := l.registry.Get(*snapshot).(*simulator.VirtualMachineSnapshot); ok {
		at := m.points[*snapshot]
		return &found.Config, point{at.id, maps.Clone(at.origin), at.written}
	}
	return nil, point{}
}

// linkDisks makes the disks of a new clone children of its source's.
func linkDisks(clone *simulator.VirtualMachine, source *types.VirtualMachineConfigInfo) {
	parents := object.VirtualDeviceList(source.Hardware.Device)
	for _, device := range clone.Config.Hardware.Device {
		disk, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		backing, isFlat := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		parent, known := parents.FindByKey(disk.Key).(*types.VirtualDisk)
		if !isFlat || !known {
			continue
		}
		if above, ok := parent.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			backing.Parent = &types.VirtualDiskFlatVer2BackingInfo{
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: above.FileName, Datastore: above.Datastore},
				DiskMode:                     above.DiskMode, Uuid: above.Uuid, ThinProvisioned: above.ThinProvisioned,
			}
		}
	}
}

func hasParent(disk *types.VirtualDisk) bool {
	backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	return ok && backing.Parent != nil
}

func diskBytes(disk *types.VirtualDisk) int64 {
	return max(disk.CapacityInBytes, disk.CapacityInKB<<10)
}
