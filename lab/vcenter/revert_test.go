// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

func TestRevertingBringsConfigurationAndPowerStateBack(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.clone("vm", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(1), ExtraConfig: []types.BaseOptionValue{
		&types.OptionValue{Key: "nb.owner", Value: "me"},
	}})
	tl.must(vm.CreateSnapshot(ctx, "off", "", false, false))
	disk := &types.VirtualDisk{}
	disk.Key = 2016
	tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{
		NumCPUs: 1, Annotation: "changed", ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "nb.owner", Value: "other"}},
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disk,
		}},
	}), nil)
	tl.must(vm.PowerOn(ctx))
	tl.must(vm.CreateSnapshot(ctx, "on", "", true, false))
	changed := tl.properties(vm).Config.ChangeVersion
	for range 2 { // the snapshot itself is not changed by what follows a revert
		tl.must(vm.RevertToSnapshot(ctx, "off", false))
		now := tl.properties(vm)
		if now.Runtime.PowerState != poweredOff || now.Config.Hardware.NumCPU != 4 || now.Summary.Config.NumCpu != 4 ||
			now.Config.Annotation != "" || extraConfig(*now.Config)["nb.owner"] != "me" || now.Config.ChangeVersion == changed ||
			object.VirtualDeviceList(now.Config.Hardware.Device).FindByKey(2016) == nil || now.Config.Name != "vm" {
			t.Errorf("after reverting: %s, %d CPUs, %q, %v", now.Runtime.PowerState, now.Config.Hardware.NumCPU,
				now.Config.Annotation, extraConfig(*now.Config))
		}
		tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{NumCPUs: 3}), nil)
	}
	tl.must(vm.RevertToSnapshot(ctx, "on", false))
	if now := tl.properties(vm); now.Runtime.PowerState != poweredOn || now.Config.Hardware.NumCPU != 1 {
		t.Errorf("after reverting to the memory: %s, %d CPUs", now.Runtime.PowerState, now.Config.Hardware.NumCPU)
	}
	tl.must(vm.RevertToSnapshot(ctx, "off", false))
	tl.must(vm.RevertToSnapshot(ctx, "on", true))
	if state := tl.properties(vm).Runtime.PowerState; state != poweredOff {
		t.Errorf("with suppressPowerOn the VM is %s", state)
	}
	tl.must(vm.RevertToCurrentSnapshot(ctx, false))
	if state := tl.properties(vm).Runtime.PowerState; state != poweredOn {
		t.Errorf("after reverting to the current snapshot the VM is %s", state)
	}
	tl.must(vm.RemoveSnapshot(ctx, "on", false, nil))
	tl.must(vm.RemoveAllSnapshot(ctx, nil))
	if tl.properties(vm).Snapshot != nil {
		t.Error("snapshots are left")
	}
}

func TestRevertingWithoutASnapshotIsRefused(t *testing.T) {
	tl := startLab(t, nil)
	if _, err := tl.clone("vm", nil).RevertToCurrentSnapshot(context.Background(), false); err == nil {
		t.Error("it was accepted")
	}
}

func TestSnapshotsInATree(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.clone("vm", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(1)})
	parents := func() int {
		disk := object.VirtualDeviceList(tl.properties(vm).Config.Hardware.Device).FindByKey(2016).(*types.VirtualDisk)
		found := 0
		for backing := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Parent; backing != nil; backing = backing.Parent {
			found++
		}
		return found
	}
	for _, name := range []string{"one", "two", "three"} {
		tl.must(vm.CreateSnapshot(ctx, name, "", false, true))
	}
	free := tl.datastore().FreeSpace
	if root := tl.properties(vm).Snapshot.RootSnapshotList[0]; parents() != 3 || root.Quiesced || root.Id == 0 {
		t.Errorf("%d parents, %+v", parents(), root)
	}
	tl.must(vm.RevertToSnapshot(ctx, "two", false))
	tl.must(vm.CreateSnapshot(ctx, "branch", "", false, false))
	tl.must(vm.RemoveSnapshot(ctx, "one", false, nil))
	now := tl.properties(vm).Snapshot
	if len(now.RootSnapshotList) != 1 || len(now.RootSnapshotList[0].ChildSnapshotList) != 2 || parents() != 2 {
		t.Errorf("%d parents, %+v", parents(), now)
	}
	tl.must(vm.RemoveSnapshot(ctx, "two", true, nil)) // the current one is below it
	if tl.properties(vm).Snapshot != nil || parents() != 0 || tl.datastore().FreeSpace != free {
		t.Errorf("%d parents, %+v", parents(), tl.properties(vm).Snapshot)
	}
	tl.must(vm.CreateSnapshot(ctx, "again", "", false, false))
	tl.must(vm.RemoveAllSnapshot(ctx, nil))
	tl.must(vm.RemoveAllSnapshot(ctx, nil)) // without one it does nothing
	for range mostLevels {
		tl.must(vm.CreateSnapshot(ctx, "deep", "", false, false))
	}
	if found, _ := tl.fault(vm.CreateSnapshot(ctx, "deeper", "", false, false)); !is[*types.TooManySnapshotLevels](found) {
		t.Errorf("%#v", found)
	}
	tl.must(vm.Destroy(ctx))
}

func TestASuspendedVMIsSuspendedAgain(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.running("vm")
	tl.must(vm.Suspend(ctx))
	tl.must(vm.CreateSnapshot(ctx, "asleep", "", false, false)) // the memory is taken whatever is asked
	tl.must(vm.PowerOff(ctx))
	tl.must(vm.RevertToSnapshot(ctx, "asleep", false))
	if state := tl.properties(vm).Runtime.PowerState; state != suspended {
		t.Errorf("it is %s", state)
	}
}

func TestEachCallOnSnapshotsNeedsItsPrivilegeOnTheVM(t *testing.T) {
	tl := startLimitedLab(t, "VirtualMachine.Interact.PowerOn")
	limited := tl.client
	tl.client = tl.login(testUser, testPassword)
	ctx := context.Background()
	made := tl.clone("vm", nil)
	tl.must(made.CreateSnapshot(ctx, "clean", "", false, false))
	vm := object.NewVirtualMachine(limited, made.Reference())
	for want, calls := range map[string][]func() (*object.Task, error){
		"VirtualMachine.State.CreateSnapshot": {
			func() (*object.Task, error) { return vm.CreateSnapshot(ctx, "s", "", false, false) },
		},
		"VirtualMachine.State.RevertToSnapshot": {
			func() (*object.Task, error) { return vm.RevertToSnapshot(ctx, "clean", false) },
			func() (*object.Task, error) { return vm.RevertToCurrentSnapshot(ctx, false) },
		},
		"VirtualMachine.State.RemoveSnapshot": {
			func() (*object.Task, error) { return vm.RemoveSnapshot(ctx, "clean", false, nil) },
			func() (*object.Task, error) { return vm.RemoveAllSnapshot(ctx, nil) },
		},
	} {
		for _, call := range calls {
			_, err := call()
			if found := tl.denied(err); found.PrivilegeId != want || found.Object == nil || *found.Object != vm.Reference() {
				t.Errorf("expected %s on %v, got %+v", want, vm.Reference(), found)
			}
		}
	}
	if tl.properties(made).Snapshot == nil {
		t.Error("the snapshot is gone")
	}
}
