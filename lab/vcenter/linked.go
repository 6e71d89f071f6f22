// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
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

// linkDisks makes the disks of a new clone children of its source's.
func linkDisks(clone, source *simulator.VirtualMachine) {
	parents := object.VirtualDeviceList(source.Config.Hardware.Device)
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
