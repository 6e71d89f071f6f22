// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// failure is a vSphere fault with the sentence that a client shows for it. Every one is a row of lab/faults.yml.
type failure struct {
	fault   types.BaseMethodFault
	message string
}

func (f *failure) soap() *soap.Fault { return simulator.Fault(f.message, f.fault) }

func fromSimulator(fault types.BaseMethodFault) *failure {
	switch known := fault.(type) {
	case *types.DuplicateName:
		return duplicateName(known.Name, known.Object)
	case *types.InvalidPowerState:
		return invalidPowerState(known.ExistingState, known.RequestedState)
	case *types.InvalidArgument:
		return invalidArgument(known.InvalidProperty, "A specified parameter was not correct: "+known.InvalidProperty)
	}
	name := faultName(fault)
	if cause := fault.GetMethodFault().FaultCause; cause != nil && cause.LocalizedMessage != "" {
		return &failure{fault, cause.LocalizedMessage}
	}
	return &failure{fault, fmt.Sprintf("The operation failed: %s.", name)}
}

func duplicateName(name string, object types.ManagedObjectReference) *failure {
	return &failure{&types.DuplicateName{Name: name, Object: object}, fmt.Sprintf("The name '%s' already exists.", name)}
}

func invalidPowerState(existing, requested types.VirtualMachinePowerState) *failure {
	words := map[types.VirtualMachinePowerState]string{
		types.VirtualMachinePowerStatePoweredOn:  "Powered on",
		types.VirtualMachinePowerStatePoweredOff: "Powered off",
		types.VirtualMachinePowerStateSuspended:  "Suspended",
	}
	return &failure{
		&types.InvalidPowerState{ExistingState: existing, RequestedState: requested},
		fmt.Sprintf("The attempted operation cannot be performed in the current state (%s).", words[existing]),
	}
}

func notSupported(message string) *failure {
	return &failure{&types.NotSupported{}, message}
}

func invalidArgument(property, message string) *failure {
	return &failure{&types.InvalidArgument{InvalidProperty: property}, message}
}

func concurrentAccess() *failure {
	return &failure{
		&types.ConcurrentAccess{}, "The operation cannot be performed because another client changed the object meanwhile.",
	}
}

func notFound(ref types.ManagedObjectReference) *failure {
	return &failure{
		&types.ManagedObjectNotFound{Obj: ref},
		fmt.Sprintf("The object '%s:%s' has already been deleted or has not been completely created", ref.Type, ref.Value),
	}
}

func toolsUnavailable() *failure {
	return &failure{
		&types.ToolsUnavailable{},
		"Cannot complete operation because VMware Tools is not running in this virtual machine.",
	}
}

// powerOnFailed is how ESXi reports a VM that it could not start.
func powerOnFailed(reason string) *failure {
	return &failure{&types.GenericVmConfigFault{Reason: reason}, reason}
}

func insufficientMemory(unreserved, requested int64) *failure {
	return &failure{
		&types.InsufficientMemoryResourcesFault{Unreserved: unreserved, Requested: requested},
		"The host does not have sufficient memory resources to satisfy the reservation.",
	}
}

// systemError is vSphere's fault for "the host answered with something else than success".
func systemError(reason string) *failure {
	return &failure{&types.SystemError{Reason: reason}, "A general system error occurred: " + reason}
}

// faultName is the fault's vSphere type.
func faultName(fault types.BaseMethodFault) string { return reflect.TypeOf(fault).Elem().Name() }
