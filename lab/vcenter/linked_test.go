// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"testing"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

func TestALinkedCloneBuildsOnASnapshot(t *testing.T) {
	tl := startSmallLab(t)
	ctx := context.Background()
	source := tl.clone("golden", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(20)})
	other := tl.clone("other", nil)
	folder := object.NewFolder(tl.client, tl.lab.places.folder)
	clone := func(name string, vm *object.VirtualMachine, snapshot *types.ManagedObjectReference) (*object.Task, error) {
		spec := types.VirtualMachineCloneSpec{Snapshot: snapshot}
		spec.Location.Pool, spec.Location.DiskMoveType = &tl.lab.places.pool, "createNewChildDiskBacking"
		return vm.Clone(ctx, folder, name, spec)
	}
	if _, err := clone("none", source, nil); !fault.Is(err, &types.InvalidArgument{}) {
		t.Errorf("without a snapshot: %v", err)
	}
	tl.must(source.CreateSnapshot(ctx, "clean", "", false, false))
	snapshot := tl.properties(source).Snapshot.CurrentSnapshot
	if _, err := clone("foreign", other, snapshot); !fault.Is(err, &types.InvalidArgument{}) {
		t.Errorf("with another VM's snapshot: %v", err)
	}
	before := tl.datastore().FreeSpace
	task, err := clone("linked", source, snapshot)
	tl.must(task, err)
	linked := tl.template("linked")
	if taken := before - tl.datastore().FreeSpace; taken != 0 {
		t.Errorf("the clone takes %d bytes", taken)
	}
	disk := *object.VirtualDeviceList(tl.properties(linked).Config.Hardware.Device).FindByKey(2000).(*types.VirtualDisk)
	backing := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if backing.Parent == nil || backing.Parent.FileName == backing.FileName || backing.Parent.Uuid == backing.Uuid {
		t.Fatalf("backing is %+v, parent %+v", backing, backing.Parent)
	}
	disk.CapacityInKB, disk.CapacityInBytes = 60<<20, 60<<30
	found, _ := tl.fault(tl.reconfigure(linked, types.VirtualMachineConfigSpec{
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: &disk,
		}},
	}), nil)
	if !is[*types.InvalidDeviceSpec](found) {
		t.Errorf("growing: %#v", found)
	}
	tl.must(linked.PowerOn(ctx))
	tl.must(linked.PowerOff(ctx))
	tl.must(linked.Destroy(ctx))
	tl.must(source.PowerOn(ctx))
}
