// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// startSmallLab has a datastore of 100 GB.
func startSmallLab(t *testing.T) *testLab {
	t.Helper()
	return startLab(t, func(o *options) {
		writeFile(t, o.inventory, strings.Replace(testInventory, `"capacity_gb":4096`, `"capacity_gb":100`, 1))
	})
}

func (tl *testLab) datastore() types.DatastoreSummary {
	tl.t.Helper()
	var found mo.Datastore
	ref := tl.lab.places.datastore
	if err := object.NewCommon(tl.client, ref).Properties(context.Background(), ref, []string{"summary"}, &found); err != nil {
		tl.t.Fatal(err)
	}
	return found.Summary
}

func thin(changes []types.BaseVirtualDeviceConfigSpec) []types.BaseVirtualDeviceConfigSpec {
	yes := true
	disk := changes[1].GetVirtualDeviceConfigSpec().Device.(*types.VirtualDisk)
	disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).ThinProvisioned = &yes
	return changes
}

func TestFreeSpaceFollowsTheDisks(t *testing.T) {
	tl := startSmallLab(t)
	free := func() int64 { return tl.datastore().FreeSpace >> 30 }
	if got := free(); got != 94 { // two templates with thin disks of 40 and 20 GB
		t.Fatalf("at the beginning %d GB are free", got)
	}
	vm := tl.clone("thick", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(20)})
	if got := free(); got != 70 {
		t.Errorf("with a thin boot disk of 40 and a thick one of 20 GB, %d GB are free", got)
	}
	other := tl.clone("thin", &types.VirtualMachineConfigSpec{DeviceChange: thin(dataDisk(20))})
	if got := free(); got != 64 {
		t.Errorf("with a thin disk of 20 GB more, %d GB are free", got)
	}
	if promised := tl.datastore().Uncommitted >> 30; promised != 54+36+36+18 {
		t.Errorf("%d GB are promised", promised)
	}
	ctx := context.Background()
	tl.must(vm.Destroy(ctx))
	if got := free(); got != 88 {
		t.Errorf("after destroying the first, %d GB are free", got)
	}
	tl.must(other.Destroy(ctx))
	if got := free(); got != 94 {
		t.Errorf("at the end %d GB are free", got)
	}
}

func TestAFullDatastoreTakesNoThickDisk(t *testing.T) {
	tl := startSmallLab(t)
	found, message := tl.fault(tl.startClone("big", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(100)}), nil)
	full, ok := found.(*types.NoDiskSpace)
	if !ok || full.Datastore != "vmfs-01" || message != "Insufficient disk space on datastore 'vmfs-01'." {
		t.Errorf("got %#v %s", found, message)
	}
	if _, err := tl.finder.VirtualMachine(context.Background(), "big"); err == nil {
		t.Error("the VM is there")
	}
	vm := tl.clone("grows", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(50)})
	disk := *object.VirtualDeviceList(tl.properties(vm).Config.Hardware.Device).FindByKey(2016).(*types.VirtualDisk)
	grow := func(gb int64) types.VirtualMachineConfigSpec {
		grown := disk
		grown.CapacityInKB, grown.CapacityInBytes = gb<<20, gb<<30
		return types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: &grown,
		}}}
	}
	if found, _ := tl.fault(tl.reconfigure(vm, grow(100)), nil); !is[*types.NoDiskSpace](found) {
		t.Errorf("growing too far: %#v", found)
	}
	tl.must(tl.reconfigure(vm, grow(80)), nil)
	if free := tl.datastore().FreeSpace >> 30; free != 10 {
		t.Errorf("%d GB are free", free)
	}
}
