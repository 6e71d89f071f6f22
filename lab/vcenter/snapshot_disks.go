// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// mostLevels is how many snapshots may be on top of each other.
const mostLevels = 32

// currentLevel is how many snapshots a VM's current one has below it, itself counted; 0 without snapshots.
func currentLevel(info *types.VirtualMachineSnapshotInfo) int {
	if info == nil || info.CurrentSnapshot == nil {
		return 0
	}
	var find func(trees []types.VirtualMachineSnapshotTree, level int) int
	find = func(trees []types.VirtualMachineSnapshotTree, level int) int {
		for _, tree := range trees {
			if tree.Snapshot == *info.CurrentSnapshot {
				return level
			}
			if found := find(tree.ChildSnapshotList, level+1); found > 0 {
				return found
			}
		}
		return 0
	}
	return find(info.RootSnapshotList, 1)
}

// chainDisks gives each disk of a VM one parent for every level of snapshots, as vCenter shows them: it can then not grow.
// The files keep their name, by which such a parent is told from that of a linked clone. The caller holds the VM's lock.
func chainDisks(vm *simulator.VirtualMachine) {
	for _, device := range vm.Config.Hardware.Device {
		disk, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok {
			continue
		}
		backing.Parent = beneathSnapshots(backing)
		for range currentLevel(vm.Snapshot) {
			parent := *backing
			backing.Parent = &parent
		}
	}
}

// beneathSnapshots is the parent that a disk has without the VM's own snapshots: that of a linked clone.
func beneathSnapshots(backing *types.VirtualDiskFlatVer2BackingInfo) *types.VirtualDiskFlatVer2BackingInfo {
	parent := backing.Parent
	for parent != nil && parent.FileName == backing.FileName {
		parent = parent.Parent
	}
	return parent
}

// unlinkDisks makes the disks of a full clone whole, whatever its source's hang on.
func unlinkDisks(clone *simulator.VirtualMachine) {
	for _, device := range clone.Config.Hardware.Device {
		if disk, ok := device.(*types.VirtualDisk); ok {
			if backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				backing.Parent = nil
			}
		}
	}
}

// isChild is true for a disk that holds only what differs from another VM's.
func isChild(disk *types.VirtualDisk) bool {
	backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	return ok && beneathSnapshots(backing) != nil
}
