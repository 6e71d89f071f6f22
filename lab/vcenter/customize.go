// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// customization is what a customization spec makes of a guest at its next start.
type customization struct {
	pending  bool
	hostname string
	address  string // the first fixed one, "" with DHCP
}

const windowsNameLength = 15

func (d *desk) CustomizeVMTask(ctx *simulator.Context, r *types.CustomizeVM_Task) soap.HasFault {
	vm, failed := d.vm(r.This)
	if failed != nil {
		return &methods.CustomizeVM_TaskBody{Fault_: failed.soap()}
	}
	task := d.startTask(ctx, vm, "CustomizeVM_Task", func(ctx *simulator.Context) (types.AnyType, *failure) {
		_, release, failed := d.occupy(vm)
		if failed != nil {
			return nil, failed
		}
		defer release()
		ctx.WithLock(vm, func() {
			if vm.Runtime.PowerState != poweredOff {
				failed = invalidPowerState(vm.Runtime.PowerState, poweredOff)
				return
			}
			failed = d.customizeLater(ctx, vm, &r.Spec)
		})
		return nil, failed
	})
	return &methods.CustomizeVM_TaskBody{Res: &types.CustomizeVM_TaskResponse{Returnval: task}}
}

// customizeLater keeps a spec for the next power-on. The caller holds the VM's lock.
func (l *lab) customizeLater(ctx *simulator.Context, vm *simulator.VirtualMachine, spec *types.CustomizationSpec) *failure {
	m := l.machine(vm.Self)
	if m.customization.pending {
		return &failure{&types.CustomizationPending{}, "A guest customization is already pending for this virtual machine."}
	}
	cards := len(l.describe(vm).NICs)
	if settings := len(spec.NicSettingMap); settings != cards {
		return &failure{
			&types.NicSettingMismatch{NumberOfNicsInSpec: int32(settings), NumberOfNicsInVM: int32(cards)},
			fmt.Sprintf("The number of network adapter settings in the customization specification (%d) "+
				"does not match the number of network adapters present in the virtual machine (%d).", settings, cards),
		}
	}
	m.customization = customization{pending: true, hostname: guestName(vm.Name, spec.Identity)}
	for _, mapping := range spec.NicSettingMap {
		if fixed, ok := mapping.Adapter.Ip.(*types.CustomizationFixedIp); ok && m.customization.address == "" {
			m.customization.address = fixed.IpAddress
		}
	}
	ctx.Update(vm, customizationChanges(uuid.NewString(), types.GuestInfoCustomizationStatusTOOLSDEPLOYPKG_PENDING, ""))
	return nil
}

func guestName(vm string, identity types.BaseCustomizationIdentitySettings) string {
	switch identity := identity.(type) {
	case *types.CustomizationLinuxPrep:
		return nameBy(identity.HostName, vm)
	case *types.CustomizationSysprep:
		name := nameBy(identity.UserData.ComputerName, vm)
		return name[:min(len(name), windowsNameLength)]
	}
	return ""
}

func nameBy(generator types.BaseCustomizationName, vm string) string {
	switch generator := generator.(type) {
	case *types.CustomizationFixedName:
		return generator.Name
	case *types.CustomizationPrefixName:
		return generator.Base + "-1"
	}
	return vm
}

// customize runs beside a power-on that succeeded, as tools in the guest would. It ends with one of two events.
func (l *lab) customize(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	m := l.machine(vm.Self)
	pending := false
	var argument types.VmEvent
	ctx.WithLock(vm, func() {
		pending, m.customization.pending = m.customization.pending, false
		argument = l.vmEvent(vm)
	})
	if !pending {
		return
	}
	event := types.CustomizationEvent{VmEvent: argument, LogLocation: "/var/log/vmware-imc"}
	show := func(status types.GuestInfoCustomizationStatus, reason string) {
		ctx.WithLock(vm, func() { ctx.Update(vm, customizationChanges("", status, reason)) })
	}
	l.post(ctx, &types.CustomizationStartedEvent{CustomizationEvent: event})
	show(types.GuestInfoCustomizationStatusTOOLSDEPLOYPKG_RUNNING, "")
	l.mishaps.pause("CustomizeVM_Task")
	if failed := l.mishaps.strike("CustomizeVM_Task", argument.Vm.Name, vm.Self, ""); failed != nil {
		show(types.GuestInfoCustomizationStatusTOOLSDEPLOYPKG_FAILED, failed.message)
		l.post(ctx, &types.CustomizationFailed{CustomizationEvent: event, Reason: failed.message})
		return
	}
	show(types.GuestInfoCustomizationStatusTOOLSDEPLOYPKG_SUCCEEDED, "")
	l.post(ctx, &types.CustomizationSucceeded{CustomizationEvent: event})
}

func (l *lab) post(ctx *simulator.Context, event types.BaseEvent) {
	manager := l.registry.EventManager()
	ctx.WithLock(manager, func() { manager.PostEvent(ctx, &types.PostEvent{EventToPost: event}) })
}

func customizationChanges(
	pending string, status types.GuestInfoCustomizationStatus, reason string,
) []types.PropertyChange {
	now := time.Now()
	return []types.PropertyChange{
		{Name: "config.tools", Val: &types.ToolsConfigInfo{PendingCustomization: pending}},
		{Name: "guest.customizationInfo", Val: &types.GuestInfoCustomizationInfo{
			CustomizationStatus: string(status), StartTime: &now, ErrorMsg: reason,
		}},
	}
}

// facts are what the customized guest says in place of what the driver says, which knows nothing of specs.
func (c customization) facts(facts guestFacts) guestFacts {
	if c.hostname != "" && facts.Hostname != nil {
		facts.Hostname = &c.hostname
	}
	if c.address != "" && len(facts.Addresses) > 0 {
		facts.Addresses = []string{c.address}
	}
	return facts
}
