// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"slices"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

func edit(device types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: device}
}

func removal(key int32, device types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
	device.GetVirtualDevice().Key = key
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: device}
}

func sized(key int32, gigabytes int64) *types.VirtualDisk {
	disk := &types.VirtualDisk{CapacityInKB: gigabytes << 20}
	disk.Key = key
	return disk
}

func emptyDisk(controller int32, unit *int32) types.BaseVirtualDeviceConfigSpec {
	disk := sized(-9, 1)
	disk.ControllerKey, disk.UnitNumber = controller, unit
	disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent"}
	return add(disk, "create")
}

func controllerOf[T types.BaseVirtualController](controller T, key, bus int32) T {
	base := controller.GetVirtualController()
	base.Key, base.BusNumber = key, bus
	return controller
}

// What the API allows of a VM with a boot disk of 40 GB on controller 1000 and a data disk of 2 GB on controller 1001.
func TestWhatMayChangeOnAVM(t *testing.T) {
	type changes = []types.BaseVirtualDeviceConfigSpec
	lsi := func() types.BaseVirtualDeviceConfigSpec {
		return add(controllerOf(&types.VirtualLsiLogicController{}, -1, 1), "")
	}
	invalidState := func(fault types.BaseMethodFault) bool { return is[*types.InvalidPowerState](fault) }
	invalidSpec := func(fault types.BaseMethodFault) bool { return is[*types.InvalidDeviceSpec](fault) }
	invalidOperation := func(fault types.BaseMethodFault) bool { return is[*types.InvalidDeviceOperation](fault) }
	tl := startLab(t, nil)
	ctx := context.Background()
	for _, c := range []struct {
		name    string
		changes func() changes
		off, on func(types.BaseMethodFault) bool // the fault, nil where it is allowed
		disks   []int32                          // that the driver sees afterwards
	}{
		{"disk on a controller that is there", func() changes { return changes{emptyDisk(1001, nil)} },
			nil, nil, []int32{2000, 2016, 2017}},
		{"disk on a new controller", func() changes {
			return changes{add(controllerOf(&types.ParaVirtualSCSIController{}, -8, 2), ""), emptyDisk(-8, nil)}
		}, nil, nil, []int32{2000, 2016, 2032}},
		{"data disk grows", func() changes { return changes{edit(sized(2016, 3))} }, nil, nil, []int32{2000, 2016}},
		{"boot disk grows", func() changes { return changes{edit(sized(2000, 50))} }, nil, nil, []int32{2000, 2016}},
		{"boot disk shrinks", func() changes { return changes{edit(sized(2000, 39))} },
			invalidOperation, invalidOperation, []int32{2000, 2016}},
		{"data disk goes", func() changes { return changes{removal(2016, &types.VirtualDisk{})} }, nil, nil, []int32{2000}},
		{"data disk goes with its controller", func() changes {
			return changes{removal(2016, &types.VirtualDisk{}), removal(1001, &types.ParaVirtualSCSIController{})}
		}, nil, nil, []int32{2000}},
		{"controller goes without its disk", func() changes { return changes{removal(1001, &types.ParaVirtualSCSIController{})} },
			invalidSpec, invalidState, []int32{2000, 2016}},
		{"controller becomes another type", func() changes {
			return changes{removal(1001, &types.ParaVirtualSCSIController{}), lsi()}
		}, nil, invalidState, []int32{2000, 2016}},
		{"controller becomes another type and the disk is moved there", func() changes {
			disk := sized(2016, 2)
			disk.ControllerKey, disk.UnitNumber = -1, types.NewInt32(0)
			return changes{removal(1001, &types.ParaVirtualSCSIController{}), lsi(), edit(disk)}
		}, nil, invalidState, []int32{2000, 2016}},
		{"controller is edited into another type", func() changes {
			return changes{edit(controllerOf(&types.VirtualLsiLogicController{}, 1001, 1))}
		}, invalidSpec, invalidSpec, []int32{2000, 2016}},
	} {
		for _, on := range []bool{false, true} {
			name, refused := c.name+" (off)", c.off
			if on {
				name, refused = c.name+" (on)", c.on
			}
			vm := tl.clone(name, &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(2)})
			if on {
				tl.must(vm.PowerOn(ctx))
			}
			asked := len(tl.guests.asked("reconfigure"))
			task := tl.reconfigure(vm, types.VirtualMachineConfigSpec{DeviceChange: c.changes()})
			if refused == nil {
				tl.must(task, nil)
			} else if found, message := tl.fault(task, nil); !refused(found) {
				t.Errorf("%s: %#v %s", name, found, message)
			}
			if told := len(tl.guests.asked("reconfigure")) > asked; told != (on && refused == nil) {
				t.Errorf("%s: was the driver told of it: %v", name, told)
			}
			if keys := diskKeysOf(tl, vm); !slices.Equal(keys, c.disks) {
				t.Errorf("%s: disks are %v, expected %v", name, keys, c.disks)
			}
		}
	}
}

func diskKeysOf(tl *testLab, vm *object.VirtualMachine) []int32 {
	var keys []int32
	for _, device := range tl.properties(vm).Config.Hardware.Device {
		if disk, ok := device.(*types.VirtualDisk); ok {
			keys = append(keys, disk.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

func TestTheDriverHearsOfASizeThatGrewWhileTheGuestRan(t *testing.T) {
	tl := startLab(t, nil)
	vm := tl.running("vm")
	tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{edit(sized(2000, 50))},
	}), nil)
	if got := tl.guests.asked("reconfigure"); len(got) != 1 || got[0].VM.Disks[0].SizeKB != 50<<20 || !got[0].VM.Disks[0].Origin {
		t.Errorf("told %+v", got)
	}
}

func TestAControllersNewTypeReachesTheDriver(t *testing.T) {
	tl := startLab(t, nil)
	ctx := context.Background()
	vm := tl.clone("vm", &types.VirtualMachineConfigSpec{DeviceChange: dataDisk(2)})
	tl.must(tl.reconfigure(vm, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
		removal(1001, &types.ParaVirtualSCSIController{}), add(controllerOf(&types.VirtualLsiLogicController{}, -1, 1), ""),
	}}), nil)
	tl.must(vm.PowerOn(ctx))
	if got := tl.guests.asked("power_on")[0].VM.Disks[1]; got.Controller != "lsilogic" || got.Bus != 1 || got.ControllerKey != 1001 {
		t.Errorf("disk is %+v", got)
	}
	tl.must(vm.Suspend(ctx))
	task := tl.reconfigure(vm, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{edit(sized(2016, 3))}})
	if found, _ := tl.fault(task, nil); !is[*types.InvalidPowerState](found) {
		t.Errorf("while it is suspended: %#v", found)
	}
}
