// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// takeHost finds the host on which a VM can start, moves it there, and takes the host's memory and devices for it. As on
// a vCenter with DRS, a VM whose devices are bound to no host (dynamic DirectPath, vGPU) starts where they are free; all
// others start where they are. only is the host that the client asked for, if any.
func (l *lab) takeHost(ctx *simulator.Context, vm *simulator.VirtualMachine, only *types.ManagedObjectReference) *failure {
	var host types.ManagedObjectReference
	var memory int64
	var wants []gpuWant
	var failed *failure
	ctx.WithLock(vm, func() {
		host, memory, wants = *vm.Runtime.Host, reservedMemory(vm), gpuWants(vm.Config.Hardware.Device)
		failed = checkReservation(vm, wants)
	})
	if failed != nil {
		return failed
	}
	candidates := l.candidates(host, wants, only)
	var refusals []hostRefusal
	for _, candidate := range candidates {
		refused := l.takeOn(ctx, vm, candidate, memory, wants)
		if refused == nil {
			if candidate != host {
				l.move(ctx, vm, host, candidate)
			}
			return nil
		}
		refusals = append(refusals, *refused)
	}
	return whyNowhere(vm, wants, refusals)
}

func (l *lab) candidates(
	host types.ManagedObjectReference, wants []gpuWant, only *types.ManagedObjectReference,
) []types.ManagedObjectReference {
	if only != nil {
		return []types.ManagedObjectReference{*only}
	}
	candidates := []types.ManagedObjectReference{host}
	bound := func(want gpuWant) bool { return !want.placed() }
	if len(wants) == 0 || slices.ContainsFunc(wants, bound) {
		return candidates
	}
	for _, other := range l.places.hosts {
		if other != host {
			candidates = append(candidates, other)
		}
	}
	return candidates
}

type hostRefusal struct {
	host   types.ManagedObjectReference
	name   string
	want   gpuWant
	reason refusal
	other  *failure // memory or maintenance
}

func (l *lab) takeOn(
	ctx *simulator.Context, vm *simulator.VirtualMachine, ref types.ManagedObjectReference, memory int64, wants []gpuWant,
) *hostRefusal {
	host, ok := l.registry.Get(ref).(*simulator.HostSystem)
	if !ok {
		return &hostRefusal{host: ref, other: notFound(ref)}
	}
	refused := &hostRefusal{host: ref, name: host.Name}
	if host.Runtime.InMaintenanceMode {
		refused.other = &failure{&types.InvalidState{}, "The operation is not allowed in the current state of the host."}
		return refused
	}
	given, want, reason := l.gpus.take(vm.Self, ref, wants)
	if reason != granted {
		refused.want, refused.reason = want, reason
		return refused
	}
	if free, ok := l.memory.reserve(vm.Self, ref, memory); !ok {
		l.gpus.release(vm.Self)
		refused.other = insufficientMemory(free<<20, memory<<20)
		return refused
	}
	if len(wants) > 0 {
		ids := map[int32]string{}
		for i, device := range given {
			ids[wants[i].key] = device.Address
		}
		ctx.WithLock(vm, func() {
			ctx.Update(vm, []types.PropertyChange{{Name: "config.hardware.device", Val: assign(vm, ids)}})
		})
		l.showUsers(ctx)
	}
	return nil
}

// releaseHost gives back what takeHost took.
func (l *lab) releaseHost(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	l.memory.release(vm.Self)
	if !l.gpus.release(vm.Self) {
		return
	}
	ctx.WithLock(vm, func() {
		ctx.Update(vm, []types.PropertyChange{{Name: "config.hardware.device", Val: assign(vm, nil)}})
	})
	l.showUsers(ctx)
}

func (l *lab) move(ctx *simulator.Context, vm *simulator.VirtualMachine, from, to types.ManagedObjectReference) {
	for ref, join := range map[types.ManagedObjectReference]bool{from: false, to: true} {
		host := l.registry.Get(ref).(*simulator.HostSystem)
		ctx.WithLock(host, func() {
			kept := slices.DeleteFunc(slices.Clone(host.Vm), func(r types.ManagedObjectReference) bool { return r == vm.Self })
			if join {
				kept = append(kept, vm.Self)
			}
			ctx.Update(host, []types.PropertyChange{{Name: "vm", Val: kept}})
		})
	}
	ctx.WithLock(vm, func() {
		ctx.Update(vm, []types.PropertyChange{
			{Name: "runtime.host", Val: &to}, {Name: "summary.runtime.host", Val: &to},
		})
	})
}

// checkReservation is the host's check before it starts a VM with PCI devices.
func checkReservation(vm *simulator.VirtualMachine, wants []gpuWant) *failure {
	memory := int64(vm.Config.Hardware.MemoryMB)
	if len(wants) == 0 || reservedMemory(vm) >= memory {
		return nil
	}
	return powerOnFailed(fmt.Sprintf(
		"Invalid memory setting: memory reservation (sched.mem.min) should be equal to memsize(%d).", memory))
}

// whyNowhere chooses the fault among what the hosts refused.
func whyNowhere(vm *simulator.VirtualMachine, wants []gpuWant, refusals []hostRefusal) *failure {
	first := refusals[0]
	worst := first
	for _, refused := range refusals {
		if refused.other == nil && refused.reason > worst.reason {
			worst = refused
		}
		if refused.other != nil && worst.other == nil && worst.reason != noRoom {
			worst = refused // a host had the device and lacks something else
		}
	}
	switch {
	case worst.other != nil:
		return worst.other
	case worst.reason == noRoom:
		return &failure{&types.InsufficientGraphicsResourcesFault{}, fmt.Sprintf(
			"The amount of graphics resource available in the parent resource pool is insufficient for the operation (%s).",
			worst.want.profile)}
	case worst.reason == noProfile:
		return powerOnFailed(fmt.Sprintf(
			"Could not initialize plugin '/usr/lib64/vmware/plugin/libnvidia-vgx.so' for vGPU '%s'.", worst.want.profile))
	case first.want.placed():
		return noCompatibleHost(vm, refusals)
	case worst.reason == inUse:
		return powerOnFailed(fmt.Sprintf(
			"Module 'DevicePowerOn' power on failed. Device %s is already in use.", worst.want.id))
	}
	return powerOnFailed(fmt.Sprintf("Module 'DevicePowerOn' power on failed. Failed to register the device %s for %s "+
		"due to unavailable hardware or software support.", worst.want.name, worst.want.id))
}

func noCompatibleHost(vm *simulator.VirtualMachine, refusals []hostRefusal) *failure {
	fault := &types.NoCompatibleHost{}
	for _, refused := range refusals {
		text := fmt.Sprintf("One or more devices (%s) required by VM %s are not available on host %s.",
			refused.want.name, vm.Name, refused.name)
		fault.Host = append(fault.Host, refused.host)
		fault.Error = append(fault.Error, types.LocalizedMethodFault{
			Fault: &types.GenericVmConfigFault{Reason: text}, LocalizedMessage: text,
		})
	}
	return &failure{fault, "No host is compatible with the virtual machine."}
}
