// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// checkSize lets a disk grow, also while its VM runs, and never shrink.
func checkSize(wish, known *types.VirtualDisk, index int) *failure {
	had, size := diskBytes(known), diskBytes(known)
	for _, wished := range []int64{wish.CapacityInKB << 10, wish.CapacityInBytes} {
		if wished == 0 || wished == had {
			continue // not wished: clients change one of the two, and send the other as they found it
		}
		if wished < had || size != had && wished != size {
			return invalidOperation(index, types.VirtualDeviceConfigSpecOperationEdit)
		}
		size = wished
	}
	if hasParent(known) && size > had {
		return invalidDevice(index, "device.capacityInKB")
	}
	wish.CapacityInKB, wish.CapacityInBytes = size>>10, size
	return nil
}

// checkControllers refuses to take a controller from the disks that hang on it. devices are those after the changes. While
// the VM is off another controller may take the number of one that goes, which is how its type is changed; a VM that is on
// may get a controller, and lose one without disks.
func checkControllers(
	vm *simulator.VirtualMachine, devices object.VirtualDeviceList, changes []types.BaseVirtualDeviceConfigSpec,
) *failure {
	for index, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		key := spec.Device.GetVirtualDevice().Key
		if _, ok := spec.Device.(types.BaseVirtualController); !ok ||
			spec.Operation != types.VirtualDeviceConfigSpecOperationRemove {
			continue
		}
		used := slices.ContainsFunc(devices, func(device types.BaseVirtualDevice) bool {
			return device.GetVirtualDevice().ControllerKey == key
		})
		switch {
		case used && vm.Runtime.PowerState != poweredOff:
			return invalidPowerState(vm.Runtime.PowerState, poweredOff)
		case used && devices.FindByKey(key) == nil:
			return invalidDevice(index, "device")
		}
	}
	return nil
}

func without(devices object.VirtualDeviceList, key int32) object.VirtualDeviceList {
	return slices.DeleteFunc(slices.Clone(devices), func(device types.BaseVirtualDevice) bool {
		return device.GetVirtualDevice().Key == key
	})
}

func invalidOperation(index int, operation types.VirtualDeviceConfigSpecOperation) *failure {
	fault := &types.InvalidDeviceOperation{BadOp: operation}
	fault.DeviceIndex, fault.Property = int32(index), "virtualDeviceSpec.device"
	return &failure{fault, fmt.Sprintf("Invalid operation for device '%d'.", index)}
}
